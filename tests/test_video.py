"""Videos of runs: few frames, of any generator, that a player reads."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import av
import gradio as gr
import numpy as np
import pytest
from PIL import Image

from easel.cli.main import main
from easel.serving.backend import LocalBackend
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.videos import encode_film, keep_film, read_frame
from pipelines.core.events import Candidate, Result
from pipelines.core.metadata import encode_png
from pipelines.core.video import MAX_FRAME_PX, MAX_FRAMES, MAX_VIDEO_PX, Film, last_frame, sheet
from pipelines.registry import Registry
from tests.small_models import small_cache
from tests.watched_sketch import WatchedSketch


def decoded(data: bytes) -> list[np.ndarray]:
    with av.open(io.BytesIO(data), "r") as container:
        assert container.streams.video[0].codec_context.name == "h264"
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def field(grey: int, count: int = 1, side_px: int = 64) -> np.ndarray:
    return np.full((count, side_px, side_px, 3), grey, np.uint8)


def test_previews_come_first_and_the_pictures_stay() -> None:
    film = Film()
    for grey in range(0, 200, 10):
        film.add(field(grey, 2))
    candidates = [Candidate(field(grey)[0], 0, index) for index, grey in ((1, 50), (0, 250))]
    last = last_frame(candidates)
    assert last.shape == (64, 128, 3)
    assert (last[0, 0, 0], last[0, 127, 0]) == (250, 50), "in the order of drawing"
    frames = decoded(film.video(last))
    greys = [float(frame.mean()) for frame in frames]
    assert greys[:20] == pytest.approx(range(0, 200, 10), abs=4)
    assert len(frames) >= 26
    assert np.abs(frames[-1].astype(int) - last).max() < 30


def test_a_film_stays_small_however_long_the_run() -> None:
    film = Film()
    rng = np.random.default_rng(0)
    for step in range(5 * MAX_FRAMES):
        film.add(field(step % 250))
    assert MAX_FRAMES // 2 <= len(film.frames) <= MAX_FRAMES
    noisy = Film()
    noisy.add(rng.integers(0, 255, (16, 512, 512, 3), np.uint8))
    assert len(noisy.frames[0]) < 3 * MAX_FRAME_PX**2
    again = Film(film.frames)
    again.add(field(0))
    assert len(again.frames) <= MAX_FRAMES
    large = last_frame([Candidate(rng.integers(0, 255, (511, 511, 3), np.uint8), 0, i)
                        for i in range(5)])
    assert max(large.shape) <= MAX_VIDEO_PX
    assert not any(side % 2 for side in large.shape[:2])


@pytest.mark.parametrize(("side_px", "count", "same"), [
    (64, 1, True), (64, 2, False), (MAX_VIDEO_PX + 2, 1, False), (63, 1, False)])
def test_a_film_ends_with_the_file_of_its_one_picture(side_px: int, count: int, same: bool) -> None:
    """Nothing is encoded twice; several side by side, and one that does not fit, are another."""
    pixels = np.random.default_rng(0).integers(0, 255, (side_px, side_px, 3), np.uint8)
    png = encode_png(pixels, {})
    film, drawn = Film(), [Candidate(pixels, 1, index, png=png) for index in range(count)]
    film.add(field(100))
    kept = keep_film(PictureStore(gr.HTML()), film, Result(tuple(drawn), 1.0))
    assert kept is not None
    file, kind = read_frame(kept, 1)
    assert (file == png, kind) == (same, "image/png")
    with Image.open(io.BytesIO(file)) as picture:
        assert np.array_equal(np.asarray(picture), last_frame(drawn))
    assert decoded(encode_film(kept))[-1].shape == last_frame(drawn).shape


@pytest.mark.parametrize(("count", "shape"), [(1, (8, 8)), (2, (8, 16)), (3, (16, 16)),
                                              (5, (16, 24)), (16, (32, 32))])
def test_pictures_side_by_side(count: int, shape: tuple[int, int]) -> None:
    images = np.arange(1, count + 1, dtype=np.uint8)[:, None, None, None] * np.ones(
        (1, 8, 8, 3), np.uint8)
    found = sheet(images)
    assert found.shape == (*shape, 3)
    columns = shape[1] // 8
    for index in range(count):
        row, column = divmod(index, columns)
        assert (found[8 * row:8 * row + 8, 8 * column:8 * column + 8] == index + 1).all()


def test_the_command_line_writes_a_video(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                         ) -> None:
    registry = Registry()
    registry.register(WatchedSketch())
    assert main(["a cat", "--pipeline", "sketch", "--seed", "1", "--video", "--out", str(tmp_path)],
                LocalBackend(registry, small_cache())) == 0
    (path,) = tmp_path.glob("*.mp4")
    assert str(path) in capsys.readouterr().out
    assert decoded(path.read_bytes())[0].shape == (128, 128, 3)
    assert len(list(tmp_path.glob("*.png"))) == 4


def test_a_video_that_cannot_be_written_is_told(
        tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("easel.cli.run.write_new", full)
    registry = Registry()
    registry.register(WatchedSketch())
    assert main(["a cat", "--pipeline", "sketch", "--seed", "1", "--video", "--num-images", "1",
                 "--out", str(tmp_path)], LocalBackend(registry, small_cache())) == 1
    assert "The video a-cat-sketch-1.mp4 could not be written: no space" in capsys.readouterr().err


