"""The endpoint /sweep: a grid over any two options."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from easel.compare.prompt_lists import given_prompts
from easel.compare.sweeps import share_work
from easel.guard.visitors import session_of, visitor_of
from easel.ui.compare.sweep import SweepView, fold_sweep, read_sweep
from easel.ui.parts.endpoints import OBJECT, STRING, add_endpoint, json_value, picture_file
from easel.ui.parts.errors import one_sentence
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.uploads import read_pictures
from easel.ui.playground import Playground
from easel.words import strings
from pipelines.core.errors import EaselError
from pipelines.core.request import MAX_PROMPT_CHARS, PICTURES, SEED_COUNT
from pipelines.core.sentences import several

PLACE = "sweep"


def add_sweep_endpoint(playground: Playground, store: PictureStore) -> None:
    """Add /sweep to the page under construction."""
    names = list(playground.registry.names())

    @one_sentence
    def sweep(request: gr.Request, prompt: Any = strings.FIRST_PROMPT, pipeline: Any = names[0],
              x: Any = None, y: Any = None, seed: Any = None, options: Any = None,
              prompts: Any = None, init_image: str | None = None,
              image_prompts: list[str] | None = None, mask: str | None = None,
              ) -> Iterator[tuple[list[str] | None, dict[str, Any]]]:
        visitor = visitor_of(request)
        run = playground.runs.start(session_of(request), visitor, PLACE)
        try:
            rows = [] if prompts is None else given_prompts(prompts)
            planned = read_sweep(playground, visitor, prompt,
                                 {"pipeline": pipeline, "options": options}, seed, x, y, rows,
                                 read_pictures(init_image, image_prompts, mask))
            view = SweepView(planned, share_work(planned))
            requests = [batch.request for batch in view.batches]
            events = playground.backend.compare(requests, run.next_jobs(len(requests)),
                                                together=1, owner=visitor)
            with closing(events):
                for _ in fold_sweep(view, events, playground, store):
                    yield None, describe(view)
            if view.picture is None:
                raise EaselError(several(filter(None, dict.fromkeys(view.notes.values())))
                                 or strings.STOPPED_EMPTY)
            cells = [view.cards[index] for index in sorted(view.cards)]
            yield [str(view.picture), *(str(card.path) for card in cells)], describe(view)
        finally:
            playground.runs.end(run)

    add_endpoint(sweep, [
        json_value(strings.FIRST_PROMPT, {**STRING, "minLength": 1,
                                          "maxLength": MAX_PROMPT_CHARS},
                   "What to draw; {red|blue} stands for both, __animal__ for a word by the seed"),
        json_value(names[0], {"enum": names}, "Which generator draws"),
        json_value({"name": "seed", "values": "1..4"}, OBJECT,
                   'Columns: an option, "seed", "prompt" or "pipeline" as "name", and "values" as '
                   "a list or as text such as 1..5; null for none"),
        json_value(None, OBJECT, "Rows, in the same way"),
        json_value(None, {"type": "integer", "minimum": 0, "maximum": SEED_COUNT - 1},
                   "Seed of every cell where no axis is one; null for a new one"),
        json_value(None, OBJECT, "Values of the generator's other options by name, or null"),
        json_value(None, {"type": "array", "items": {}},
                   'Prompts in the place of the prompt and the rows, a row each: texts, or objects '
                   'with "prompt" and "options"; null for none'),
        *map(picture_file, PICTURES),
    ], [
        gr.File(visible=False, file_count="multiple",
                label="The labelled grid as a PNG file, then its cells row by row"),
        json_value({}, OBJECT, "Both axes, and the finished cells with row, column, seed, score"),
    ], "Draw a grid over any two options.")


def describe(view: SweepView) -> dict[str, Any]:
    """A grid as JSON: its axes and its finished cells, row by row."""
    sweep = view.sweep
    columns = len(sweep.x.values)
    return {
        "x": {"name": sweep.x.name, "values": list(sweep.x.values)},
        "y": {"name": sweep.y.name, "values": list(sweep.y.values)},
        "cells": [{"row": index // columns, "column": index % columns,
                   "pipeline": sweep.requests[index].pipeline,
                   "prompt": sweep.requests[index].prompt, "seed": view.cards[index].seed,
                   "clip": view.cards[index].clip_score, "id": view.cards[index].picture_id}
                  for index in sorted(view.cards)],
        "left": len(sweep.requests) - len(view.cards), "message": view.message,
        "failed": sorted(set(view.notes.values()))}
