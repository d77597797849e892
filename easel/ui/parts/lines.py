"""Runs that wait behind the one that a page shows: one visitor's go one behind the other.

They are not in the device's queue yet, where each would have a place of its own: whoever comes
meanwhile goes between them, so that nobody's long list holds up everybody else.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from easel.serving.session_runs import Run

Updates = dict[Any, Any]  # of what the page shows, by component
MOST_EARLIER = 3  # runs whose pictures stay below those of the one that runs


@dataclass(eq=False)
class Held:
    """A run that was checked and has yet to begin, behind another one or at once.

    Attributes:
        run: whose it is, and what Stop acts on.
        subject: what it is about, for whoever opens the page again.
        first: what the page shows when it begins.
        steps: what follows; nothing of it has been done.
        context: of the request that asked for it: its language, for one.
    """

    run: Run
    subject: Any
    first: Updates
    steps: Generator[Updates]
    context: contextvars.Context = field(default_factory=contextvars.copy_context)

    def work(self) -> Iterator[Updates]:
        """Do it, in the place of the request that asked for it."""
        step = partial(self.context.run, next, self.steps, None)
        return cast("Iterator[Updates]", iter(step, None))

    def forget(self) -> None:
        """It is not to begin any more."""
        self.run.stopped = True
        self.steps.close()


class Line:
    """The runs behind one that runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: list[Held] = []
        self._closed = False

    def __len__(self) -> int:
        return len(self._held)

    def held(self) -> tuple[Held, ...]:
        """Those that wait, in their order."""
        with self._lock:
            return tuple(self._held)

    def add(self, held: Held) -> bool:
        """Put one at the end; False where the last run has ended already."""
        with self._lock:
            if not self._closed:
                self._held.append(held)
            return not self._closed

    def take(self) -> Held | None:
        """The next one, which is to begin now; where there is none, no more come either."""
        with self._lock:
            if self._held:
                return self._held.pop(0)
            self._closed = True
            return None

    def drop(self, run_id: str) -> bool:
        """Forget one of them; whether it was there."""
        with self._lock:
            found = [held for held in self._held if held.run.run_id == run_id]
            self._held = [held for held in self._held if held not in found]
        for held in found:
            held.forget()
        return bool(found)

    def close(self) -> None:
        """Forget all of them, and take no more."""
        with self._lock:
            self._closed = True
            held, self._held = self._held, []
        for each in held:
            each.forget()


class Stack:
    """Keeps what the last runs have shown in a component below what the present one shows.

    Args:
        component: where; None to keep nothing.
        wrap: makes the HTML of a run that is over out of what it has shown.
    """

    def __init__(self, component: Any, wrap: Callable[[str], str]) -> None:
        self._component, self._wrap = component, wrap
        self._now, self._earlier = "", list[str]()

    def turn(self) -> None:
        """The present run is over, and the next one begins."""
        if self._now:
            self._earlier = [self._wrap(self._now), *self._earlier][:MOST_EARLIER]

    def on(self, updates: Updates) -> Updates:
        """What the present run shows, above the earlier ones."""
        if self._component is None or self._component not in updates:
            return updates
        self._now = str(updates[self._component])
        return updates | {self._component: self._now + "".join(self._earlier)}
