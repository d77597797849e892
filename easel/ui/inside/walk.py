"""A walk: its ends as people give them, its progress, its files, their HTML, and its endpoint."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr
import numpy as np
from PIL import Image

from easel.guard.made_of import digest_of
from easel.guard.turns import reading
from easel.guard.visitors import session_of, visitor_of
from easel.serving.jobs import Found
from easel.ui.parts.endpoints import OBJECT, PROMPT, add_endpoint, json_value
from easel.ui.parts.errors import one_sentence
from easel.ui.parts.panel import data_uri, seconds
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.tiles import bar, bar_at_rest, image
from easel.ui.parts.uploads import IMAGE_SUFFIXES, read_upload
from easel.ui.playground import Playground
from easel.ui.readers import ended_by_leaving
from easel.words import strings
from easel.words.language import say
from pipelines.core.errors import InvalidRequest
from pipelines.core.events import Preview, Progress
from pipelines.core.request import SEED_COUNT
from pipelines.unclip.walk import MAX_FRAMES, MIN_FRAMES, Walk
from pipelines.unclip.walk_files import strip, write_walk

PREVIEW_PX = 128  # height of the frames that are done while others are drawn


def end_of_walk(prompt: Any, picture: str | None, name: str) -> str | bytes:
    """An end of a walk: the picture where there is one, the prompt otherwise.

    Args:
        prompt: what was typed.
        picture: path of an uploaded file.
        name: "start" or "end".

    Raises:
        InvalidRequest: the prompt is no text.
        InvalidImage: the file is no longer there.
    """
    if picture is not None:
        return read_upload(picture)
    if not isinstance(prompt, str):
        raise InvalidRequest("The {} of the walk is neither a prompt nor a picture.", name,
                             field=name)
    return prompt


def keep_walk(store: PictureStore, plan: Walk, frames: np.ndarray) -> list[Path]:
    """Write the files of a walk where a browser can fetch them; see ``write_walk``.

    Raises:
        EaselError: a file cannot be written.
    """
    paths = write_walk(store.new_folder(), plan, frames)
    made_of = [digest_of(end) for end in (plan.start, plan.end) if isinstance(end, bytes)]
    return [store.serve(path, made_of) for path in paths]


@dataclass
class WalkView:
    """What the page knows of a walk.

    Attributes:
        plan: from where to where.
        progress: how far it is, in frames.
        preview: frames so far, (N, H, W, 3) uint8 RGB.
        files: as ``write_walk`` gives them, once it is over.
        stopped: whether it was stopped before that.
    """

    plan: Walk
    progress: Progress = field(default_factory=Progress)
    preview: np.ndarray | None = None
    files: list[Path] = field(default_factory=list)
    stopped: bool = False
    started_s: float = field(default_factory=time.monotonic)

    def take(self, event: Progress | Preview) -> None:
        """Take in what the walk reports."""
        if isinstance(event, Preview):
            self.preview = event.images
        else:
            self.progress = event

    def describe(self) -> str:
        """What is to be seen, in words."""
        start, end = (strings.WALK_A_PICTURE if isinstance(end, bytes) else f"“{end.strip()}”"
                      for end in (self.plan.start, self.plan.end))
        return strings.WALK_OF.format(start, end)

    def status(self) -> str:
        """The line above the frames."""
        elapsed_s = time.monotonic() - self.started_s
        if self.files:
            return " · ".join([strings.WALK_DONE.format(self.plan.frames, seconds(elapsed_s)),
                               strings.SEED_OF.format(self.plan.seed)])
        if self.stopped:
            done = 0 if self.preview is None else len(self.preview)
            return strings.WALK_STOPPED.format(done, self.plan.frames)
        done, total = self.progress.step, self.progress.total
        if not total:
            return say(self.progress.message) or strings.STARTING
        parts = [strings.WALK_FRAME.format(done, total), seconds(self.progress.elapsed_s)]
        if 0 < done < total:
            left_s = self.progress.elapsed_s / done * (total - done)
            parts.append(strings.TIME_LEFT.format(seconds(left_s)))
        return " · ".join(parts)


def render_walk(view: WalkView) -> str:
    """The stage of a walk: where it is, then its strip and its video."""
    alt = escape(view.describe())
    over = bool(view.files) or view.stopped
    parts = [f'<p class="hint" role="status" aria-live="{"polite" if over else "off"}">'
             f"{escape(view.status())}</p>"]
    parts.append(bar_at_rest() if over else bar(
        view.progress.step, view.progress.total, view.describe(), moving=True))
    if view.files:
        return "".join([*parts, _finished(view, alt)])
    if view.preview is None:
        return "".join([*parts, _strip("", view.plan.frames)])
    alt = escape(strings.IN_THE_MAKING.format(view.describe()))
    share = 100 * len(view.preview) / view.plan.frames
    image = f'<img src="{data_uri(_small(view.preview))}" alt="{alt}" style="width:{share:.2f}%">'
    return "".join([*parts, _strip(image, view.plan.frames)])


def render_empty(frames: int) -> str:
    """The stage before the first walk: a place as large as the strip will be."""
    return f'<p class="hint">{escape(strings.WALK_EMPTY)}</p>' + bar_at_rest() + _strip("", frames)


def _finished(view: WalkView, alt: str) -> str:
    picture, video = (f"gradio_api/file={escape(quote(str(path)))}" for path in view.files[:2])
    saved = "".join(f'<a class="chip" download="{escape(path.name)}" href="{url}">'
                    f"{escape(label)}</a>" for path, url, label in (
                        (view.files[1], video, strings.WALK_SAVE_VIDEO),
                        (view.files[0], picture, strings.WALK_SAVE_STRIP)))
    named = escape(strings.WALK_VIDEO_OF.format(view.describe()))
    return (_strip(image(picture, view.describe()), view.plan.frames)
            + f'<video class="walk-film" src="{video}" aria-label="{named}" controls autoplay '
              "loop muted playsinline></video>"
            + f'<p class="walk-save">{saved}</p>')


def _strip(image: str, frames: int) -> str:
    """A place for all frames with those that are there; focusable, so that keys can scroll it."""
    return (f'<div class="walk-strip" tabindex="0" role="group" aria-label="'
            f'{escape(strings.WALK_STRIP)}"><div style="--frames:{frames}">{image}</div></div>')


def _small(frames: np.ndarray) -> np.ndarray:
    """The strip of frames, (h, w, 3), no higher than ``PREVIEW_PX``."""
    picture = Image.fromarray(strip(frames))
    height_px = min(PREVIEW_PX, picture.height)
    return np.asarray(picture.resize((picture.width * height_px // picture.height, height_px)))


def add_walk_endpoint(playground: Playground, store: PictureStore) -> None:
    """Add /walk to the page under construction where unCLIP is on offer. It does not show."""
    if "unclip" not in playground.registry.names():
        return

    @one_sentence
    def walk(request: gr.Request, start: str = "", end: str = "", frames: int = 9,
             seed: int = 0, options: Any = None, start_image: str | None = None,
             end_image: str | None = None) -> list[str]:
        if options is not None and not isinstance(options, dict):
            raise InvalidRequest("Options must be values by name.", field="options")
        with reading.turn_for({"start": start_image, "end": end_image}):
            plan = Walk.checked(end_of_walk(start, start_image, "start"),
                                end_of_walk(end, end_image, "end"), frames, seed, options)
        run = playground.runs.start(session_of(request), visitor_of(request))
        try:
            with ended_by_leaving(run.stop):
                *_, found = playground.backend.walk(plan, run.next_job(), run.visitor)
        finally:
            playground.runs.end(run)
        assert isinstance(found, Found)
        return [str(path) for path in keep_walk(store, plan, found.value)]

    def upload(which: str) -> gr.File:
        return gr.File(visible=False, file_types=IMAGE_SUFFIXES, type="filepath",
                       label=f"Picture to {which} at (PNG, JPEG or WebP) in place of a prompt, "
                             "or null")

    add_endpoint(walk, [
        json_value("a red apple", PROMPT, "Prompt to start at; empty with a picture"),
        json_value("a blue car", PROMPT, "Prompt to end at; empty with a picture"),
        json_value(9, {"type": "integer", "minimum": MIN_FRAMES, "maximum": MAX_FRAMES},
                   "Pictures, the two ends among them"),
        json_value(0, {"type": "integer", "minimum": 0, "maximum": SEED_COUNT - 1},
                   "Seed of the noise that all of them start from"),
        json_value(None, OBJECT, "Options of unclip by name"),
        upload("start"), upload("end"),
    ], [
        gr.File(visible=False, file_count="multiple",
                label="All frames side by side, a video of them, and each of them"),
    ], "Walk from one prompt or picture to another with unCLIP.")
