"""The endpoint /walk: unCLIP's way from one prompt or picture to another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from pipelines.errors import InvalidRequest
from pipelines.files import atomic_write
from pipelines.request import MAX_PROMPT_CHARS, SEED_COUNT
from pipelines.video import mp4
from pipelines.walk import MAX_FRAMES, MIN_FRAMES, Walk, strip
from ui.api import OBJECT, STRING, add_endpoint, json_value
from ui.controls import IMAGE_SUFFIXES, read_upload
from ui.generate import one_sentence
from ui.pictures import PictureStore
from ui.playground import Playground
from ui.visitors import visitor_of

PROMPT = {**STRING, "maxLength": MAX_PROMPT_CHARS}


def add_walk_endpoint(playground: Playground, store: PictureStore) -> None:
    """Add /walk to the page under construction where unCLIP is on offer. It does not show."""
    if "unclip" not in playground.registry.names():
        return

    @one_sentence
    def walk(request: gr.Request, start: str = "", end: str = "", frames: int = 9,
             seed: int = 0, options: Any = None, start_image: str | None = None,
             end_image: str | None = None) -> list[str]:
        if options is not None and not isinstance(options, dict):
            raise InvalidRequest("Options must be values by name.", "options")
        plan = Walk.checked(_end(start, start_image, "start"), _end(end, end_image, "end"), frames,
                            seed, options)
        run = playground.runs.start(request.session_hash or "", visitor_of(request))
        try:
            pictures = playground.backend.walk(plan, run.next_job())
        finally:
            playground.runs.end(run)
        folder = store.new_folder()
        Image.fromarray(strip(pictures)).save(folder / "strip.png")
        atomic_write(folder / "walk.mp4", mp4(pictures))
        names = [f"frame-{number:02d}.png" for number in range(len(pictures))]
        for name, picture in zip(names, pictures, strict=True):
            Image.fromarray(picture).save(folder / name)
        return [str(store.serve(folder / name)) for name in ("strip.png", "walk.mp4", *names)]

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


def _end(prompt: Any, image: str | None, name: str) -> str | bytes:
    """The picture where there is one, the prompt otherwise."""
    if image is not None:
        return read_upload(Path(image))
    if not isinstance(prompt, str):
        raise InvalidRequest(f"The {name} of the walk is neither a prompt nor a picture.", name)
    return prompt
