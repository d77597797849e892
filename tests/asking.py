"""What every caller of a backend does: have the registry check a request, then run it."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

from easel.serving.interface import Backend
from easel.serving.jobs import RunEvent
from pipelines.core.events import Event


def stream(backend: Backend, fields: Mapping[str, Any], *args: Any, **kwargs: Any,
           ) -> Generator[Event, None, None]:
    """Check the fields of a request and run it; see ``Backend.stream``."""
    return backend.stream(backend.registry.check(fields), *args, **kwargs)


def compare(backend: Backend, requests: Sequence[Mapping[str, Any]], *args: Any,
            **kwargs: Any) -> Generator[RunEvent, None, None]:
    """Check the fields of several requests and run them; see ``Backend.compare``."""
    return backend.compare([backend.registry.check(each) for each in requests], *args, **kwargs)
