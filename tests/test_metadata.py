"""What is written into a picture comes back, whatever people typed into it."""

from __future__ import annotations

import errno
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydantic import ConfigDict

from pipelines.core.errors import EaselError, InvalidImage
from pipelines.core.events import Candidate, Result
from pipelines.core.files import atomic_write, safe_stem
from pipelines.core.infotext import parse_parameters
from pipelines.core.metadata import (
    encode_png,
    format_parameters,
    picture_metadata,
    picture_name,
    provenance,
    read_png,
    save_png,
)
from pipelines.core.options import Options
from pipelines.core.request import CheckedRequest

PICTURE = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
SHA256 = "ab" * 32


class AnyOptions(Options):
    """Whatever a test needs."""

    model_config = ConfigDict(extra="allow")


def metadata(prompt: str = "a red apple", **options: Any) -> dict[str, Any]:
    """The metadata of a picture of a run."""
    request = CheckedRequest("dalle", prompt, 4, 41, AnyOptions(**options), b"file")
    result = Result((Candidate(PICTURE, 42, 1, {"clip": 0.31}, {"steps_taken": 9}),), 1.23456,
                    provenance(request, {"embedded/dalle": SHA256}))
    return picture_metadata(result, result.candidates[0])


def test_round_trip_keeps_pixels_and_facts() -> None:
    facts = metadata(guidance_scale=4.0, top_k=64)
    data = encode_png(PICTURE, facts)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), PICTURE)
    ours = read_png(data)["easel"]
    assert ours == facts
    assert ours["weights"] == {"embedded/dalle": SHA256}
    assert (ours["seed"], ours["run_seed"], ours["index"]) == (42, 41, 1)
    assert ours["scores"] == {"clip": 0.31}
    assert ours["options"] == {"guidance_scale": 4.0, "top_k": 64}
    assert {"easel", "torch", "python"} <= ours["versions"].keys()
    assert len(ours["init_image_sha256"]) == 64
    assert (ours["width_px"], ours["height_px"]) == (8, 6)


def test_parameters_follow_the_convention() -> None:
    text = format_parameters(metadata(negative_prompt="blurry", iterations=150,
                                      guidance_scale=4.5, optimiser="Adam, fast"))
    lines = text.split("\n")
    assert lines[:2] == ["a red apple", "Negative prompt: blurry"]
    assert lines[2].startswith("Steps: 150, CFG scale: 4.5, Seed: 42, Size: 8x6, Model: dalle, ")
    assert parse_parameters(text) == {
        "Prompt": "a red apple", "Negative prompt": "blurry", "Steps": "150", "CFG scale": "4.5",
        "Seed": "42", "Size": "8x6", "Model": "dalle", "optimiser": "Adam, fast",
        "Version": "Easel 0.1.0"}


def test_a_picture_of_another_tool_is_read() -> None:
    chunks = PngInfo()
    chunks.add_text("parameters", "a castle, (detailed:1.2)\non a hill\nNegative prompt: blurry,\n"
                    "text\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 965400086, "
                    'Size: 512x512, Model hash: abc, Lora hashes: "a: 1, b: 2", Version: v1.6')
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, "PNG", pnginfo=chunks)
    read = read_png(buffer.getvalue())
    assert read["easel"] == {}
    assert read["parameters"]["Prompt"] == "a castle, (detailed:1.2)\non a hill"
    assert read["parameters"]["Negative prompt"] == "blurry,\ntext"
    assert read["parameters"]["Sampler"] == "Euler a"
    assert read["parameters"]["Lora hashes"] == "a: 1, b: 2"
    assert parse_parameters("only a prompt")["Prompt"] == "only a prompt"


@pytest.mark.parametrize("prompt", [
    "<script>alert(1)</script>", "o'clock \"quoted\" \\ back", "maçã vermelha, 北京, 🍎",
    "\u202eright to left", "line\nSteps: 1, Seed: 5", "Negative prompt: none"])
def test_any_prompt_is_inert_text(prompt: str) -> None:
    facts = metadata(prompt)
    read = read_png(encode_png(PICTURE, facts))
    assert read["easel"]["prompt"] == prompt
    assert read["parameters"]["Seed"] == "42"


@given(st.text(min_size=1, max_size=80).filter(str.strip),
       st.dictionaries(st.from_regex(r"[a-z_]{1,12}", fullmatch=True),
                       st.integers() | st.booleans() | st.text(max_size=20)
                       | st.floats(allow_nan=False, allow_infinity=False), max_size=4))
def test_our_json_survives_anything(prompt: str, options: dict[str, Any]) -> None:
    facts = {**metadata(), "prompt": prompt, "options": options}
    assert read_png(encode_png(PICTURE, facts))["easel"] == facts


def test_nan_is_not_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode_png(PICTURE, {**metadata(), "scores": {"clip": float("nan")}})


@pytest.mark.parametrize("chunk", ["not json", "[1, 2]", "[" * 100_000, '{"a": ', "5"])
def test_foreign_json_is_ignored(chunk: str) -> None:
    chunks = PngInfo()
    chunks.add_text("easel", chunk)
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, "PNG", pnginfo=chunks)
    assert read_png(buffer.getvalue()) == {"easel": {}, "parameters": {}}


def test_a_text_bomb_is_left_out_and_other_files_are_refused() -> None:
    chunks = PngInfo()
    chunks.add_text("easel", "a" * 50_000_000, zip=True)
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, "PNG", pnginfo=chunks)
    assert len(buffer.getvalue()) < 100_000
    assert read_png(buffer.getvalue()) == {"easel": {}, "parameters": {}}
    for data in (b"", b"<svg/>", encode_png(PICTURE, metadata())[:90]):
        with pytest.raises(InvalidImage):
            read_png(data)


def test_names_of_files_are_plain() -> None:
    assert picture_name(metadata("../../e<script>.png")) == "e-script-png-dalle-42.png"
    assert picture_name(metadata("Maçã à beira-mar")) == "maca-a-beira-mar-dalle-42.png"
    assert picture_name(metadata("北京")) == "picture-dalle-42.png"
    assert len(picture_name(metadata("word " * 99))) < 90
    assert safe_stem("CON\0/\\:*?") == "con"


def test_a_failed_write_leaves_the_old_file_and_no_other(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    save_png(path, PICTURE, metadata())
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EaselError, match=r"^The picture a\.png could not be written: no space"):
        save_png(path, PICTURE, metadata("another"))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_atomic_write_makes_folders_and_refuses_files_as_folders(tmp_path: Path) -> None:
    atomic_write(tmp_path / "a" / "b.txt", b"1")
    assert (tmp_path / "a" / "b.txt").read_bytes() == b"1"
    with pytest.raises(EaselError):
        save_png(tmp_path / "a" / "b.txt" / "c.png", PICTURE, metadata())


def test_metadata_is_json() -> None:
    assert json.loads(json.dumps(metadata())) == metadata()
