"""Where the page shows its queue, and how it tells of a run that has ended; page.js fills both."""

from __future__ import annotations

from html import escape

from easel.ui.parts.page_words import worded_html
from easel.ui.parts.tiles import hidden_alert
from easel.words import strings


def build_queue() -> None:
    """Lay it out: a list that is there while others run or something waits, and a switch."""
    worded_html(render_queue_place, elem_id="queue")


def render_queue_place() -> str:
    """The place of the list, and the switch that page.js shows where the browser can notify."""
    title = escape(strings.QUEUE)
    return (f'<section class="queue" aria-label="{title}" hidden>'
            f"<h2>{title}</h2><ol></ol></section>"
            '<p class="keys notify" hidden><label><input type="checkbox" id="notify">'
            f" {escape(strings.NOTIFY)}</label></p>{hidden_alert(notify=1)}")
