"""The gallery of the history: filters, a page of thumbnails, and what turns it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from easel.history.days import parse_day
from easel.history.records import MAX_RATING, Filters, Page
from easel.ui.history.filters import build_filters
from easel.ui.history.render import PICK, render_gallery
from easel.ui.parts.invitation import invitation, served
from easel.ui.parts.lines import Updates
from easel.ui.parts.page_words import worded_html
from easel.ui.parts.samples import SAMPLES
from easel.ui.parts.theme import PLAIN
from easel.words import strings
from pipelines.core.sentences import Sentence
from pipelines.registry import Registry


@dataclass
class GalleryParts:
    """The components.

    Attributes:
        filters: by name, in the order in which handlers are given their values.
        two: two pictures under a slider, where that was asked for.
        pressed: hidden; what is to be done with what is ticked, see ``selection.perform``.
    """

    column: gr.Column
    filters: dict[str, gr.components.Component]
    thumbnails: gr.HTML
    note: gr.HTML
    two: gr.HTML
    newer: gr.Button
    older: gr.Button
    empty_bin: gr.Button
    rerank: gr.Button
    example: gr.HTML
    keep: gr.Button
    number: gr.State
    pressed: gr.Textbox

    def asked(self) -> list[gr.components.Component]:
        """What says which pictures are shown: the page's number, then the filters."""
        return [self.number, *self.filters.values()]

    def shown(self) -> list[gr.components.Component]:
        """What a page of thumbnails changes."""
        return [self.thumbnails, self.number, self.newer, self.older, self.empty_bin, self.rerank,
                self.example]

    def read(self, values: Sequence[Any]) -> Filters:
        """The filters, out of the values of ``filters``.

        Raises:
            EaselError: one of them makes no sense, in a sentence.
        """
        said = dict(zip(self.filters, values, strict=True))
        return build_filters({
            "text": said["text"], "since_s": parse_day(_text(said["since"])),
            "until_s": parse_day(_text(said["until"]), end=True),
            "pipeline": said["pipeline"], "model": said["model"],
            "min_rating": said["rating"] or 0, "favourite": bool(said["favourite"]),
            "deleted": bool(said["deleted"])})

    def show(self, page: Page, filters: Filters, registry: Registry) -> Updates:
        """A page of thumbnails."""
        several = page.number > 1 or not page.is_last
        return {
            self.thumbnails: render_gallery(page, filters, registry), self.number: page.number,
            self.newer: gr.update(visible=several, interactive=page.number > 1),
            self.older: gr.update(visible=several, interactive=not page.is_last),
            self.empty_bin: gr.update(visible=filters.deleted and page.total > 0),
            self.rerank: gr.update(visible=page.total > 1),
            self.example: gr.update(visible=not page.total and filters == Filters())}


def build_gallery() -> GalleryParts:
    """Lay it out."""
    with gr.Column(elem_id="history-gallery") as column:
        with gr.Row(elem_id="history-search", equal_height=True):
            text = gr.Textbox(label=strings.HISTORY_SEARCH, max_lines=1, scale=1, min_width=200,
                              placeholder=strings.HISTORY_SEARCH_PLACEHOLDER, elem_id="search-kept")
        with gr.Accordion(strings.HISTORY_FILTERS, open=False, elem_id="history-filters"):
            with gr.Row():
                since, until = (
                    gr.DateTime(label=label, include_time=False, type="string", min_width=150)
                    for label in (strings.HISTORY_FROM, strings.HISTORY_TO))
                pipeline, model = (
                    gr.Dropdown([(strings.HISTORY_ANY, "")], value="", label=label, min_width=150,
                                filterable=False)
                    for label in (strings.HISTORY_PIPELINE, strings.HISTORY_MODEL))
                rating = gr.Dropdown(
                    [(strings.HISTORY_ANY, 0),
                     *((Sentence(strings.HISTORY_STARS, n, MAX_RATING), n)
                       for n in range(1, MAX_RATING + 1))],
                    value=0, label=strings.HISTORY_RATING, min_width=150, filterable=False)
            with gr.Row(elem_id="history-marks"):
                favourite, deleted = (gr.Checkbox(label=label, container=False, min_width=120)
                                      for label in (strings.HISTORY_FAVOURITES,
                                                    strings.HISTORY_DELETED))
        note = gr.HTML("", **PLAIN)
        two = gr.HTML("", elem_id="kept-two", **PLAIN)
        thumbnails = gr.HTML("", elem_id="kept", js_on_load=PICK, apply_default_css=False)
        with gr.Row(elem_id="history-pager"):
            newer = gr.Button(strings.HISTORY_NEWER, size="sm", visible=False)
            older = gr.Button(strings.HISTORY_OLDER, size="sm", visible=False)
            rerank = gr.Button(strings.HISTORY_RERANK, size="sm", visible=False,
                               elem_id="rerank-these")
            empty_bin = gr.Button(strings.HISTORY_EMPTY_BIN, size="sm", visible=False)
        samples = served(thumbnails, sorted(SAMPLES.glob("*.png")))
        example = worded_html(lambda: invitation(
            strings.MATRIX_EXAMPLE, samples, "history-example"), visible=False)
        keep = gr.Button(strings.MATRIX_EXAMPLE, elem_id="history-example",
                         elem_classes="offstage")
        pressed = _build_selection()
    filters = {"text": text, "since": since, "until": until, "pipeline": pipeline, "model": model,
               "rating": rating, "favourite": favourite, "deleted": deleted}
    return GalleryParts(column, filters, thumbnails, note, two, newer, older, empty_bin, rerank,
                        example, keep, gr.State(1), pressed)


def _build_selection() -> gr.Textbox:
    """The bar of buttons, seen while something is ticked; returns the field that says what was
    pressed, as "ACT ID,ID" and a stamp that is ignored (page.js)."""
    worded_html(_render_bar, elem_id="kept-bar")
    return gr.Textbox(elem_id="kept-act", elem_classes="offstage", label=strings.TAB_HISTORY)


def _render_bar() -> str:
    buttons = "".join(f'<button type="button" data-kept="{act}">{escape(title)}</button>'
                      for act, title in strings.KEPT_ACTS.items())
    return f'<div role="group"><b></b>{buttons}</div>'


def _text(value: Any) -> str:
    return "" if value is None else str(value)
