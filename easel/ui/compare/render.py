"""HTML of a comparison, and what of the tab changes with it. All texts are escaped."""

from __future__ import annotations

from html import escape

import gradio as gr

from easel.compare.plan import MAX_PANES
from easel.serving.jobs import Usage
from easel.ui.compare.parts import CompareParts
from easel.ui.compare.share import save_comparison
from easel.ui.compare.state import Comparison, Pane, clip_favourite
from easel.ui.parts.lines import Updates
from easel.ui.parts.panel import Card, seconds
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.tiles import (
    alert,
    blank_tile,
    drawn_image,
    fit_mark,
    loss_curves,
    origin_mark,
    picture_frame,
    preview_tile,
    progress_bar,
    status_line,
    tile,
    tiles_of,
)
from easel.words import strings
from easel.words.language import figure, say
from pipelines.core.errors import EaselError
from pipelines.core.images import load_image
from pipelines.core.sentences import Sentence

CHOICES = (*range(MAX_PANES), "tie", "bad")


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
    own = not hidden and any(comparison.plan.own_prompts)
    prompt = f'<p class="pane-prompt">{escape(pane.request.prompt)}</p>' if own else ""
    settings = "" if hidden else " · ".join(
        f"{say(name)}: {say(value)}"
        for name, value in comparison.own_settings(comparison.order[place]).items())
    prompt += f'<p class="pane-prompt">{escape(settings)}</p>' if settings else ""
    body = "" if hidden else _usage(pane.usage) + _notice(pane) + loss_curves(panel)
    return (f'<section class="panel pane {panel.phase}{chosen}" aria-label="{escape(title)}">'
            f'<header><h2>{escape(title)}</h2></header>{prompt}'
            f"{status_line(panel, _status(pane, hidden))}"
            f"{progress_bar(panel, hidden)}"
            f"{tiles_of(_tiles(pane, hidden), panel.num_images, True)}"
            f"{body}</section>")


def _status(pane: Pane, hidden: bool) -> str:
    panel = pane.panel
    if hidden:  # steps and messages would tell the generators apart
        if panel.phase in ("waiting", "running"):
            return strings.DRAWING
        return strings.FINISHED if panel.cards else panel.status()
    budget = (pane.facts or {}).get("time_budget_s")
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
    tiles = [preview_tile(panel, pixels) for pixels in drawn]
    if panel.phase in ("waiting", "running"):
        tiles += [blank_tile() for _ in range(panel.num_images - len(tiles))]
    return tiles


def _plain(card: Card) -> str:
    """A picture whose file name and facts would give its generator away."""
    return tile(drawn_image(load_image(card.path.read_bytes()), card.prompt), kind="done")


def _card(card: Card, rank: int) -> str:
    guide = ""
    if card.guide_score is not None:
        guide = (f'<span class="guide" title="{escape(strings.GUIDE_TITLE)}">'
                 f"{escape(strings.GUIDE_SCORE.format(figure(card.guide_score, '.3f')))}</span>")
    return tile(picture_frame(card, rank), fit_mark(card, strings.CLIP_TITLE) + guide
                + origin_mark(strings.SEED_OF.format(card.seed), kind="seed"), "done")


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
    uncounted = f'<p class="hint">{escape(said)}</p>' if (said := why_uncounted(comparison)) else ""
    if not isinstance(comparison.choice, int):
        said = escape(strings.NO_CHOICE[comparison.choice])
        return f'<p class="outcome">{said}</p>{uncounted}'
    text = strings.YOUR_CHOICE.format(_named(comparison, comparison.choice))
    favourite = clip_favourite(comparison.panes)
    if favourite is not None:
        text += strings.CLIP_AGREES if favourite == comparison.choice else (
            strings.CLIP_DISAGREES.format(_named(comparison, favourite)))
    return f'<p class="outcome" role="status">{escape(text)}</p>{uncounted}'


def _named(comparison: Comparison, index: int) -> str:
    """A pane's letter and generator."""
    place = comparison.order.index(index)
    return f"{comparison.label(place)} · {comparison.panes[index].panel.title}"


def why_uncounted(comparison: Comparison) -> str:
    """Why a vote does not count on the leaderboard, in the language to speak; empty where it does.
    """
    if comparison.counted:
        return ""
    return strings.VOTE_PROMPTS if any(comparison.plan.own_prompts) else strings.VOTE_UNCOUNTED


def vote_label(choice: int | str, count: int, label: str = "") -> str:
    """What a button of the vote says."""
    if choice == "tie":
        return strings.VOTE_TIE
    if choice == "bad":
        return strings.VOTE_BAD
    if count == 2:
        return strings.VOTE_RIGHT if choice else strings.VOTE_LEFT
    return Sentence(strings.VOTE_FOR, label)


def _updates(parts: CompareParts, comparison: Comparison, running: bool = True) -> Updates:
    """Panes that are there, their Stop buttons, and no vote."""
    count, shown = len(comparison.panes), comparison.shown()
    updates: Updates = {parts.vote_row: gr.update(visible=False),
                        parts.comparison_id: comparison.id}
    for place, (column, stop) in enumerate(zip(parts.columns, parts.stops, strict=True)):
        updates[column] = gr.update(visible=place < count)
        updates[stop] = gr.update(visible=False)
        if place < count:
            busy = running and shown[place].panel.phase in ("waiting", "running")
            updates[stop] = gr.update(visible=busy, value=strings.STOP_PANE.format(
                comparison.label(place)))
    return updates


def first_view(parts: CompareParts, comparison: Comparison) -> Updates:
    """The tab when a comparison begins."""
    return _updates(parts, comparison) | _panes(parts, comparison) | {
        parts.alert: "", parts.outcome: "", parts.save: gr.update(visible=False)}


def next_view(parts: CompareParts, comparison: Comparison, changed: set[int]) -> Updates:
    """The tab when some panes have changed."""
    return _updates(parts, comparison) | _panes(parts, comparison, changed)


def _panes(parts: CompareParts, comparison: Comparison, changed: set[int] | None = None,
           ) -> Updates:
    """What is in the panes, or in those of them that have changed."""
    return {parts.stages[place]: render_pane(comparison, place)
            for place, index in enumerate(comparison.order) if changed is None or index in changed}


def over_view(parts: CompareParts, comparison: Comparison, store: PictureStore) -> Updates:
    """The tab when all panes have ended, with the vote where it is due."""
    try:
        save = gr.update(visible=True, value=save_comparison(comparison, store))
    except EaselError:  # no picture to save, or no vote yet
        save = gr.update(visible=False)
    updates = _updates(parts, comparison, running=False) | _panes(parts, comparison) | {
        parts.alert: "", parts.outcome: render_outcome(comparison), parts.save: save}
    if comparison.can_be_voted_on():
        count, shown = len(comparison.panes), comparison.shown()
        updates[parts.vote_row] = gr.update(visible=True)
        keys = strings.VOTE_KEYS_BLIND if comparison.hidden else strings.VOTE_KEYS
        said = escape(keys.format(f"1–{count}"))
        updates[parts.vote_label] = f"<p>{escape(strings.VOTE_LABEL)} <small>{said}</small></p>"
        for choice, button in zip(CHOICES, parts.votes, strict=True):
            updates[button] = gr.update(
                value=_label_of(comparison, choice),
                visible=not isinstance(choice, int)
                or (choice < count and bool(shown[choice].panel.cards)))
    return updates


def _label_of(comparison: Comparison, choice: int | str) -> str:
    count = len(comparison.panes)
    known = isinstance(choice, int) and choice < count
    return vote_label(choice, count, comparison.label(int(choice)) if known else "")


def failed_view(parts: CompareParts, sentence: str) -> Updates:
    """The tab when something could not be done; what was drawn stays."""
    return {parts.alert: alert(sentence)}
