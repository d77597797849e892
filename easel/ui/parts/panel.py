"""What the page knows of a run: plain data that events are folded into and HTML is made from."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import numpy as np
from PIL import Image

from easel.words import strings
from easel.words.language import counted, figure, say
from pipelines.calibration import Calibration
from pipelines.core.errors import Cancelled, EaselError, Paused
from pipelines.core.events import Mark, Preview, Progress
from pipelines.core.sentences import Sentence

Phase = Literal["waiting", "running", "done", "stopped", "paused", "failed"]
PREVIEW_QUALITY = 88


@dataclass(frozen=True)
class Card:
    """A finished picture as the page shows it.

    Attributes:
        path: the PNG file, with its metadata, in Gradio's cache.
        prompt: what was asked for; the alternative text.
        generator: title of the pipeline.
        seed: seed that draws this picture alone.
        clip_score: cosine similarity of the ranker, in [-1, 1]; None where nothing ranked it.
        probability: share of this picture among those ranked with it, in [0, 1].
        facts: label and value of everything worth reading when the picture is large.
        guide_score: similarity by the CLIP that guided the picture, where one did; it was
            optimised against and compares with nothing else.
        picture_id: its name in the history; empty where it is not kept.
        size_px: its width and height; None where nobody knows them.
        scale: what the score means; None where nobody measured that.
        equal_to_seed: of a better picture of the run with the same pixels, if there is one.
        ranker: id of the CLIP that ranked it; empty where it is not known.
        look: the picture at 16 x 16 px, RGB byte by byte; empty where nobody asks.
    """

    path: Path
    prompt: str
    generator: str
    seed: int
    clip_score: float | None
    probability: float | None
    facts: tuple[tuple[str, str], ...]
    guide_score: float | None = None
    picture_id: str = ""
    size_px: tuple[int, int] | None = None
    scale: Calibration | None = None
    equal_to_seed: int | None = None
    ranker: str = ""
    look: bytes = b""

    @property
    def fit(self) -> int | None:
        """How many of a hundred near misses score less; None without a score or a scale."""
        if self.scale is None or self.clip_score is None:
            return None
        return self.scale.percent(self.clip_score)

    @property
    def url(self) -> str:
        """Where a browser finds the file, relative to the page."""
        return "gradio_api/file=" + quote(str(self.path))


@dataclass
class Panel:
    """One generator's part of a run.

    Attributes:
        cards: the finished pictures, best first.
        rejected: those that were drawn as well where the best of many are kept, best first.
        losses: points (step, value) of the loss curves, by name.
        marks: changes in the middle of the run.
        first_step: steps taken before this part of the run.
        ahead: how many others come first while it waits for the device; None once it has it.
        can_pause: whether the run can be paused.
        paused_id: its name among the paused runs; empty where it is not there.
        film: the frames of its video, kept by ``easel.ui.parts.videos``; None where there are none.
        film_steps: after which step each of them was drawn; None where that is not known.
    """

    name: str
    title: str
    prompt: str
    num_images: int
    phase: Phase = "waiting"
    step: int = 0
    total: int = 0
    elapsed_s: float = 0.0
    message: str = ""
    preview: Preview | None = None
    cards: tuple[Card, ...] = ()
    rejected: tuple[Card, ...] = ()
    losses: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    marks: tuple[Mark, ...] = ()
    first_step: int = 0
    ahead: int | None = None
    can_pause: bool = False
    paused_id: str = ""
    film: Path | None = None
    film_steps: tuple[int | None, ...] = ()

    def take(self, event: Progress | Preview | EaselError) -> None:
        """Take in what a run says before or in place of its pictures."""
        if isinstance(event, Progress):
            self.show_progress(event)
        elif isinstance(event, Preview):
            self.show_preview(event)
        elif isinstance(event, Paused):
            self.pause(event)
        elif isinstance(event, Cancelled):
            self.stop()
        else:
            self.fail(str(event))

    def show_progress(self, event: Progress) -> None:
        """Take in a step or a message."""
        self.phase, self.ahead = "running", event.ahead
        if event.earlier is not None:
            self.first_step, self.marks = event.step, event.earlier.marks
            self.losses = {name: list(points) for name, points in event.earlier.losses.items()}
        self.step, self.total = event.step, event.total
        self.elapsed_s, self.message = event.elapsed_s, event.message
        for name, value in event.losses.items():
            self.losses.setdefault(name, []).append((event.step, float(value)))

    def show_preview(self, event: Preview) -> None:
        """Take in pictures in the making."""
        self.phase, self.ahead = "running", None
        self.preview = event

    def finish(self, cards: Sequence[Card], elapsed_s: float, stopped: bool,
               rejected: Sequence[Card] = (), limit_s: float | None = None) -> None:
        """Take in the finished pictures, in rank order; ``limit_s`` are the seconds on the device
        after which a run was stopped that nobody stopped."""
        self.cards, self.rejected, self.preview = tuple(cards), tuple(rejected), None
        self.elapsed_s, self.message = elapsed_s, ""
        self.phase = "stopped" if stopped else "done"
        if stopped and limit_s is not None:
            self.message = Sentence(strings.STOPPED_AT_LIMIT, limit_s)

    def fail(self, sentence: str) -> None:
        """End with a sentence in place of pictures."""
        self.phase, self.message, self.preview = "failed", sentence, None

    def stop(self) -> None:
        """End without pictures because the user pressed Stop."""
        self.phase, self.message, self.preview = "stopped", "", None

    def pause(self, error: Paused) -> None:
        """End with the last preview: the run was paused."""
        self.phase, self.message, self.paused_id = "paused", "", error.run_id
        self.step, self.total = error.step, error.total

    def status(self) -> str:
        """The line under the title."""
        if self.phase == "waiting":
            return strings.WAITING
        if self.phase == "failed":
            return say(self.message)
        if self.phase == "running":
            return self._running_status()
        if self.phase == "paused":
            return strings.PAUSED_AT.format(self.step, self.total)
        if not self.cards:
            return strings.STOPPED_EMPTY
        if self.phase == "stopped":
            return say(self.message) or strings.STOPPED_AFTER.format(seconds(self.elapsed_s))
        drawn = pictures(len(self.cards))
        if self.rejected:
            drawn = counted(len(self.cards), strings.BEST_OF_DRAWN,
                            figure(len(self.cards) + len(self.rejected), ","))
        said = strings.DONE_IN.format(drawn, seconds(self.elapsed_s))
        equal = sum(card.equal_to_seed is not None for card in self.cards)
        return f"{said} · {counted(equal, strings.EQUAL_PICTURES)}" if equal else said

    def _running_status(self) -> str:
        if not self.total:
            return say(self.message) or strings.STARTING
        parts = [strings.STEP_OF.format(self.step, self.total), seconds(self.elapsed_s)]
        if self.first_step < self.step < self.total:
            left_s = (self.elapsed_s / (self.step - self.first_step)
                      * (self.total - self.step))
            parts.append(strings.TIME_LEFT.format(seconds(left_s)))
        if self.message:
            parts.append(say(self.message).removesuffix("."))  # in the middle of a line
        return " · ".join(parts)


@dataclass
class RunView:
    """All panels of a run, and the joint ranking after it.

    Attributes:
        panels: in the order in which their generators draw.
        started_s: on the monotonic clock.
        doubted: whether the embedded models do not know all of the prompt; asked once there are
            scores.
    """

    panels: list[Panel] = field(default_factory=list)
    started_s: float = field(default_factory=time.monotonic)
    doubted: Callable[[], bool] = lambda: False

    def can_pause(self) -> bool:
        """Whether what runs now can be paused."""
        return any(panel.can_pause and panel.phase == "running" for panel in self.panels)

    def is_over(self) -> bool:
        """Whether nothing of it waits or runs."""
        return all(panel.phase not in ("waiting", "running") for panel in self.panels)

    def joint_ranking(self) -> list[Card]:
        """All scored pictures of all panels, the best match first; empty for a single panel.

        Cosines of one CLIP against one prompt may be compared across generators, those of several
        CLIPs only by how many near misses they beat: where that is not known of one of them, there
        is no order. Ties keep the order of the panels.
        """
        finished = [panel for panel in self.panels if panel.cards]
        if len(finished) < 2 or not self.is_over():
            return []
        cards = [card for panel in finished for card in panel.cards]
        scored = [card for card in cards if card.clip_score is not None]
        figures = comparable(scored)
        order = sorted(range(len(figures)), key=lambda index: -figures[index])
        return [scored[index] for index in order]


def comparable(cards: Sequence[Card]) -> list[float]:
    """A figure for each of some pictures with a score, the larger the better; none at all where
    several CLIPs ranked them and somebody's scale is not known."""
    if len({card.ranker for card in cards}) < 2:
        return [float(card.clip_score or 0.0) for card in cards]
    fits = [card.fit for card in cards]
    return [] if None in fits else [float(fit or 0) for fit in fits]


def pictures(count: int) -> str:
    """A number of pictures as people say it."""
    return counted(count, strings.PICTURES)


def mark_text(mark: Mark) -> str:
    """A change in the middle of a run, in words."""
    said = {"prompt": strings.MARK_PROMPT.format,
            "iterations": lambda steps: counted(steps, strings.MARK_STEPS),
            "seed": strings.MARK_SEED.format, "noise": strings.MARK_NOISE.format}
    words = [tell(mark.changes[name]) for name, tell in said.items() if name in mark.changes]
    if "branch_of" in mark.changes:
        words.insert(0, strings.MARK_BRANCH)
    return strings.MARK_AT.format(mark.step, ", ".join(words))


def seconds(value: float) -> str:
    """A duration as people say it: "0.4 s", "12 s", "2 min 5 s"."""
    if value < 9.95:
        return f"{figure(value, '.1f')} s"
    if value < 99.5:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


def data_uri(image: np.ndarray) -> str:
    """A preview as a data URI.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        A JPEG: previews live for a fraction of a second, finished pictures are PNG files.
    """
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=PREVIEW_QUALITY)
    return jpeg_uri(buffer.getvalue())


def jpeg_uri(data: bytes) -> str:
    """A JPEG file as a data URI."""
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()
