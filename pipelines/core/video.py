"""Videos of a run: its previews, then the finished pictures, as an mp4."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageOps

from pipelines.core.events import Candidate, Preview, Progress

MAX_FRAMES = 96  # kept of a run; with more previews, every second, fourth ... is kept
MAX_FRAME_PX = 512  # longest side of a frame that is kept
MAX_VIDEO_PX = 768
FRAME_QUALITY = 90
LENGTH_S = 5.0  # about how long the previews last
MIN_RATE, MAX_RATE = 4, 24  # frames a second
HOLD_S = 1.5  # how long the finished pictures are seen


def mp4(frames: Iterable[np.ndarray], frames_per_s: int = 8) -> bytes:
    """An H.264 video.

    Args:
        frames: at least one, (H, W, 3) uint8 RGB each, of one size, H and W even.
        frames_per_s: how fast they follow.
    """
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=frames_per_s)
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "veryfast", "threads": "1"}
        for number, picture in enumerate(frames):
            if number == 0:  # no later: the codec is open then
                stream.height, stream.width = picture.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


class Film:
    """The previews of one run, few and small enough to keep.

    Args:
        frames: those of the run's earlier part, as ``frames`` gave them.
    """

    def __init__(self, frames: Sequence[bytes] = ()) -> None:
        self._frames: list[bytes] = list(frames[:MAX_FRAMES])
        self._steps: list[int | None] = [None] * len(self._frames)
        self._every, self._skipped = 1, 0

    @property
    def frames(self) -> tuple[bytes, ...]:
        """JPEG files, at most ``MAX_FRAMES``, the oldest first."""
        return tuple(self._frames)

    @property
    def steps(self) -> tuple[int | None, ...]:
        """After which step each frame was drawn; None where that is not known."""
        return tuple(self._steps)

    def take(self, event: Progress | Preview) -> None:
        """Take in what a run says: its previews, and those of its earlier part."""
        if isinstance(event, Preview):
            self.add(event.images, event.step)
        elif event.earlier is not None:
            self._frames = list(event.earlier.frames[:MAX_FRAMES])
            self._steps = [None] * len(self._frames)

    def add(self, images: np.ndarray, step: int | None = None) -> None:
        """Take in a preview.

        Args:
            images: (N, H, W, 3) uint8 RGB.
            step: after which it was drawn; None where that is not known.
        """
        self._skipped += 1
        if self._skipped < self._every:
            return
        self._skipped = 0
        if len(self._frames) >= MAX_FRAMES:
            self._frames, self._steps = self._frames[::2], self._steps[::2]
            self._every *= 2
        buffer = io.BytesIO()
        picture = Image.fromarray(sheet(images))
        picture.thumbnail((MAX_FRAME_PX, MAX_FRAME_PX), Image.Resampling.LANCZOS)
        picture.save(buffer, "JPEG", quality=FRAME_QUALITY)
        self._frames.append(buffer.getvalue())
        self._steps.append(step)

    def video(self, last: np.ndarray) -> bytes:
        """The previews, then the finished pictures, as an mp4.

        Args:
            last: see ``last_frame``.
        """
        size = (last.shape[1], last.shape[0])
        rate = min(MAX_RATE, max(MIN_RATE, round(len(self._frames) / LENGTH_S)))

        def pictures() -> Iterable[np.ndarray]:
            for frame in self._frames:
                with Image.open(io.BytesIO(frame), formats=("JPEG",)) as preview:
                    yield np.asarray(ImageOps.pad(preview.convert("RGB"), size,
                                                  Image.Resampling.BICUBIC))
            for _ in range(round(HOLD_S * rate)):
                yield last

        return mp4(pictures(), rate)


def last_frame(candidates: Sequence[Candidate]) -> np.ndarray:
    """The finished pictures in the order of their drawing, as previews show them.

    Args:
        candidates: at least one, of one size.

    Returns:
        (H, W, 3) uint8 RGB, H and W even and at most ``MAX_VIDEO_PX``.
    """
    drawn = sorted(candidates, key=lambda candidate: candidate.index)
    picture = Image.fromarray(sheet(np.stack([candidate.image for candidate in drawn])))
    picture.thumbnail((MAX_VIDEO_PX, MAX_VIDEO_PX), Image.Resampling.LANCZOS)
    width, height = (max(2, side // 2 * 2) for side in picture.size)
    return np.array(picture.resize((width, height)) if picture.size != (width, height) else picture)


def sheet(images: np.ndarray) -> np.ndarray:
    """Pictures (N, H, W, 3) side by side in rows, as square as their number allows."""
    count, height, width, channels = images.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    full = np.zeros((rows * columns, height, width, channels), images.dtype)
    full[:count] = images
    full = full.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return full.reshape(rows * height, columns * width, channels)
