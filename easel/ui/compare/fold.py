"""The events of a comparison folded into what the page shows of it, and votes counted."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from easel.compare.plan import Plan
from easel.compare.votes import VOTED, Vote, VoteError
from easel.history.records import KeptPicture
from easel.serving.jobs import Found, RunEvent
from easel.ui.compare.state import Comparison, Pane
from easel.ui.parts.facts import option_facts
from easel.ui.parts.panel import Card, Panel
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.streams import REDRAW_EVERY_S, Throttle
from easel.ui.playground import Playground
from pipelines.core.errors import EaselError
from pipelines.core.events import Result


def start_comparison(playground: Playground, plan: Plan, session: str, blind: bool) -> Comparison:
    """A comparison that has not begun; a blind one has its panes shuffled."""
    names = playground.registry.names()
    panes = [Pane(r, Panel(r.pipeline, playground.registry.get(r.pipeline).title
                           if r.pipeline in names else r.pipeline, r.prompt, r.num_images),
                  settings=dict(option_facts(
                      dict(r.options), playground.registry.get(r.pipeline)
                      if r.pipeline in names else None)))
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
        pane.facts = event.metadata
        try:
            cards = store.keep(pane.request, event, playground.registry.get(panel.name))
        except EaselError as error:
            panel.take(error)
        else:
            panel.finish(cards, event.elapsed_s, bool(event.metadata.get("stopped")),
                         limit_s=event.metadata.get("time_limit_s"))
    elif isinstance(event, EaselError) and pane.facts is not None:
        pane.notice = str(event)  # the pictures are there, what was to happen to them failed
    elif not isinstance(event, Found):
        panel.take(event)


def cast_vote(playground: Playground, comparison: Comparison, choice: int | str,
              voter: str = "") -> None:
    """Count a vote on a comparison and show its names.

    On one that was opened from a file it counts where this server drew its pictures, as its history
    says, by those generators and of that prompt, and as an open vote: the file names them. Where
    panes had prompts of their own it counts nowhere: one may be easier than the other.

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
    if not comparison.is_known():
        raise VoteError("A vote counts for generators that Easel knows; this comparison names "
                        "another one.")
    if not comparison.can_be_voted_on():
        raise VoteError("A vote needs pictures in at least two panes: wait until they are done.")
    if isinstance(choice, int) and not isinstance(choice, bool):
        if not 0 <= choice < len(comparison.panes):
            raise VoteError("There is no pane {} in this comparison.", choice + 1)
        choice = comparison.order[choice]
    hashes = _hashes(comparison)
    drawn = _drawn_here(playground, comparison, hashes) if comparison.opened else {}
    panes = tuple(_voted_on(pane, [drawn[each] for each in own if each in drawn])
                  for pane, own in zip(comparison.panes, hashes, strict=True))
    vote = Vote(_ballot(comparison, hashes), comparison.prompt, panes, choice,
                comparison.blind and not comparison.opened, voter)
    counted = (not comparison.opened or bool(drawn)) and not any(comparison.plan.own_prompts)
    (playground.votes.cast if counted else playground.votes.check)(vote)
    comparison.choice, comparison.counted = choice, counted


def _voted_on(pane: Pane, drawn: Sequence[KeptPicture]) -> dict[str, Any]:
    """What a vote says of a pane: where the history knows its pictures, as that does."""
    options, clip = dict(pane.request.options), card.clip_score if (card := pane.best()) else None
    if drawn:
        best = max(drawn, key=lambda each: -2 if each.clip_score is None else each.clip_score)
        options, clip = dict(best.facts.get("options") or {}), best.clip_score
    return {"pipeline": pane.panel.name, "seed": pane.request.seed, "options": options,
            "clip": clip}


def _hashes(comparison: Comparison) -> list[list[str]]:
    """SHA-256 of the pictures, pane by pane; none of those whose files are gone."""
    def of(card: Card) -> Iterator[str]:
        with suppress(OSError):
            yield hashlib.sha256(card.path.read_bytes()).hexdigest()

    return [[each for card in pane.panel.cards for each in of(card)] for pane in comparison.panes]


def _drawn_here(playground: Playground, comparison: Comparison, hashes: Sequence[Sequence[str]],
                ) -> dict[str, KeptPicture]:
    """The pictures of a file by their hashes, as the history of anybody knows them; none where it
    lacks one, where it says another generator or prompt than the file, or where a pane has none."""
    if (playground.history is None or not all(hashes)
            or sum(map(len, hashes)) < len(comparison.cards())):
        return {}
    found = playground.history.by_hash([each for own in hashes for each in own])
    same = all(each in found and found[each].pipeline == pane.panel.name
               and found[each].prompt == pane.request.prompt
               for pane, own in zip(comparison.panes, hashes, strict=True) for each in own)
    return found if same else {}


def _ballot(comparison: Comparison, hashes: Sequence[Sequence[str]]) -> str:
    """What a vote on these pictures is known by: saved and opened again, they get no second one."""
    flat = sorted(each for own in hashes for each in own)
    if len(flat) < len(comparison.cards()):  # left open for so long that the files are gone
        return comparison.id
    return hashlib.sha256(" ".join(flat).encode()).hexdigest()
