"""The sizes that OpenAI's images API offers: those that are drawn, some of them no squares."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from easel.doors.openai_errors import Refusal
from easel.doors.openai_fields import read_fields
from easel.settings import Settings
from pipelines.registry import Registry, build_registry
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline


@pytest.mark.weights("dalle", "vqgan", "upscaler", "clip-ranker")
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
    asked = read_fields({"prompt": "a cat", "size": "768x512"}, "generations", registry)
    assert (asked.request.options.size_px, asked.request.options.aspect) == (320, "3:2")
    for size, near in (("1536x1024", ["1536x1056", "1568x1024", "1568x1056"]), ("wide", []),
                       ("0768x512", None), ("768X512", []), ("99999x1", None)):
        with pytest.raises(Refusal, match="Supported values are: '256x256'") as caught:
            read_fields({"prompt": "a cat", "size": size}, "generations", registry)
        error = caught.value.error
        assert (error["param"], error["code"]) == ("size", "invalid_value")
        listed = re.findall(r"'(\d+)x(\d+)'", str(error["message"]).partition("are: ")[2])
        oblongs = [f"{width}x{height}" for width, height in listed if width != height]
        assert len(oblongs) == 3 if near is None else oblongs == near


def test_sizes_are_made_of_options_that_there_are() -> None:
    for pipeline in build_registry().waiting() + tuple(build_registry()):
        assert pipeline.sides_px
        for options in pipeline.sides_px.values():
            pipeline.Options.model_validate(dict(options))
