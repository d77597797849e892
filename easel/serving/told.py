"""What work on the device says while its caller waits for what it brings: its place in line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from easel.serving.jobs import Found
from pipelines.core.events import Event, Progress

Listener = Callable[[Progress], object]
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def hearing(listener: Listener) -> Iterator[None]:
    """Tell a listener what work that is waited for in the block says meanwhile.

    Args:
        listener: called in the thread that waits, about once a second before the work begins, with
            how many are ahead; then once with a progress that says nothing.
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def found_of(events: Iterable[Event | Found]) -> Any:
    """What work brings, its last event; what it says before goes to who listens (``hearing``)."""
    value: Any = None
    for event in events:
        if isinstance(event, Found):
            value = event.value
        elif isinstance(event, Progress) and (listener := _listener.get()) is not None:
            listener(event)
    return value
