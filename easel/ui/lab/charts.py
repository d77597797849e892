"""The two pictures that explain CLIP, as plain HTML: texts × pictures, and the map of a collection.

No script draws them: switching between the matrix's views and hovering on the map is CSS alone.
"""

from __future__ import annotations

from html import escape

import numpy as np

from easel.ui.lab.outcomes import Matrix, PictureMap
from easel.ui.lab.render import SMALL_PX, percent, render_image
from easel.ui.words import strings
from easel.ui.words.language import figure

MAX_TINT = 60  # percent of the accent behind a full cell, so that its figure stays readable
# Told apart without hue alone: the legend and each picture's words say the label too.
COLOURS = ("#3f61cd", "#c26a12", "#2e8b57", "#b0307a", "#7a5cc4", "#0d8a9e", "#a3260f", "#7d7a1f",
           "#5a6b7d", "#d0699f")


def render_matrix(matrix: Matrix) -> str:
    """The matrix with three readings: similarities, softmax over texts, softmax over pictures."""
    views = ((strings.MATRIX_PICTURES, matrix.over_pictures, True),
             (strings.MATRIX_TEXTS, matrix.over_texts, True),
             (strings.MATRIX_SIMILARITIES, matrix.similarities, False))
    switches = "".join(
        f'<label><input type="radio" name="matrix-view" value="{n}"'
        f'{" checked" if n == 0 else ""}> {escape(title)}</label>'
        for n, (title, _, _) in enumerate(views))
    heads = "".join(f'<th scope="col">{render_image(path, name, SMALL_PX)}</th>'
                    for path, name in zip(matrix.paths, matrix.names, strict=True))
    tables = "".join(
        f'<table class="matrix view-{n}"><caption class="sr">{escape(title)}</caption>'
        f"<thead><tr><th></th>{heads}</tr></thead><tbody>{_rows(matrix, values, shares)}"
        "</tbody></table>" for n, (title, values, shares) in enumerate(views))
    scale = strings.LOGIT_SCALE.format(figure(matrix.clip.logit_scale, ".2f"))
    return (f'<div class="matrix-box"><fieldset class="matrix-views"><legend class="sr">'
            f"{strings.MATRIX_SHOW}</legend>{switches}</fieldset>"
            f'<div class="matrix-scroll">{tables}</div>'
            f'<p class="lab-note">{escape(scale)}. {_diagonal(matrix)}</p></div>')


def _rows(matrix: Matrix, values: np.ndarray, shares: bool) -> str:
    low, high = (0.0, 1.0) if shares else (float(values.min()), float(values.max()))
    span = (high - low) or 1.0
    rows = []
    for text, row in zip(matrix.texts, values, strict=True):
        cells = "".join(
            f'<td style="--tint:{MAX_TINT * (float(value) - low) / span:.0f}%">'
            f"{percent(float(value)) if shares else figure(float(value), '.3f')}</td>"
            for value in row)
        rows.append(f'<tr><th scope="row">{escape(text)}</th>{cells}</tr>')
    return "".join(rows)


def _diagonal(matrix: Matrix) -> str:
    """Which pairs CLIP would have got right, were the texts those of the pictures in order."""
    count = len(matrix.texts)
    if count != len(matrix.names) or count < 2:
        return ""
    own = np.arange(count)
    texts = int((matrix.similarities.argmax(1) == own).sum())
    pictures = int((matrix.similarities.argmax(0) == own).sum())
    return strings.MATRIX_DIAGONAL.format(texts, pictures, count)


def render_map(found: PictureMap) -> str:
    """Pictures where their features put them, with a ring in the colour of their label."""
    low, high = found.points.min(0), found.points.max(0)
    places = (found.points - low) / np.where(high > low, high - low, 1.0)
    dots = []
    for item, (x, y), label in zip(found.items, places, found.colours, strict=True):
        name = item.prompt or item.key
        said = f"{found.labels[label]}: {name}" if found.labels else name
        dots.append(
            # Not in the order of Tab, which would stop at hundreds; a touch makes it large.
            f'<span class="dot" tabindex="-1" style="--x:{100 * x:.2f}%;--y:{100 * (1 - y):.2f}%;'
            f'--ring:{COLOURS[label % len(COLOURS)]}" title="{escape(said)}">'
            f"{render_image(item.path, said, SMALL_PX)}"
            f'<span class="said" aria-hidden="true">{escape(said)}</span></span>')
    counts = np.bincount(found.colours, minlength=len(found.labels))
    legend = "".join(
        f'<li><span style="background:{COLOURS[n % len(COLOURS)]}"></span>{escape(label)} '
        f"{counts[n]:,}</li>" for n, label in enumerate(found.labels) if counts[n])
    note = strings.MAP_SHARES.format(percent(float(found.shares.sum())))
    if found.total > len(found.items):
        note += " " + strings.MAP_SOME.format(f"{len(found.items):,}", f"{found.total:,}")
    crowd = " crowded" if len(found.items) > 80 else ""
    return (f'<div class="map{crowd}" role="group" aria-label="{escape(strings.MAP_TITLE)}">'
            f'{"".join(dots)}</div><ul class="legend">{legend}</ul>'
            f'<p class="lab-note">{escape(note)}</p>')
