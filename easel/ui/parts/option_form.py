"""The form of a generator's options, as plain HTML that page.js reads: on Generate and on Compare.

Gradio's components would be a few hundred for four panes that can each be any generator; a form of
each generator weighs a few kilobytes, and choosing another one needs no answer of the server. What
page.js reads are the options that differ from their defaults, by name; bounds are enforced by the
options themselves, on every path into the server, in a sentence that names the field.
"""

from __future__ import annotations

import itertools
import json
import math
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from easel.ui.parts.page_words import worded_html
from easel.words import strings
from easel.words.language import say
from pipelines.core.errors import EaselError, InvalidRequest
from pipelines.core.json_values import read_json
from pipelines.core.options import (
    AUTO,
    OptionField,
    option_fields,
    parse_options,
    written_number,
)
from pipelines.pipeline import Pipeline

Values = Mapping[str, Mapping[str, Any]]  # options that are not at their defaults, by generator


def render_options(pipeline: Pipeline, values: Mapping[str, Any], legend: str = "",
                   hidden: bool = False) -> str:
    """The options of one generator: a control each, the advanced ones folded.

    Args:
        pipeline: whose options.
        values: of some of them; the others are at their defaults.
        legend: what the group is called, for screen readers; the generator's title where empty.
        hidden: whether another generator is chosen where this form stands.
    """
    fields = option_fields(pipeline.Options)
    auto = _automatic(pipeline, fields)
    usual, refusal = auto.found({option.name: values.get(option.name, option.default)
                                 for option in fields})
    plain, advanced = ("".join(_row(option, values.get(option.name, option.default),
                                    usual.get(option.name))
                               for option in fields if option.advanced is folded)
                       for folded in (False, True))
    if advanced:
        advanced = (f'<details class="advanced"><summary>{escape(strings.ADVANCED_LABEL)}</summary>'
                    f"{advanced}</details>")
    title = f'<legend{" class=sr" if legend else ""}>{escape(legend or pipeline.title)}</legend>'
    script_values = f' data-auto="{_json(auto.script_values())}"' if auto.values else ""
    return (f'<fieldset class="options" data-pipeline="{escape(pipeline.name)}"{script_values}'
            f'{" hidden" if hidden else ""}>{title}{plain}{advanced}'
            f'<p class="refused" role="status"{"" if refusal else " hidden"}>'
            f"{escape(refusal)}</p></fieldset>")


@dataclass(frozen=True)
class _Automatic:
    """What a generator's automatic options become, for page.js.

    Attributes:
        by: the options on which that depends, each a choice, with what may be chosen.
        cases: an index into ``values``, or the sentence of a refusal, for every way of choosing
            them; the last option's choices go round first.
        values: what automatic options become, by name.
    """

    by: dict[str, tuple[Any, ...]]
    cases: list[int | str]
    values: list[dict[str, Any]]

    def script_values(self) -> dict[str, Any]:
        """As page.js reads it."""
        return {"word": say(AUTO), "by": list(self.by), "cases": self.cases, "values": self.values}

    def found(self, chosen: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        """What automatic options become for options, by name, or why they do not go together."""
        if not self.cases:
            return {}, ""
        index = 0
        for name, choices in self.by.items():
            index = index * len(choices) + choices.index(chosen[name])
        case = self.cases[index]
        return ({}, case) if isinstance(case, str) else (self.values[case], "")


def _automatic(pipeline: Pipeline, fields: Iterable[OptionField]) -> _Automatic:
    """Resolve the options of a generator for every choice that matters, its usual one first."""
    options = {option.name: option for option in fields}
    names = [option.name for option in options.values() if option.auto]
    if not names:
        return _Automatic({}, [], [])
    by = {name: options[name].choices for name in pipeline.auto_by
          if options[name].kind == "choice"}
    cases: list[int | str] = []
    values: list[dict[str, Any]] = []
    for chosen in itertools.product(*by.values()):
        raw = parse_options(pipeline.Options, dict(zip(by, chosen, strict=True)))
        try:
            found = pipeline.resolve_options(raw).model_dump(include=set(names))
        except EaselError as error:
            cases.append(say(error.sentence))
            continue
        if found not in values:
            values.append(found)
        cases.append(values.index(found))
    return _Automatic(by, cases, values)


def _row(option: OptionField, value: Any, usual: Any) -> str:
    title, about = escape(say(option.title)), escape(say(option.description))
    hint = f'<small>{about}</small>' if about else ""
    return (f'<div class="option {option.kind}"><label><span>{title}</span>'
            f"{_control(option, value, title, usual)}</label>{hint}</div>")


def _control(option: OptionField, value: Any, title: str, usual: Any) -> str:
    name = escape(option.name)
    if option.kind == "bool":
        return (f'<input type="checkbox" data-option="{name}"{" checked" if value else ""}'
                f'{" data-default" if option.default else ""}>')
    if option.kind == "choice":
        offered = option.labelled()
        if option.auto:
            became = next((say(label) for label, choice in offered if choice == usual), "")
            offered = [(f"{say(AUTO)} ({became})" if became else AUTO, None), *offered]
        choices = "".join(
            f'<option value="{_json(choice)}"{" selected" if choice == value else ""}>'
            f"{escape(say(label))}</option>" for label, choice in offered)
        return (f'<select data-option="{name}" data-default="{_json(option.default)}">'
                f"{choices}</select>")
    common = f'data-option="{name}" value="{_plain(value)}" data-default="{_plain(option.default)}"'
    if option.kind == "text":
        return f'<input type="text" {common}>'
    limits = "".join(f' {key}="{written_number(bound)}"' for key, bound in
                     (("min", option.minimum), ("max", option.maximum)) if bound is not None)
    start = usual if option.auto else option.default
    step = _step_of(option, start)
    free = "1" if option.kind == "int" else "any"
    hint = f' placeholder="{_auto_hint(usual)}"' if option.auto else ""
    number = (f'<input type="number" {common}{limits}{hint} step="{free}" '
              f'aria-label="{strings.NUMBER_FOR.format(title)}">')
    if step is None:
        return number
    # It follows the field of the number, which is the one that is read.
    shown = _plain(start if value is None else value)
    slider = (f'<input type="range" value="{shown}"{limits} step="{written_number(step)}" '
              f'aria-label="{strings.SLIDER_FOR.format(title)}">')
    return f'<span class="slider">{number}{slider}</span>'


def _auto_hint(usual: Any) -> str:
    return escape(say(AUTO)) if usual is None else f"{escape(say(AUTO))}: {_plain(usual)}"


def _step_of(option: OptionField, start: Any) -> float | None:
    """The step of the slider of an option that starts there; None where a slider would not do."""
    low, high, whole = option.minimum, option.maximum, option.kind == "int"
    if low is None or high is None or (whole and high - low > 10_000) or start is None:
        return None
    return option.step or (1 if whole else slider_step(high - low, start - low))


def slider_step(span: float, default: float = 0.0) -> float:
    """A round step (1, 2 or 5 times a power of ten) that cuts a span into about 100 parts.

    Args:
        span: length of the slider.
        default: where the slider starts; the step is finer where it would not be reached again.
    """
    raw = span / 100
    power = 10.0 ** math.floor(math.log10(raw))
    coarse = next(factor for factor in (1, 2, 5, 10) if raw <= factor * power * 1.0001) * power
    finer = [f * power / shrink for shrink in (1, 10, 100) for f in (10, 5, 2, 1)]
    for step in (s for s in finer if s <= coarse * 1.0001):
        if abs(default / step - round(default / step)) < 1e-6:
            return round(step, 10)
    return round(coarse, 10)


def _plain(value: Any) -> str:
    """A value as a field of one line has it."""
    if value is None:
        return ""
    text = written_number(value) if isinstance(value, float) else str(value)
    return escape(" ".join(text.splitlines()))


def _json(value: Any) -> str:
    return escape(json.dumps(value))


def filled_in(forms: str) -> str:
    """Forms that go in the place of those on the page.

    In an element of a new name, since Gradio keeps elements and only changes their attributes: what
    a person typed or ticked would still be seen where the form's own value is as it was.
    """
    name = f"easel-{secrets.token_hex(4)}"
    return f'<{name} style="display: contents">{forms}</{name}>'


@dataclass
class OptionForms:
    """The forms of all generators of the Generate tab, of which those that are ticked are seen.

    Attributes:
        html: the forms.
        text: hidden; what page.js read from them.
        pipelines: in the order of the page.
    """

    html: gr.HTML
    text: gr.Textbox
    pipelines: tuple[Pipeline, ...]

    def read(self, text: str | None) -> dict[str, dict[str, Any]]:
        """What page.js read: options that are not at their defaults, by generator.

        Raises:
            InvalidRequest: it is not what page.js writes.
        """
        try:
            values = read_json(text or "{}")
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict) or not all(isinstance(v, dict) for v in values.values()):
            raise InvalidRequest("The options could not be read: reload the page.", field="options")
        return values

    def updates(self, values: Values) -> dict[Any, Any]:
        """Fill the forms in: options that are not named are back at their defaults."""
        changed = {pipeline.name: {option.name: values[pipeline.name][option.name]
                                   for option in option_fields(pipeline.Options)
                                   if option.name in values[pipeline.name]
                                   and values[pipeline.name][option.name] != option.default}
                   for pipeline in self.pipelines if pipeline.name in values}
        return {self.html: filled_in(render_forms(self.pipelines, changed)),
                self.text: json.dumps(changed)}


def build_option_forms(pipelines: Iterable[Pipeline]) -> OptionForms:
    """Lay the forms out, all options at their defaults."""
    offered = tuple(pipelines)
    html = worded_html(lambda: render_forms(offered), elem_id="option-forms")
    text = gr.Textbox("{}", elem_id="option-values", elem_classes="offstage", container=False,
                      label=strings.SETTINGS_LABEL)
    return OptionForms(html, text, offered)


def render_forms(pipelines: Iterable[Pipeline], values: Values | None = None) -> str:
    """The forms of generators, each seen while its box is ticked."""
    parts = []
    for pipeline in pipelines:
        name = escape(pipeline.name)
        parts.append(f"<style>.gradio-container:has(#choose-{name} input:checked) "
                     f'#option-forms [data-pipeline="{name}"] {{ display: block; }}</style>')
        parts.append(render_options(pipeline, (values or {}).get(pipeline.name, {})))
    return "".join(parts)
