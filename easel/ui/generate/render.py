"""HTML of a run: panels, samples, paused runs. Every text from outside is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from easel.serving.paused_runs import PausedRun
from easel.ui.parts.panel import Card, Panel, RunView, jpeg_uri
from easel.ui.parts.tiles import (
    alert,
    bar_at_rest,
    blank_tile,
    clip_mark,
    loss_curves,
    origin_mark,
    picture_frame,
    preview_tile,
    progress_bar,
    rank_mark,
    tile,
    tiles_of,
)
from easel.ui.parts.videos import video_url
from easel.ui.words import strings
from easel.ui.words.language import say


def render_run(view: RunView) -> str:
    """The whole stage: panels, joint ranking."""
    parts = []
    crowded = len(view.panels) > 1
    parts.extend(render_panel(panel, crowded) for panel in view.panels)
    if ranking := view.joint_ranking():
        parts.append(
            f'<section class="panel ranking" aria-label="{escape(strings.RANKING_TITLE)}">'
            f'<header><h2>{escape(strings.RANKING_TITLE)}</h2></header>'
            + tiles_of((_card(card, rank, named=True) for rank, card in enumerate(ranking, 1)),
                     len(ranking), crowded=True)
            + "</section>")
    return "".join(parts)


def render_empty(samples: Sequence[Card] = (), num_images: int = 4) -> str:
    """The stage before the first run: samples or blanks, as large as the pictures will be."""
    tiles = [_sample(card) for card in samples] or [blank_tile() for _ in range(num_images)]
    hint = strings.SAMPLES_STAGE if samples else strings.EMPTY_STAGE
    return (f'<section class="panel empty"><header><p class="status">{escape(hint)}</p></header>'
            f'{bar_at_rest()}{tiles_of(tiles, len(tiles), crowded=False)}</section>')


def render_panel(panel: Panel, crowded: bool) -> str:
    """One generator's section.

    Args:
        panel: what is known of it.
        crowded: several panels share the stage, so tiles are smaller.
    """
    if panel.cards:
        tiles = [_card(card, rank) for rank, card in enumerate(panel.cards, 1)]
    else:
        drawn = panel.preview.images if panel.preview else ()
        tiles = [preview_tile(panel, pixels) for pixels in drawn]
        if panel.phase in ("waiting", "running"):
            tiles += [blank_tile() for _ in range(panel.num_images - len(tiles))]
    body = tiles_of(tiles, panel.num_images, crowded) if tiles else ""
    body = f'<div class="drawn">{body}{loss_curves(panel)}</div>'
    # Said once it is over; the progress bar is there for those who ask meanwhile.
    busy = panel.phase in ("waiting", "running")
    role = 'role="alert"' if panel.phase == "failed" else (
        f'role="status" aria-live="{"off" if busy else "polite"}"')
    return (f'<section class="panel {panel.phase}" aria-label="{escape(panel.title)}">'
            f'<header><h2>{escape(panel.title)}</h2>'
            f'<p class="status" {role}>{escape(panel.status())}</p>{video_link(panel)}</header>'
            f"{progress_bar(panel)}{body}</section>")


def render_paused(run: PausedRun) -> str:
    """A run that waits: its last preview, and where it stands."""
    if run.fault:
        return alert(run.fault)
    words = strings.PAUSED_ONE if run.num_images == 1 else strings.PAUSED_MANY
    counts = (run.step, run.total) if run.num_images == 1 else (run.num_images, run.step, run.total)
    facts = words.format(*counts)
    if run.interrupted:
        facts += f" · {strings.PAUSED_BY_END}"
    alt = escape(strings.IN_THE_MAKING.format(run.prompt))
    picture = "" if run.frame is None else f'<img src="{jpeg_uri(run.frame)}" alt="{alt}">'
    return (f'<figure class="paused-run">{picture}<figcaption><b>{escape(run.prompt)}</b>'
            f"<span>{escape(facts)}</span></figcaption></figure>")


def render_paused_none() -> str:
    """Where paused runs would be."""
    return f'<p class="hint">{escape(strings.PAUSED_NONE)}</p>'


def video_link(panel: Panel) -> str:
    """Where the video of a finished run is had; empty where there is none."""
    if panel.film is None or not panel.cards:
        return ""
    return (f'<a class="video" href="{escape(video_url(panel.film))}" download '
            f'title="{escape(strings.VIDEO_TITLE)}">{escape(strings.VIDEO)}</a>')


def _card(card: Card, rank: int, named: bool = False) -> str:
    right = origin_mark(card.generator) if named else origin_mark(
        strings.SEED_OF.format(card.seed), kind="seed")
    return tile(picture_frame(card, rank), rank_mark(rank)
                + clip_mark(card.clip_score, strings.SCORE_TITLE) + right, "done")


def _sample(card: Card) -> str:
    return tile(picture_frame(card, 1), escape(say(card.prompt)), "sample")
