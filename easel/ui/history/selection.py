"""Several kept pictures at once: what is ticked in the gallery, and what is done with it."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import gradio as gr

from easel.guard.visitors import visitor_of
from easel.history.store import History
from easel.ui.parts.errors import one_sentence
from easel.ui.parts.page_words import worded_html
from easel.ui.parts.theme import LIVE
from easel.ui.rerank.sources import MAX_FILES
from easel.ui.rerank.tab import RerankParts
from easel.words import strings
from pipelines.core.errors import InvalidRequest

MARKS = {"star": True, "unstar": False}


def build_selection() -> gr.Textbox:
    """The bar of buttons, seen while something is ticked; what was pressed comes by a field.

    Returns:
        The field: "ACT ID,ID" and a stamp that is ignored (page.js).
    """
    worded_html(_render_bar, elem_id="kept-bar")
    return gr.Textbox(elem_id="kept-act", elem_classes="offstage", label=strings.TAB_HISTORY)


def _render_bar() -> str:
    buttons = "".join(f'<button type="button" data-kept="{act}">{escape(title)}</button>'
                      for act, title in strings.KEPT_ACTS.items())
    return f'<div role="group"><b></b>{buttons}</div>'


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
    elif act != "rerank":
        raise InvalidRequest("There is nothing called {!r} to do with pictures.", act[:20])
    return act, ids


def connect_selection(history: History, pressed: gr.Textbox, tabs: Any, rerank: RerankParts,
                      show: Callable[..., tuple[Any, ...]], inputs: list[Any], shown: list[Any],
                      ) -> None:
    """Connect the bar and the hearts of the tiles.

    Args:
        history: whose pictures are shown.
        pressed: the field of ``build_selection``.
        tabs: where the Rerank tab is.
        rerank: which takes what is ticked.
        show: the gallery's updates of ``shown``, given the request and the values of ``inputs``.
        inputs: page number and filters.
        shown: components of the gallery.
    """
    filled = [tabs, rerank.source, rerank.chosen, rerank.chosen_note]

    @one_sentence
    def act(request: gr.Request, words: str | None, *values: Any) -> Any:
        done, ids = perform(history, history.owner_of(visitor_of(request)), words or "")
        if done in MARKS:  # the heart shows it already, and what is ticked stays so
            return [gr.skip()] * (len(shown) + len(filled))
        if done != "rerank":
            return [*show(request, *values), *[gr.skip()] * len(filled)]
        said = strings.CHOSEN_NOTE.format(len(ids))
        return [*[gr.skip()] * len(shown), gr.update(selected="rerank"), "chosen", ids,
                f'<p class="hint" role="status">{escape(said)}</p>']

    pressed.change(act, [pressed, *inputs], [*shown, *filled], **LIVE)
