"""HTML of the lab's outcomes. Every text from outside is escaped here.

No script draws the two pictures that explain CLIP, texts × pictures and the map of a collection:
switching between the matrix's views and hovering on the map is CSS alone.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from functools import lru_cache
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from easel.search.query import Hit
from easel.ui.lab.outcomes import Classified, Matrix, PictureMap
from easel.ui.parts.names import with_names
from easel.ui.parts.tiles import origin_mark, rank_mark, score_mark, tile
from easel.words import strings
from easel.words.language import counted, figure, say
from pipelines.core.errors import EaselError
from pipelines.core.images import MAX_BYTES, load_small

THUMBNAIL_PX, SMALL_PX = 320, 96
MAX_BARS = 10
MAX_ROWS = 100
MAX_PER_GROUP = 12
MAX_FAULTS = 20
MAX_TINT = 60  # percent of the accent behind a full cell, so that its figure stays readable
# Told apart without hue alone: the legend and each picture's words say the label too.
COLOURS = ("#3f61cd", "#c26a12", "#2e8b57", "#b0307a", "#7a5cc4", "#0d8a9e", "#a3260f", "#7d7a1f",
           "#5a6b7d", "#d0699f")


def render_note(text: str) -> str:
    """A line about how things stand."""
    return f'<p class="lab-note" role="status">{with_names(say(text))}</p>'


def thumbnail(path: str | Path, side_px: int) -> str:
    """A small copy of a picture as a data URI; empty where it cannot be read any more."""
    try:
        return _thumbnail(str(path), Path(path).stat().st_mtime_ns, side_px)
    except (OSError, EaselError):
        return ""


@lru_cache(maxsize=2048)
def _thumbnail(path: str, stamp: int, side_px: int) -> str:
    with open(path, "rb") as file:
        picture = Image.fromarray(load_small(file.read(MAX_BYTES + 1), side_px))
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=82)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def render_image(path: str | Path, alt: str, side_px: int = THUMBNAIL_PX) -> str:
    """A picture, or a sentence where its file is gone."""
    uri = thumbnail(path, side_px)
    if not uri:
        return f'<span class="lab-gone">{escape(strings.LAB_FILE_GONE)}</span>'
    return f'<img src="{uri}" alt="{escape(alt)}" loading="lazy" decoding="async">'


def percent(share: float) -> str:
    """A share as people read it."""
    return f"{figure(100 * share, '.1f')} %"


def render_bars(labels: Sequence[str], shares: Sequence[float], grey: bool = False) -> str:
    """Labels with their probabilities as bars, in the order given; grey where they mean little."""
    rows = "".join(
        f'<li><span class="lab-label">{escape(label)}</span>'
        f'<span class="lab-bar"><span style="width:{100 * share:.2f}%"></span></span>'
        f'<span class="lab-share">{percent(share)}</span></li>'
        for label, share in zip(labels, shares, strict=True))
    return f'<ol class="lab-bars{" grey" if grey else ""}">{rows}</ol>'


def render_facts(outcome: Classified, title: str, num_templates: int) -> str:
    """The line above: which CLIP, its logit scale, templates."""
    templates = counted(num_templates, strings.LAB_TEMPLATES_USED)
    scale = strings.LOGIT_SCALE.format(figure(outcome.clip.logit_scale, ".2f"))
    return (f'<p class="lab-note">{with_names(say(title))} · '
            f"{escape(scale)} · {templates}</p>"
            f"{render_terms(strings.LOGIT_SCALE_INFO, strings.TEMPLATE_INFO)}")


def render_terms(*meanings: str) -> str:
    """What the words above mean, folded away; opens by keys and on a phone, as no title does."""
    return (f'<details class="terms"><summary>{escape(strings.LAB_TERMS)}</summary>'
            f"{''.join(f'<p>{escape(each)}</p>' for each in meanings)}</details>")


def render_one(outcome: Classified) -> str:
    """One picture beside its bar chart."""
    order = outcome.found.ranking(0)
    shares = outcome.found.probabilities[0]
    shown = order[:MAX_BARS]
    bars = render_bars([outcome.found.labels[i] for i in shown], [float(shares[i]) for i in shown],
                       any(outcome.misfits))
    rest = ""
    if len(order) > MAX_BARS:
        left = float(sum(shares[i] for i in order[MAX_BARS:]))
        rest = render_note(counted(len(order) - MAX_BARS, strings.LAB_OTHERS, percent(left)))
    picture = render_image(outcome.paths[0], outcome.names[0], 640)
    return (f'<div class="lab-one"><div class="lab-picture">{picture}</div>'
            f"<div>{bars}{rest}</div></div>")


def render_many(outcome: Classified) -> str:
    """Several pictures as a table of their three likeliest labels."""
    found, rows = outcome.found, []
    for row, name in enumerate(outcome.names[:MAX_ROWS]):
        order, shares = found.ranking(row)[:3], found.probabilities[row]
        bars = render_bars([found.labels[i] for i in order], [float(shares[i]) for i in order],
                           bool(outcome.misfits) and outcome.misfits[row])
        image = render_image(outcome.paths[row], name, SMALL_PX)
        rows.append(f'<tr><td class="lab-thumb">{image}</td><th scope="row">{escape(name)}</th>'
                    f"<td>{bars}</td></tr>")
    more = len(outcome.names) - MAX_ROWS
    note = render_note(strings.LAB_MORE_ROWS.format(f"{more:,}")) if more > 0 else ""
    return (f'<table class="lab-table"><thead><tr><th></th>'
            f"<th>{strings.LAB_PICTURE}</th><th>{strings.LAB_LIKELIEST}</th></tr></thead>"
            f'<tbody>{"".join(rows)}</tbody></table>{note}')


def render_sorted(outcome: Classified) -> str:
    """Pictures under the label that fits them best, the surest first."""
    found = outcome.found
    best = found.probabilities.argmax(1)
    sections = []
    for label in np.argsort(-np.bincount(best, minlength=len(found.labels)), kind="stable"):
        rows = np.flatnonzero(best == label)
        if not len(rows):
            continue
        shares = found.probabilities[rows, label]
        rows = rows[np.argsort(-shares, kind="stable")]
        tiles = "".join(_tile(outcome.paths[row], outcome.names[row],
                              percent(float(found.probabilities[row, label])))
                        for row in rows[:MAX_PER_GROUP])
        more = len(rows) - MAX_PER_GROUP
        note = render_note(strings.LAB_MORE.format(f"{more:,}")) if more > 0 else ""
        sections.append(f'<section class="lab-group"><h3>{escape(found.labels[label])} '
                        f"<small>{len(rows):,}</small></h3>"
                        f'<div class="lab-tiles">{tiles}</div>{note}</section>')
    return "".join(sections)


def render_faults(faults: Sequence[tuple[str, str]]) -> str:
    """Files that could not be read, each with the reason."""
    if not faults:
        return ""
    lines = "".join(f"<li><b>{escape(name)}</b>: {escape(say(reason))}</li>"
                    for name, reason in faults[:MAX_FAULTS])
    more = len(faults) - MAX_FAULTS
    lines += f"<li>{strings.LAB_MORE.format(f'{more:,}')}</li>" if more > 0 else ""
    title = strings.LAB_FAULTS.format(f"{len(faults):,}")
    return f'<details class="lab-faults"><summary>{title}</summary><ul>{lines}</ul></details>'


def render_save(path: Path) -> str:
    """A link that saves a table; it comes with the outcome, and so is never there without it."""
    return (f'<p class="lab-save"><a class="chip" download="{escape(path.name)}" '
            f'href="gradio_api/file={escape(quote(str(path)))}">{escape(strings.LAB_CSV)}</a></p>')


def render_hits(hits: Sequence[Hit], grey: Sequence[bool]) -> str:
    """Pictures that were found, the nearest first; grey figures mean little."""
    if not hits:
        return render_note(strings.LAB_NO_HITS)
    tiles = "".join(_tile(hit.item.path, hit.item.prompt or hit.item.key, f"{hit.similarity:.3f}",
                          rank, little)
                    for rank, (hit, little) in enumerate(zip(hits, grey, strict=True), start=1))
    return f'<div class="lab-tiles">{tiles}</div>'


def render_groups(groups: Iterable[Sequence[Hit]]) -> str:
    """Groups of near-duplicates; each member with its similarity to the group's first."""
    sections = []
    for number, group in enumerate(groups, start=1):
        tiles = "".join(_tile(hit.item.path, hit.item.prompt or hit.item.key,
                              f"{hit.similarity:.3f}") for hit in group[:MAX_PER_GROUP])
        title = strings.LAB_GROUP.format(number, len(group))
        sections.append(f'<section class="lab-group"><h3>{escape(title)}</h3>'
                        f'<div class="lab-tiles">{tiles}</div></section>')
    return "".join(sections) or render_note(strings.LAB_NO_DUPLICATES)


def _tile(path: str | Path, name: str, score: str, rank: int | None = None,
          grey: bool = False) -> str:
    shown = name.rsplit("/", 1)[-1] or name  # folders first would fill the line
    return tile(render_image(path, name), ("" if rank is None else rank_mark(rank))
                + score_mark(score, grey=grey) + origin_mark(shown, name))



def render_matrix(matrix: Matrix) -> str:
    """The matrix with three readings: similarities, softmax over texts, softmax over pictures."""
    scale = strings.LOGIT_SCALE.format(figure(matrix.clip.logit_scale, ".2f"))
    return render_readings(
        "matrix-view", matrix.texts, matrix.names, matrix.paths,
        (matrix.over_pictures, matrix.over_texts, matrix.similarities),
        f"{escape(scale)}. {_diagonal(matrix)}", matrix.misfits) + render_terms(
            strings.LOGIT_SCALE_INFO)


def render_readings(name: str, texts: Sequence[str], names: Sequence[str],
                    paths: Sequence[str | Path], readings: Sequence[np.ndarray], note: str,
                    misfits: Sequence[bool] = ()) -> str:
    """Texts against pictures, with a switch between the readings.

    Args:
        name: of the switch, one on the page.
        texts: of the rows.
        names: of the pictures.
        paths: their files.
        readings: (M, N) each: softmax over the pictures, over the texts, similarities.
        note: what is said of them, as HTML.
        misfits: whether each picture is unlike anything that the CLIP has seen; empty for none.
    """
    titles = (strings.MATRIX_PICTURES, strings.MATRIX_TEXTS, strings.MATRIX_SIMILARITIES)
    switches = "".join(
        f'<label><input type="radio" name="{name}" value="{n}"'
        f'{" checked" if n == 0 else ""}> {escape(title)}</label>'
        for n, title in enumerate(titles))
    tables = "".join(
        render_reading(f"view-{n}", title, texts, names, paths, values, n < 2, misfits)
        for n, (title, values) in enumerate(zip(titles, readings, strict=True)))
    return (f'<div class="matrix-box"><fieldset class="matrix-views"><legend class="sr">'
            f"{strings.MATRIX_SHOW}</legend>{switches}</fieldset>"
            f'<div class="matrix-scroll">{tables}</div>'
            f'<p class="lab-note">{note}</p></div>')


def render_reading(kind: str, title: str, texts: Sequence[str], names: Sequence[str],
                   paths: Sequence[str | Path], values: np.ndarray, shares: bool,
                   misfits: Sequence[bool] = ()) -> str:
    """One reading of a matrix as a table; see ``render_readings``.

    Args:
        kind: its class.
        title: which reading it is.
        texts: of the rows.
        names: of the pictures.
        paths: their files.
        values: (M, N).
        shares: whether they are probabilities.
        misfits: see ``render_readings``.
    """
    heads = "".join(f'<th scope="col">{render_image(path, name, SMALL_PX)}</th>'
                    for path, name in zip(paths, names, strict=True))
    rows = _rows(texts, values, shares, misfits or (False,) * len(names))
    return (f'<table class="matrix {kind}"><caption class="sr">{escape(title)}</caption>'
            f"<thead><tr><th></th>{heads}</tr></thead><tbody>{rows}</tbody></table>")


def _rows(texts: Sequence[str], values: np.ndarray, shares: bool, misfits: Sequence[bool]) -> str:
    low, high = (0.0, 1.0) if shares else (float(values.min()), float(values.max()))
    span = (high - low) or 1.0
    rows = []
    classes = [' class="grey"' if grey else "" for grey in misfits]
    for text, row in zip(texts, values, strict=True):
        cells = "".join(
            f'<td{name} style="--tint:{MAX_TINT * (float(value) - low) / span:.0f}%">'
            f"{percent(float(value)) if shares else figure(float(value), '.3f')}</td>"
            for value, name in zip(row, classes, strict=True))
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
