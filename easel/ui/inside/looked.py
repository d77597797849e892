"""Which words DALL·E's transformer looked at, over the layers and for each block."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from easel.ui.inside.view import render_figure
from easel.ui.lab.render import percent, render_note
from easel.ui.parts.panel import data_uri
from easel.words import strings
from pipelines.inside.attention import Looked
from pipelines.inside.layers import Stage
from pipelines.inside.score import heat_map


def layer_name(stage: Stage) -> str:
    """What a layer is called that stands alone."""
    if not stage.thing:
        return strings.LAYER_GROUND
    named = {"at once": strings.LAYER_THING, "draft": strings.LAYER_DRAFT,
             "finished": strings.LAYER_FINISHED}[stage.how]
    return named.format(stage.thing)


def render_words(looked: Looked, at: int) -> str:
    """What one block looked at: each word of the caption with its share, the more the stronger."""
    words, columns = _whole_words(looked)
    most = max(float(columns[at].max(initial=0)), 1e-9)
    pieces = "".join(
        f'<li style="--share:{60 * float(share) / most:.0f}%">{escape(word)} '
        f"<small>{percent(float(share))}</small></li>"
        for word, share in zip(words, columns[at], strict=True))
    rest = strings.LOOKED_REST.format(*(percent(float(each[at])) for each in (
        looked.plan, looked.picture, looked.marks)))
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


def render_maps(looked: Looked, layers: np.ndarray, stages: Sequence[Stage], side: int) -> str:
    """For each word of the caption a map a layer of the blocks that looked at it, those of a word
    together as strong as can be.

    Args:
        looked: of L · side · side blocks.
        layers: (L, S, S, 3) uint8 RGB.
        stages: what each of them shows.
        side: blocks along a side of a layer.
    """
    words, columns = _whole_words(looked)
    names = list(map(layer_name, stages))
    figures = []
    for word, shares in zip(words, columns.T, strict=True):
        most, maps = float(shares.max()), []
        for name, pixels, each in zip(names, layers, np.split(shares, len(layers)), strict=True):
            said = strings.LOOKED_LAYER.format(word, name, percent(float(each.max())))
            uri = data_uri(heat_map(pixels, each.reshape(side, side), most))
            maps.append(f'<img src="{uri}" alt="{escape(said)}" title="{escape(said)}">')
        figures.append(render_figure(f'<div class="looked-layers">{"".join(maps)}</div>',
                                     strings.LOOKED_MAP.format(word, percent(most))))
    if not figures:
        return ""
    return (f'<details class="inside-means looked-fold"><summary>{escape(strings.LOOKED)}</summary>'
            f"{render_note(strings.LOOKED_INFO)}"
            f'<div class="inside-row looked-maps" style="--layers:{len(layers)}">'
            f'{"".join(figures)}</div></details>')
