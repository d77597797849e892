"""History: a gallery of what a visitor drew, page by page, and each picture's own page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from easel.guard.visitors import visitor_of
from easel.history.records import COUNTED
from easel.history.store import History
from easel.ui.history.example import keep_examples
from easel.ui.history.gallery import GalleryParts, build_gallery
from easel.ui.history.picture import build_picture_page, connect_picture_page
from easel.ui.history.selection import connect_selection, handed_over, handed_to
from easel.ui.history.shared import build_shared
from easel.ui.parts.controls import GenerateInputs
from easel.ui.parts.errors import one_sentence
from easel.ui.parts.lines import Updates
from easel.ui.parts.theme import LIVE
from easel.ui.parts.tiles import kept_note
from easel.ui.playground import Playground
from easel.ui.rerank.sources import MAX_FILES
from easel.ui.rerank.tab import RerankParts
from easel.words import strings
from easel.words.language import counted


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
    registry = playground.registry
    gallery = build_gallery()
    picture = build_picture_page(registry)
    shared = build_shared(history)

    @one_sentence
    def show(request: gr.Request, number: int, *values: Any) -> Updates:
        filters = gallery.read(values)
        owner = history.owner_of(visitor_of(request))
        page = history.page(owner, filters, number, count_to=COUNTED)
        return gallery.show(page, filters, registry)

    _connect_gallery(history, tab, gallery, show)
    tabs = tab.parent  # now: Gradio takes it from a tab whose event is handled
    _connect_rerank(history, tabs, gallery, rerank)
    connect_selection(registry, history, tabs, gallery, rerank, show)
    connect_picture_page(registry, history, inputs, tab, picture, gallery, show)
    if shared is not None:
        shared.changed(show, gallery.asked(), gallery.shown())


def _connect_rerank(history: History, tabs: Any, gallery: GalleryParts, rerank: RerankParts,
                    ) -> None:
    @one_sentence
    def choose(request: gr.Request, *values: Any) -> Updates:
        owner = history.owner_of(visitor_of(request))
        page = history.page(owner, gallery.read(values), size=MAX_FILES, count_to=0)
        return handed_over(tabs, rerank, [each.id for each in page.pictures])

    gallery.rerank.click(choose, list(gallery.filters.values()), handed_to(tabs, rerank), **LIVE)


def _connect_gallery(history: History, tab: gr.Tab, gallery: GalleryParts,
                     show: Callable[..., Updates]) -> None:
    pipeline, model = gallery.filters["pipeline"], gallery.filters["model"]
    filters = list(gallery.filters.values())

    @one_sentence
    def enter(request: gr.Request, number: int, *values: Any) -> Updates:
        """Also what may be chosen has changed since the last time."""
        owner = history.owner_of(visitor_of(request))
        choices = {component: gr.update(choices=[(strings.HISTORY_ANY, ""),
                                                 *((name, name) for name in names)])
                   for component, names in ((pipeline, history.pipelines(owner)),
                                            (model, history.models(owner)))}
        return {**show(request, number, *values), **choices, gallery.note: ""}

    @one_sentence
    def first(request: gr.Request, *values: Any) -> Updates:
        return {**show(request, 1, *values), gallery.note: ""}

    def turn(by: int) -> Any:
        @one_sentence
        def turned(request: gr.Request, number: int, *values: Any) -> Updates:
            return show(request, number + by, *values)
        return turned

    @one_sentence
    def purge(request: gr.Request, *values: Any) -> Updates:
        gone = history.purge(history.owner_of(visitor_of(request)))
        return {**show(request, 1, *values),
                gallery.note: kept_note(counted(gone, strings.HISTORY_GONE))}

    @one_sentence
    def keep(request: gr.Request, *values: Any) -> Updates:
        owner = history.owner_of(visitor_of(request))
        if not history.page(owner, size=1).total:
            keep_examples(history, owner)
        return enter(request, 1, *values)

    entered = [*gallery.shown(), pipeline, model, gallery.note]
    gallery.keep.click(keep, filters, entered, **dict[str, Any](LIVE, trigger_mode="once"))
    tab.select(enter, gallery.asked(), entered, **LIVE)
    # Not ``input``, which comes before the new value is known.
    changes: list[Any] = [getattr(component, "change") for component in filters]  # noqa: B009
    gr.on(changes, first, filters, [*gallery.shown(), gallery.note], **LIVE)
    gallery.newer.click(turn(-1), gallery.asked(), gallery.shown(), **LIVE)
    gallery.older.click(turn(1), gallery.asked(), gallery.shown(), **LIVE)
    gallery.empty_bin.click(purge, filters, [*gallery.shown(), gallery.note], **LIVE)
