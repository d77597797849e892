"""How a run went, in a sentence: whether anything fits, and whether the order means something."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

import numpy as np

from easel.ui.parts.panel import Card
from easel.words import strings
from pipelines.calibration import LIMIT

# Mean difference of two pictures at 16 x 16 px, of 255, up to which one has to look for it: by
# looking at 350 pairs of seeds of one prompt.
MOST_ALIKE = 2.0


def verdict(cards: Sequence[Card], doubted: bool = False) -> tuple[str, ...]:
    """Sentences on the finished pictures of a run; none where nobody knows what scores mean.

    Args:
        cards: all of them, best first.
        doubted: whether the prompt is one that the ranker does not wholly know.
    """
    best = cards[0] if cards else None
    if best is None or best.scale is None or best.clip_score is None or best.fit is None:
        return ()
    if best.scale.misses(best.clip_score):
        return (strings.NONE_FITS.format(best.fit, LIMIT),)
    if not best.scale.fits(best.clip_score):
        return (strings.NONE_SURE.format(best.fit, LIMIT),)
    if doubted:
        return (strings.BEST_DOUBTED.format(best.generator),)
    said = [strings.BEST_FITS.format(best.generator, best.fit)]
    scored = [card.clip_score for card in cards
              if card.clip_score is not None and card.scale == best.scale]
    if (tied := best.scale.tied(scored)) > 1:
        alike, whole = all(_alike(best, card) for card in cards[1:tied]), tied == len(cards)
        templates = ((strings.SOME_TIED, strings.ALL_TIED), (strings.SOME_ALIKE, strings.ALL_ALIKE))
        said.append(templates[alike][whole].format(tied))
    return tuple(said)


def _alike(one: Card, other: Card) -> bool:
    """Whether two pictures are nearly the same to the eye, which their seeds are not."""
    if not one.look or len(one.look) != len(other.look):
        return False
    looks = [np.frombuffer(card.look, np.uint8).astype(np.float32) for card in (one, other)]
    return float(np.abs(looks[0] - looks[1]).mean()) <= MOST_ALIKE


def render_verdict(cards: Sequence[Card], doubted: Callable[[], bool] = lambda: False) -> str:
    """The line above the pictures, as high as one where there is nothing to say yet."""
    said = verdict(cards)
    fits = bool(said) and said[0] == strings.BEST_FITS.format(cards[0].generator, cards[0].fit)
    if fits and doubted():
        said, fits = verdict(cards, doubted=True), False
    poor = bool(said) and not fits
    kind = "verdict poor" if poor else "verdict"
    return f'<p class="{kind}" role="status">{escape(" ".join(said))}</p>'


def gain(kept: Sequence[Card], rejected: Sequence[Card]) -> str:
    """What choosing the best of many has gained."""
    said = strings.REJECTED.format(len(rejected), len(kept) + len(rejected))
    means = [_mean_fit(cards) for cards in (kept, [*kept, *rejected])]
    if None not in means:
        said += " " + strings.GAINED.format(*means)
    return said


def _mean_fit(cards: Sequence[Card]) -> int | None:
    fits = [card.fit for card in cards if card.fit is not None]
    return round(sum(fits) / len(fits)) if fits and len(fits) == len(cards) else None
