"""A grid from what the page or a program says of it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from easel.compare.sweeps import (
    MAX_VALUES,
    PROMPT,
    Axis,
    Sweep,
    expand_matrix,
    parse_axis,
    plan_sweep,
    sweep_options,
)
from easel.compare.wildcards import wildcard_words
from easel.ui.words import strings
from pipelines.core.errors import InvalidRequest
from pipelines.core.request import SEED_COUNT
from pipelines.pipeline import Pipeline
from pipelines.registry import Registry


def read_sweep(registry: Registry, prompt: Any, pane: Mapping[str, Any], seed: Any, across: Any,
               down: Any) -> Sweep:
    """Check a grid whole.

    Args:
        registry: the pipelines on offer.
        prompt: with its braces and wildcards.
        pane: "pipeline" and perhaps "seed" and "options", the same for all cells.
        seed: where the pane names none; empty or None for a new one.
        across: name and values of the columns, see ``_axis``.
        down: the same of the rows.

    Raises:
        InvalidRequest: one sentence about the first fault.
    """
    if not isinstance(prompt, str):
        raise InvalidRequest("The prompt must be text.", "prompt")
    if not isinstance(options := pane.get("options") or {}, Mapping):
        raise InvalidRequest("The options must be an object.", "options")
    pipeline = registry.get(str(pane.get("pipeline", "")))
    given = next((s for s in (pane.get("seed"), seed) if s not in (None, "")),
                 secrets.randbelow(SEED_COUNT))
    try:
        base_seed: Any = int(given) if isinstance(given, str) else given
    except ValueError:
        base_seed = given  # refused by the request, in its own words
    x, y = _axis(across, pipeline, prompt), _axis(down, pipeline, prompt)
    if len(expand_matrix(prompt)) > 1 and PROMPT not in (x.name, y.name):
        matrix = parse_axis(PROMPT, "", pipeline, prompt)
        if not x.name:
            x = matrix
        elif not y.name:
            y = matrix
        else:
            raise InvalidRequest(strings.SWEEP_AXES_FULL, "axis")
    base = {"pipeline": pipeline.name, "prompt": prompt, "seed": base_seed,
            "options": dict(options)}
    return plan_sweep(registry, base, x, y, wildcard_words())


def _axis(given: Any, pipeline: Pipeline, prompt: str) -> Axis:
    """An axis from its name and values: text as people type it, or a list of plain values.

    Raises:
        InvalidRequest: in one sentence, what is wrong.
    """
    name, values = given if isinstance(given, tuple) else _named(given)
    if isinstance(values, str) or not name:
        return parse_axis(name, values if isinstance(values, str) else "", pipeline, prompt)
    if name == PROMPT:
        return parse_axis(name, "", pipeline, prompt)
    if name not in sweep_options(pipeline):
        raise InvalidRequest(f"{pipeline.title} has no option called {name[:40]!r} to sweep.",
                             "axis")
    if not isinstance(values, list) or not 1 <= len(values) <= MAX_VALUES or not all(
            isinstance(value, str | int | float) for value in values):
        raise InvalidRequest(f"The axis {name} needs 1 to {MAX_VALUES} plain values in a list, or "
                             "text such as 1..5.", "axis")
    return Axis(name, tuple(values))


def _named(given: Any) -> tuple[str, Any]:
    if given is None:
        return "", ""
    if (not isinstance(given, Mapping) or set(given) - {"name", "values"}
            or not isinstance(given.get("name"), str)):
        raise InvalidRequest('An axis is an object as in {"name": "seed", "values": "1..4"}.',
                             "axis")
    return given["name"], given.get("values", "")
