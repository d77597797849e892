"""HTML of a ranking: gallery, table, bars, and the heat map of pictures and prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from easel.compare.ranking import Ranking, table_rows
from easel.ui.parts.tiles import drawn_image, origin_mark, rank_mark, score_mark, tile
from easel.ui.words import strings
from easel.ui.words.language import figure, say


def render_gallery(ranking: Ranking, thumbnails: Sequence[np.ndarray], names: Sequence[str],
                   keep: int, grey: Sequence[bool] = ()) -> str:
    """Pictures in rank order, the best ``keep`` of them; grey scores mean little."""
    tiles = "".join(
        tile(drawn_image(thumbnails[index], names[index]), rank_mark(rank)
             + score_mark(figure(ranking.scores[index], ".3f"), grey=bool(grey) and grey[index])
             + origin_mark(names[index]), "done")
        for rank, index in enumerate(ranking.order[:keep], 1))
    return _section(strings.RANK_ORDER, f'<div class="tiles many">{tiles}</div>', "ranked")


def render_table(ranking: Ranking, names: Sequence[str], titles: Mapping[str, str]) -> str:
    """Every picture's rank, score, and score by each CLIP."""
    rows = table_rows(ranking, names, titles)
    if len(ranking.judges) == 1:
        for row in rows:
            del row["score"]
    shown = (say(head.capitalize() if head.islower() else head) for head in rows[0])
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in shown)
    body = "".join("<tr>" + "".join(
        f"<td>{escape(figure(value, '.4f') if isinstance(value, float) else str(value))}</td>"
        for value in row.values()) + "</tr>" for row in rows)
    table = (f'<table class="figures"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody>'
             "</table>")
    return _section(strings.RANK_TABLE, f'<div class="wide">{table}</div>', "")


def render_bars(ranking: Ranking, names: Sequence[str]) -> str:
    """A bar for each picture, from the lowest score of all to the highest."""
    low, high = min(0.0, float(ranking.scores.min())), max(0.0, float(ranking.scores.max()))
    span = (high - low) or 1.0
    zero = -low / span
    rows = []
    for index in ranking.order:
        score = float(ranking.scores[index])
        left, width = min(zero, (score - low) / span), abs(score) / span
        rows.append(f'<div class="bar-row"><span class="bar-name">{escape(names[index])}</span>'
                    f'<span class="bar-track"><span style="margin-left:{100 * left:.1f}%;'
                    f'width:{100 * width:.1f}%"></span></span>'
                    f'<span class="bar-value">{figure(score, ".3f")}</span></div>')
    return _section(strings.RANK_BARS, f'<div class="bars">{"".join(rows)}</div>', "")


def render_heat(ranking: Ranking, names: Sequence[str], titles: Mapping[str, str]) -> str:
    """Cosine similarities of pictures (rows, best first) and prompts, a table for each CLIP."""
    heads = "".join(f'<th scope="col" title="{strings.RANK_WEIGHT.format(weight)}">'
                    f'{"− " if weight < 0 else ""}{escape(text)}</th>'
                    for text, weight in ranking.prompts)
    tables = []
    for judge in ranking.judges:
        low, high = float(judge.cosines.min()), float(judge.cosines.max())
        rows = "".join(
            f'<tr><th scope="row">{escape(names[index])}</th>' + "".join(
                _cell(float(value), (float(value) - low) / ((high - low) or 1.0))
                for value in judge.cosines[index]) + "</tr>" for index in ranking.order)
        caption = escape(say(titles.get(judge.model_id, judge.model_id)))
        tables.append(f'<div class="wide"><table class="heat"><caption>{caption}</caption><thead>'
                      f"<tr><td></td>{heads}</tr></thead><tbody>{rows}</tbody></table></div>")
    return _section(strings.RANK_HEAT, "".join(tables), "")


def _cell(value: float, share: float) -> str:
    return f'<td style="--tint:{100 * share:.0f}%">{figure(value, ".3f")}</td>'


def _section(title: str, body: str, name: str) -> str:
    return (f'<section class="panel {name}" aria-label="{escape(title)}"><header>'
            f"<h2>{escape(title)}</h2></header>{body}</section>")
