"""A walk between prompts and pictures: its ends, its files, and what is refused."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from easel.cli.main import main
from easel.serving.backend import LocalBackend
from pipelines.core.errors import Cancelled, EaselError
from pipelines.core.events import Preview, Progress
from pipelines.core.metadata import read_png
from pipelines.core.video import mp4
from pipelines.models.cache.cache import ModelCache
from pipelines.pipeline import RunContext
from pipelines.registry import Registry
from pipelines.unclip.pipeline import UnclipPipeline
from pipelines.unclip.walk import MODELS, Walk, walk
from pipelines.unclip.walk_files import strip
from tests.small_models import small_cache
from tests.test_unclip import png

FEW = {"decoder_steps": 4, "prior_steps": 2}


def context(cache: ModelCache, cancelled: Callable[[], bool] = lambda: False) -> RunContext:
    return RunContext(cache, cache.device, cache.dtype, cancelled)


@pytest.fixture(scope="module")
def cache() -> Iterator[ModelCache]:
    built = small_cache()
    # A run that waits for models asks more often whether it is to stop: here none waits.
    walk(Walk.checked("a cat", "a cow", 2, 3, FEW), context(built))
    yield built
    built.close()


def test_a_walk_begins_and_ends_where_it_should(cache: ModelCache) -> None:
    there = walk(Walk.checked("a cat", "a cow", 4, 3, FEW), context(cache))
    back = walk(Walk.checked("a cow", "a cat", 4, 3, FEW), context(cache))
    assert there.shape == (4, 64, 64, 3)
    assert not np.array_equal(there[0], there[3])
    for frame in range(4):
        assert (np.abs(there[frame].astype(int) - back[3 - frame]) > 1).mean() < 0.02
    stay = walk(Walk.checked(png(), png(), 3, 3, FEW), context(cache))
    assert (np.abs(stay[0].astype(int) - stay[2]) > 1).mean() < 0.02


def test_many_frames_are_drawn_in_batches(cache: ModelCache) -> None:
    many = walk(Walk.checked(png(), "a cow", 11, 0, FEW), context(cache))
    few = walk(Walk.checked(png(), "a cow", 2, 0, FEW), context(cache))
    for frame, same in ((0, 0), (10, 1)):
        assert (np.abs(many[frame].astype(int) - few[same]) > 1).mean() < 0.02


def test_a_walk_tells_how_far_it_is(cache: ModelCache) -> None:
    told: list[Progress | Preview] = []
    run = context(cache)
    frames = walk(Walk.checked("a cat", "a cow", 11, 3, FEW), run, told.append)
    assert (run.used_models, len(run.waits_s)) == (set(MODELS), len(MODELS)), "no device time"
    steps = [event.step for event in told if isinstance(event, Progress) and event.total]
    assert steps == [2, 4, 6, 8, 8, 9, 10, 11]
    previews = [event.images for event in told if isinstance(event, Preview)]
    assert len(previews) == 1
    assert np.array_equal(previews[0], frames[:8])


@pytest.mark.parametrize(("fields", "words"), [
    ({"end": " "}, "neither a prompt nor a picture"), ({"end": "x" * 501}, "501 characters"),
    ({"start": b"text"}, "not a PNG, JPEG or WebP"), ({"frames": 1}, "between 2 and 64"),
    ({"frames": 10**9}, "between 2 and 64"), ({"seed": -1}, "Seed must be"),
    ({"options": {"decoder_steps": 0}}, "between 1 and 64"),
    ({"options": {"speed": 1}}, "no option called")])
def test_bad_walks_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(EaselError, match=words):
        Walk.checked(**{"start": "a cat", "end": "a cow", **fields})


def test_stop_ends_a_walk(cache: ModelCache) -> None:
    answers = iter([False] * 7)
    with pytest.raises(Cancelled):
        walk(Walk.checked("a cat", "a cow", 3), context(cache, lambda: next(answers, True)))


def test_a_video_shows_the_frames() -> None:
    frames = np.zeros((5, 64, 64, 3), np.uint8)
    frames[..., 0] = (np.arange(5) * 50)[:, None, None]
    assert strip(frames).shape == (64, 320, 3)
    with av.open(io.BytesIO(mp4(frames)), "r") as container:
        seen = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        assert container.streams.video[0].codec_context.name == "h264"
    assert len(seen) == 5
    assert all(abs(float(f[..., 0].mean()) - 50 * i) < 12 for i, f in enumerate(seen))


def test_the_command_line_writes_all_files(tmp_path: Path,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    registry = Registry()
    registry.register(UnclipPipeline())
    picture = tmp_path / "a.png"
    picture.write_bytes(png())
    out = tmp_path / "out"
    backend = LocalBackend(registry, small_cache())
    assert main(["walk", str(picture), "a cow", "--frames", "3", "--out", str(out)], backend) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "frame-00.png", "frame-01.png", "frame-02.png", "strip.png", "walk.mp4"]
    with Image.open(out / "strip.png") as picture_of_all:
        assert picture_of_all.size == (3 * 64, 64)
    said = capsys.readouterr()
    assert "3 frames" in said.out
    assert "3/3" in said.err, "the bar counts frames"
    walked = read_png((out / "strip.png").read_bytes())["easel"]["walk"]
    assert walked["end"] == {"prompt": "a cow"}
    assert len(walked["start"]["picture_sha256"]) == 64
    backend = LocalBackend(registry, small_cache())
    missing = str(tmp_path / "none.png")
    assert main(["walk", missing, "a cow", "--out", str(out)], backend) == 2
    assert "cannot be read" in capsys.readouterr().err
