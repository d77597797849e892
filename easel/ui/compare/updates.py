"""Updates of the Compare tab's components, in the order of ``CompareParts.shown``."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

from easel.compare.plan import MAX_PANES
from easel.ui.compare.render import render_outcome, render_pane
from easel.ui.compare.share import save_comparison
from easel.ui.compare.state import Comparison
from easel.ui.parts.pictures import PictureStore
from easel.ui.words import strings
from easel.ui.words.language import say
from pipelines.core.errors import EaselError

CHOICES = (*range(MAX_PANES), "tie", "bad")


def vote_label(choice: int | str, count: int, label: str = "") -> str:
    """What a button of the vote says."""
    if choice == "tie":
        return strings.VOTE_TIE
    if choice == "bad":
        return strings.VOTE_BAD
    if count == 2:
        return strings.VOTE_RIGHT if choice else strings.VOTE_LEFT
    return strings.VOTE_FOR.format(label)


def _updates(columns: Any, stages: Sequence[Any], stops: Sequence[Any], run: Any, stop: Any,
             alert: Any, comparison_id: Any, votes: Sequence[Any] | None = None,
             outcome: Any = None, save: Any = None) -> tuple[Any, ...]:
    """Updates in the order of ``CompareParts.shown``; what is left out stays or is hidden."""
    vote_row = gr.update(visible=votes is not None)
    buttons = votes if votes is not None else [gr.skip()] * len(CHOICES)
    return (*columns, *stages, *stops, run, stop, alert, comparison_id, vote_row, *buttons,
            gr.skip() if outcome is None else outcome, gr.skip() if save is None else save)


_SKIPS = [gr.skip()] * MAX_PANES


def _stop_buttons(comparison: Comparison, running: bool = True) -> list[Any]:
    found = []
    for place in range(MAX_PANES):
        if place >= len(comparison.panes):
            found.append(gr.update(visible=False))
            continue
        busy = comparison.shown()[place].panel.phase in ("waiting", "running")
        found.append(gr.update(visible=running and busy,
                               value=strings.STOP_PANE.format(comparison.label(place))))
    return found


def first_view(comparison: Comparison) -> tuple[Any, ...]:
    """The tab when a comparison begins."""
    columns, stages = _panes(comparison)
    return _updates(columns, stages, _stop_buttons(comparison), gr.update(interactive=False),
                    gr.update(interactive=True), "", comparison.id, outcome="",
                    save=gr.update(visible=False))


def _panes(comparison: Comparison) -> tuple[list[Any], list[str]]:
    """Columns, and what is in them."""
    count = len(comparison.panes)
    return ([gr.update(visible=place < count) for place in range(MAX_PANES)],
            [render_pane(comparison, place) if place < count else ""
             for place in range(MAX_PANES)])


def next_view(comparison: Comparison, changed: set[int]) -> tuple[Any, ...]:
    """The tab when some panes have changed."""
    stages: list[Any] = list(_SKIPS)
    for place, index in enumerate(comparison.order):
        if index in changed:
            stages[place] = render_pane(comparison, place)
    return _updates(_SKIPS, stages, _stop_buttons(comparison), gr.skip(), gr.skip(), gr.skip(),
                    gr.skip())


def over_view(comparison: Comparison, store: PictureStore) -> tuple[Any, ...]:
    """The tab when all panes have ended, with the vote where it is due."""
    try:
        save = gr.update(visible=True, value=save_comparison(comparison, store))
    except EaselError:  # no picture to save, or no vote yet
        save = gr.update(visible=False)
    count, (columns, stages) = len(comparison.panes), _panes(comparison)
    votes = None
    if comparison.can_be_voted_on():
        shown = comparison.shown()
        votes = [gr.update(value=_label_of(comparison, choice),
                           visible=not isinstance(choice, int)
                           or (choice < count and bool(shown[choice].panel.cards)))
                 for choice in CHOICES]
    return _updates(columns, stages, _stop_buttons(comparison, running=False),
                    gr.update(interactive=True), gr.update(interactive=False), "",
                    comparison.id, votes, render_outcome(comparison), save)


def _label_of(comparison: Comparison, choice: int | str) -> str:
    count = len(comparison.panes)
    known = isinstance(choice, int) and choice < count
    return vote_label(choice, count, comparison.label(int(choice)) if known else "")


def failed_view(sentence: str) -> tuple[Any, ...]:
    """The tab when nothing could be drawn."""
    alert = f'<p class="alert" role="alert">{escape(say(sentence))}</p>'
    return _updates(_SKIPS, _SKIPS, [gr.update(visible=False)] * MAX_PANES,
                    gr.update(interactive=True), gr.update(interactive=False), alert,
                    gr.skip())
