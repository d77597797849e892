"""Pictures by Easel that every part of the lab can be tried on, in one click."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from easel.ui.lab.lab import UPLOADS
from easel.ui.lab.steps import LabPart, Steps
from easel.ui.parts.invitation import served
from easel.ui.parts.samples import SAMPLES
from easel.ui.parts.task import Asked
from easel.ui.parts.theme import LIVE
from easel.words import strings
from easel.words.language import say
from pipelines.core.errors import EaselError
from pipelines.core.metadata import read_png

EXAMPLES = Path(__file__).resolve().parents[3] / "assets" / "lab"
COLLECTION = EXAMPLES / "collection"


def samples(owner: gr.HTML) -> tuple[list[str], list[str]]:
    """Pictures that Easel drew earlier, with their prompts."""
    paths, prompts = [], []
    for path in sorted(SAMPLES.glob("*.png")):
        try:
            prompt = str(read_png(path.read_bytes())["easel"]["prompt"])
        except (EaselError, KeyError):  # not one of ours
            continue
        found = served(owner, [path])
        paths += found
        prompts += [prompt] * len(found)
    return paths, prompts


def build_collection_example(name: str) -> gr.Button:
    """The button that fills a part in; ``connect_collection_example`` says with what."""
    with gr.Row(elem_classes="lab-small"):
        return gr.Button(strings.LAB_COLLECTION, size="sm", elem_id=f"lab-{name}-example",
                         visible=COLLECTION.is_dir())


def connect_collection_example(part: LabPart, button: gr.Button, work: Callable[[Asked], Steps],
                               places: tuple[gr.Dropdown, gr.File], texts: dict[gr.Textbox, str],
                               ) -> None:
    """Let a button choose pictures by all three generators, fill texts in and start the part.

    Args:
        part: which part.
        button: the button.
        work: what the part does.
        places: where the pictures are, and the files where that is an upload.
        texts: what is put into text fields, in English.
    """
    paths = served(part.stage, sorted([*COLLECTION.glob("*.png"), *SAMPLES.glob("*.png")]))
    where, uploads = places

    def fill() -> dict[Any, Any]:
        return {where: UPLOADS, uploads: gr.update(value=paths, visible=True),
                **{field: say(text) for field, text in texts.items()}}

    part.invite(strings.LAB_COLLECTION, paths, button)
    filled = button.click(fill, None, [where, uploads, *texts], **LIVE)
    part.starts(filled.then, work)
