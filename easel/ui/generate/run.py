"""From a press of Generate to pictures: one path for the page and the API."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, TypeVar

import gradio as gr

from easel.guard.turns import reading
from easel.serving.best_of import stream_best
from easel.serving.session_runs import Run
from easel.ui.generate.render import render_run
from easel.ui.parts.errors import caught
from easel.ui.parts.lines import Updates
from easel.ui.parts.panel import Panel, RunView
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.prompt_note import is_doubted
from easel.ui.parts.streams import Throttle
from easel.ui.parts.videos import keep_film
from easel.ui.playground import Playground
from easel.words import strings
from pipelines.core.errors import InvalidRequest, PausedRunError
from pipelines.core.events import Event, Result
from pipelines.core.request import PICTURES, CheckedRequest
from pipelines.core.video import Film

T = TypeVar("T")


def itself(view: Any) -> Any:
    """The view of a run as it is."""
    return view


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
        Busy: pictures are brought, and the visitor's are being read already, or so many others'.
    """
    if not choices:
        raise InvalidRequest(strings.NOTHING_TICKED, field="pipeline")
    with reading.turn_for({name: choice.get(name) for choice in choices for name in PICTURES
                           if choice.get(name)}):
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
               run: Run, best_of: int = 0, show: Callable[[RunView], T] = itself) -> Generator[T]:
    """Run the requests one after the other on the one device.

    Args:
        playground: what there is.
        store: where finished pictures are written.
        requests: of ``prepare``.
        run: what Stop acts on; the caller ends it.
        best_of: how many pictures each generator draws to show its best; 0 for no more than are
            shown.
        show: what is made of the view.

    Yields:
        The same view again and again, as ``show`` makes it, whenever it is worth showing; the last
        one is complete. What goes wrong with one generator is said in its panel, and the next one
        begins.
    """
    parts = []
    for request in requests:
        drawn = best_of or request.num_images
        can_pause = drawn == request.num_images and playground.can_pause(request.pipeline)
        parts.append(_Part(playground, request, can_pause, partial(
            stream_best, playground.backend, request, drawn, owner=run.visitor)))
    doubted = cache(partial(is_doubted, playground.reader, requests[0].prompt))
    return _stream(parts, store, run, show, doubted)


def stream_resumed(playground: Playground, store: PictureStore, run: Run, run_id: str,
                   changes: Mapping[str, Any], branch: bool = False,
                   show: Callable[[RunView], T] = itself) -> Generator[T]:
    """Resume a paused run of the visitor, or a branch of it.

    Args:
        run: as for ``stream_run``.
        run_id: name of the paused run.
        changes: what is to be different, see ``saved_run.checked_changes``.
        branch: leave it as it is and begin another one from its state.
        show: as for ``stream_run``.

    Yields:
        As ``stream_run``.

    Raises:
        EaselError: at once: the run cannot go on like that.
    """
    runs = playground.backend.paused
    if runs is None:
        raise PausedRunError("No run can be paused here.")
    request = runs.plan(run.visitor, run_id, playground.registry, changes, branch)
    return _stream([_Part(playground, request, True, partial(
        playground.backend.resume, run.visitor, run_id, changes, branch))], store, run, show)


class _Part:
    """One generator's part of a run.

    Args:
        playground: what there is.
        request: what is drawn.
        can_pause: whether it can be paused.
        start: begins it under a job's name.
    """

    def __init__(self, playground: Playground, request: CheckedRequest[Any], can_pause: bool,
                 start: Callable[..., Generator[Event]]) -> None:
        self.request, self.start = request, start
        self.pipeline = playground.registry.get(request.pipeline)
        self.panel = Panel(request.pipeline, self.pipeline.title, request.prompt,
                           request.num_images, can_pause=can_pause)
        self._film = Film()

    def take(self, event: Event, store: PictureStore, run: Run) -> None:
        """Take in an event; pictures are written."""
        if not isinstance(event, Result):
            self._film.take(event)
            self.panel.take(event)
            return
        cards = store.keep(self.request, event, self.pipeline)
        run.cards += cards
        self.panel.finish(cards, event.elapsed_s, bool(event.metadata.get("stopped")),
                          store.keep(self.request, event, self.pipeline, rejected=True),
                          event.metadata.get("time_limit_s"))
        self.panel.film = keep_film(store, self._film, event)
        self.panel.film_steps = self._film.steps


def _stream(parts: Sequence[_Part], store: PictureStore, run: Run,
            show: Callable[[RunView], T], doubted: Callable[[], bool] = lambda: False,
            ) -> Generator[T]:
    view = RunView([part.panel for part in parts], doubted=doubted)
    yield show(view)
    for part in parts:
        if run.stopped:
            part.panel.stop()
            continue
        part.panel.phase, throttle = "running", Throttle()
        try:
            with caught(part.request.pipeline, part.panel.take), \
                    closing(part.start(job_id=run.next_job())) as events:
                for event in events:
                    part.take(event, store, run)
                    if throttle.due():
                        yield show(view)
                        throttle.shown()
        finally:
            run.job_id = None
    yield show(view)


@dataclass
class Stage:
    """What a run changes besides the buttons of its task.

    Attributes:
        html: where the pictures go.
        pause: pauses what runs.
        resume: in the place of ``pause`` while the run that was just paused waits.
        waiting: hidden; the id of that run.
    """

    html: gr.HTML
    pause: gr.Button
    resume: gr.Button
    waiting: gr.Textbox

    def components(self) -> list[Any]:
        """All of them."""
        return [self.html, self.pause, self.resume, self.waiting]


@dataclass
class Staged:
    """A run as updates of the stage.

    Attributes:
        stage: what changes.
        can_pause: whether there is a Pause button at all.
    """

    stage: Stage
    can_pause: bool = True
    _pausable: bool | None = None  # as it was shown last

    def __call__(self, view: RunView) -> Updates:
        """What a view of the run changes."""
        stage, pausable = self.stage, view.can_pause()
        updates: Updates = {stage.html: render_run(view)}
        if self._pausable is None:
            updates[stage.resume] = gr.update(visible=False)
            updates[stage.pause] = gr.update(visible=self.can_pause, interactive=pausable)
        elif pausable != self._pausable:
            updates[stage.pause] = gr.update(interactive=pausable)
        self._pausable = pausable
        paused = [panel.paused_id for panel in view.panels if panel.paused_id]
        if paused and view.is_over():
            updates[stage.pause] = gr.update(visible=False, interactive=False)
            updates |= {stage.resume: gr.update(visible=True), stage.waiting: paused[-1]}
        return updates
