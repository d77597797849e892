"""History: a gallery of what a visitor drew, page by page, and each picture's own page."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from easel.guard.visitors import visitor_of
from easel.history.days import parse_day
from easel.history.records import MAX_RATING, Filters
from easel.history.store import History
from easel.ui.generate.samples import SAMPLES
from easel.ui.history.example import keep_examples
from easel.ui.history.filters import build_filters
from easel.ui.history.picture import PicturePage, build_picture_page, connect_picture_page
from easel.ui.history.render import PICK, render_gallery, render_note
from easel.ui.history.selection import build_selection, connect_selection
from easel.ui.history.shared import build_shared
from easel.ui.parts.controls import GenerateInputs
from easel.ui.parts.errors import one_sentence
from easel.ui.parts.invitation import invitation, served
from easel.ui.parts.page_words import worded_html
from easel.ui.parts.theme import LIVE, PLAIN
from easel.ui.playground import Playground
from easel.ui.rerank.sources import MAX_FILES
from easel.ui.rerank.tab import RerankParts
from easel.words import strings
from pipelines.core.sentences import Sentence


@dataclass
class GalleryParts:
    """The components of the gallery; ``filters`` in the order of ``_read``."""

    column: gr.Column
    filters: list[gr.components.Component]
    thumbnails: gr.HTML
    note: gr.HTML
    newer: gr.Button
    older: gr.Button
    empty_bin: gr.Button
    rerank: gr.Button
    example: gr.HTML
    keep: gr.Button
    number: gr.State
    pressed: gr.Textbox

    def shown(self) -> list[gr.components.Component]:
        """What a new page of thumbnails changes, in the order of ``_show``."""
        return [self.thumbnails, self.number, self.newer, self.older, self.empty_bin,
                self.rerank, self.example]


def build_history(playground: Playground, history: History, inputs: GenerateInputs, tab: gr.Tab,
                  rerank: RerankParts) -> None:
    """Lay the tab out and connect it.

    Args:
        playground: what there is.
        history: whose pictures are shown.
        inputs: where "Reuse settings" and its like put them.
        tab: this tab; the others are its neighbours.
        rerank: where "Rerank these" puts what the filters leave.
    """
    gallery = _build_gallery()
    picture = build_picture_page(playground)
    shared = build_shared(history)
    _connect_gallery(playground, history, tab, gallery, picture)
    _connect_rerank(history, tab, gallery, rerank)
    connect_selection(
        history, gallery.pressed, tab.parent, rerank,
        lambda request, number, *values: _show(playground, history, _read(values), number, request),
        [gallery.number, *gallery.filters], gallery.shown())

    def reload(number: int, *values: Any, request: gr.Request) -> Any:
        return _show(playground, history, _read(values), number, request)

    connect_picture_page(playground, history, inputs, tab, picture, gallery.column, gallery.note,
                         one_sentence(_with_request(reload)), [gallery.number, *gallery.filters],
                         gallery.shown())
    if shared is not None:
        shared.changed(one_sentence(_with_request(reload)), [gallery.number, *gallery.filters],
                       gallery.shown())


def _with_request(function: Any) -> Any:
    """Gradio passes a request by the position of its parameter, so it must come first."""
    def handler(request: gr.Request, *values: Any) -> Any:
        return function(*values, request=request)

    return handler


def _build_gallery() -> GalleryParts:
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
        pressed = build_selection()
    return GalleryParts(column, [text, since, until, pipeline, model, rating, favourite, deleted],
                        thumbnails, note, newer, older, empty_bin, rerank, example, keep,
                        gr.State(1), pressed)


def _read(values: tuple[Any, ...]) -> Filters:
    text, since, until, pipeline, model, rating, favourite, deleted = values
    return build_filters({
        "text": text, "since_s": parse_day(_text(since)),
        "until_s": parse_day(_text(until), end=True),
        "pipeline": pipeline, "model": model, "min_rating": rating or 0,
        "favourite": bool(favourite), "deleted": bool(deleted)})


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _show(playground: Playground, history: History, filters: Filters, number: int,
          request: gr.Request) -> tuple[Any, ...]:
    owner = history.owner_of(visitor_of(request))
    page = history.page(owner, filters, number)
    several = page.pages > 1
    return (render_gallery(page, filters, playground.registry), page.number,
            gr.update(visible=several, interactive=page.number > 1),
            gr.update(visible=several, interactive=page.number < page.pages),
            gr.update(visible=filters.deleted and page.total > 0),
            gr.update(visible=page.total > 1),
            gr.update(visible=not page.total and filters == Filters()))


def _connect_rerank(history: History, tab: gr.Tab, gallery: GalleryParts, rerank: RerankParts,
                    ) -> None:
    @one_sentence
    def choose(request: gr.Request, *values: Any) -> Any:
        owner = history.owner_of(visitor_of(request))
        page = history.page(owner, _read(values), size=MAX_FILES)
        said = strings.CHOSEN_NOTE.format(len(page.pictures))
        return (gr.update(selected="rerank"), "chosen", [each.id for each in page.pictures],
                f'<p class="hint" role="status">{escape(said)}</p>')

    filled: list[Any] = [tab.parent, rerank.source, rerank.chosen, rerank.chosen_note]
    gallery.rerank.click(choose, gallery.filters, filled, **LIVE)


def _connect_gallery(playground: Playground, history: History, tab: gr.Tab, gallery: GalleryParts,
                     picture: PicturePage) -> None:
    pipeline, model = gallery.filters[3:5]

    @one_sentence
    def enter(request: gr.Request, number: int, *values: Any) -> Any:
        """Also what may be chosen has changed since the last time."""
        owner = history.owner_of(visitor_of(request))
        choices = [gr.update(choices=[(strings.HISTORY_ANY, ""), *((n, n) for n in names)])
                   for names in (history.pipelines(owner), history.models(owner))]
        return (*_show(playground, history, _read(values), number, request), *choices, "")

    @one_sentence
    def first(request: gr.Request, *values: Any) -> Any:
        return (*_show(playground, history, _read(values), 1, request), "")

    def turn(by: int) -> Any:
        @one_sentence
        def turned(request: gr.Request, number: int, *values: Any) -> Any:
            return _show(playground, history, _read(values), number + by, request)
        return turned

    @one_sentence
    def purge(request: gr.Request, *values: Any) -> Any:
        gone = history.purge(history.owner_of(visitor_of(request)))
        return (*_show(playground, history, _read(values), 1, request),
                render_note(strings.HISTORY_GONE.format(gone)))

    @one_sentence
    def keep(request: gr.Request, *values: Any) -> Any:
        owner = history.owner_of(visitor_of(request))
        if not history.page(owner, size=1).total:
            keep_examples(history, owner)
        return enter(request, 1, *values)

    entered = [*gallery.shown(), pipeline, model, gallery.note]
    gallery.keep.click(keep, gallery.filters, entered,
                       **dict[str, Any](LIVE, trigger_mode="once"))
    tab.select(enter, [gallery.number, *gallery.filters], entered, **LIVE)
    # Not ``input``, which comes before the new value is known.
    changes: list[Any] = [getattr(component, "change") for component in gallery.filters]  # noqa: B009
    gr.on(changes, first, gallery.filters, [*gallery.shown(), gallery.note], **LIVE)
    gallery.newer.click(turn(-1), [gallery.number, *gallery.filters], gallery.shown(), **LIVE)
    gallery.older.click(turn(1), [gallery.number, *gallery.filters], gallery.shown(), **LIVE)
    gallery.empty_bin.click(purge, gallery.filters, [*gallery.shown(), gallery.note], **LIVE)
