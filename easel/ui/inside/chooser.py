"""The picture and the prompt that all views of the tab look into: filled in from the start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import quote

import gradio as gr
import numpy as np

from easel.guard.visitors import visitor_of
from easel.history.store import History
from easel.ui.generate.recall import in_cache
from easel.ui.history.render import thumbnail_url
from easel.ui.lab.example import samples
from easel.ui.lab.render import render_image
from easel.ui.parts.controls import MAX_TYPED_CHARS
from easel.ui.parts.errors import one_sentence
from easel.ui.parts.page_words import fill_html
from easel.ui.parts.prompt_note import build_note
from easel.ui.parts.task import Asked
from easel.ui.parts.theme import LIVE, PLAIN
from easel.ui.parts.uploads import IMAGE_SUFFIXES, read_small
from easel.ui.playground import Playground
from easel.words import strings
from easel.words.language import say
from pipelines.core.errors import InvalidRequest

TAKE = "inside-take"  # hidden; page.js writes there which picture was pressed
MAX_OWN = 8
SHOWN_PX = 320


@dataclass
class Chooser:
    """Picture and prompt.

    Attributes:
        picture: its file.
        prompt: what it should show.
        paths: pictures by Easel, where components may hold them.
        prompts: theirs, in English.
    """

    picture: gr.File
    prompt: gr.Textbox
    paths: Sequence[str]
    prompts: Sequence[str]

    def fields(self) -> list[Any]:
        """The components, for whoever needs their values."""
        return [self.picture, self.prompt]

    def read(self, asked: Asked) -> np.ndarray:
        """The chosen picture, (H, W, 3) uint8 RGB, its longer side at most 512 px.

        Raises:
            InvalidRequest: there is none.
            InvalidImage: it cannot be read.
        """
        return read_small(self.path(asked))

    def path(self, asked: Asked) -> str:
        """Its file; see ``read``."""
        if not asked.values[self.picture]:
            raise InvalidRequest(strings.INSIDE_NO_PICTURE, field="image")
        return str(asked.values[self.picture])


def build_chooser(playground: Playground) -> Chooser:
    """Lay picture and prompt out, with pictures by Easel to press, and connect them."""
    with gr.Row(elem_id="inside-chooser"):
        shown = gr.HTML("", elem_id="inside-shown", **PLAIN)
        with gr.Column(elem_id="inside-ask"):
            row = gr.HTML("", elem_id="inside-samples", **PLAIN)
            paths, prompts = samples(row)
            prompt = gr.Textbox(prompts[0] if prompts else "", label=strings.INSIDE_PROMPT,
                                lines=2, max_lines=4, max_length=MAX_TYPED_CHARS,
                                elem_id="inside-prompt")
            build_note(playground.reader, prompt, "inside-prompt-note")
            picture = gr.File(paths[0] if paths else None, label=strings.INSIDE_PICTURE,
                              file_count="single", type="filepath", file_types=IMAGE_SUFFIXES,
                              height=64, elem_id="inside-picture", elem_classes="upload")
            take = gr.Textbox(visible="hidden", elem_id=TAKE)
            if playground.history is not None:
                _build_own(playground.history)
    fill_html(row, lambda: render_choices(strings.LAB_COLLECTION, [
        (f"sample {number}", f"gradio_api/file={quote(path)}", say(prompt))
        for number, (path, prompt) in enumerate(zip(paths, prompts, strict=True))]))
    fill_html(shown, lambda: _shown(paths[0] if paths else None))
    picture.change(_shown, picture, shown, **LIVE)

    @one_sentence
    def taken(request: gr.Request, said: Any) -> Any:
        kind, which, *_ = [*str(said or "").split(), "", ""]
        if kind == "sample" and which.isdecimal() and int(which) < len(paths):
            return paths[int(which)], say(prompts[int(which)])
        if kind == "kept" and playground.history is not None:
            kept = playground.history.get(playground.history.owner_of(visitor_of(request)), which)
            return in_cache(playground.history, picture, kept.sha256), kept.prompt
        return gr.skip(), gr.skip()

    take.change(taken, take, [picture, prompt], **LIVE)
    return Chooser(picture, prompt, paths, prompts)


def _build_own(history: History) -> None:
    """A button that shows the visitor's newest pictures to press."""
    button = gr.Button(strings.INSIDE_OWN, size="sm", elem_id="inside-own")
    row = gr.HTML("", elem_id="inside-kept", **PLAIN)

    @one_sentence
    def show(request: gr.Request) -> str:
        page = history.page(history.owner_of(visitor_of(request)), size=MAX_OWN)
        if not page.pictures:
            raise InvalidRequest("Your history has no such pictures.", field="images")
        return render_choices(strings.INSIDE_OWN, [
            (f"kept {each.id}", thumbnail_url(each), each.prompt) for each in page.pictures])

    button.click(show, None, row, **LIVE)


def render_choices(title: str, choices: Sequence[tuple[str, str, str]]) -> str:
    """Pictures to press, each of which says to the hidden field which it is (page.js).

    Args:
        title: what they are.
        choices: what is said, the picture's address, and its prompt.
    """
    buttons = "".join(
        f'<button type="button" data-tell="{TAKE}" data-say="{escape(said)}" '
        f'title="{escape(prompt)}" aria-label="{escape(strings.INSIDE_TAKE.format(prompt))}">'
        f'<img src="{escape(url)}" alt="" loading="lazy" width="72" height="72"></button>'
        for said, url, prompt in choices)
    return (f'<div class="inside-choices" role="group" aria-label="{escape(title)}">{buttons}'
            "</div>") if choices else ""


def _shown(path: Any) -> str:
    """The chosen picture."""
    if not isinstance(path, str) or not path:
        return ""
    return render_image(path, strings.INSIDE_SHOWN, SHOWN_PX)
