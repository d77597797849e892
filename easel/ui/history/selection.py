"""Several kept pictures at once: what is done with what is ticked in the gallery."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import gradio as gr

from easel.guard.visitors import visitor_of
from easel.history.store import History
from easel.ui.history.gallery import GalleryParts
from easel.ui.history.two import render_two
from easel.ui.parts.errors import one_sentence
from easel.ui.parts.lines import Updates
from easel.ui.parts.theme import LIVE
from easel.ui.rerank.sources import MAX_FILES
from easel.ui.rerank.tab import RerankParts
from easel.words import strings
from pipelines.core.errors import InvalidRequest
from pipelines.registry import Registry

MARKS = {"star": True, "unstar": False}


def perform(history: History, owner: str, words: str) -> tuple[str, list[str]]:
    """Do what was pressed.

    Args:
        history: whose pictures they are.
        owner: the visitor.
        words: act, ids with commas between them, and a stamp that is ignored.

    Returns:
        The act, and the ids that are the owner's.

    Raises:
        InvalidRequest: there is no such act.
        HistoryError: a picture is not there.
    """
    act, _, rest = words.partition(" ")
    ids = [history.get(owner, each).id
           for each in dict.fromkeys(rest.partition(" ")[0].split(",")) if each][:MAX_FILES]
    if act in MARKS or act == "favourite":
        for each in ids:
            history.set_favourite(owner, each, MARKS.get(act, True))
    elif act == "delete":
        history.delete(owner, ids)
    elif act == "restore":
        history.restore(owner, ids)
    elif act == "two":
        if len(ids) != 2:
            raise InvalidRequest("Two pictures are compared, not {}.", len(ids))
    elif act != "rerank":
        raise InvalidRequest("There is nothing called {!r} to do with pictures.", act[:20])
    return act, ids


def handed_to(tabs: Any, rerank: RerankParts) -> list[Any]:
    """What ``handed_over`` changes."""
    return [tabs, rerank.source, rerank.chosen, rerank.chosen_note]


def handed_over(tabs: Any, rerank: RerankParts, ids: list[str]) -> Updates:
    """Kept pictures, by their ids, in the Rerank tab, which is gone to."""
    said = strings.CHOSEN_NOTE.format(len(ids))
    return {tabs: gr.update(selected="rerank"), rerank.source: "chosen", rerank.chosen: ids,
            rerank.chosen_note: f'<p class="hint" role="status">{escape(said)}</p>'}


def connect_selection(registry: Registry, history: History, tabs: Any, gallery: GalleryParts,
                      rerank: RerankParts, show: Callable[..., Updates]) -> None:
    """Connect the bar and the hearts of the tiles.

    Args:
        registry: for the generators' titles.
        history: whose pictures are shown.
        tabs: where the Rerank tab is.
        gallery: where they are.
        rerank: which takes what is ticked.
        show: shows the gallery, given the request and the values of ``gallery.asked()``.
    """
    @one_sentence
    def act(request: gr.Request, words: str | None, *values: Any) -> Updates:
        owner = history.owner_of(visitor_of(request))
        done, ids = perform(history, owner, words or "")
        if done == "two":
            earlier, later = ids[1], ids[0]  # the newest stands first in the gallery
            return {gallery.two: render_two(history.get(owner, earlier), history.get(owner, later),
                                            registry)}
        if done in MARKS:  # the heart shows it already, and what is ticked stays so
            return gr.skip()
        if done == "rerank":
            return handed_over(tabs, rerank, ids)
        gone = {gallery.two: ""} if done == "delete" else {}  # it may be one of the two
        return {**show(request, *values), **gone}

    gallery.pressed.change(act, [gallery.pressed, *gallery.asked()],
                           [gallery.two, *gallery.shown(), *handed_to(tabs, rerank)], **LIVE)
