"""DALL·E's plan as a table: what each token says, how likely it was, and what else was likely."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import log

from easel.ui.lab.render import percent, render_note
from easel.words import strings
from easel.words.language import figure, say
from pipelines.dalle import BACKGROUND_LABELS, STYLE_LABELS
from pipelines.inside.planned import WAYS, PlanToken, Value

LEAST = 0.001  # of a share that is written out
MOST_OPEN = 11  # tokens of a plan that is not folded: of two things and its end


def share(probability: float) -> str:
    """A probability as people read it; one that is not 0 does not look so."""
    if probability == 0:
        return "0 %"
    return f"< {percent(LEAST)}" if probability < LEAST else percent(probability)


def render_plan(plan: Sequence[PlanToken]) -> str:
    """The plan, token by token; one of many things is folded away."""
    rows = "".join(
        f'<tr><th scope="row">{escape(_name(token))}</th>'
        f"<td><b>{escape(_value(token))}</b></td>"
        f"<td>{escape(share(token.likely))}</td><td>{escape(share(token.likely_without))}</td>"
        f'<td class="others">{escape(_others(token))}</td></tr>' for token in plan)
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in (
        strings.PLAN_TOKEN, strings.PLAN_WRITTEN, strings.STREAM_WITH, strings.STREAM_WITHOUT,
        strings.PLAN_OTHERS))
    notes = [strings.PLAN_INFO]
    if all(token.likely > 0 and token.likely_without > 0 for token in plan):
        notes.insert(0, strings.PLAN_TOTAL.format(
            figure(-sum(log(token.likely) for token in plan), ".1f"),
            figure(-sum(log(token.likely_without) for token in plan), ".1f")))
    opened = " open" if len(plan) <= MOST_OPEN else ""
    return (f'<details class="inside-means stream-plan"{opened}>'
            f"<summary>{escape(strings.PLAN)}</summary>"
            f'<table class="blocks plan"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody>'
            f'</table>{"".join(map(render_note, notes))}</details>')


def _name(token: PlanToken) -> str:
    named = dict(zip(("style", "background", "column", "row", "side", "way"),
                     strings.PLAN_KINDS, strict=True))[token.kind]
    return strings.PLAN_OF_THING.format(token.thing, named) if token.thing else named


def _value(token: PlanToken) -> str:
    said = _said(token, token.value)
    return strings.PLAN_SET.format(said) if token.given else said


def _said(token: PlanToken, value: Value) -> str:
    if value is None:
        return strings.PLAN_END
    if token.kind == "way":
        return strings.PLAN_WAYS[WAYS.index(str(value))]
    if isinstance(value, str):
        labels = STYLE_LABELS if token.kind == "style" else BACKGROUND_LABELS
        return say(labels.get(value, value))
    return str(value)


def _others(token: PlanToken) -> str:
    return ", ".join(f"{_said(token, value)} ({share(probability)})"
                     for value, probability in token.others)
