"""HTML that every tab is made of: tiles, progress bars, loss curves. All texts are escaped here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape

from easel.ui.parts.panel import Card, Panel, mark_text
from easel.ui.words import strings
from easel.ui.words.language import figure, say, say_all
from pipelines.core.events import Mark

CURVE_WIDTH, CURVE_HEIGHT = 240, 36


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
