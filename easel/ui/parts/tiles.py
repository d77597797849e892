"""HTML that every tab is made of: tiles, progress bars, loss curves. All texts are escaped here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from easel.ui.parts.panel import Card, Panel, data_uri, mark_text
from easel.words import strings
from easel.words.language import figure, say, say_all
from pipelines.core.events import Mark

_EMPTY_BAR = '<div class="bar"></div>'
CURVE_WIDTH, CURVE_HEIGHT = 240, 96


def alert(sentence: str) -> str:
    """What went wrong, in one sentence."""
    return f'<p class="alert" role="alert">{escape(say(sentence))}</p>'


def hidden_alert(**data: int) -> str:
    """An empty alert that a script fills and shows; ``data`` is what it needs to know."""
    attributes = "".join(f' data-{name}="{value}"' for name, value in data.items())
    return f'<p class="alert" role="alert"{attributes} hidden></p>'


def kept_note(text: str) -> str:
    """What was taken over from a kept picture, or done with some; empty for nothing."""
    return f'<p class="kept-note" role="status">{escape(say(text))}</p>' if text else ""


def status_line(panel: Panel, text: str) -> str:
    """Where a run stands, under its title: an alert where it failed.

    Said aloud once it is over; the progress bar is there for those who ask meanwhile.
    """
    busy = panel.phase in ("waiting", "running")
    role = 'role="alert"' if panel.phase == "failed" else (
        f'role="status" aria-live="{"off" if busy else "polite"}"')
    return f'<p class="status" {role}>{escape(text)}</p>'


def bar(step: int, total: int, label: str = "", moving: bool = False) -> str:
    """How far something is, with its figures for those who ask.

    Args:
        step: what is done.
        total: of how much; 0 where nobody knows yet.
        label: what it is about.
        moving: whether it is under way although nobody knows how far.
    """
    if not total:
        return '<div class="bar moving"><span></span></div>' if moving else _EMPTY_BAR
    return _filled_bar(100 * step / total, f' role="progressbar" aria-label="{escape(label)}" '
                       f'aria-valuemin="0" aria-valuemax="{total}" aria-valuenow="{step}"')


def bar_at_rest() -> str:
    """The place of a bar, as high as one, when nothing moves."""
    return '<div class="bar rest"></div>'


def _filled_bar(percent: float, attributes: str = "") -> str:
    return f'<div class="bar"{attributes}><span style="width:{percent:.1f}%"></span></div>'


def gauge(label: str, share: float, total: str) -> str:
    """How much of something is taken.

    Args:
        label: of what.
        share: 0..1.
        total: the same in words.
    """
    return (f'<div class="gauge" role="meter" aria-label="{label}" aria-valuemin="0" '
            f'aria-valuemax="100" aria-valuenow="{100 * share:.0f}" aria-valuetext="{total}">'
            f'<p><b>{label}</b> {total}</p>{_filled_bar(100 * share)}</div>')


def progress_bar(panel: Panel, hidden: bool = False) -> str:
    """The bar under a panel's head.

    Args:
        panel: what it is about.
        hidden: whether steps would say too much: they would tell generators apart.
    """
    if panel.phase not in ("waiting", "running"):
        return bar_at_rest()
    if hidden and panel.phase == "running":
        return bar(0, 0, moving=True)
    moving = panel.phase == "running" and panel.ahead is None  # a run that waits does not move
    return bar(panel.step, panel.total, panel.title, moving)


def facts_list(rows: Iterable[tuple[str, str]]) -> str:
    """Label and value of everything worth reading."""
    lines = "".join(f"<dt>{escape(say(label))}</dt><dd>{escape(say(value))}</dd>"
                    for label, value in rows)
    return f'<dl class="kept-facts">{lines}</dl>'


def tile(picture: str, caption: str = "", kind: str = "") -> str:
    """A picture in its frame above what is said of it, both as HTML.

    Args:
        picture: an image, or a frame of its own as ``picture_frame`` makes it.
        caption: what stands below.
        kind: "done", "preview", "sample" or "blank".
    """
    if not picture.startswith("<button"):
        picture = f'<div class="frame">{picture}</div>'
    return (f'<figure class="{f"tile {kind}".rstrip()}">{picture}'
            f"<figcaption>{caption}</figcaption></figure>")


def image(url: str, alt: str, size_px: tuple[int, int] | None = None, lazy: bool = False,
          ) -> str:
    """An image that fills its frame, but is not shown larger than twice its pixels.

    Args:
        url: where it is.
        alt: what it shows.
        size_px: width and height; where nobody knows them, page.js says them once it has loaded.
        lazy: whether it is fetched only once it is in view.
    """
    later = ' loading="lazy"' if lazy else ""
    size = "" if size_px is None else f' style="--width:{size_px[0]}px;--height:{size_px[1]}px"'
    return f'<img src="{escape(url)}" alt="{escape(alt)}"{size}{later}>'


def drawn_image(pixels: np.ndarray, alt: str) -> str:
    """An image of pixels, (H, W, 3) uint8 RGB."""
    height_px, width_px = pixels.shape[:2]
    return image(data_uri(pixels), alt, (width_px, height_px))


def rank_mark(rank: int) -> str:
    """The place of a picture among others."""
    best = " best" if rank == 1 else ""
    return f'<span class="rank{best}">{rank}</span>'


def score_mark(score: str, title: str = "", grey: bool = False) -> str:
    """What a picture scored, with what that means; empty for nothing.

    Args:
        score: the figure.
        title: what it means.
        grey: whether it means little.
    """
    about = f' title="{escape(title)}"' if title else ""
    kind = "score grey" if grey else "score"
    return f'<span class="{kind}"{about}>{score}</span>' if score else ""


def fit_mark(card: Card, title: str = "") -> str:
    """How well a picture fits by the ranker; empty where nothing was ranked.

    Args:
        card: the picture.
        title: what the ranker's score is, where it has no scale.
    """
    if card.clip_score is None:
        return ""
    if card.fit is None:
        return score_mark(f"CLIP {figure(card.clip_score, '.2f')}", title)
    return score_mark(strings.FIT.format(card.fit), strings.FIT_TITLE.format(card.fit))


def origin_mark(text: str, title: str = "", kind: str = "") -> str:
    """Where a picture comes from, at the end of the line."""
    about = f' title="{escape(title)}"' if title else ""
    return f'<span class="{f"from {kind}".rstrip()}"{about}>{escape(text)}</span>'


def tiles_of(tiles: Iterable[str], count: int, crowded: bool) -> str:
    """A grid of tiles whose columns suit their number."""
    size = "one" if count == 1 else "few" if count <= 4 else "many"
    size += " small" if crowded else ""
    return f'<div class="tiles {size}">{"".join(tiles)}</div>'


def blank_tile() -> str:
    """The place of a picture to come."""
    return tile("", kind="blank")


def preview_tile(panel: Panel, pixels: np.ndarray) -> str:
    """A picture in the making, (H, W, 3) uint8 RGB."""
    return tile(drawn_image(pixels, strings.IN_THE_MAKING.format(panel.prompt)), kind="preview")


def picture_frame(card: Card, rank: int, lazy: bool = False) -> str:
    """The picture as a button that opens it large; page.js reads the details.

    Args:
        card: the picture.
        rank: its place among the others.
        lazy: whether it is fetched only once it is in view.
    """
    details = escape(json.dumps({
        "url": card.url, "filename": card.path.name, "prompt": card.prompt, "rank": rank,
        "seed": card.seed, "facts": say_all(card.facts), "id": card.picture_id,
    }, ensure_ascii=False))
    return (f'<button type="button" class="frame" data-details="{details}" '
            f'aria-label="{escape(strings.OPEN_LARGE.format(rank, card.prompt))}">'
            f"{image(card.url, card.prompt, card.size_px, lazy)}</button>")


def loss_curves(panel: Panel) -> str:
    """The loss curves of an optimised picture, each with its last value and its two axes."""
    drawn = [render_curve(name, points, panel.marks) for name, points in panel.losses.items()
             if len(points) > 1]
    if not drawn:
        return ""
    marks = "".join(f"<li>{escape(mark_text(mark))}</li>" for mark in panel.marks)
    marks = f'<ul class="marks">{marks}</ul>' if marks else ""
    return f'<div class="curves">{"".join(drawn)}{marks}</div>'


def render_curve(name: str, points: Sequence[tuple[int, float]], marks: Sequence[Mark] = (),
                 ) -> str:
    """A curve with its last value and its two axes.

    Args:
        name: of what it shows, in English.
        points: steps and values, at least two.
        marks: changes, as lines.
    """
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
    ends = (f'<span class="high">{figure(max(values), ".3g")}</span>'
            f'<span class="low">{figure(low, ".3g")}</span>'
            f'<span class="from">{figure(first, ",")}</span>'
            f'<span class="to">{strings.CURVE_STEP.format(figure(points[-1][0], ","))}</span>')
    return (f"<figure class=\"curve\"><figcaption>{label} <b>{figure(values[-1], '.3f')}</b>"
            f'</figcaption><div class="plot"><svg viewBox="0 0 {CURVE_WIDTH} {CURVE_HEIGHT}" '
            f'preserveAspectRatio="none" role="img" aria-label="{strings.CURVE_OF.format(label)}">'
            f'{lines}<polyline points="{path}"/></svg>{ends}</div></figure>')
