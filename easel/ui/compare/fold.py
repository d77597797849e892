"""The events of a comparison folded into what the page shows of it, and votes counted."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator

from easel.compare.plan import Plan
from easel.compare.votes import VOTED, Vote, VoteError
from easel.serving.jobs import Found, RunEvent
from easel.ui.compare.state import Comparison, Pane
from easel.ui.parts.panel import Panel
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.streams import REDRAW_EVERY_S, Throttle
from easel.ui.playground import Playground
from pipelines.core.errors import EaselError
from pipelines.core.events import Result


def start_comparison(playground: Playground, plan: Plan, session: str, blind: bool) -> Comparison:
    """A comparison that has not begun; a blind one has its panes shuffled."""
    names = playground.registry.names()
    panes = [Pane(r, Panel(r.pipeline, playground.registry.get(r.pipeline).title
                           if r.pipeline in names else r.pipeline, r.prompt, r.num_images))
             for r in plan.requests]
    order = list(range(len(panes)))
    if blind:
        secrets.SystemRandom().shuffle(order)
    return Comparison(session, plan, panes, tuple(order), blind)


def fold_events(comparison: Comparison, events: Iterator[RunEvent], playground: Playground,
                store: PictureStore, redraw_every_s: float = REDRAW_EVERY_S) -> Iterator[set[int]]:
    """Take in the events of a comparison.

    Yields:
        Which panes have changed, no more often than a person sees; the last time all of them.
    """
    changed: set[int] = set()
    throttle = Throttle(redraw_every_s)
    for run_event in events:
        pane = comparison.panes[run_event.index]
        _fold(pane, run_event, playground, store)
        changed.add(run_event.index)
        if throttle.due():
            yield changed
            changed = set()
            throttle.shown()
    yield set(range(len(comparison.panes)))


def _fold(pane: Pane, run_event: RunEvent, playground: Playground, store: PictureStore) -> None:
    event, panel = run_event.event, pane.panel
    pane.usage = run_event.usage
    if isinstance(event, Result):
        pane.result = event
        try:
            cards = store.keep(pane.request, event, playground.registry.get(panel.name))
        except EaselError as error:
            panel.take(error)
        else:
            panel.finish(cards, event.elapsed_s, bool(event.metadata.get("stopped")))
    elif isinstance(event, EaselError) and pane.result is not None:
        pane.notice = str(event)  # the pictures are there, what was to happen to them failed
    elif not isinstance(event, Found):
        panel.take(event)


def cast_vote(playground: Playground, comparison: Comparison, choice: int | str,
              voter: str = "") -> None:
    """Count a vote on a comparison and show its names.

    Args:
        playground: whose votes these are.
        comparison: what was voted on.
        choice: place of the best pane from the left, "tie" or "bad".
        voter: who voted.

    Raises:
        VoteError: it was voted on before, or cannot be.
    """
    if comparison.choice is not None:
        raise VoteError(VOTED)
    if not comparison.can_be_voted_on():
        raise VoteError("A vote needs pictures in at least two panes: wait until they are done.")
    if isinstance(choice, int) and not isinstance(choice, bool):
        if not 0 <= choice < len(comparison.panes):
            raise VoteError("There is no pane {} in this comparison.", choice + 1)
        choice = comparison.order[choice]
    panes = tuple({"pipeline": pane.panel.name, "seed": pane.request.seed,
                   "options": dict(pane.request.options),
                   "clip": card.clip_score if (card := pane.best()) else None}
                  for pane in comparison.panes)
    playground.votes.cast(Vote(_ballot(comparison), comparison.prompt, panes, choice,
                               comparison.blind, voter))
    comparison.choice = choice


def _ballot(comparison: Comparison) -> str:
    """What a vote on these pictures is known by: saved and opened again, they get no second one."""
    try:
        hashes = sorted(hashlib.sha256(card.path.read_bytes()).hexdigest()
                        for pane in comparison.panes for card in pane.panel.cards)
    except OSError:  # left open for so long that the files are gone
        return comparison.id
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()
