"""HTML of a run: panels, samples, paused runs. Every text from outside is escaped here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape

from easel.serving.paused_runs import PausedRun
from easel.ui.parts.names import with_names
from easel.ui.parts.panel import Card, Panel, RunView, jpeg_uri
from easel.ui.parts.tiles import (
    alert,
    blank_tile,
    fit_mark,
    loss_curves,
    origin_mark,
    picture_frame,
    preview_tile,
    progress_bar,
    rank_mark,
    status_line,
    tile,
    tiles_of,
)
from easel.ui.parts.verdict import gain, render_verdict
from easel.ui.parts.videos import frame_url, video_url
from easel.words import strings
from easel.words.language import counted, say
from pipelines.models.checkpoints.catalogue import Catalogue

MANY = 9  # tiles that are small however many there are


def render_run(view: RunView) -> str:
    """The whole stage: how the run went, and one table of pictures that is read in two ways."""
    crowded, ranking = len(view.panels) > 1, view.joint_ranking()
    places = {card: rank for rank, card in enumerate(ranking, 1)}
    panels = "".join(render_panel(panel, crowded, places) for panel in view.panels)
    best = ranking or (list(view.panels[0].cards) if view.is_over() and view.panels else [])
    # Room for what is said at the end; none where no picture came of which to say it.
    head = "" if view.is_over() and not best else (
        f'<header class="run-head">{render_verdict(best, view.doubted)}{_judges(best)}'
        f'{_views() if ranking else ""}</header>')
    by_clip = ""
    if ranking:
        by_clip = (f'<section class="panel ranking" aria-label="{escape(strings.RANKING_TITLE)}">'
                   + tiles_of((_card(card, rank, named=True)
                               for rank, card in enumerate(ranking, 1)), len(ranking), crowded=True)
                   + "</section>")
    rejected = "".join(map(_rejected, view.panels)) if view.is_over() else ""
    return (f'<div class="run">{head}<div class="by-generator">{panels}</div>{by_clip}{rejected}'
            "</div>")


def render_earlier(html: str) -> str:
    """A run that is over, below the one that followed it.

    A form, because only there the switch between two orders is one of its own.
    """
    return f'<form class="earlier" aria-label="{escape(strings.EARLIER_RUN)}">{html}</form>'


def _judges(cards: Sequence[Card]) -> str:
    """Which CLIPs put the pictures in order; nothing where nobody knows."""
    found = dict.fromkeys(say(_titles().get(card.ranker, card.ranker))
                          for card in cards if card.ranker)
    if not found:
        return ""
    return f'<small class="judge">{with_names(strings.ORDER_BY.format(", ".join(found)))}</small>'


@cache
def _titles() -> dict[str, str]:
    """Of the models that ship with a catalogue entry, by id; a person's own go by their ids."""
    return {entry.id: entry.title for entry in Catalogue.load()}


def _views() -> str:
    """The switch between the two ways; style.css shows one of them."""
    choices = "".join(
        f'<label><input type="radio" name="pictures-by" value="{value}"'
        f'{" checked" if value == "clip" else ""}><span>{escape(label)}</span></label>'
        for value, label in (("clip", strings.BY_CLIP), ("generator", strings.BY_GENERATOR)))
    return (f'<fieldset class="views"><legend class="sr">{escape(strings.PICTURES_BY)}</legend>'
            f"{choices}</fieldset>")


def _rejected(panel: Panel) -> str:
    """The pictures that were drawn as well where the best of many are kept, folded."""
    if not panel.rejected:
        return ""
    kept = len(panel.cards)
    tiles = [tile(picture_frame(card, rank, lazy=True), rank_mark(rank) + fit_mark(
        card, strings.SCORE_TITLE), "done") for rank, card in enumerate(panel.rejected, kept + 1)]
    said = f"{panel.title}: {gain(panel.cards, panel.rejected)}"
    return (f'<details class="rejected"><summary>{escape(said)}</summary>'
            f"{tiles_of(tiles, MANY, crowded=True)}</details>")


def render_empty(samples: Sequence[Card] = (), num_images: int = 4) -> str:
    """The stage before the first run: samples or blanks, as large as the pictures will be."""
    tiles = [_sample(card) for card in samples] or [blank_tile() for _ in range(num_images)]
    hint = strings.SAMPLES_STAGE if samples else strings.EMPTY_STAGE
    return (f'<div class="run"><header class="run-head"><p class="verdict">{escape(hint)}</p>'
            f'</header><section class="panel empty">'
            f"{tiles_of(tiles, len(tiles), crowded=False)}</section></div>")


def render_keys() -> str:
    """What the keys do, in either of two ways, and the button between them (page.js)."""
    ways = "".join(
        f'<span class="by-{way}">{said} <button type="button" data-enter="{other}">'
        f"{escape(offer)}</button></span>"
        for way, said, other, offer in (
            ("enter", strings.KEYS, "ctrl", strings.KEYS_USE_CTRL),
            ("ctrl", strings.KEYS_CTRL, "enter", strings.KEYS_USE_ENTER)))
    return f'<p class="keys">{ways}</p>'


def render_panel(panel: Panel, crowded: bool, places: Mapping[Card, int] | None = None) -> str:
    """One generator's section.

    Args:
        panel: what is known of it.
        crowded: several panels share the stage, so tiles are smaller.
        places: of the pictures among those of all panels, once these are known.
    """
    if panel.cards:
        tiles = [_card(card, (places or {}).get(card, rank))
                 for rank, card in enumerate(panel.cards, 1)]
    else:
        drawn = panel.preview.images if panel.preview else ()
        tiles = [preview_tile(panel, pixels) for pixels in drawn]
        if panel.phase in ("waiting", "running"):
            tiles += [blank_tile() for _ in range(panel.num_images - len(tiles))]
    body = tiles_of(tiles, panel.num_images, crowded) if tiles else ""
    body = f'<div class="drawn">{body}{loss_curves(panel)}</div>{player(panel)}'
    return (f'<section class="panel {panel.phase}" aria-label="{escape(panel.title)}">'
            f'<header><h2>{escape(panel.title)}</h2>'
            f"{status_line(panel, panel.status())}{video_link(panel)}</header>"
            f"{progress_bar(panel)}{body}</section>")


def render_paused(run: PausedRun) -> str:
    """A run that waits: its last preview, and where it stands."""
    if run.fault:
        return alert(run.fault)
    facts = counted(run.num_images, strings.PAUSED_PICTURES, run.step, run.total)
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


def player(panel: Panel) -> str:
    """How the pictures came about, step by step, in a fold; page.js turns the frames over."""
    if panel.film is None or not panel.cards:
        return ""
    steps = json.dumps([*panel.film_steps, panel.total or panel.step])
    last = len(panel.film_steps)
    alt = escape(strings.IN_THE_MAKING.format(panel.prompt))
    return (f'<details class="player" data-frames="{escape(frame_url(panel.film))}" '
            f'data-steps="{steps}"><summary>{escape(strings.PLAYER)}</summary>'
            f'<img alt="{alt}"><div><button type="button" data-play aria-pressed="false">'
            f"{escape(strings.PLAYER_PLAY)}</button>"
            f'<input type="range" min="0" max="{last}" value="{last}" '
            f'aria-label="{escape(strings.PLAYER_STEP)}"><output></output></div></details>')


def _card(card: Card, rank: int, named: bool = False) -> str:
    right = origin_mark(card.generator) if named else origin_mark(
        strings.SEED_OF.format(card.seed), kind="seed")
    return tile(picture_frame(card, rank), rank_mark(rank) + fit_mark(card, strings.SCORE_TITLE)
                + right, "done")


def _sample(card: Card) -> str:
    return tile(picture_frame(card, 1), escape(say(card.prompt)), "sample")
