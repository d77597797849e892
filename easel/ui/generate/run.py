"""From a press of Generate to pictures: one path for the page and the API."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import gradio as gr

from easel.serving.best_of import stream_best
from easel.serving.session_runs import Run
from easel.ui.generate.render import render_run
from easel.ui.parts.lines import Updates
from easel.ui.parts.panel import Panel, RunView
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.streams import Throttle
from easel.ui.parts.videos import keep_film
from easel.ui.playground import Playground
from easel.words import strings
from pipelines.core.errors import EaselError, InvalidRequest, PausedRunError
from pipelines.core.events import Event, Result
from pipelines.core.request import CheckedRequest
from pipelines.core.video import Film

logger = logging.getLogger(__name__)


def prepare(playground: Playground, prompt: str, seed: int | None,
            choices: Sequence[Mapping[str, Any]]) -> list[CheckedRequest[Any]]:
    """Check everything that will run before anything does.

    Args:
        playground: what there is.
        prompt: what to draw.
        seed: shared by all generators; None for a new one.
        choices: for each generator the fields of its request, less prompt and seed.

    Raises:
        InvalidRequest: one sentence about the first fault.
    """
    if not choices:
        raise InvalidRequest(strings.NOTHING_TICKED, field="pipeline")
    requests = [playground.registry.check(
        {**_with_parents(choice, seed), "prompt": prompt, "seed": seed}) for choice in choices]
    return [replace(request, seed=requests[0].seed) for request in requests]


def _with_parents(choice: Mapping[str, Any], seed: Any) -> dict[str, Any]:
    """Fields of a request whose parent is the picture that Vary was pressed for, as long as the
    seed is the one that Vary set: with another seed it is a drawing of its own."""
    fields = dict(choice)
    picture_id, _, varied_seed = str(fields.pop("varied", None) or "").partition(" ")
    if picture_id and str(seed) == varied_seed:
        fields["parents"] = (picture_id,)
    return fields


def stream_run(playground: Playground, store: PictureStore, requests: Sequence[CheckedRequest[Any]],
               run: Run, best_of: int = 0) -> Generator[RunView]:
    """Run the requests one after the other on the one device.

    Args:
        playground: what there is.
        store: where finished pictures are written.
        requests: of ``prepare``.
        run: what Stop acts on; the caller ends it.
        best_of: how many pictures each generator draws to show its best; 0 for no more than are
            shown.

    Yields:
        The same view again and again, whenever it is worth showing; the last one is complete.
        What goes wrong with one generator is said in its panel, and the next one begins.
    """
    view = RunView([
        Panel(r.pipeline, playground.registry.get(r.pipeline).title, r.prompt, r.num_images)
        for r in requests])
    yield view
    for request, panel in zip(requests, view.panels, strict=True):
        if run.stopped:
            panel.stop()
            continue
        drawn = best_of or request.num_images
        panel.can_pause = drawn == request.num_images and playground.can_pause(request.pipeline)
        start = partial(stream_best, playground.backend, request, drawn, run.next_job(),
                        run.visitor)
        yield from _stream_panel(playground, store, request, panel, run, view, start)
    yield view


def stream_resumed(playground: Playground, store: PictureStore, run: Run, run_id: str,
                   changes: Mapping[str, Any], branch: bool = False) -> Generator[RunView]:
    """Resume a paused run of the visitor, or a branch of it.

    Args:
        run: as for ``stream_run``.
        run_id: name of the paused run.
        changes: what is to be different, see ``saved_run.checked_changes``.
        branch: leave it as it is and begin another one from its state.

    Yields:
        As ``stream_run``.

    Raises:
        EaselError: the run cannot go on like that.
    """
    runs = playground.backend.paused
    if runs is None:
        raise PausedRunError("No run can be paused here.")
    request = runs.plan(run.visitor, run_id, playground.registry, changes, branch)
    panel = Panel(request.pipeline, playground.registry.get(request.pipeline).title,
                  request.prompt, request.num_images, can_pause=True)
    view = RunView([panel])
    yield view
    start = partial(playground.backend.resume, run.visitor, run_id, changes, branch,
                    job_id=run.next_job())
    yield from _stream_panel(playground, store, request, panel, run, view, start)
    yield view


def _stream_panel(playground: Playground, store: PictureStore, request: CheckedRequest[Any],
                  panel: Panel, run: Run, view: RunView, start: Callable[[], Generator[Event]],
                  ) -> Generator[RunView]:
    throttle = Throttle()
    panel.phase = "running"
    film = Film()
    try:
        with closing(start()) as events:
            for event in events:
                if isinstance(event, Result):
                    pipeline = playground.registry.get(request.pipeline)
                    cards = store.keep(request, event, pipeline)
                    run.cards += cards
                    panel.finish(cards, event.elapsed_s, bool(event.metadata.get("stopped")),
                                 store.keep(request, event, pipeline, rejected=True))
                    panel.film = keep_film(store, film, event.candidates)
                    panel.film_steps = film.steps
                else:
                    film.take(event)
                    panel.take(event)
                if throttle.due():
                    yield view
                    throttle.shown()
    except EaselError as error:
        panel.take(error)
    except Exception:
        logger.exception("the page failed while %s ran", request.pipeline)
        panel.fail(strings.UNEXPECTED)
    finally:
        run.job_id = None


@dataclass
class Stage:
    """What a run changes besides the buttons of its task.

    Attributes:
        html: where the pictures go.
        pause: pauses what runs.
        go_on: in the place of ``pause`` while the run that was just paused waits.
        waiting: hidden; the id of that run.
    """

    html: gr.HTML
    pause: gr.Button
    go_on: gr.Button
    waiting: gr.Textbox

    def components(self) -> list[Any]:
        """All of them."""
        return [self.html, self.pause, self.go_on, self.waiting]


def show_run(views: Generator[RunView], stage: Stage, can_pause: bool = True,
             ) -> Generator[Updates]:
    """A run as updates of the stage.

    Args:
        views: of the run.
        stage: what changes.
        can_pause: whether there is a Pause button at all.
    """
    pausable, first = False, True
    view = RunView()
    with closing(views):
        for view in views:
            updates: Updates = {stage.html: render_run(view)}
            if view.can_pause() != pausable:
                pausable = not pausable
                updates[stage.pause] = gr.update(interactive=pausable)
            if first:
                updates[stage.go_on] = gr.update(visible=False)
                updates[stage.pause] = gr.update(visible=can_pause, interactive=pausable)
            first = False
            yield updates
    if paused := [panel.paused_id for panel in view.panels if panel.paused_id]:
        yield {stage.pause: gr.update(visible=False), stage.go_on: gr.update(visible=True),
               stage.waiting: paused[-1]}
