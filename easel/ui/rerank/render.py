"""HTML of a ranking: one table, with pictures, bars and a heat map as other views of the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from easel.compare.ranking import Ranking
from easel.ui.parts.names import with_names
from easel.ui.parts.tiles import drawn_image, origin_mark, rank_mark, score_mark, tile
from easel.words import strings
from easel.words.language import figure, say
from pipelines.core.images import resize

THUMB_PX = 144


def render_ranking(ranking: Ranking, thumbnails: Sequence[np.ndarray], names: Sequence[str],
                   titles: Mapping[str, str], keep: int, grey: Sequence[bool] = ()) -> str:
    """All views of a ranking under a switch between them; the table is seen first.

    Args:
        ranking: pictures in order.
        thumbnails: (H, W, 3) uint8 RGB each.
        names: what people call the pictures.
        titles: of the CLIPs, by id.
        keep: how many of the best the gallery holds.
        grey: whether each picture's scores mean little.
    """
    views = (
        ("table", strings.RANK_TABLE, render_table(ranking, thumbnails, names, titles, grey)),
        ("pictures", strings.RANK_ORDER, render_gallery(ranking, thumbnails, names, keep, grey)),
        ("bars", strings.RANK_BARS, render_bars(ranking, names)),
        ("heat", strings.RANK_HEAT, render_heat(ranking, names, titles)))
    switch = "".join(
        f'<label><input type="radio" name="rank-view" value="{view}"'
        f'{" checked" if view == "table" else ""}>{escape(title)}</label>'
        for view, title, _ in views)
    bodies = "".join(f'<div class="rank-view view-{view}">{body}</div>' for view, _, body in views)
    return (f'<section class="panel ranked" aria-label="{escape(strings.RERANK)}">'
            f'<fieldset class="views"><legend class="sr">{escape(strings.RANK_VIEWS)}</legend>'
            f"{switch}</fieldset>{_meaning(ranking)}{bodies}</section>")


def _meaning(ranking: Ranking) -> str:
    """What a score is, where it is not simply a cosine."""
    said = [strings.RANK_MEAN] if len(ranking.prompts) > 1 else []
    if len(ranking.judges) > 1:
        said.append(strings.RANK_SPREAD)
    return f'<p class="hint">{escape(" ".join(said))}</p>' if said else ""


def render_gallery(ranking: Ranking, thumbnails: Sequence[np.ndarray], names: Sequence[str],
                   keep: int, grey: Sequence[bool] = ()) -> str:
    """Pictures in rank order, the best ``keep`` of them; grey scores mean little."""
    tiles = "".join(
        tile(drawn_image(thumbnails[index], names[index]), rank_mark(rank)
             + score_mark(figure(ranking.scores[index], ".3f"), grey=bool(grey) and grey[index])
             + origin_mark(names[index]), "done")
        for rank, index in enumerate(ranking.order[:keep], 1))
    return f'<div class="tiles many">{tiles}</div>'


def render_table(ranking: Ranking, thumbnails: Sequence[np.ndarray], names: Sequence[str],
                 titles: Mapping[str, str], grey: Sequence[bool] = ()) -> str:
    """A row for each picture: rank, thumbnail, score, and its cosine with each prompt by each CLIP.

    A press of a head sorts by its column (page.js).
    """
    several = len(ranking.judges) > 1
    heads = [_head(strings.RANK_RANK, 1, "ascending"),
             f'<th scope="col">{escape(strings.RANK_PICTURE)}</th>',
             _head(strings.RANK_SCORE, -1)]
    for judge in ranking.judges:
        by = f"<small>{with_names(say(titles.get(judge.model_id, judge.model_id)))}</small>" \
            if several else ""
        heads += [_head(_prompt_head(text, weight), -1, by=by) for text, weight in ranking.prompts]
    rows = "".join(_row(ranking, rank, index, thumbnails[index], names[index],
                        bool(grey) and grey[index])
                   for rank, index in enumerate(ranking.order, 1))
    return (f'<div class="wide"><table class="figures"><thead><tr>{"".join(heads)}</tr></thead>'
            f"<tbody>{rows}</tbody></table></div>")


def _row(ranking: Ranking, rank: int, index: int, thumbnail: np.ndarray, name: str, grey: bool,
         ) -> str:
    height_px, width_px = thumbnail.shape[:2]
    scale = min(1.0, THUMB_PX / max(height_px, width_px))
    small = resize(thumbnail, max(1, round(width_px * scale)), max(1, round(height_px * scale)))
    cosines = [float(cosine) for judge in ranking.judges for cosine in judge.cosines[index]]
    score = float(ranking.scores[index])
    kind = ' class="score grey"' if grey else ' class="score"'
    return (f'<tr><td data-value="{rank}">{rank}</td><th scope="row">'
            f"{drawn_image(small, name)}<span>{escape(name)}</span></th>"
            f'<td data-value="{score:.6f}"{kind}><b>{figure(score, ".3f")}</b></td>'
            + "".join(f'<td data-value="{cosine:.6f}"{kind}>{figure(cosine, ".3f")}</td>'
                      for cosine in cosines) + "</tr>")


def _head(title: str, first: int, sorted_: str = "none", by: str = "") -> str:
    """A head that sorts; ``first`` is the direction of its first press, 1 for smallest first."""
    return (f'<th scope="col" aria-sort="{sorted_}"><button type="button" data-sort="{first}">'
            f"{escape(title)}{by}</button></th>")


def _prompt_head(text: str, weight: float) -> str:
    return f'{"− " if weight < 0 else ""}{text}'


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
    return f'<div class="bars">{"".join(rows)}</div>'


def render_heat(ranking: Ranking, names: Sequence[str], titles: Mapping[str, str]) -> str:
    """Cosine similarities of pictures (rows, best first) and prompts, a table for each CLIP."""
    heads = "".join(f'<th scope="col" title="{strings.RANK_WEIGHT.format(weight)}">'
                    f'{escape(_prompt_head(text, weight))}</th>'
                    for text, weight in ranking.prompts)
    tables = []
    for judge in ranking.judges:
        low, high = float(judge.cosines.min()), float(judge.cosines.max())
        rows = "".join(
            f'<tr><th scope="row">{escape(names[index])}</th>' + "".join(
                _cell(float(value), (float(value) - low) / ((high - low) or 1.0))
                for value in judge.cosines[index]) + "</tr>" for index in ranking.order)
        caption = with_names(say(titles.get(judge.model_id, judge.model_id)))
        tables.append(f'<div class="wide"><table class="heat"><caption>{caption}</caption><thead>'
                      f"<tr><td></td>{heads}</tr></thead><tbody>{rows}</tbody></table></div>")
    return "".join(tables)


def _cell(value: float, share: float) -> str:
    return f'<td style="--tint:{100 * share:.0f}%">{figure(value, ".3f")}</td>'
