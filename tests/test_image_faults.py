"""What a browser shows is a picture: faults that no pixel depends on are passed over."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.core.errors import InvalidImage
from pipelines.core.image_faults import mended
from pipelines.core.images import MAX_PIXELS, load_image, open_image
from pipelines.core.metadata import read_png
from pipelines.core.png_chunks import (
    MAX_TEXT_BYTES,
    MAX_TEXTS_BYTES,
    SIGNATURE,
    png_texts,
    without_faults,
)
from tests.test_images import encoded, gradient

CASES = Path(__file__).parent / "data" / "cases"
PIXELS = np.asarray(gradient())


def chunk(kind: bytes, body: bytes, checksum: int | None = None) -> bytes:
    """A chunk of a PNG file, with a checksum that may be wrong."""
    right = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(
        ">I", right if checksum is None else checksum)


def with_chunk(part: bytes, last: bool = False) -> bytes:
    """A picture with one more chunk, before its pixels or after them."""
    data = encoded(gradient())
    place = data.index(b"IEND") - 4 if last else data.index(b"IDAT") - 4
    return data[:place] + part + data[place:]


BIG = zlib.compress(b"x" * 1_200_000)
PNG_FAULTS = {
    "text with a wrong checksum": chunk(b"tEXt", b"a\0bc", 5),
    "text of a megabyte, packed": chunk(b"zTXt", b"a\0\0" + BIG),
    "text of a megabyte, UTF-8": chunk(b"iTXt", b"a\0\1\0\0\0" + BIG),
    "text that does not unpack": chunk(b"zTXt", b"a\0\0nothing"),
    "text without an end of its keyword": chunk(b"tEXt", b"abc"),
    "text packed in another way": chunk(b"zTXt", b"a\0\7" + zlib.compress(b"x")),
    "profile of a megabyte": chunk(b"iCCP", b"a\0\0" + BIG),
    "profile that does not unpack": chunk(b"iCCP", b"a\0\0nothing"),
    "size of a pixel cut short": chunk(b"pHYs", b"\0"),
    "profile's name with a wrong checksum": chunk(b"sRGB", b"\0", 7),
    "gamma cut short": chunk(b"gAMA", b"\0\0"),
    "exif that is none": chunk(b"eXIf", b"II*\0\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("last", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fault", PNG_FAULTS)
def test_a_png_with_a_fault_beside_its_pixels_is_read(fault: str, last: bool) -> None:
    assert np.array_equal(load_image(with_chunk(PNG_FAULTS[fault], last)), PIXELS)


@pytest.mark.parametrize("end", [b"", b"garbage" * 99], ids=["without its end", "with more"])
def test_what_follows_the_pixels_of_a_png_does_not_matter(end: bytes) -> None:
    data = encoded(gradient())
    assert np.array_equal(load_image(data[:data.index(b"IEND") - 4] + end), PIXELS)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("exif", [
    b"Exif\0\0nonsense", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12",
    b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\2\0\xff\xff\xff\xff\0\0\0\0"], ids=range(4))
def test_an_orientation_that_is_none_leaves_the_picture_as_it_is(kind: str, exif: bytes) -> None:
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100}}.get(kind, {})
    image = load_image(encoded(gradient(), kind, exif=exif, **options))
    assert image.shape == PIXELS.shape


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_needs_its_pixels_and_not_its_end(progressive: bool) -> None:
    random = np.random.default_rng(0)
    picture = Image.fromarray(random.integers(0, 256, (150, 200, 3), np.uint8))
    data = encoded(picture, "JPEG", progressive=progressive)
    whole = load_image(data)
    for cut in (1, 2):
        assert np.array_equal(load_image(data[:-cut]), whole)
    for cut in (100, 1000, len(data) // 2):
        with pytest.raises(InvalidImage, match="damaged or cut short"):
            load_image(data[:-cut])
    assert mended(data[:-2], max_pixels=100) is None, "no more is decoded than may be"


def test_the_first_picture_of_several_is_read() -> None:
    other = Image.new("RGB", (40, 30), "red")
    data = encoded(gradient(), "MPO", save_all=True, append_images=[other], quality=100)
    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert np.abs(load_image(data).astype(int) - PIXELS.astype(int)).mean() < 4
    assert open_image(data, least_px=8).mode == "RGB"


@pytest.mark.parametrize("name", ["mpo.jpg", "noeoi.jpg", "bad-crc-of-text.png", "big-icc.png",
                                  "big-ztxt.png"])
def test_files_that_were_refused(name: str) -> None:
    data = (CASES / name).read_bytes()
    assert load_image(data).any()
    if name == "big-ztxt.png":
        assert read_png(data)["parameters"]["Prompt"] == "a red apple"
        assert open_image(data).info["parameters"].startswith("a red apple\n")


def test_missing_pixels_stay_refused() -> None:
    data = encoded(gradient(), "PNG")
    place = data.index(b"IDAT") + 20
    for wrong in (data[:place], data[:place] + b"\xff\xff\xff" + data[place + 3:]):
        with pytest.raises(InvalidImage):
            load_image(wrong)


def test_texts_are_bounded() -> None:
    bomb = chunk(b"zTXt", b"big\0\0" + zlib.compress(b"x" * (MAX_TEXT_BYTES + 1)))
    long = chunk(b"tEXt", b"long\0" + b"x" * (MAX_TEXT_BYTES + 1))
    some = b"".join(chunk(b"zTXt", b"%d\0\0" % i + zlib.compress(b"x" * MAX_TEXT_BYTES))
                    for i in range(9))
    small = chunk(b"tEXt", b"small\0text")
    found = png_texts(with_chunk(small + bomb + long + some))
    assert found["small"] == "text"
    assert found.keys() == {"small", "0", "1"}, "16 MB in all, the bomb among them"


def test_texts_that_are_left_out_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """2.4 MB of them took ten seconds to unpack."""
    unpacked: list[int] = []

    class Counting:
        def __init__(self) -> None:
            self.worker = decompressobj()

        def decompress(self, data: bytes, most: int) -> bytes:
            found = self.worker.decompress(data, most)
            unpacked.append(len(found))
            return found

        def __getattr__(self, name: str) -> Any:
            return getattr(self.worker, name)

    decompressobj = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", Counting)
    packed = zlib.compress(b"x" * (MAX_TEXT_BYTES + 1))
    bombs = (chunk(b"zTXt", b"junk\0\0" + packed) + chunk(b"iTXt", b"junk\0\1\0\0\0" + packed)
             + chunk(b"zTXt", b"cut\0\0" + packed[:-9] + b"\0" * 9)) * 50
    for reader in (png_texts, without_faults):
        unpacked.clear()
        reader(with_chunk(bombs))
        assert 0 < sum(unpacked) <= MAX_TEXTS_BYTES + MAX_TEXT_BYTES


LETTERS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)


@settings(deadline=None)
@given(LETTERS, LETTERS, st.sampled_from(["tEXt", "zTXt", "iTXt", "packed iTXt"]))
def test_texts_in_any_letters_are_read(keyword: str, text: str, kind: str) -> None:
    name, value = keyword.encode() + b"\0", text.encode()
    body = {"tEXt": name + value, "zTXt": name + b"\0" + zlib.compress(value),
            "iTXt": name + b"\0\0\0\0" + value,
            "packed iTXt": name + b"\1\0en\0key\0" + zlib.compress(value)}[kind]
    assert png_texts(with_chunk(chunk(kind[-4:].encode(), body))) == {keyword: text}


@given(st.binary(max_size=300), st.integers(0, 300))
def test_no_bytes_break_the_chunks(noise: bytes, place: int) -> None:
    data = with_chunk(chunk(b"tEXt", b"a\0b"))
    for bytes_ in (SIGNATURE + noise, data[:place] + noise + data[place + 5:], data[:place]):
        assert isinstance(png_texts(bytes_), dict)
        assert without_faults(bytes_).startswith(SIGNATURE)
        assert mended(bytes_, MAX_PIXELS) != bytes_
