"""A grid: read from what the page or a program says of it, drawn, and its HTML."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import numpy as np

from easel.compare.grid import draw_grid
from easel.compare.prompt_lists import Line, plan_prompts
from easel.compare.sweeps import (
    MAX_CELLS,
    MAX_VALUES,
    PROMPT,
    Axis,
    Batch,
    Sweep,
    expand_matrix,
    parse_axis,
    plan_sweep,
    sweep_options,
)
from easel.guard.made_of import origins
from easel.guard.turns import reading
from easel.serving.jobs import RunEvent
from easel.ui.parts.panel import Card, seconds
from easel.ui.parts.pictures import PictureStore, read_shown
from easel.ui.parts.streams import Throttle
from easel.ui.parts.tiles import (
    alert,
    drawn_image,
    fit_mark,
    origin_mark,
    picture_frame,
    tile,
)
from easel.ui.playground import Playground
from easel.words import strings
from easel.words.language import counted, say
from pipelines.core.errors import Cancelled, InvalidRequest
from pipelines.core.events import Preview, Progress, Result
from pipelines.core.images import load_image
from pipelines.core.metadata import encode_png, picture_hashes
from pipelines.core.request import fresh_seed
from pipelines.pipeline import Pipeline


@dataclass
class SweepView:
    """What the page knows of a grid.

    Attributes:
        sweep: its cells as requests.
        batches: the runs that draw them.
        cards: finished cells.
        previews: cells in the making, (H, W, 3) uint8 each.
        notes: what went wrong with a cell; empty for one that was stopped.
        message: what the run that has the device says.
        picture: the labelled grid as a file, once it is over.
    """

    sweep: Sweep
    batches: list[Batch]
    cards: dict[int, Card] = field(default_factory=dict)
    previews: dict[int, np.ndarray] = field(default_factory=dict)
    notes: dict[int, str] = field(default_factory=dict)
    message: str = ""
    picture: Path | None = None
    started_s: float = field(default_factory=time.monotonic)


def fold_sweep(view: SweepView, events: Iterator[RunEvent], playground: Playground,
               store: PictureStore) -> Iterator[None]:
    """Take in the events of a grid's runs; yields whenever it is worth showing."""
    throttle = Throttle()
    for run_event in events:
        batch, event = view.batches[run_event.index], run_event.event
        if isinstance(event, Preview):
            view.previews.update(zip(batch.cells, event.images, strict=True))
        elif isinstance(event, Progress):
            view.message = event.message
        elif isinstance(event, Result):
            pipeline = playground.registry.get(batch.request.pipeline)
            cards = store.keep(batch.request, event, pipeline)
            for candidate, card in zip(event.candidates, cards, strict=True):
                view.cards[batch.cells[candidate.index]] = card
        else:
            note = "" if isinstance(event, Cancelled) else str(event)
            view.notes.update(dict.fromkeys(
                (c for c in batch.cells if c not in view.cards), note))
        if throttle.due():
            yield
            throttle.shown()
    if view.cards:
        view.picture = _save_grid(view, store)
    yield


def _save_grid(view: SweepView, store: PictureStore) -> Path:
    """The labelled grid as a PNG file with what it takes to draw it again.

    Raises:
        EaselError: it cannot be written.
    """
    sweep = view.sweep
    first = sweep.requests[0]
    files = {i: read_shown(card.path) for i, card in view.cards.items()}
    cells = [load_image(files[i]) if i in files else None for i in range(len(sweep.requests))]
    title = "" if "prompt" in (sweep.x.name, sweep.y.name) else first.prompt
    image = draw_grid(cells, sweep.x.labels(), sweep.y.labels(), title)
    facts = {"prompt": first.prompt, "pipeline": first.pipeline, "seed": first.seed,
             "options": dict(first.options), **picture_hashes(first), "scores": {},
             "width_px": image.shape[1], "height_px": image.shape[0],
             "grid": {"x": {"name": sweep.x.name, "values": list(sweep.x.values)},
                      "y": {"name": sweep.y.name, "values": list(sweep.y.values)}}}
    made_of = [each for i, data in files.items() for each in origins(view.cards[i].path, data)]
    return store.write(store.new_folder() / "grid.png", encode_png(image, facts), made_of)


def render_sweep(view: SweepView, running: bool) -> str:
    """The grid as HTML; each finished cell opens large."""
    sweep = view.sweep
    columns, rows = sweep.x.labels(), sweep.y.labels()
    sided = " sided" if sweep.y.name else ""
    parts = [f'<div class="sweep{sided}" style="--columns:{len(columns)}">']
    if sweep.x.name:
        parts += ['<span class="corner"></span>'] if sided else []
        parts += [f'<span class="label">{escape(label)}</span>' for label in columns]
    for row, label in enumerate(rows):
        if sided:
            parts.append(f'<span class="label">{escape(label)}</span>')
        parts += [_cell(view, row * len(columns) + column) for column in range(len(columns))]
    parts.append("</div>")
    status = counted(len(sweep.requests), strings.SWEEP_STATUS, len(view.cards),
                     seconds(time.monotonic() - view.started_s))
    if running and view.message:
        status += f" · {say(view.message).removesuffix('.')}"
    problems = "".join(map(alert, filter(None, dict.fromkeys(view.notes.values()))))
    save = ""
    if view.picture is not None:
        save = (f'<a class="chip" download="grid.png" href="gradio_api/file='
                f'{escape(quote(str(view.picture)))}">{escape(strings.SWEEP_SAVE)}</a>')
    return (f'<p class="hint" role="status" aria-live="{"off" if running else "polite"}">'
            f'{escape(status)} {save}</p>{problems}{"".join(parts)}')


def _cell(view: SweepView, index: int) -> str:
    if (card := view.cards.get(index)) is not None:
        return tile(picture_frame(card, index + 1), fit_mark(card) + _filled(view.sweep, index),
                    "done")
    preview = view.previews.get(index)
    if preview is None or index in view.notes:
        return tile("")
    prompt = view.sweep.requests[index].prompt
    return tile(drawn_image(preview, strings.IN_THE_MAKING.format(prompt)))


def _filled(sweep: Sweep, index: int) -> str:
    """The prompt of a cell where its wildcards were drawn, so that no side of the grid says it."""
    prompt, prompts = sweep.requests[index].prompt, {each.prompt for each in sweep.requests}
    said = prompt in (*sweep.x.values, *sweep.y.values)
    return "" if said or len(prompts) == 1 else origin_mark(prompt)


def read_sweep(playground: Playground, visitor: str, prompt: Any, pane: Mapping[str, Any],
               seed: Any, across: Any, down: Any, rows: Sequence[Line] = (),
               pictures: Mapping[str, Any] = MappingProxyType({})) -> Sweep:
    """Check a grid whole.

    Args:
        playground: with the pipelines on offer, and the words for wildcards.
        visitor: whose own lists of words are among them.
        prompt: with its braces and wildcards.
        pane: "pipeline" and perhaps "seed" and "options", the same for all cells.
        seed: where the pane names none; empty or None for a new one.
        across: name and values of the columns, see ``_axis``.
        down: the same of the rows.
        rows: prompts in the place of ``prompt`` and ``down``, a row each; empty for none.
        pictures: fields of a request that hold pictures, the same for all cells.

    Raises:
        InvalidRequest: one sentence about the first fault.
    """
    if not isinstance(prompt, str):
        raise InvalidRequest("The prompt must be text.", field="prompt")
    if not isinstance(options := pane.get("options") or {}, Mapping):
        raise InvalidRequest("The options must be an object.", field="options")
    registry = playground.registry
    pipeline = registry.get(str(pane.get("pipeline", "")))
    given = next((s for s in (pane.get("seed"), seed)
                  if s is not None and (not isinstance(s, str) or s.strip())),
                 fresh_seed())
    try:
        base_seed: Any = int(given) if isinstance(given, str) else given
    except ValueError:
        base_seed = given  # refused by the request, in its own words
    base = {"pipeline": pipeline.name, "prompt": prompt, "seed": base_seed,
            "options": dict(options), **pictures}
    if rows:
        x = _axis(across, pipeline, "")
        with reading.turn_for(pictures):
            return plan_prompts(registry, base, rows, x, playground.wildcards(visitor), MAX_CELLS)
    x, y = _axis(across, pipeline, prompt), _axis(down, pipeline, prompt)
    if len(expand_matrix(prompt)) > 1 and PROMPT not in (x.name, y.name):
        matrix = parse_axis(PROMPT, "", pipeline, prompt)
        if not x.name:
            x = matrix
        elif not y.name:
            y = matrix
        else:
            raise InvalidRequest(strings.SWEEP_AXES_FULL, field="axis")
    with reading.turn_for(pictures):
        return plan_sweep(registry, base, x, y, playground.wildcards(visitor))


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
        raise InvalidRequest("{} has no option called {!r} to sweep.", pipeline.title, name[:40],
                             field="axis")
    if not isinstance(values, list) or not 1 <= len(values) <= MAX_VALUES or not all(
            isinstance(value, str | int | float) for value in values):
        raise InvalidRequest("The axis {} needs 1 to {} plain values in a list, or text such as "
                             "1..5.", name, MAX_VALUES, field="axis")
    return Axis(name, tuple(values), sweep_options(pipeline)[name])


def _named(given: Any) -> tuple[str, Any]:
    if given is None:
        return "", ""
    if (not isinstance(given, Mapping) or set(given) - {"name", "values"}
            or not isinstance(given.get("name"), str)):
        raise InvalidRequest('An axis is an object as in {"name": "seed", "values": "1..4"}.',
                             field="axis")
    values = given.get("values", "")
    if given["name"] == PROMPT and values not in ("", None, []):
        raise InvalidRequest("The axis prompt takes its values from the braces of the prompt, as "
                             "in {red|blue}: give it none.", field="axis")
    return given["name"], values
