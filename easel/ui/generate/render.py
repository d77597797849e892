"""HTML of a run: panels, tiles, loss curves. Every text from outside is escaped here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape

from easel.serving.paused_runs import PausedRun
from easel.ui.parts.panel import Card, Panel, RunView, data_uri, jpeg_uri, mark_text
from easel.ui.parts.videos import video_url
from easel.ui.words import strings
from easel.ui.words.language import figure, say, say_all
from pipelines.core.events import Mark

CURVE_WIDTH, CURVE_HEIGHT = 240, 36


def render_run(view: RunView) -> str:
    """The whole stage: alert, panels, joint ranking."""
    parts = []
    if view.alert:
        parts.append(f'<p class="alert" role="alert">{escape(say(view.alert))}</p>')
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
            f'<div class="bar rest"></div>{tiles_of(tiles, len(tiles), crowded=False)}</section>')


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
        tiles = [preview_tile(panel, data_uri(image)) for image in drawn]
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
        return f'<p class="alert" role="alert">{escape(say(run.fault))}</p>'
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


def progress_bar(panel: Panel) -> str:
    """The bar under a panel's head; of the same height when nothing moves."""
    if panel.phase not in ("waiting", "running"):
        return '<div class="bar rest"></div>'
    if not panel.total:
        moving = " moving" if panel.phase == "running" else ""
        return f'<div class="bar{moving}"><span></span></div>'
    share = 100 * panel.step / panel.total
    return (f'<div class="bar" role="progressbar" aria-label="{escape(panel.title)}" '
            f'aria-valuemin="0" aria-valuemax="{panel.total}" aria-valuenow="{panel.step}">'
            f'<span style="width:{share:.1f}%"></span></div>')


def tiles_of(tiles: Iterable[str], count: int, crowded: bool) -> str:
    """A grid of tiles whose columns suit their number."""
    size = "one" if count == 1 else "few" if count <= 4 else "many"
    size += " small" if crowded else ""
    return f'<div class="tiles {size}">{"".join(tiles)}</div>'


def blank_tile() -> str:
    """The place of a picture to come."""
    return '<figure class="tile blank"><div class="frame"></div><figcaption></figcaption></figure>'


def preview_tile(panel: Panel, url: str) -> str:
    """A picture in the making."""
    alt = escape(strings.IN_THE_MAKING.format(panel.prompt))
    return (f'<figure class="tile preview"><div class="frame"><img src="{url}" alt="{alt}"></div>'
            "<figcaption></figcaption></figure>")


def _card(card: Card, rank: int, named: bool = False) -> str:
    score = "" if card.clip_score is None else (
        f'<span class="score" title="{escape(strings.SCORE_TITLE)}">'
        f"CLIP {figure(card.clip_score, '.3f')}</span>")
    right = (f'<span class="from">{escape(card.generator)}</span>' if named
             else f'<span class="from seed">{strings.SEED_OF.format(card.seed)}</span>')
    return (f'<figure class="tile done">{picture_frame(card, rank)}'
            f'<figcaption><span class="rank">{rank}</span>{score}'
            f"{right}</figcaption></figure>")


def _sample(card: Card) -> str:
    return (f'<figure class="tile sample">{picture_frame(card, 1)}'
            f"<figcaption>{escape(say(card.prompt))}</figcaption></figure>")


def picture_frame(card: Card, rank: int) -> str:
    """The picture as a button that opens it large; page.js reads the details."""
    details = escape(json.dumps({
        "url": card.url, "filename": card.path.name, "prompt": card.prompt, "rank": rank,
        "seed": card.seed, "facts": say_all(card.facts), "id": card.picture_id,
    }, ensure_ascii=False))
    return (f'<button type="button" class="frame" data-details="{details}" '
            f'aria-label="{escape(strings.OPEN_LARGE.format(rank, card.prompt))}">'
            f'<img src="{escape(card.url)}" alt="{escape(card.prompt)}"></button>')


def loss_curves(panel: Panel) -> str:
    """The loss curves of an optimised picture, each with its last value."""
    drawn = [_curve(name, points, panel.marks) for name, points in panel.losses.items()
             if len(points) > 1]
    if not drawn:
        return ""
    marks = "".join(f"<li>{escape(mark_text(mark))}</li>" for mark in panel.marks)
    marks = f'<ul class="marks">{marks}</ul>' if marks else ""
    return f'<div class="curves">{"".join(drawn)}{marks}</div>'


def _curve(name: str, points: Sequence[tuple[int, float]], marks: Sequence[Mark] = ()) -> str:
    # No more points than pixels; the last one always counts.
    points = [*points[:-1:max(1, len(points) // CURVE_WIDTH)], points[-1]]
    values = [value for _, value in points]
    low, span = min(values), (max(values) - min(values)) or 1.0
    first, steps = points[0][0], (points[-1][0] - points[0][0]) or 1
    path = " ".join(
        f"{(step - first) / steps * CURVE_WIDTH:.1f},"
        f"{CURVE_HEIGHT - 2 - (value - low) / span * (CURVE_HEIGHT - 4):.1f}"
        for step, value in points)
    lines = "".join(
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{CURVE_HEIGHT}">'
        f"<title>{escape(mark_text(mark))}</title></line>"
        for mark in marks
        if 0 <= (x := (mark.step - first) / steps * CURVE_WIDTH) <= CURVE_WIDTH)
    label = escape(say(name.replace("_", " ")))
    return (f'<figure class="curve"><svg viewBox="0 0 {CURVE_WIDTH} {CURVE_HEIGHT}" '
            f'preserveAspectRatio="none" role="img" aria-label="{strings.CURVE_OF.format(label)}">'
            f'{lines}<polyline points="{path}"/></svg>'
            f"<figcaption>{label} <b>{figure(values[-1], '.3f')}</b></figcaption></figure>")


def render_vocabulary_note(unknown: Sequence[str], truncated: bool) -> str:
    """The line under the prompt about what the embedded models cannot read; empty for nothing."""
    notes = []
    if unknown:
        words = ", ".join(f"<mark>{escape(word)}</mark>" for word in unknown)
        notes.append(strings.UNKNOWN_WORDS.format(words))
    if truncated:
        notes.append(strings.PROMPT_CUT)
    return f'<p class="vocabulary">{" ".join(notes)}</p>' if notes else ""
