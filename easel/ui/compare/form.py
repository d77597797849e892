"""Forms for the panes of a comparison, as plain HTML that page.js reads.

Gradio's components would be a few hundred for four panes that can each be any generator; a form
of each generator weighs a few kilobytes, and choosing another one needs no answer of the server.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from easel.compare.plan import LETTERS, MAX_PANES, MIN_PANES
from easel.ui.compare.state import Comparison
from easel.ui.words import strings
from easel.ui.words.language import say
from pipelines.core.errors import InvalidRequest
from pipelines.core.options import OptionField, option_fields, written_number
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
             "options": dict(r.options)} for r in comparison.plan.requests]


def _pane_form(index: int, pipelines: Iterable[Pipeline], pane: Mapping[str, Any], shown: bool,
               ) -> str:
    """The settings of one pane: generator, number of pictures, seed, options."""
    letter, offered = LETTERS[index], list(pipelines)
    seed = "" if pane.get("seed") is None else str(pane["seed"])
    choices = "".join(
        f'<option value="{escape(p.name)}"{" selected" if p.name == pane["pipeline"] else ""}>'
        f"{escape(p.title)}</option>" for p in offered)
    groups = "".join(_group(letter, p, pane["options"], p.name == pane["pipeline"])
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
        f'<label class="option"><span>{escape(strings.SEED_LABEL)}</span>'
        f'<input type="number" data-field="seed" min="0" max="{SEED_COUNT - 1}" '
        f'value="{escape(seed)}" placeholder="{escape(strings.PANE_SEED)}"></label>'
        f"{groups}</details></form>")


def _group(letter: str, pipeline: Pipeline, values: Mapping[str, Any], shown: bool) -> str:
    fields = sorted(option_fields(pipeline.Options), key=lambda option: option.advanced)
    rows = "".join(_row(option, values.get(option.name, option.default) if shown
                        else option.default) for option in fields)
    return (f'<fieldset data-pipeline="{escape(pipeline.name)}"{"" if shown else " hidden"}>'
            f'<legend class="sr">{escape(strings.PANE_OPTIONS_OF.format(pipeline.title, letter))}'
            "</legend>"
            f"{rows}</fieldset>")


def _row(option: OptionField, value: Any) -> str:
    name = escape(option.name)
    if option.kind == "bool":
        control = (f'<input type="checkbox" data-option="{name}"{" checked" if value else ""}'
                   f'{" data-default" if option.default else ""}>')
    elif option.kind == "choice":
        choices = "".join(
            f'<option value="{_json(choice)}"{" selected" if choice == value else ""}>'
            f"{escape(say(label))}</option>" for label, choice in option.labelled())
        control = (f'<select data-option="{name}" data-default="{_json(option.default)}">'
                   f"{choices}</select>")
    else:
        number = option.kind in ("int", "float")
        limits = "".join(f' {key}="{written_number(bound)}"' for key, bound in
                         (("min", option.minimum), ("max", option.maximum)) if bound is not None)
        step = ' step="any"' if option.kind == "float" else ""
        control = (f'<input type="{"number" if number else "text"}" data-option="{name}" '
                   f'value="{_plain(value)}" data-default="{_plain(option.default)}"'
                   f"{limits}{step}>")
    return (f'<label class="option" title="{escape(say(option.description))}">'
            f"<span>{escape(say(option.title))}</span>{control}</label>")


def _plain(value: Any) -> str:
    return "" if value is None else escape(
        written_number(value) if isinstance(value, float) else str(value))


def _json(value: Any) -> str:
    return escape(json.dumps(value))


def read_panes(text: str) -> list[dict[str, Any]]:
    """What page.js read from the forms.

    Raises:
        InvalidRequest: it is not what page.js writes.
    """
    try:
        panes = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        panes = None
    if not isinstance(panes, list) or not all(isinstance(pane, dict) for pane in panes):
        raise InvalidRequest("The panes could not be read: reload the page.", field="panes")
    return panes
