"""The pictures that generators start from, shown at the prompt, and taken away from there."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import quote

import gradio as gr

from easel.ui.parts.controls import PipelineControls
from easel.ui.parts.theme import LIVE
from easel.words import strings


def render_init(pictures: Sequence[tuple[str, str]]) -> str:
    """A thumbnail of each picture, with who starts from it.

    Args:
        pictures: the generator's title, and the picture's path in the cache.
    """
    return "".join(
        f'<figure class="init"><img src="gradio_api/file={escape(quote(path))}" alt="">'
        f"<figcaption>{escape(strings.INIT_FROM.format(title))}</figcaption></figure>"
        for title, path in pictures)


def connect_init(controls: Sequence[PipelineControls],
                 shown: tuple[gr.Row, gr.HTML, gr.Button], handed: gr.Textbox) -> None:
    """Show what is chosen, wherever that was done; one press takes all of it away.

    Args:
        controls: of all generators.
        shown: the row, the thumbnails in it, and the button that takes them away.
        handed: forgets which picture was handed over.
    """
    row, thumbnails, gone = shown
    groups = [group for group in controls if group.init_image is not None]
    files: list[Any] = [group.init_image for group in groups]
    if not files:
        return

    def show(*paths: str | None) -> tuple[Any, str]:
        found = [(group.pipeline.title, path) for group, path in zip(groups, paths, strict=True)
                 if path]
        return gr.update(visible=bool(found)), render_init(found)

    for file in files:
        file.change(show, files, [row, thumbnails], **LIVE)
    gone.click(lambda: [*[None] * len(files), ""], None, [*files, handed], **LIVE)
