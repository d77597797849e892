"""Uploads that are cut off leave nothing: Gradio keeps the part that came.

What is only swept after a while fills the cache meanwhile, for all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from gradio import route_utils

_parts: ContextVar[list[Path] | None] = ContextVar("parts", default=None)


def note_upload_parts() -> None:
    """Let the files that Gradio writes uploads into be noted from now on."""
    setattr(route_utils, "NamedTemporaryFile", _noted)  # noqa: B010


def _noted(*args: Any, **kwargs: Any) -> Any:
    file = NamedTemporaryFile(*args, **kwargs)  # noqa: SIM115  (Gradio closes it)
    if (parts := _parts.get()) is not None:
        parts.append(Path(file.name))
    return file


@contextmanager
def removed_where_cut() -> Iterator[None]:
    """Remove what uploads have written in the block where it ends with an error."""
    parts: list[Path] = []
    token = _parts.set(parts)
    try:
        yield
    except BaseException:
        for part in parts:
            with suppress(OSError):  # Gradio has moved or removed it
                part.unlink()
        raise
    finally:
        _parts.reset(token)
