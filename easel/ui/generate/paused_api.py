"""Endpoints of paused runs: pause, list, resume, branch and delete them."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import gradio as gr

from easel.guard.visitors import session_of, visitor_of
from easel.serving.paused_runs import PausedRuns
from easel.serving.session_runs import Run
from easel.ui.generate.api import FILES, OUTCOME, VIDEO, answer
from easel.ui.generate.run import stream_resumed
from easel.ui.parts.endpoints import BOOLEAN, OBJECT, STRING, add_endpoint, json_value
from easel.ui.parts.errors import one_sentence, streamed
from easel.ui.parts.panel import RunView
from easel.ui.parts.pictures import PictureStore
from easel.ui.playground import Playground
from pipelines.core.errors import InvalidRequest
from pipelines.core.request import MAX_PROMPT_CHARS, SEED_COUNT
from pipelines.saved_run import MAX_NOISE, checked_changes

Answer = Iterator[tuple[list[str] | None, dict[str, Any]]]


def add_paused_endpoints(playground: Playground, store: PictureStore) -> None:
    """Add the endpoints to the page under construction where a run can be paused."""
    runs = playground.backend.paused
    if runs is None or not any(map(playground.can_pause, playground.registry.names())):
        return
    _add_look_ups(playground, runs)

    def resume_run(request: gr.Request, run_id: Any, branch: bool, change: tuple[Any, ...],
                   video: Any) -> Answer:
        def start(run: Run) -> Generator[RunView]:
            return stream_resumed(playground, store, run, _name(run_id), checked_changes(*change),
                                  branch)

        return answer(playground, request, start, store, video)

    @streamed
    def resume(request: gr.Request, run_id: str = "", prompt: Any = None, iterations: Any = None,
               seed: Any = None, noise: Any = 0, video: Any = False) -> Answer:
        return resume_run(request, run_id, False, (prompt, iterations, seed, noise), video)

    @streamed
    def branch(request: gr.Request, run_id: str = "", prompt: Any = None, iterations: Any = None,
               seed: Any = None, noise: Any = 0, video: Any = False) -> Answer:
        return resume_run(request, run_id, True, (prompt, iterations, seed, noise), video)

    for endpoint, description in (
            (resume, "Let a paused run go on to its end, changed where arguments say so."),
            (branch, "Begin another run from the state of a paused one, which stays paused.")):
        add_endpoint(endpoint, [
            json_value("", STRING, "Id of the run, as /paused_runs tells it"),
            json_value(None, {**STRING, "maxLength": MAX_PROMPT_CHARS},
                       "Prompt from here on, weights among it; null for the same"),
            json_value(None, {"type": "integer", "minimum": 1},
                       "Steps in all, those before the pause among them; null for the same"),
            json_value(None, {"type": "integer", "minimum": 0, "maximum": SEED_COUNT - 1},
                       "Start of new random numbers; null for those that would follow"),
            json_value(0, {"type": "number", "minimum": 0, "maximum": MAX_NOISE},
                       "Noise for the latents, as a share of half of their range"),
            json_value(False, BOOLEAN, VIDEO),
        ], [
            gr.File(visible=False, file_count="multiple", label=FILES),
            json_value({}, OBJECT, OUTCOME),
        ], description)


def _add_look_ups(playground: Playground, runs: PausedRuns) -> None:
    @one_sentence
    def pause(request: gr.Request) -> int:
        return playground.runs.pause(session_of(request), visitor_of(request))

    @one_sentence
    def paused_runs(request: gr.Request) -> list[dict[str, Any]]:
        return [run.public() for run in runs.of(visitor_of(request))]

    @one_sentence
    def delete_paused_run(request: gr.Request, run_id: str = "") -> None:
        runs.delete(visitor_of(request), _name(run_id))

    add_endpoint(pause, [], [json_value(0, {"type": "integer"}, "How many runs were told to")],
                 "Pause this client's run of vqgan_clip within a step, to be resumed later.",
                 queue=False)
    add_endpoint(paused_runs, [], [json_value([], {"type": "array", "items": OBJECT},
                                              "What is known of each, the newest first")],
                 "The paused runs of this visitor.", queue=False)
    add_endpoint(delete_paused_run, [json_value("", STRING, "Id of the run")], [],
                 "Delete a paused run of this visitor.", queue=False)


def _name(run_id: Any) -> str:
    if not isinstance(run_id, str):
        raise InvalidRequest("The run's id must be text.", field="run_id")
    return run_id
