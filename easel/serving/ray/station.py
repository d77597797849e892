"""What a runner does, whatever brings it its work: a local backend's jobs, under orders."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from easel.serving.backend import LocalBackend
from easel.serving.jobs import Found, Job, Requester, RunEvent, Usage
from easel.serving.ray.fleet import RunnerModels
from easel.serving.ray.messages import Ended, Holding, Kept, Order, Report, Terms, Work
from pipelines.core.errors import EaselError
from pipelines.core.events import Preview
from pipelines.models.cache.inventory import Act, ModelRow, act_on

logger = logging.getLogger(__name__)
PREVIEW_EVERY_S = 0.1  # nothing else holds back a stream whose reader is slow
REMEMBERED = 200  # tokens that have ended, or that orders came for before their work
VALUES = ("embed", "unlike_the_world", "inside")  # methods that return what they find
EVENTS = ("stream", "resume", "walk")
COMPARE = "compare"


@dataclass(eq=False)
class _AtHand:
    """Work that was begun."""

    work: Work
    jobs: dict[str, Job] = field(default_factory=dict)  # that have begun
    ended: dict[str, Ended] = field(default_factory=dict)
    kept: list[Kept] = field(default_factory=list)  # to be told
    orders: list[Order] = field(default_factory=list)  # for what has not begun
    abandoned: bool = False
    read: bool = False

    def is_over(self) -> bool:
        return self.read and len(self.ended) == len(self.jobs)


class Station:
    """Runs work on a local backend, and says how it fares.

    Args:
        name: of the runner.
        backend: that draws.
        changed: called, on any thread, when something has ended.
        easel: which code it runs.
        offline: no models may be downloaded.
        terms: what was said of the line and the runners when it was started.
    """

    def __init__(self, name: str, backend: LocalBackend, changed: Callable[[], None],
                 easel: str = "", offline: bool = False, terms: Terms | None = None) -> None:
        self.name, self.backend = name, backend
        self._inventory = backend.models(offline)
        self._changed, self._easel, self._terms = changed, easel, terms
        self._lock = threading.RLock()
        self._at_hand: dict[str, _AtHand] = {}
        self._ended: OrderedDict[str, tuple[Ended, ...]] = OrderedDict()
        self._early: OrderedDict[str, list[Order]] = OrderedDict()
        self._asks = threading.local()
        self._number = 0
        backend.jobs.watch = self
        backend.requester = lambda: getattr(self._asks, "requester", Requester())

    def events(self, work: Work) -> Generator[RunEvent | Kept]:
        """Do some work, and say what its jobs say; an error that ends it is the last event."""
        with self._lock:
            if work.token in self._ended:  # it was abandoned on its way here
                return
            hand = self._at_hand[work.token] = _AtHand(work)
            hand.orders += self._early.pop(work.token, [])
        self._asks.requester = work.requester
        shown_s: dict[int, float] = {}
        try:
            for each in self._said(hand):
                yield from self._kept(hand)
                if isinstance(each.event, Preview):
                    now_s = time.monotonic()
                    if now_s - shown_s.get(each.index, 0.0) < PREVIEW_EVERY_S:
                        continue
                    shown_s[each.index] = now_s
                yield each
        finally:
            with self._lock:
                hand.read = True
                self._settle(hand)

    def _said(self, hand: _AtHand) -> Generator[RunEvent]:
        work = hand.work
        try:
            if work.method not in (*VALUES, *EVENTS, COMPARE):
                raise ValueError(f"a runner has no {work.method}")
            found: Any = getattr(self.backend, work.method)(**work.arguments)
            if work.method == COMPARE:
                yield from found
            elif work.method in VALUES:
                yield RunEvent(0, Found(found), self._usage(hand))
            else:
                for event in found:
                    yield RunEvent(0, event, self._usage(hand))
        except EaselError as error:
            yield RunEvent(0, error, self._usage(hand))
        except Exception:
            logger.exception("work %s failed", work.token)
            yield RunEvent(0, EaselError(
                "Something went wrong inside Easel; the server's log has the details under job "
                "{}.", work.job_ids[0]), self._usage(hand))

    def _usage(self, hand: _AtHand) -> Usage:
        return next((job.usage for job in hand.jobs.values()), Usage())

    def _kept(self, hand: _AtHand) -> list[Kept]:
        with self._lock:
            kept, hand.kept = hand.kept, []
        return kept

    def abandon(self, token: str) -> None:
        """Nobody looks at some work any more: it ends within a step, and is not begun."""
        with self._lock:
            hand = self._at_hand.get(token)
            if hand is None:
                self._end(token, ())
                return
            hand.abandoned = True
            for job in hand.jobs.values():
                job.abandoned = True

    def obey(self, order: Order) -> None:
        """Do what the desk asks; what is asked of a job that has not begun is done as it does."""
        if order.what == "abandon":
            self.abandon(order.token)
        elif order.what == "stop":
            self.backend.cancel(order.job_id)
        else:
            with self._lock:
                hand = self._at_hand.get(order.token)
                if hand is not None:
                    hand.orders.append(order)
                elif order.what == "orphan":  # nobody brings it any more
                    self._end(order.token, ())
                elif order.token not in self._ended:
                    self._early.setdefault(order.token, []).append(order)
                    while len(self._early) > REMEMBERED:
                        self._early.popitem(last=False)
                jobs = list(hand.jobs.values()) if hand is not None else []
            for job in jobs:
                self._do(order, job)

    def report(self) -> Report:
        """How it fares now."""
        with self._lock:
            self._number += 1
            running = {token: {job_id: (job.usage, job.progress)
                               for job_id, job in hand.jobs.items()}
                       for token, hand in self._at_hand.items()}
            ended, number = dict(self._ended), self._number
        stats = self.backend.cache.stats()
        held = frozenset(model.model_id for model in stats.models if model.state != "disk")
        return Report(self.name, number, running, ended, held,
                      Holding(stats.used_bytes, stats.hits, stats.misses, stats.evictions),
                      self.backend.device(), self._easel, os.getpid(), socket.gethostname(),
                      self._terms)

    def models(self, act: Act | None = None, model_id: str = "") -> RunnerModels:
        """What it has of each model, after something was done with one of them."""
        stats, refused = self.backend.cache.stats(), None
        rows: tuple[ModelRow, ...] = ()
        if self._inventory is not None:
            try:
                if act is not None:
                    act_on(self._inventory, act, model_id)
            except EaselError as error:
                refused = error
            stats, rows = self._inventory.memory(), tuple(self._inventory.rows())
        return RunnerModels(self.name, socket.gethostname(), self.backend.device(),
                            replace(stats, models=()), rows, refused)

    # What follows is told by the device's thread.

    def began(self, job: Job) -> None:
        """A job is about to take its first step."""
        with self._lock:
            hand = self._hand_of(job)
            if hand is None:
                return
            hand.jobs[job.job_id] = job
            job.abandoned = job.abandoned or hand.abandoned
            orders = list(hand.orders)
            if job.checkpointer is not None and job.checkpointer.keeps:
                hand.kept.append(Kept(job.checkpointer.run_id, job.checkpointer.lease))
        for order in orders:
            self._do(order, job)

    def ended(self, job: Job) -> None:
        """A job has ended."""
        with self._lock:
            hand = self._hand_of(job)
            if hand is not None:
                hand.ended[job.job_id] = Ended(job.job_id, job.outcome(), job.usage)
                self._settle(hand)

    def _hand_of(self, job: Job) -> _AtHand | None:
        return next((hand for hand in self._at_hand.values() if job.job_id in hand.work.job_ids),
                    None)

    def _do(self, order: Order, job: Job) -> None:
        if order.what in ("close", "orphan"):
            self.backend.jobs.end(job)
        elif order.job_id == job.job_id:
            with suppress(EaselError):  # whoever asked was told already
                self.backend.pause(job.job_id)

    def _settle(self, hand: _AtHand) -> None:
        token = hand.work.token
        if hand.is_over() and self._at_hand.get(token) is hand:
            del self._at_hand[token]
            self._end(token, tuple(hand.ended.values()))

    def _end(self, token: str, jobs: tuple[Ended, ...]) -> None:
        self._ended[token] = jobs
        while len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)
        self._changed()
