"""The fold of a grid in which visitors keep lists of words of their own, for wildcards."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from easel.compare.word_lists import FILE, MAX_NAME_CHARS, WordListStore, write_lists
from easel.guard.visitors import visitor_of
from easel.own_files import MAX_FILE_BYTES
from easel.ui.parts.choice import on_choice
from easel.ui.parts.errors import json_errors, shows_errors_by
from easel.ui.parts.lines import Updates
from easel.ui.parts.page_words import worded_html
from easel.ui.parts.theme import LIVE, PLAIN
from easel.ui.parts.tiles import alert
from easel.ui.parts.uploads import read_upload
from easel.ui.playground import Playground
from easel.words import strings
from pipelines.core.errors import EaselError, InvalidRequest

ADDRESS = "wildcards/export"


def own_names(playground: Playground, request: gr.Request) -> Iterable[str]:
    """Names of a visitor's own lists; none where they cannot be read, which is no fault here."""
    try:
        return playground.word_lists(visitor_of(request)).own()
    except EaselError:
        return ()


def build_word_lists(playground: Playground) -> None:
    """Lay the fold out and connect it."""
    with gr.Accordion(strings.WORDS_OWN, open=False, elem_id="words-own") as fold:
        worded_html(lambda: f'<p class="hint">{escape(strings.WORDS_OWN_INFO)}</p>')
        # Its choices come when the fold is opened: they are the visitor's alone.
        chosen = gr.Dropdown([], label=strings.WORDS_CHOSEN, filterable=False,
                             elem_id="words-chosen")
        name = gr.Textbox(label=strings.PRESET_NAME, info=strings.WORDS_NAME_INFO, max_lines=1,
                          max_length=MAX_NAME_CHARS + 4, elem_id="words-name")
        text = gr.Textbox(label=strings.WORDS_TEXT, lines=4, max_lines=12,
                          max_length=MAX_FILE_BYTES, elem_id="words-text")
        with gr.Row(elem_id="words-buttons"):
            save = gr.Button(strings.PRESET_SAVE, size="sm", elem_id="words-save")
            delete = gr.Button(strings.PRESET_DELETE, size="sm", elem_id="words-delete")
            take = gr.UploadButton(strings.PRESETS_IMPORT, size="sm", file_types=[".toml", ".txt"],
                                   type="filepath", elem_id="words-import")
            worded_html(lambda: f'<a class="chip" href="{ADDRESS}" download="{FILE}">'
                                f"{escape(strings.PRESETS_EXPORT)}</a>", elem_id="words-export")
    with fold:
        said = gr.HTML("", elem_id="words-said", **PLAIN)

    def refused(sentence: str) -> Updates:
        return {said: alert(sentence)}

    def store(request: gr.Request) -> WordListStore:
        return playground.word_lists(visitor_of(request))

    def listed(request: gr.Request, name: Any) -> Any:
        own = store(request).own()
        return gr.update(choices=[(strings.WORDS_CHOICE.format(each, len(words)), each)
                                  for each, words in own.items()],
                         value=name if _text(name) in own else None)

    @shows_errors_by(refused)
    def unfold(request: gr.Request, name: Any) -> Updates:
        return {said: "", chosen: listed(request, name)}

    @shows_errors_by(refused)
    def fill(request: gr.Request, picked: Any) -> Updates:
        words = store(request).own().get(_text(picked), ())
        return {said: "", name: _text(picked), text: "\n".join(words)}

    @shows_errors_by(refused)
    def keep(request: gr.Request, typed: Any, words: Any) -> Updates:
        kept, found = store(request).save(_text(typed), _text(words))
        return {said: _note(strings.WORDS_SAVED, kept, len(found)), chosen: listed(request, kept),
                name: kept}

    @shows_errors_by(refused)
    def forget(request: gr.Request, picked: Any) -> Updates:
        if not (gone := _text(picked)):
            raise InvalidRequest("Choose a list first.", field="wildcard")
        store(request).delete(gone)
        return {said: _note(strings.PRESET_DELETED, gone), chosen: listed(request, None),
                name: "", text: ""}

    @shows_errors_by(refused)
    def take_over(request: gr.Request, path: str | None, picked: Any) -> Updates:
        new = store(request).add(Path(path or "").name, read_upload(path))
        return {said: _note(strings.WORDS_IMPORTED, len(new)), chosen: listed(request, picked)}

    changed = [said, chosen, name, text]
    fold.expand(unfold, chosen, [said, chosen], **LIVE)
    on_choice(chosen, fill, [], [said, name, text])
    gr.on([save.click, name.submit], keep, [name, text], [said, chosen, name], **LIVE)
    delete.click(forget, chosen, changed, **LIVE)
    take.upload(take_over, [take, chosen], [said, chosen], **LIVE)


def word_list_routes(data_dir: Path) -> list[Route]:
    """The address at which visitors find their own lists as a file, to go before Gradio's own."""
    def export(request: Request) -> Response:
        own = WordListStore(data_dir, visitor_of(request)).own()
        return Response(write_lists(own), media_type="application/toml", headers={
            "Content-Disposition": f'attachment; filename="{FILE}"', "Cache-Control": "no-store"})

    return [Route(f"/{ADDRESS}", json_errors(export))]


def _text(value: Any) -> str:
    """What a field holds; Gradio lets a list through where one of its choices is asked for."""
    return value if isinstance(value, str) else ""


def _note(template: str, *values: Any) -> str:
    return f'<p class="hint" role="status">{escape(template.format(*values))}</p>'
