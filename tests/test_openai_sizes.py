"""The sizes that OpenAI's images API offers: those that are drawn, some of them no squares."""

from __future__ import annotations

import itertools
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from easel.doors.openai_errors import Refusal
from easel.doors.openai_fields import read_fields
from easel.settings import Settings
from pipelines.core.aspect import parse_aspect, sides_px
from pipelines.models import vqgan
from pipelines.models.checkpoints.catalogue import ASSETS
from pipelines.models.checkpoints.formats import WithoutRandomNumbers
from pipelines.models.checkpoints.ids import EMBEDDED
from pipelines.registry import Registry, build_registry
from pipelines.vqgan_clip.drawers import make_drawer
from pipelines.vqgan_clip.options import SIZES_PX, VQGANCLIPOptions
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline


@pytest.mark.weights("dalle", "clip-ranker")
def test_the_sizes_are_those_that_are_drawn(tmp_path: Path) -> None:
    from easel.serving.build import build_backend

    backend = build_backend(Settings(device="cpu", data_dir=tmp_path))
    cache = backend.cache
    assert cache is not None, "on this machine"
    try:
        oblong = backend.registry.get("vqgan_clip").shapes_px()[288, 224]
        for fields, shape in (
                ({"pipeline": "dalle"}, (256, 256)), ({"pipeline": "unclip"}, (256, 256)),
                ({"pipeline": "vqgan_clip", "options": {"iterations": 1, "size_px": 192}},
                 (384, 384)),
                ({"pipeline": "vqgan_clip", "options": {"iterations": 1, **oblong}}, (288, 224))):
            request = backend.registry.check({"prompt": "a red apple", "num_images": 1, **fields})
            *_, result = backend.stream(request)
            height, width, _ = result.candidates[0].image.shape  # type: ignore[union-attr]
            assert (width, height) == shape
            assert shape in backend.registry.get(request.pipeline).shapes_px()
    finally:
        backend.close()
        cache.close()


def test_a_size_may_be_no_square() -> None:
    registry = Registry()
    registry.register(VQGANCLIPPipeline())
    asked = read_fields({"prompt": "a cat", "size": "640x416"}, "generations", registry)
    assert (asked.request.options.size_px, asked.request.options.aspect) == (256, "20:13")
    for size, near in (("1536x1024", ["1536x1056", "1552x1056", "1568x1040"]), ("wide", []),
                       ("768x512", ["768x528", "784x512", "784x528"]),
                       ("0768x512", None), ("768X512", []), ("99999x1", None)):
        with pytest.raises(Refusal, match="Supported values are: '256x256'") as caught:
            read_fields({"prompt": "a cat", "size": size}, "generations", registry)
        error = caught.value.error
        assert (error["param"], error["code"]) == ("size", "invalid_value")
        listed = re.findall(r"'(\d+)x(\d+)'", str(error["message"]).partition("are: ")[2])
        oblongs = [f"{width}x{height}" for width, height in listed if width != height]
        assert len(oblongs) == 3 if near is None else oblongs == near


def drawn_px(options: VQGANCLIPOptions) -> tuple[int, int]:
    """Width and height of the pictures, by the networks themselves."""
    vqgans = []
    for name in options.vqgans():
        config = json.loads((ASSETS / "weights" / name.removeprefix(EMBEDDED) / "config.json")
                            .read_bytes())["config"]
        with WithoutRandomNumbers():
            vqgans.append(vqgan.build(config))
    drawer = make_drawer(options, vqgans, torch.device("cpu"))
    height, width = sides_px(options.size_px, parse_aspect(options.aspect), drawer.cell_px)
    enlarged = 2 if options.upscaler == "on" else 1
    return enlarged * width, enlarged * height


OTHERS: list[dict[str, Any]] = [
    {}, {"upscaler": "off"}, {"vqgan": "embedded/vqgan-256"},
    {"vqgan": "embedded/vqgan-256", "upscaler": "off"}, {"drawer": "pixel"},
    {"drawer": "pixel", "pixel_px": 12}, {"drawer": "fourier"}]


@pytest.mark.parametrize("others", OTHERS)
def test_a_size_is_taken_just_where_it_is_drawn_exactly(others: dict[str, Any]) -> None:
    pipeline = VQGANCLIPPipeline()

    def drawn(**options: Any) -> tuple[int, int]:
        checked = VQGANCLIPOptions.model_validate({**others, **options})
        return drawn_px(pipeline.resolve_options(checked))

    shapes = pipeline.shapes_px(pipeline.resolve_options(VQGANCLIPOptions.model_validate(others)))
    assert any(width != height for width, height in shapes)
    chosen = random.Random(5).sample(sorted(shapes), min(len(shapes), 60))
    for shape in {*chosen, *(shape for shape in shapes if shape[0] == shape[1])}:
        assert drawn(**shapes[shape]) == shape
    for size_px, aspect in itertools.product(SIZES_PX, ("1:1", "3:2", "1:4", "21:9", "1:1.85")):
        assert drawn(size_px=size_px, aspect=aspect) in shapes, (size_px, aspect)


def test_what_options_say_of_the_size_holds() -> None:
    registry = Registry()
    registry.register(VQGANCLIPPipeline())

    def asked(size: str, **options: Any) -> Any:
        fields = {"prompt": "a cat", "size": size, "options": options}
        return read_fields(fields, "generations", registry).request.options

    assert asked("320x208").size_px == 128
    assert asked("256x256", drawer="pixel").size_px == 256
    assert asked("512x512", size_px=256).size_px == 256
    assert asked("320x208", upscaler="off").size_px == 256, "the same picture, not enlarged"
    for size, options in (("512x512", {"size_px": 128}), ("320x208", {"aspect": "1:1"}),
                          ("1536x1536", {"drawer": "pixel"}), ("1536x1536", {"upscaler": "off"}),
                          ("320x208", {"vqgan": "compvis/vqgan-f16-1024", "guide": "openai/x"})):
        with pytest.raises(Refusal, match="Invalid value: "):
            asked(size, **options)
    for size in ("384x160", "320x192"):  # by other proportions than their own
        assert "{}x{}".format(*drawn_px(asked(size))) == size
    for size in ("320x224", "736x576", "544x256"):
        with pytest.raises(Refusal, match="Invalid value: "):
            asked(size)


def test_sizes_are_made_of_options_that_there_are() -> None:
    for pipeline in build_registry().waiting() + tuple(build_registry()):
        assert pipeline.sides_px
        for options in pipeline.sides_px.values():
            pipeline.Options.model_validate(dict(options))
