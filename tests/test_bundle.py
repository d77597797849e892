"""Bundles: the same after a round through zip or folder; nothing bad comes in with one."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from easel.compare.bundle import (
    FACTS,
    INDEX,
    MAX_FILE_BYTES,
    MAX_FILES,
    Bundle,
    BundleError,
    make_bundle,
    read_zip,
    write_folder,
    write_zip,
)
from easel.compare.bundle_page import render_index
from pipelines.core.errors import EaselError
from pipelines.core.metadata import encode_png
from pipelines.registry import Registry
from tests.bundle_folder import read_folder
from tests.test_compare import SCRIPT
from tests.watched_sketch import WatchedSketch


def png(value: int) -> bytes:
    return encode_png(np.full((8, 8, 3), value, np.uint8), {"prompt": "a cat"})


def bundle(**facts: Any) -> Bundle:
    pane = {"pipeline": "sketch", "title": "Sketch", "num_images": 1, "seed": 5,
            "options": {"steps": 3, "blur": SCRIPT}, "weights": {"embedded/vqgan": "ab" * 32},
            "elapsed_s": 1.5, "device_s": 1.0, "peak_memory_bytes": 10**7,
            "pictures": [{"seed": 5, "scores": {"clip": 0.25}, "guide_score": 0.5}]}
    return make_bundle({"prompt": SCRIPT, "versions": {"easel": "1"}, "vote": 1, "blind": True,
                        "panes": [pane, {**pane, "seed": 6}], **facts}, [[png(10)], [png(20)]])


def repacked(change: Callable[[dict[str, bytes]], None]) -> bytes:
    """A bundle's zip with its files changed."""
    files = {}
    with zipfile.ZipFile(io.BytesIO(write_zip(bundle()))) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def edit(**facts: Any) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        files[FACTS] = json.dumps(json.loads(files[FACTS]) | facts).encode()

    return change


def test_zip_and_folder_come_back_as_they_were(tmp_path: Path) -> None:
    made = bundle()
    assert write_zip(made) == write_zip(made)
    assert read_zip(write_zip(made)) == made
    write_folder(made, tmp_path / "out")
    assert read_folder(tmp_path / "out") == made
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [FACTS, INDEX, "pictures"]


def test_the_page_shows_everything_and_runs_nothing() -> None:
    with zipfile.ZipFile(io.BytesIO(write_zip(bundle()))) as archive:
        page = archive.read(INDEX).decode()
    assert SCRIPT not in page
    assert "<script" not in page
    assert "http:" not in page
    assert "https:" not in page
    assert "default-src 'none'" in page
    for shown in ("&lt;img", "pictures/a-01.png", "pictures/b-01.png", "clip 0.250",
                  "guide 0.500, not comparable", "pane B is best, blind", "steps", "abababababab"):
        assert shown in page


def test_the_page_says_options_as_people_do() -> None:
    registry = Registry()
    registry.register(WatchedSketch())
    request = registry.check({"pipeline": "sketch", "prompt": "a cat", "num_images": 1, "seed": 5})
    facts = bundle().facts.model_dump()
    facts["panes"][0]["options"] = {"steps": 3, "pause_s": 0.5, "fail": False, "gone": 1, "no": ""}
    made = make_bundle(facts, [[png(10)], [png(20)]], [request])
    page = render_index(facts, made.titles)
    for said in ("Steps</dt><dd>3", "Pause</dt><dd>0.5", "Fail</dt><dd>no", "gone</dt><dd>1"):
        assert f"<dt>{said}</dd>" in page
    assert "pause_s" not in page
    assert "<dt>no</dt>" not in page


@pytest.mark.parametrize(("change", "says"), [
    (lambda files: files.update({"../../etc/x.png": b"x"}), "leads elsewhere"),
    (lambda files: files.update({"/etc/x.png": b"x"}), "leads elsewhere"),
    (lambda files: files.update({"pictures\\..\\x.png": b"x"}), "leads elsewhere"),
    (lambda files: files.update({"bomb": bytes(MAX_FILE_BYTES + 1)}), "unpacks to more"),
    (lambda files: files.update({f"f{i}": b"" for i in range(MAX_FILES)}), "130 is the most"),
    (lambda files: files.pop(FACTS), "facts are missing"),
    (lambda files: files.update({FACTS: b"{"}), "not valid JSON"),
    (lambda files: files.update({FACTS: b"[" * 10**6}), "not valid JSON"),
    (lambda files: files.update({FACTS: b"[]"}), r"not as Easel writes them\.$"),
    (lambda files: files.pop("pictures/b-01.png"), "missing or was changed"),
    (lambda files: files.update({"pictures/b-01.png": png(99)}), "missing or was changed"),
    (edit(panes=[]), "not as Easel writes them at panes"),
    (edit(vote="nobody"), r"not as Easel writes them at vote\.$"),
    (edit(inputs=[{"file": "a"}]), r"not as Easel writes them at inputs\.0\.name\.$"),
    (edit(panes=[{}, {}]), r"not as Easel writes them at panes\.0\.pipeline\.$"),
    (edit(version=99), "at version"), (edit(prompt=""), "at prompt"), (edit(more=1), "at more"),
    (edit(budget_s=-1), "at budget_s"),
])
def test_bad_bundles_are_refused_in_a_sentence(change: Callable[[dict[str, bytes]], None],
                                               says: str) -> None:
    with pytest.raises(BundleError, match=says) as caught:
        read_zip(repacked(change))
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("data", [b"", b"PK", b"not a zip" * 99, write_zip(bundle())[:-200],
                                  write_zip(bundle())[:500] + b"\0" * 2000])
def test_what_is_no_zip_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match="no comparison that Easel saved"):
        read_zip(data)


def test_a_bundle_that_a_file_manager_packed_again_is_read() -> None:
    def packed(files: dict[str, bytes]) -> None:
        for name in list(files):
            files[f"comparison/{name}"] = files.pop(name)
        files["__MACOSX/comparison/._comparison.json"] = b"x"
        files["comparison/.DS_Store"] = files["comparison/pictures/Thumbs.db"] = b"x"

    assert read_zip(repacked(packed)) == bundle()


def test_texts_that_no_file_can_store_are_cleaned() -> None:
    read = read_zip(repacked(edit(prompt="a \ud800 cat", versions={"a\ud800": "1\0"})))
    assert (read.facts.prompt, read.facts.versions) == ("a  cat", {"a": "1"})


def test_a_picture_with_a_lying_name_in_the_facts_is_refused() -> None:
    def change(files: dict[str, bytes]) -> None:
        facts = json.loads(files[FACTS])
        facts["panes"][0]["pictures"][0]["file"] = "../../../etc/passwd"
        files[FACTS] = json.dumps(facts).encode()

    with pytest.raises(BundleError, match="not as Easel writes them at panes"):
        read_zip(repacked(change))


def test_a_bundle_whose_picture_is_none_is_refused() -> None:
    made = bundle()
    broken = make_bundle(made.facts.model_dump() | {"panes": [
        {**pane, "pictures": [{"seed": 1}]} for pane in made.facts.model_dump()["panes"]]},
        [[b"no picture"], [png(1)]])
    with pytest.raises(EaselError, match="not a PNG"):
        read_zip(write_zip(broken))


def zipped(sides_px: int, per_pane: int, damaged: bool) -> bytes:
    """A zip of four panes with grey pictures, whose pixels cannot be read where they are damaged.
    """
    buffer = io.BytesIO()
    Image.new("L", (sides_px, sides_px)).save(buffer, "PNG")
    data = buffer.getvalue()
    if damaged:
        data = data[:data.index(b"IDAT") + 4] + b"no pixels"
    pane = {"pipeline": "sketch", "title": "Sketch", "num_images": per_pane, "seed": 5,
            "pictures": [{"seed": 5}] * per_pane}
    return write_zip(make_bundle({"prompt": SCRIPT, "panes": [pane] * 4}, [[data] * per_pane] * 4))


def test_pixels_of_a_whole_bundle_have_a_bound_that_is_looked_for_before_they_are_decoded() -> None:
    found = zipped(5000, 3, damaged=True)
    assert len(found) < 2**18
    with pytest.raises(BundleError, match=r"have 300 megapixels together; 284 is the most\.$"):
        read_zip(found)
    with pytest.raises(EaselError, match="damaged"):
        read_zip(zipped(1024, 16, damaged=True))
    assert len(read_zip(zipped(512, 16, damaged=False)).files) == 64


@pytest.mark.parametrize("value", ["1" + "0" * 400, "1" + "0" * 5000, "NaN", "1e999",
                                   "[" * 65 + "]" * 65, "[" * 90_000 + "]" * 90_000])
def test_values_that_no_answer_can_hold_are_refused(value: str) -> None:
    def change(files: dict[str, bytes]) -> None:
        files[FACTS] = files[FACTS].replace(b'"steps": 3', f'"steps": {value}'.encode())
        assert value.encode() in files[FACTS]

    with pytest.raises(BundleError, match="facts are not"):
        read_zip(repacked(change))
