"""JSON of strangers is bounded in its values, whatever its texts hold and wherever it comes in."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zipfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easel.compare.bundle import MAX_FILES, BundleError, read_zip
from pipelines.core.json_values import MAX_VALUES, TooManyValues, read_json

TEXTS = st.text(st.sampled_from('a,[]{}"\\:é🍎\n'), max_size=12)
VALUES = st.recursive(st.none() | st.booleans() | st.integers() | TEXTS,
                      lambda each: st.lists(each) | st.dictionaries(TEXTS, each), max_leaves=30)
BOMB = b'{"a": [' + b"[]," * (7 * 2**20 // 3) + b"0]}"


def counted(value: Any) -> tuple[int, int]:
    """How many values there are, and how many of them are lists or objects."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    each = [counted(part) for part in parts]
    return 1 + sum(n for n, _ in each), isinstance(value, dict | list) + sum(n for _, n in each)


@given(VALUES, st.sampled_from(["utf-8", "utf-16", "utf-32", "utf-16-le"]), st.booleans())
def test_values_are_counted_and_texts_are_not_looked_into(value: Any, encoding: str, ascii: bool,
                                                          ) -> None:
    data = json.dumps(value, ensure_ascii=ascii).encode(encoding)
    number, lists = counted(value)
    most = max(number + lists, 1)
    assert read_json(data, most) == value
    if number > 1:
        with pytest.raises(TooManyValues):
            read_json(data, number - 1)


@pytest.mark.parametrize("data", [b"", b"[", b"[[],", b'"', b"\\", b'{"a"', b"\xff", b"nan(",
                                  b"9" * 5000])
def test_what_is_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_json(data)


def test_long_texts_and_what_is_no_text() -> None:
    text = "," * 2 * MAX_VALUES + '["' * MAX_VALUES + "\\" * MAX_VALUES
    assert read_json(json.dumps({"labels": text})) == {"labels": text}
    assert read_json("[" + "1," * (MAX_VALUES - 2) + "1]", MAX_VALUES)
    for other in (None, 5, ["a"]):
        with pytest.raises(ValueError, match="no text"):
            read_json(other)  # type: ignore[arg-type]


@pytest.mark.parametrize("data", [
    BOMB, b'["' + b'","' * 10**6 + b'"]', b"[" + b"{}," * 10**6 + b"0]", b"[" + b"1," * 10**6,
    b"[" * 10**6, BOMB.decode().encode("utf-16")],
                         ids=["lists", "texts", "objects", "cut", "deep", "utf-16"])
def test_a_bomb_is_refused_before_any_of_its_values_is_made(data: bytes) -> None:
    """It would take twenty times its length, and seconds of everybody's time."""
    tracemalloc.start()
    try:
        with pytest.raises(TooManyValues):
            read_json(data)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(data) + 2**20
    finally:
        tracemalloc.stop()


def directory(count: int) -> bytes:
    """A zip of one empty file, which its directory names many times."""
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 33, 0, 0, 0, 1, 0) + b"a"
    entries = (entry + b"a") * count
    end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(entries),
                      len(local))
    end += struct.pack("<4sLQL", b"PK\6\7", 0, len(local) + len(entries), 1)
    last = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 2**16 - 1, 2**16 - 1, 2**32 - 1, 2**32 - 1, 0)
    return local + entries + end + last


def test_a_comparison_is_refused_before_its_files_are_looked_at() -> None:
    """A directory of 16 MB took 34 s; facts of 31 MB, in a zip of 31 KB, 22 s and 1.4 GB."""
    with zipfile.ZipFile(io.BytesIO(directory(3))) as archive:
        assert len(archive.infolist()) == 3, "which is how zip files are read"
    many = directory(100_000)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("comparison.json", BOMB)
    tracemalloc.start()
    try:
        with pytest.raises(BundleError, match=f"holds 100,000 files; {MAX_FILES} is the most"):
            read_zip(many)
        with pytest.raises(BundleError, match="are not valid JSON"):
            read_zip(buffer.getvalue())
        assert tracemalloc.get_traced_memory()[1] < 6 * len(BOMB)
    finally:
        tracemalloc.stop()
