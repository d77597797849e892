"""The queue as one visitor sees it: all places, and what is behind those of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from easel.serving.jobs import Place
from easel.serving.session_runs import Run
from easel.ui.playground import Playground
from easel.words import strings
from easel.words.language import say
from pipelines.core.errors import InvalidRequest


@dataclass(frozen=True)
class Entry:
    """A run in the list.

    Attributes:
        position: 1 for what the device does now.
        kinds: names of the generators that draw, or what else is done; empty where a run has yet
            to say so.
        title: the same in words, in the language of the request.
        state: whether it has had the device already.
        own: whether it is the visitor's who asks; of others' there is nothing more.
        id: what it is cancelled by.
        prompt: what was asked for.
        step: how far it is.
        total: of how many steps; 0 while that is not known.
    """

    position: int
    kinds: tuple[str, ...]
    title: str
    state: Literal["running", "waiting"]
    own: bool
    id: str = ""
    prompt: str = ""
    step: int = 0
    total: int = 0


def queue_of(playground: Playground, visitor: str) -> list[Entry]:
    """Everything that runs or waits, in the order in which it comes if nobody else does."""
    places = playground.backend.places()
    runs, held = _runs_of(playground, visitor)
    entries: list[Entry] = []
    for place in places:
        if place.owner != visitor:
            entries.append(_entry(playground, place, own=False))
            continue
        run = _run_of(place, runs)
        if run is not None:
            runs.remove(run)
        entries.append(_entry(playground, place, own=True, run=run))
    # Between two of its pipelines a run has no place; what is held gets one when its turn comes.
    for run in [*runs, *held]:
        entries.append(Entry(len(entries) + 1, (), "", "waiting", True, run.run_id, run.about))
    return entries


def cancel(playground: Playground, visitor: str, run_id: str) -> None:
    """End a run of a visitor, or forget it where it waits; what is finished by then is kept.

    Raises:
        InvalidRequest: nothing of theirs in the queue is called so.
    """
    if playground.live.drop(visitor, run_id):
        return
    runs, _ = _runs_of(playground, visitor)
    for run in runs:
        if run.run_id == run_id:
            run.stop()
            return
    for place in playground.backend.places():
        if place.owner == visitor and run_id in place.job_ids:
            for job_id in place.job_ids:
                playground.backend.cancel(job_id)
            return
    raise InvalidRequest("No run of yours in the queue is called {!r}: it may have ended.",
                         run_id[:40], field="id")


def _runs_of(playground: Playground, visitor: str) -> tuple[list[Run], list[Run]]:
    """The runs under way of a visitor, and those that wait behind them."""
    live = playground.live.of_visitor(visitor)
    # A page that is being reloaded has none of its own.
    under_way = dict.fromkeys([*(run for run, _ in live), *playground.runs.of_visitor(visitor)])
    return ([run for run in under_way if not run.over],
            [held.run for _, line in live for held in line])


def _run_of(place: Place, runs: Sequence[Run]) -> Run | None:
    return next((run for run in runs if any(map(run.has, place.job_ids))), None)


def _entry(playground: Playground, place: Place, own: bool, run: Run | None = None) -> Entry:
    state = "running" if place.running else "waiting"
    title = ", ".join(_titles(playground, place.kinds))
    if not own:
        return Entry(place.position, place.kinds, title, state, own)
    prompt = place.about or (run.about if run is not None else "")
    return Entry(place.position, place.kinds, title, state, own,
                 place.job_ids[0] if run is None else run.run_id, prompt,
                 place.progress.step, place.progress.total)


def _titles(playground: Playground, kinds: Sequence[str]) -> Iterator[str]:
    known = {pipeline.name: pipeline.title for pipeline in playground.registry}
    for kind in kinds:
        yield say(known[kind]) if kind in known else strings.QUEUE_KINDS.get(kind, kind)
