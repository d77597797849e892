"""Image prompts and masks: through every door, into files and back, and what is refused."""

from __future__ import annotations

import base64
import io
import itertools
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from easel.doors import a1111_fields, openai_fields
from pipelines.core import images
from pipelines.core.errors import InvalidImage, InvalidRequest
from pipelines.core.events import Result
from pipelines.core.images import load_mask
from pipelines.core.request import Request
from pipelines.models.cache.cache import ModelCache
from pipelines.registry import build_registry
from pipelines.saved_run import SavedRun
from pipelines.vqgan_clip.pictures import free_places, make_mask, parse_weights
from tests.paused_server import FEW, Server, cache, images_of, registry, result_of, same, server
from tests.test_vqgan_clip import picture

__all__ = ["cache", "server"]


def masked(width_px: int = 50, height_px: int = 40, mode: str = "L", left: Any = 255,
           right: Any = 0) -> bytes:
    """A picture of two halves; of a mask the left one is free."""
    image = Image.new(mode, (width_px, height_px), right)
    image.paste(left, (0, 0, width_px // 2, height_px))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


TARGETS: dict[str, Any] = {"image_prompts": [picture("red"), picture("teal")],
                           "options": FEW | {"image_prompt_weights": "1, -0.5"}}


def test_image_prompts_pull_and_push(server: Server) -> None:
    none, both = server.drawn(), server.drawn(**TARGETS)
    one = server.drawn(**TARGETS | {"image_prompts": [picture("red")], "options": FEW})
    found = [images_of(events)[0] for events in (none, both, one)]
    assert not any(np.array_equal(a, b) for a, b in itertools.pairwise(found))
    assert len(result_of(both).metadata["image_prompts_sha256"]) == 2
    other = {**TARGETS, "options": FEW | {"image_prompt_weights": "1, 0.5"}}
    assert not np.array_equal(images_of(server.drawn(**other))[0], found[1])


def test_image_prompts_are_targets_with_their_weights() -> None:
    assert parse_weights("", 3) == (1.0, 1.0, 1.0)
    assert parse_weights(" 2 ,-0.5", 2) == (2.0, -0.5)
    checked = build_registry().check({"pipeline": "vqgan_clip", "prompt": "a cat",
                                      "image_prompts": [picture(size=(1500, 30))]})
    assert checked.image_prompt_pixels[0].shape == (30, 512, 3)


def test_each_picture_is_decoded_once_on_its_way(server: Server, monkeypatch: pytest.MonkeyPatch,
                                                 ) -> None:
    """By the check; its run and the next one's check take what was decoded."""
    decoded: list[str] = []
    decoding = images.decoding

    def counted() -> AbstractContextManager[None]:
        decoded.append("a picture")
        return decoding()

    monkeypatch.setattr(images, "decoding", counted)
    fields = {"init_image": picture("teal", (51, 40)), "mask": masked(51, 40),
              "image_prompts": [picture("red", (21, 20)), picture("teal", (31, 30))]}
    for _ in range(2):
        server.drawn(**fields)
    assert len(decoded) == 4


@pytest.mark.parametrize("kept", ["L", "RGBA"])
def test_a_mask_keeps_what_it_does_not_mark(server: Server, kept: str) -> None:
    """White, or where anything is transparent what is so, whatever the colours there."""
    mask = (masked() if kept == "L"
            else masked(mode="RGBA", left=(0, 0, 0, 0), right=(255, 255, 255, 255)))
    fields: dict[str, Any] = {"init_image": picture("teal", (50, 40)), "mask": mask,
                              "options": FEW | {"upscaler": "off", "optimiser": "adam",
                                                "step_size": 0.5}}
    drawn = images_of(server.drawn(**fields))[0]
    teal = np.array([0, 128, 128])
    assert np.abs(drawn[:, 80:].astype(int) - teal).max() <= 1, "kept as it was"
    assert np.abs(drawn[:, :48].astype(int) - teal).mean() > 2, "free to change"
    other = images_of(server.drawn(**{**fields, "options": {**fields["options"],
                                                            "mask_marks": "kept"}}))[0]
    assert np.abs(other[:, :48].astype(int) - teal).max() <= 1


@pytest.mark.parametrize("upscaler", ["on", "off"])
def test_what_a_mask_keeps_is_as_it_came_however_large_it_is_drawn(server: Server, upscaler: str,
                                                                   ) -> None:
    """The upscaler draws pictures twice as large, and what is held as well."""
    side = 256 if upscaler == "on" else 128
    noise = np.random.default_rng(3).integers(0, 256, (side, side, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    drawn = images_of(server.drawn(
        init_image=buffer.getvalue(), mask=masked(side, side),
        options=FEW | {"size_px": 128, "upscaler": upscaler}))[0]
    assert drawn.shape == noise.shape
    assert np.array_equal(drawn[:, side // 2:], noise[:, side // 2:])
    assert not np.array_equal(drawn[:, :side // 2], noise[:, :side // 2])


@pytest.mark.parametrize(("door", "kept"), [
    ("openai", "right"), ("a1111", "right"), ("a1111 inverted", "left")])
def test_masks_of_other_programs_hold_what_they_keep(server: Server, door: str, kept: str) -> None:
    """OpenAI's edits change what is transparent, A1111's inpainting what is white, or the rest."""
    start = picture("teal", (50, 40))
    options = FEW | {"upscaler": "off", "optimiser": "adam", "step_size": 0.5}
    if door == "openai":
        mask = masked(mode="RGBA", left=(0, 0, 0, 0), right=(255, 255, 255, 255))
        request = openai_fields.read_fields(
            {"prompt": "a red apple", "image": [start], "mask": [mask], "options": options},
            "edits", registry()).request
    else:
        image, mask_text = (base64.b64encode(each).decode() for each in (start, masked()))
        request = a1111_fields.read_fields(
            {"prompt": "a red apple", "init_images": [image], "mask": mask_text,
             "inpainting_mask_invert": int(door != "a1111"),
             "alwayson_scripts": {"easel": {"args": [options]}}},
            True, "vqgan_clip", registry()).request
    result = list(server.backend.stream(request))[-1]
    assert isinstance(result, Result)
    drawn = result.candidates[0].image.astype(int)
    width = drawn.shape[1]
    halves = {"left": drawn[:, :width * 3 // 8], "right": drawn[:, width * 5 // 8:]}
    teal = [0, 128, 128]
    assert np.abs(halves.pop(kept) - teal).max() <= 1, "kept as it was"
    (free,) = halves.values()
    assert np.abs(free - teal).mean() > 2, "free to change"


@pytest.mark.parametrize(("guides", "said"), [
    ({"guide": "embedded/clip-ranker"}, True), ({"guide": "embedded/clip-photos"}, True),
    ({}, False),
    ({"guide": "embedded/clip-ranker", "second_guide": "embedded/clip-guide"}, False)])
def test_a_judge_as_the_only_guide_is_said_to_lead_nowhere(server: Server, guides: dict[str, str],
                                                           said: bool) -> None:
    messages = {getattr(event, "message", "") for event in server.drawn(options=FEW | guides)}
    assert any("made to judge finished pictures" in message for message in messages) == said


def test_a_mask_of_another_size_is_resized_and_that_is_said(server: Server) -> None:
    fields = {"init_image": picture("teal", (50, 40)), "mask": masked(10, 10)}
    notice = "The mask was resized to the init image’s size."
    assert notice in {getattr(event, "message", "") for event in server.drawn(**fields)}
    assert notice not in {getattr(event, "message", "") for event in
                        server.drawn(**{**fields, "mask": masked()})}
    cut = make_mask(load_mask(masked(100, 10)), np.zeros((40, 50, 3), np.uint8), (32, 32),
                    torch.device("cpu"))
    assert cut.resized
    assert cut.free.shape == (1, 1, 32, 32)
    assert cut.free[..., :12].min() > 0.99, "as the init image is cut"
    assert cut.free[..., 20:].max() < 0.01


@pytest.mark.parametrize(("fields", "says", "field"), [
    ({"mask": masked()}, r"^Mask needs an init image\.$", "mask"),
    ({"mask": masked(), "init_image": picture(),
      "options": FEW | {"from_image": False, "image_weight": 1}},
     r"^Mask needs a run that starts from the init image\.$", "mask"),
    ({"mask": masked(right=255), "init_image": picture()},
     r"^The mask keeps nothing of the init image: leave it out\.$", "mask"),
    ({"mask": masked(left=0), "init_image": picture()},
     r"^The mask keeps the whole init image, so that there is nothing to draw\.$", "mask"),
    ({"mask": masked(left=0), "init_image": picture(), "options": FEW | {"mask_marks": "kept"}},
     r"^The mask keeps nothing", "mask"),
    ({"mask": b"no picture", "init_image": picture()},
     r"^The mask: The file is not a PNG, JPEG or WebP picture\.$", "mask"),
    ({"image_prompts": [picture(), b""]}, r"^Image prompt 2: The picture is an empty file\.$",
     "image_prompts"),
    ({"image_prompts": [picture()] * 5}, r"^Image prompts: 5 are too many; 4 is the most\.$",
     "image_prompts"),
    ({"image_prompts": "x"}, r"^Image prompts must be a list of picture files, not 'x'\.$",
     "image_prompts"),
    ({**TARGETS, "image_prompts": [picture()]},
     r"^Image prompts: 1; weights for them: 2. Give each of them one, or none\.$",
     "image_prompt_weights"),
    ({"options": FEW | {"image_prompt_weights": "1"}}, "Image prompts: 0; weights for them: 1",
     "image_prompt_weights"),
    *(({**TARGETS, "options": FEW | {"image_prompt_weights": text}},
       r"^Weights of the image prompts are numbers between -10 and 10 with commas between them, "
       r"such as 1, -0\.5, not .*\.$", "image_prompt_weights")
      for text in ("1;2", "1,", "nan,1", "1,inf", "11,1", "a, b")),
])
def test_pictures_that_make_no_sense(server: Server, fields: dict[str, Any], says: str,
                                     field: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as caught:
        server.drawn(**fields)
    assert caught.value.field == field


def test_all_pictures_together_are_bounded(server: Server, monkeypatch: pytest.MonkeyPatch,
                                           ) -> None:
    monkeypatch.setattr("pipelines.registry.MAX_BYTES", 2 * len(picture()))
    server.backend.registry.check({"pipeline": "vqgan_clip", "prompt": "a cat",
                                   "image_prompts": [picture()] * 2})
    with pytest.raises(InvalidRequest, match=r"The pictures have .* MB together"):
        server.backend.registry.check({"pipeline": "vqgan_clip", "prompt": "a cat",
                                       "init_image": picture(), "image_prompts": [picture()] * 2})


def test_others_take_neither() -> None:
    registry = build_registry()
    for pipeline in registry:
        if pipeline.name == "vqgan_clip":
            continue
        for fields, says in (({"image_prompts": [picture()]}, "takes no image prompts"),
                             ({"mask": masked()}, "takes no mask")):
            with pytest.raises(InvalidRequest, match=f"{pipeline.title} {says}\\."):
                registry.check({"pipeline": pipeline.name, "prompt": "a cat", **fields})


def test_a_paused_run_keeps_its_pictures(server: Server) -> None:
    fields = {**TARGETS, "init_image": picture("red"), "mask": masked()}
    whole = server.drawn(**fields)
    run_id = server.paused_at(2, **fields)
    kept = SavedRun.decode(server.file().read_bytes()).request
    assert kept.pictures == {"init_image": fields["init_image"], "mask": fields["mask"],
                             "image_prompt.0": TARGETS["image_prompts"][0],
                             "image_prompt.1": TARGETS["image_prompts"][1]}
    assert same(server.resume(run_id), whole)


def test_pictures_go_and_come_by_name() -> None:
    asked = Request(pipeline="x", prompt="a cat", init_image=b"i", image_prompts=(b"0", b"1"),
                    mask=b"m")
    bare = asked.with_pictures({})
    assert (bare.init_image, bare.image_prompts, bare.mask, bare.pictures) == (None, (), None, {})
    assert bare.with_pictures(asked.pictures) == asked


def test_a_mask_that_is_no_picture_has_no_pixels() -> None:
    with pytest.raises(InvalidImage):
        load_mask(b"")
    with pytest.raises(InvalidRequest, match="keeps the whole"):
        free_places(load_mask(masked(left=100, right=90)), "free")


def test_the_command_line_takes_them(cache: ModelCache, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from easel.cli.app import app
    from easel.serving.backend import LocalBackend
    from pipelines.core.metadata import read_png
    from tests.paused_server import registry

    (tmp_path / "a.png").write_bytes(picture("red"))
    (tmp_path / "m.png").write_bytes(masked())
    options = [f"--option={name}={value}" for name, value in FEW.items()]
    found = CliRunner().invoke(app, [
        "generate", "a cat", "--pipeline", "vqgan_clip", "--num-images", "1", *options,
        "--init-image", str(tmp_path / "a.png"), "--mask", str(tmp_path / "m.png"),
        "--image-prompt", str(tmp_path / "a.png"), "--image-prompt", str(tmp_path / "a.png"),
        "--out", str(tmp_path / "out")], obj=LocalBackend(registry(), cache))
    assert found.exit_code == 0, found.output
    (file,) = (tmp_path / "out").glob("*.png")
    facts = read_png(file.read_bytes())["easel"]
    assert len(facts["image_prompts_sha256"]) == 2
    assert facts["mask_sha256"]
    missing = CliRunner().invoke(app, ["generate", "a cat", "--mask", str(tmp_path / "none.png")],
                                 obj=LocalBackend(registry(), cache))
    assert missing.exit_code != 0
