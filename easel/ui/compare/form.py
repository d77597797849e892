"""Forms for the panes of a comparison, as plain HTML that page.js reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from easel.compare.plan import LETTERS, MAX_PANES, MIN_PANES
from easel.ui.compare.state import Comparison
from easel.ui.parts.option_form import render_options
from easel.words import strings
from pipelines.core.errors import InvalidRequest
from pipelines.core.json_values import read_json
from pipelines.core.request import MAX_IMAGES, SEED_COUNT
from pipelines.pipeline import Pipeline


def render_forms(pipelines: Iterable[Pipeline], panes: Sequence[Mapping[str, Any]] = ()) -> str:
    """The forms of all panes.

    Args:
        pipelines: what a pane may run.
        panes: what the first ones say, as in ``default_panes``, which is taken where there are
            none; the others are hidden.
    """
    offered = list(pipelines)
    panes = panes or default_panes(offered)
    filled = [*panes, *default_panes(offered, MAX_PANES)[len(panes):]]
    forms = "".join(_pane_form(index, offered, pane, index < len(panes))
                    for index, pane in enumerate(filled))
    disabled = ["" if len(panes) < MAX_PANES else " disabled",
                "" if len(panes) > MIN_PANES else " disabled"]
    return (f'<div class="pane-forms">{forms}</div><div class="pane-count">'
            f'<button type="button" class="chip" data-panes="1"{disabled[0]}>'
            f"{escape(strings.ADD_PANE)}</button>"
            f'<button type="button" class="chip" data-panes="-1"{disabled[1]}>'
            f"{escape(strings.REMOVE_PANE)}</button></div>")


def default_panes(pipelines: Iterable[Pipeline], shown: int = MIN_PANES) -> list[dict[str, Any]]:
    """What page.js would read from forms that nobody has touched."""
    offered = list(pipelines)
    return [{"pipeline": offered[i % len(offered)].name, "num_images": 1, "options": {}}
            for i in range(shown)]


def panes_of(comparison: Comparison) -> list[dict[str, Any]]:
    """What the forms said, or would say, for this comparison to be drawn."""
    return [{"pipeline": r.pipeline, "num_images": r.num_images, "seed": r.seed,
             "options": dict(r.options), **({"prompt": own} if own else {})}
            for r, own in zip(comparison.plan.requests, comparison.plan.own_prompts, strict=True)]


def _pane_form(index: int, pipelines: Iterable[Pipeline], pane: Mapping[str, Any], shown: bool,
               ) -> str:
    """The settings of one pane: generator, number of pictures, prompt, seed, options."""
    letter, offered = LETTERS[index], list(pipelines)
    seed = "" if pane.get("seed") is None else str(pane["seed"])
    choices = "".join(
        f'<option value="{escape(p.name)}"{" selected" if p.name == pane["pipeline"] else ""}>'
        f"{escape(p.title)}</option>" for p in offered)
    groups = "".join(render_options(
        p, pane["options"] if p.name == pane["pipeline"] else {},
        strings.PANE_OPTIONS_OF.format(p.title, letter), hidden=p.name != pane["pipeline"])
        for p in offered)
    return (
        f'<form class="pane-form" data-pane="{index}" aria-label="{strings.PANE.format(letter)}"'
        f'{"" if shown else " hidden"}>'
        f'<div class="pane-head"><b>{letter}</b>'
        f'<label><span class="sr">{strings.PANE_GENERATOR.format(letter)}</span>'
        f'<select data-field="pipeline">{choices}</select></label>'
        f'<label><span class="sr">{strings.PANE_PICTURES.format(letter)}</span>'
        f'<input type="number" data-field="num_images" value="{int(pane["num_images"])}" min="1" '
        f'max="{MAX_IMAGES}"></label></div>'
        f"<details><summary>{escape(strings.PANE_OPTIONS)}</summary>"
        f'<div class="option text"><label><span>{escape(strings.PANE_PROMPT)}</span>'
        f'<input type="text" data-field="prompt" value="{escape(str(pane.get("prompt") or ""))}" '
        f'placeholder="{escape(strings.PANE_SEED)}"></label></div>'
        f'<div class="option"><label><span>{escape(strings.SEED_LABEL)}</span>'
        f'<input type="number" data-field="seed" min="0" max="{SEED_COUNT - 1}" '
        f'value="{escape(seed)}" placeholder="{escape(strings.PANE_SEED)}"></label></div>'
        f"{groups}</details></form>")


def read_panes(text: str) -> list[dict[str, Any]]:
    """What page.js read from the forms.

    Raises:
        InvalidRequest: it is not what page.js writes.
    """
    try:
        panes = read_json(text)
    except (TypeError, ValueError, RecursionError):
        panes = None
    if not isinstance(panes, list) or not all(isinstance(pane, dict) for pane in panes):
        raise InvalidRequest("The panes could not be read: reload the page.", field="panes")
    return panes
