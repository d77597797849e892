"""The picture and the prompt that all views of the tab look into: filled in from the start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr
import numpy as np

from easel.guard.visitors import session_of, visitor_of
from easel.history.store import History
from easel.ui.generate.recall import in_cache
from easel.ui.history.render import thumbnail_url
from easel.ui.lab.example import samples
from easel.ui.lab.render import render_image
from easel.ui.parts.controls import MAX_TYPED_CHARS
from easel.ui.parts.errors import shows_errors_by
from easel.ui.parts.lines import Updates
from easel.ui.parts.page_words import fill_html
from easel.ui.parts.prompt_note import build_note
from easel.ui.parts.task import Asked, Task
from easel.ui.parts.theme import LIVE, PLAIN
from easel.ui.parts.tiles import alert
from easel.ui.parts.uploads import IMAGE_SUFFIXES, read_small
from easel.ui.playground import Playground
from easel.words import strings
from easel.words.language import say
from pipelines.core.errors import InvalidRequest

TAKE = "inside-take"  # hidden; page.js writes there which picture was pressed
MAX_OWN = 8
SHOWN_PX = 320


@dataclass
class Found:
    """What a view shows, which goes when it is no longer of what is chosen.

    Attributes:
        task: of the view.
        empty: updates that leave nothing of it.
        of_picture: whether it is of the picture; else of the prompt alone.
    """

    task: Task
    empty: Callable[[], Updates]
    of_picture: bool = True


@dataclass
class Choice:
    """A picture that can be pressed or uploaded.

    Attributes:
        picture: its file.
        take: hidden; page.js writes there which picture was pressed.
        refused: says why one could not be taken.
        paths: pictures by Easel, where components may hold them.
        prompts: theirs, in English.
        found: what is shown of it.
    """

    picture: gr.File
    take: gr.Textbox
    refused: gr.HTML
    paths: Sequence[str]
    prompts: Sequence[str]
    found: list[Found] = field(default_factory=list, kw_only=True)

    def connect(self, playground: Playground, prompt: gr.Textbox | None = None) -> None:
        """Let it be taken, with its prompt; once all views are built.

        What was found of another picture goes in the same step, but for a view that is looking:
        it shows by itself what it looks at.
        """
        def empty(request: gr.Request, taken: bool) -> Updates:
            session, visitor, updates = session_of(request), visitor_of(request), {}
            for each in self.found:
                busy = each.task.live.runs.busy(session, visitor, each.task.place)
                if (taken or each.of_picture) and not busy:
                    updates |= each.empty()
            return updates

        @shows_errors_by(lambda sentence: {self.refused: alert(sentence)})
        def take(request: gr.Request, said: Any, before: Any) -> Any:
            path, text = self._taken(playground, request, said)
            if path is None:
                return gr.skip()
            updates = {self.picture: path, self.refused: ""}
            if prompt is not None:
                updates[prompt] = text
            return updates if _are_same(before, path) else updates | empty(request, True)

        def uploaded(request: gr.Request) -> Any:
            return empty(request, False) or gr.skip()

        stale = list(dict.fromkeys(component for each in self.found for component in each.empty()))
        outputs = [self.picture, self.refused, *([] if prompt is None else [prompt]), *stale]
        self.take.change(take, [self.take, self.picture], outputs, **LIVE)
        for event in (self.picture.upload, self.picture.clear) if stale else ():
            event(uploaded, None, stale, **LIVE)

    def _taken(self, playground: Playground, request: gr.Request, said: Any,
               ) -> tuple[str | None, str]:
        """The file and the prompt of a picture that was pressed; None where there is none."""
        kind, which, *_ = [*str(said or "").split(), "", ""]
        if kind == "sample" and which.isdecimal() and int(which) < len(self.paths):
            return self.paths[int(which)], say(self.prompts[int(which)])
        if kind == "kept" and playground.history is not None:
            kept = playground.history.get(playground.history.owner_of(visitor_of(request)), which)
            return in_cache(playground.history, self.picture, kept.sha256), kept.prompt
        return None, ""


@dataclass
class Chooser(Choice):
    """Picture and prompt; see ``Choice``.

    Attributes:
        prompt: what it should show.
    """

    prompt: gr.Textbox

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
    """Lay picture and prompt out, with pictures by Easel to press; see ``Choice.connect``."""
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
            refused = gr.HTML("", **PLAIN)
            if playground.history is not None:
                _build_own(playground.history, "inside", TAKE)
    fill_samples(row, paths, prompts, TAKE)
    fill_html(shown, lambda: render_shown(paths[0] if paths else None))
    picture.change(render_shown, picture, shown, **LIVE)
    return Chooser(picture, take, refused, paths, prompts, prompt)


def build_second(playground: Playground, chooser: Chooser, name: str) -> Choice:
    """Lay a second picture out, with the same to press as for the first.

    Args:
        playground: whose history there is.
        chooser: of the first picture.
        name: of the view.
    """
    paths, take_id = chooser.paths, f"inside-{name}-take"
    first = paths[1] if len(paths) > 1 else None
    with gr.Column(elem_classes="inside-second"):
        row = gr.HTML("", **PLAIN)
        picture = gr.File(first, label=strings.INSIDE_SECOND, file_count="single", type="filepath",
                          file_types=IMAGE_SUFFIXES, height=64, elem_classes="upload",
                          elem_id=f"inside-{name}-picture")
        take = gr.Textbox(visible="hidden", elem_id=take_id)
        refused = gr.HTML("", **PLAIN)
        if playground.history is not None:
            _build_own(playground.history, f"inside-{name}", take_id)
    fill_samples(row, paths, chooser.prompts, take_id)
    return Choice(picture, take, refused, paths, chooser.prompts)


def _are_same(one: Any, other: Any) -> bool:
    """Whether two files hold the same, or are both none."""
    try:
        return Path(one or "").read_bytes() == Path(other or "").read_bytes()
    except OSError:
        return False


def fill_samples(row: gr.HTML, paths: Sequence[str], prompts: Sequence[str], take: str) -> None:
    """Pictures by Easel to press; see ``render_choices``."""
    fill_html(row, lambda: render_choices(strings.LAB_COLLECTION, [
        (f"sample {number}", f"gradio_api/file={quote(path)}", say(prompt))
        for number, (path, prompt) in enumerate(zip(paths, prompts, strict=True))], take))


def _build_own(history: History, name: str, take: str) -> None:
    """A button that shows the visitor's newest pictures to press."""
    button = gr.Button(strings.INSIDE_OWN, size="sm", elem_id=f"{name}-own",
                       elem_classes="inside-own")
    row = gr.HTML("", elem_id=f"{name}-kept", **PLAIN)

    @shows_errors_by(alert)
    def show(request: gr.Request) -> str:
        page = history.page(history.owner_of(visitor_of(request)), size=MAX_OWN)
        if not page.pictures:
            raise InvalidRequest("Your history has no such pictures.", field="images")
        return render_choices(strings.INSIDE_OWN, [
            (f"kept {each.id}", thumbnail_url(each), each.prompt) for each in page.pictures], take)

    button.click(show, None, row, **LIVE)


def render_choices(title: str, choices: Sequence[tuple[str, str, str]], take: str) -> str:
    """Pictures to press, each of which says to the hidden field which it is (page.js).

    Args:
        title: what they are.
        choices: what is said, the picture's address, and its prompt.
        take: id of the field.
    """
    buttons = "".join(
        f'<button type="button" data-tell="{take}" data-say="{escape(said)}" '
        f'title="{escape(prompt)}" aria-label="{escape(strings.INSIDE_TAKE.format(prompt))}">'
        f'<img src="{escape(url)}" alt="" loading="lazy" width="72" height="72"></button>'
        for said, url, prompt in choices)
    return (f'<div class="inside-choices" role="group" aria-label="{escape(title)}">{buttons}'
            "</div>") if choices else ""


def render_shown(path: Any) -> str:
    """The chosen picture."""
    if not isinstance(path, str) or not path:
        return ""
    return render_image(path, strings.INSIDE_SHOWN, SHOWN_PX)
