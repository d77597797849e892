"""The prompt grammar of VQGAN+CLIP: ``text:weight:stop``, several joined by ``|``.

Several such prompts joined by ``^`` are a story, whose parts are drawn one after the other.

A colon that no number follows is part of the text ("a clock: late"), and so is the one of a time
or a ratio: between whole numbers without blanks or signs, the first of at most two digits or the
second of more than one ("a clock at 10:30", "16:9", "Psalm 119:105"). So a weight is a weight after
any word ("a Boeing 747:2", "platform 9:-2", "platform 9:0.5"); blanks around the colon make it one
in any case ("platform 9 : 2").

Source: the notebooks of Crowson (2021) and Pixray, whose grammar this is; nerdyrodent/VQGAN-CLIP
for stories.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from pipelines.core.errors import InvalidRequest
from pipelines.core.texts import check_text

MAX_PROMPTS = 16
MAX_WEIGHT = 100.0
MAX_PARTS = 16  # of a story
STORY = "^"  # between its parts


@dataclass(frozen=True)
class WeightedPrompt:
    """One target of the optimisation.

    Attributes:
        text: what it says.
        weight: how strongly it pulls; a negative one pushes away.
        stop: no more pull once the squared angular distance, negated for a negative weight, is
            below this.
    """

    text: str
    weight: float = 1.0
    stop: float = -math.inf


def parse_prompts(prompt: str) -> tuple[WeightedPrompt, ...]:
    """Read the prompts of a request.

    Args:
        prompt: as in "a red apple:2 | a worm:-0.5"; weight and stop may be left out.

    Raises:
        InvalidRequest: in one sentence, what is malformed.
    """
    check_text(prompt, "The prompt", "prompt")
    parts = prompt.split("|")
    if len(parts) > MAX_PROMPTS:
        raise InvalidRequest("The prompt has {} parts between bars (|); {} is the most.",
                             len(parts), MAX_PROMPTS, field="prompt")
    prompts = tuple(_parse(part) for part in parts)
    if not any(p.weight for p in prompts):
        raise InvalidRequest("All weights of the prompt are 0, so nothing is asked for.",
                             field="prompt")
    return prompts


def parse_story(prompt: str) -> tuple[tuple[WeightedPrompt, ...], ...]:
    """Read the parts of a story; a prompt without ``^`` is its own only part.

    Args:
        prompt: as in "an egg ^ a bird:2 | a cage:-1".

    Raises:
        InvalidRequest: in one sentence, what is malformed.
    """
    parts = prompt.split(STORY)
    if len(parts) > MAX_PARTS:
        raise InvalidRequest("The story has {} parts between carets (^); {} is the most.",
                             len(parts), MAX_PARTS, field="prompt")
    if len(parts) > 1 and not all(part.strip() for part in parts):
        raise InvalidRequest("A part of the story has no text: write prompts joined by carets (^).",
                             field="prompt")
    return tuple(map(parse_prompts, parts))


def ranking_texts(prompt: str) -> list[tuple[str, float]]:
    """Texts and weights that the ranker compares pictures with, whichever generator drew them.

    Scores of generators that share a prompt may be compared only if they mean the same.

    Args:
        prompt: of any generator; one that ``parse_story`` refuses is a single text. Of a story
            the last part, which is what the finished pictures show.
    """
    try:
        return [(part.text, part.weight) for part in parse_story(prompt)[-1]]
    except InvalidRequest:
        return [(prompt, 1.0)]


# No two repeats read the same letters: prompts come from anyone.
_NUMBER = re.compile(r"\s*([+-]?(?:\d+(?:\.\d*)?(?:e[+-]?\d+)?|\.\d+|inf|nan))\s*",
                     re.IGNORECASE | re.ASCII)


def _split(part: str) -> tuple[str, str | None, str | None]:
    """Text, weight and stop of a part, each of the two as a number's text."""
    *texts, last = part.split(":")
    if not texts or not _NUMBER.fullmatch(last):
        return part, None, None
    if len(texts) > 1 and _NUMBER.fullmatch(texts[-1]) and _is_weight(texts[-2], texts[-1]):
        return ":".join(texts[:-1]), texts[-1], last
    if _is_weight(texts[-1], last):
        return ":".join(texts), last, None
    return part, None, None


def _is_weight(before: str, number: str) -> bool:
    """Whether a number after a colon is a weight, and not of a time or a ratio."""
    digits = before[len(before.rstrip("0123456789")):]
    whole = number.rstrip()
    if not digits or not whole.isdecimal():  # blanks before either of them, a sign, a point
        return True
    return len(digits) > 2 and len(whole) == 1


def _parse(part: str) -> WeightedPrompt:
    text, weight, stop = _split(part)
    if not text.strip():
        raise InvalidRequest("A part of the prompt has no text: write text:weight:stop, joined by "
                             "bars (|).", field="prompt")
    found = WeightedPrompt(text.strip(), float(weight or 1), float(stop or -math.inf))
    if not abs(found.weight) <= MAX_WEIGHT:
        raise InvalidRequest("The weight of {} must be between {:g} and {:g}.", _shown(text),
                             -MAX_WEIGHT, MAX_WEIGHT, field="prompt")
    if not found.stop < math.inf:
        raise InvalidRequest("The stop of {} must be less than infinity.", _shown(text),
                             field="prompt")
    return found


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 40 else text[:39] + "…")
