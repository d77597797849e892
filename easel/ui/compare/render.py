"""HTML of a comparison, and what of the tab changes with it. All texts are escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

from easel.compare.plan import MAX_PANES
from easel.serving.jobs import Usage
from easel.ui.compare.share import save_comparison
from easel.ui.compare.state import Comparison, Pane, clip_favourite
from easel.ui.parts.panel import Card, data_uri, seconds
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.tiles import (
    blank_tile,
    loss_curves,
    picture_frame,
    preview_tile,
    progress_bar,
    tiles_of,
)
from easel.ui.words import strings
from easel.ui.words.language import figure, say
from pipelines.core.errors import EaselError
from pipelines.core.images import load_image

CHOICES = (*range(MAX_PANES), "tie", "bad")
_SKIPS = [gr.skip()] * MAX_PANES


def render_pane(comparison: Comparison, place: int) -> str:
    """One pane: head, bar, pictures; without a name where the vote is blind.

    Args:
        comparison: of which it is a part.
        place: from the left, 0 first.
    """
    pane = comparison.panes[comparison.order[place]]
    panel = pane.panel
    hidden = comparison.hidden
    label = comparison.label(place)
    title = strings.PICTURE_OF.format(label) if hidden else f"{label} · {panel.title}"
    chosen = " chosen" if comparison.choice == comparison.order[place] else ""
    busy = panel.phase in ("waiting", "running")
    role = 'role="alert"' if panel.phase == "failed" else (
        f'role="status" aria-live="{"off" if busy else "polite"}"')
    body = "" if hidden else _usage(pane.usage) + _notice(pane) + loss_curves(panel)
    return (f'<section class="panel pane {panel.phase}{chosen}" aria-label="{escape(title)}">'
            f'<header><h2>{escape(title)}</h2></header>'
            f'<p class="status" {role}>{escape(_status(pane, hidden))}</p>'
            f"{_bar(pane, hidden)}{tiles_of(_tiles(pane, hidden), panel.num_images, True)}"
            f"{body}</section>")


def _bar(pane: Pane, hidden: bool) -> str:
    if hidden and pane.panel.phase == "running":
        return '<div class="bar moving"><span></span></div>'
    return progress_bar(pane.panel)


def _status(pane: Pane, hidden: bool) -> str:
    panel = pane.panel
    if hidden:  # steps and messages would tell the generators apart
        if panel.phase in ("waiting", "running"):
            return strings.DRAWING
        return strings.FINISHED if panel.cards else panel.status()
    budget = pane.result.metadata.get("time_budget_s") if pane.result is not None else None
    if budget and panel.phase == "stopped" and panel.cards \
            and pane.usage.device_s >= budget:
        return strings.BEST_AFTER.format(seconds(budget))
    return panel.status()


def _tiles(pane: Pane, hidden: bool) -> list[str]:
    panel = pane.panel
    if panel.cards:
        if hidden:
            return [_plain(card) for card in panel.cards]
        return [_card(card, rank) for rank, card in enumerate(panel.cards, 1)]
    drawn = panel.preview.images if panel.preview and not hidden else ()
    tiles = [preview_tile(panel, data_uri(image)) for image in drawn]
    if panel.phase in ("waiting", "running"):
        tiles += [blank_tile() for _ in range(panel.num_images - len(tiles))]
    return tiles


def _plain(card: Card) -> str:
    """A picture whose file name and facts would give its generator away."""
    url = data_uri(load_image(card.path.read_bytes()))
    return (f'<figure class="tile done"><div class="frame"><img src="{url}" '
            f'alt="{escape(card.prompt)}"></div><figcaption></figcaption></figure>')


def _card(card: Card, rank: int) -> str:
    scores = ""
    if card.clip_score is not None:
        scores += (f'<span class="score" title="{escape(strings.CLIP_TITLE)}">'
                   f"CLIP {figure(card.clip_score, '.3f')}</span>")
    if card.guide_score is not None:
        scores += (f'<span class="guide" title="{escape(strings.GUIDE_TITLE)}">'
                   f"{escape(strings.GUIDE_SCORE.format(figure(card.guide_score, '.3f')))}</span>")
    return (f'<figure class="tile done">{picture_frame(card, rank)}<figcaption>{scores}'
            f'<span class="from seed">{strings.SEED_OF.format(card.seed)}</span></figcaption>'
            "</figure>")


def _usage(usage: Usage) -> str:
    if not usage.device_s:
        return '<p class="usage"></p>'
    memory = ""
    if usage.peak_memory_bytes is not None:
        memory = f" · {strings.PEAK_MEMORY.format(usage.peak_memory_bytes / 1e6)}"
    return (f'<p class="usage" title="{escape(strings.USAGE_TITLE)}">'
            f"{escape(strings.DEVICE_SECONDS.format(seconds(usage.device_s)) + memory)}</p>")


def _notice(pane: Pane) -> str:
    return f'<p class="usage">{escape(say(pane.notice))}</p>' if pane.notice else ""


def render_outcome(comparison: Comparison) -> str:
    """What the vote was, and whether CLIP agrees; empty before it."""
    if comparison.choice is None:
        return ""
    if not isinstance(comparison.choice, int):
        return f'<p class="outcome">{escape(strings.NO_CHOICE[comparison.choice])}</p>'
    place = comparison.order.index(comparison.choice)
    chosen = f"{comparison.label(place)} · {comparison.panes[comparison.choice].panel.title}"
    text = strings.YOUR_CHOICE.format(chosen)
    favourite = clip_favourite(comparison.panes)
    if favourite is not None:
        text += strings.CLIP_AGREES if favourite == comparison.choice else (
            strings.CLIP_DISAGREES.format(comparison.label(comparison.order.index(favourite))))
    return f'<p class="outcome" role="status">{escape(text)}</p>'


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
