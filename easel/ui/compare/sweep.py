"""A grid in the making: its cells, and their HTML."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np

from easel.compare.grid import draw_grid
from easel.compare.sweeps import Batch, Sweep
from easel.serving.jobs import RunEvent
from easel.ui.generate.render import picture_frame
from easel.ui.generate.run import REDRAW_EVERY_S
from easel.ui.parts.panel import Card, data_uri, seconds
from easel.ui.parts.pictures import PictureStore
from easel.ui.playground import Playground
from easel.ui.words import strings
from easel.ui.words.language import figure, say
from pipelines.core.errors import Cancelled
from pipelines.core.events import Preview, Progress, Result
from pipelines.core.images import load_image
from pipelines.core.metadata import save_png


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
    shown_s = 0.0
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
        if time.monotonic() - shown_s > REDRAW_EVERY_S:
            yield
            shown_s = time.monotonic()
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
    cells = [load_image(view.cards[i].path.read_bytes()) if i in view.cards else None
             for i in range(len(sweep.requests))]
    title = "" if "prompt" in (sweep.x.name, sweep.y.name) else first.prompt
    image = draw_grid(cells, sweep.x.labels(), sweep.y.labels(), title)
    facts = {"prompt": first.prompt, "pipeline": first.pipeline, "seed": first.seed,
             "options": first.options, "scores": {}, "width_px": image.shape[1],
             "height_px": image.shape[0],
             "grid": {"x": {"name": sweep.x.name, "values": list(sweep.x.values)},
                      "y": {"name": sweep.y.name, "values": list(sweep.y.values)}}}
    path = store.new_folder() / "grid.png"
    save_png(path, image, facts)
    return store.serve(path)


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
    status = strings.SWEEP_STATUS.format(len(view.cards), len(sweep.requests),
                                         seconds(time.monotonic() - view.started_s))
    if running and view.message:
        status += f" · {say(view.message)}"
    problems = "".join(f'<p class="alert" role="alert">{escape(say(note))}</p>'
                       for note in dict.fromkeys(view.notes.values()) if note)
    save = ""
    if view.picture is not None:
        save = (f'<a class="chip" download="grid.png" href="gradio_api/file='
                f'{escape(quote(str(view.picture)))}">{escape(strings.SWEEP_SAVE)}</a>')
    return (f'<p class="hint" role="status" aria-live="{"off" if running else "polite"}">'
            f'{escape(status)} {save}</p>{problems}{"".join(parts)}')


def _cell(view: SweepView, index: int) -> str:
    if (card := view.cards.get(index)) is not None:
        score = "" if card.clip_score is None else f"CLIP {figure(card.clip_score, '.3f')}"
        return (f'<figure class="tile done">{picture_frame(card, index + 1)}<figcaption>'
                f'<span class="score">{score}</span></figcaption></figure>')
    image = ""
    if (preview := view.previews.get(index)) is not None and index not in view.notes:
        prompt = view.sweep.requests[index].prompt
        alt = escape(strings.IN_THE_MAKING.format(prompt))
        image = f'<img src="{data_uri(preview)}" alt="{alt}">'
    return (f'<figure class="tile"><div class="frame">{image}</div>'
            "<figcaption></figcaption></figure>")
