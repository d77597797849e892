"""The endpoint /walk: unCLIP's way from one prompt or picture to another."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np

from easel.ui.generate.api import OBJECT, STRING, add_endpoint, json_value
from easel.ui.generate.run import one_sentence
from easel.ui.lab.walk import end_of_walk, keep_walk
from easel.ui.parts.controls import IMAGE_SUFFIXES
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.visitors import visitor_of
from easel.ui.playground import Playground
from pipelines.core.errors import InvalidRequest
from pipelines.core.request import MAX_PROMPT_CHARS, SEED_COUNT
from pipelines.unclip.walk import MAX_FRAMES, MIN_FRAMES, Walk

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
        plan = Walk.checked(end_of_walk(start, start_image, "start"),
                            end_of_walk(end, end_image, "end"), frames, seed, options)
        run = playground.runs.start(request.session_hash or "", visitor_of(request))
        try:
            *_, pictures = playground.backend.walk(plan, run.next_job(), run.visitor)
        finally:
            playground.runs.end(run)
        assert isinstance(pictures, np.ndarray)
        return [str(path) for path in keep_walk(store, plan, pictures)]

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
