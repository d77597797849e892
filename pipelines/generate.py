"""One run for the command line: a progress bar, Ctrl+C that keeps what is finished, PNG files."""

from __future__ import annotations

import signal
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipelines.errors import Cancelled
from pipelines.events import Progress, Result
from pipelines.metadata import picture_metadata, picture_name, save_png
from serving.backend import Backend


@dataclass(frozen=True)
class Outcome:
    """Pictures on disk with their metadata, best first, and whether Ctrl+C ended the run."""

    pictures: tuple[tuple[Path, Mapping[str, Any]], ...] = ()
    stopped: bool = False


@contextmanager
def _interrupt_cancels(backend: Backend, job_id: str) -> Iterator[None]:
    """Turn the first Ctrl+C into Stop; the second ends the process as always.

    The handler runs between any two instructions of the main thread, locks included, so it leaves
    the cancelling to another thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, previous)
        threading.Thread(target=backend.cancel, args=(job_id,)).start()

    previous = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _show(bar: tqdm, event: Progress) -> None:
    # A message holds until the next step: what was loaded is not loading any more.
    bar.set_description_str(event.message or "Drawing", refresh=False)
    if event.total:
        bar.total = event.total
        bar.n = event.step
    if event.losses:
        bar.set_postfix({name: f"{value:.3f}" for name, value in event.losses.items()},
                        refresh=False)
    bar.refresh()


def generate(fields: Mapping[str, Any], out: Path, backend: Backend) -> Outcome:
    """Run one request to its end and write its pictures.

    Args:
        fields: fields of the request by name.
        out: folder for the PNG files; made where it does not exist.
        backend: where to run it.

    Raises:
        InvalidRequest: the request cannot be run.
        EaselError: the run or the writing failed.
    """
    job_id = uuid.uuid4().hex
    result: Result | None = None
    try:
        with (_interrupt_cancels(backend, job_id),
              tqdm(total=None, file=sys.stderr, leave=False, unit="step") as bar):
            for event in backend.stream(fields, job_id):
                if isinstance(event, Progress):
                    _show(bar, event)
                elif isinstance(event, Result):
                    result = event
    except Cancelled:
        return Outcome(stopped=True)
    if result is None:
        raise RuntimeError("the backend ended a stream without a result")
    pictures = []
    for candidate in result.candidates:
        metadata = picture_metadata(result, candidate)
        path = out / picture_name(metadata)
        save_png(path, candidate.image, metadata)
        pictures.append((path, metadata))
    return Outcome(tuple(pictures), bool(result.metadata.get("stopped")))
