"""Downloads from wherever a model is chosen: what is not here, a button, and how far it has come.

Lists of models are made once, with the page; what is not on this machine changes. So one element,
always on the page, names it, and page.js marks it in every list of options.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import gradio as gr

from easel.ui.models.admins import ModelAdmins
from easel.ui.models.wishes import AWAY, MOVING
from easel.ui.parts.errors import shows_errors_by
from easel.ui.parts.lines import Updates
from easel.ui.parts.names import with_names
from easel.ui.parts.theme import LIVE, PLAIN
from easel.ui.parts.tiles import alert, bar
from easel.words import strings
from easel.words.language import say, written
from pipelines.core.amounts import megabytes
from pipelines.models.cache.inventory import ModelRow, Models

TICK_S = 1.0


@dataclass
class Fetch:
    """The components.

    Attributes:
        html: what is missing, and the downloads that were asked for; it changes with both.
    """

    html: gr.HTML


def build_fetch(inventory: Models, admins: ModelAdmins, page: gr.Blocks) -> Fetch:
    """Lay it out and connect it, outside of all tabs.

    Args:
        inventory: the models.
        admins: who may download.
        page: the one under construction.
    """
    html = gr.HTML("", elem_id="fetch", **PLAIN)
    pressed = gr.Textbox(elem_id="model-fetch", elem_classes="offstage", label=strings.TAB_MODELS)
    asked = gr.State([])
    timer = gr.Timer(TICK_S, active=False)
    shown = [html, asked, timer]

    def show(request: gr.Request, ids: Sequence[str], refused: str = "") -> Updates:
        rows = inventory.rows()
        own = [row for row in rows if row.id in ids]
        moving = any(row.state in MOVING for row in own)
        # What has come is said once, and then no more.
        left = [row.id for row in own if row.state in AWAY]
        return {html: render_fetch(rows, own, admins.may(request), refused), asked: left,
                timer: gr.Timer(active=moving)}

    @shows_errors_by(str)
    def start(request: gr.Request, model_id: str) -> str:
        """Returns what speaks against it."""
        admins.check(request)
        inventory.download(model_id)
        return ""

    def press(request: gr.Request, words: str | None, ids: list[str]) -> Updates:
        model_id = (words or "").partition(" ")[0]
        refused = start(request, model_id)
        return show(request, ids if refused else [*ids, model_id], refused)

    page.load(show, asked, shown, **LIVE)
    timer.tick(show, asked, shown, **LIVE)
    pressed.change(press, [pressed, asked], shown, **LIVE)
    return Fetch(html)


def render_fetch(rows: Sequence[ModelRow], own: Sequence[ModelRow], may: bool, refused: str = "",
                 ) -> str:
    """What is missing, for page.js, and how the downloads that were asked for are going.

    Args:
        rows: all models.
        own: those that were asked for here.
        may: whether whoever looks may download.
        refused: why the last press had no effect.
    """
    away = {row.id: size_of(row) for row in rows if is_away(row)}
    lines = "".join(map(_line, own)) + (alert(refused) if refused else "")
    toast = f'<div class="fetch-lines" role="status">{lines}</div>' if lines else ""
    return (f'<span hidden data-missing="{escape(json.dumps(away))}"'
            f'{" data-may" if may else ""}></span>{toast}')


def _line(row: ModelRow) -> str:
    title = say(row.title)
    if row.state in MOVING:
        share = round(100 * (row.progress or 0.0))
        said = strings.WISH_COMING.format(share)
        return f"<p>{with_names(title)}: {escape(said)}</p>{bar(share, 100, title)}"
    if row.state in AWAY:
        return alert(row.error) if row.error else ""
    return f"<p>{with_names(strings.FETCHED.format(title))}</p>"


def is_away(row: ModelRow) -> bool:
    """Whether a model would have to be downloaded first."""
    return row.state == "not downloaded"


def size_of(row: ModelRow) -> str:
    """About how much a download is, as people say it; empty where nobody knows."""
    return written(megabytes(row.download_bytes)) if row.download_bytes else ""


def render_missing(rows: Sequence[ModelRow], may: bool) -> str:
    """Models that are not here, each with a button that downloads it; empty for none."""
    return "".join(
        f'<p class="missing-note">{with_names(strings.NOT_HERE_NOTE.format(say(row.title)))} '
        + (f'<button type="button" class="chip" data-fetch="{escape(row.id)}">'
           f'{escape(strings.FETCH.format(size_of(row)).strip())}</button>' if may else "")
        + "</p>" for row in rows if is_away(row))
