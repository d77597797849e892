"""Which words DALL·E's transformer looked at, over the picture and for each block."""

from __future__ import annotations

from html import escape

import numpy as np

from easel.ui.inside.view import render_figure
from easel.ui.lab.render import percent, render_note
from easel.ui.parts.panel import data_uri
from easel.words import strings
from pipelines.inside.attention import Looked
from pipelines.inside.score import heat_map

MAP_PX = 128  # the least side of a map


def render_words(looked: Looked, at: int) -> str:
    """What one block looked at: each word of the caption with its share, the more the stronger."""
    words, columns = _whole_words(looked)
    most = max(float(columns[at].max(initial=0)), 1e-9)
    pieces = "".join(
        f'<li style="--share:{60 * float(share) / most:.0f}%">{escape(word)} '
        f"<small>{percent(float(share))}</small></li>"
        for word, share in zip(words, columns[at], strict=True))
    rest = strings.LOOKED_REST.format(percent(float(looked.picture[at])),
                                      percent(float(looked.marks[at])))
    return (f'<h4>{escape(strings.LOOKED_BLOCK)}</h4><ul class="pieces looked">{pieces}</ul>'
            f"{render_note(rest)}")


def _whole_words(looked: Looked) -> tuple[list[str], np.ndarray]:
    """The caption's words without the marks of their pieces, and what was looked at of each
    (N, words), its pieces together."""
    words: list[str] = []
    columns: list[np.ndarray] = []
    for piece, shares in zip(looked.words, looked.shares.T, strict=True):
        if piece.startswith("##") and words:
            words[-1] += piece[2:]
            columns[-1] = columns[-1] + shares
        else:
            words.append(piece.removeprefix("##"))
            columns.append(shares)
    return words, np.stack(columns, 1) if columns else looked.shares


def render_maps(looked: Looked, picture: np.ndarray, side: int) -> str:
    """For each word of the caption a map of the blocks that looked at it, each as strong as can
    be.

    Args:
        looked: of side · side blocks.
        picture: (S, S, 3) uint8 RGB.
        side: blocks along a side.
    """
    words, columns = _whole_words(looked)
    figures, times = [], max(1, MAP_PX // len(picture))
    picture = picture.repeat(times, 0).repeat(times, 1)  # or a browser would blur its pixels
    for word, shares in zip(words, columns.T, strict=True):
        said = strings.LOOKED_MAP.format(word, percent(float(shares.max())))
        uri = data_uri(heat_map(picture, shares.reshape(side, side)))
        figures.append(render_figure(f'<img src="{uri}" alt="{escape(said)}">', said))
    if not figures:
        return ""
    return (f'<details class="inside-means looked-fold"><summary>{escape(strings.LOOKED)}</summary>'
            f"{render_note(strings.LOOKED_INFO)}"
            f'<div class="inside-row looked-maps">{"".join(figures)}</div></details>')
