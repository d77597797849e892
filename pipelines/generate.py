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

from pipelines.errors import Cancelled, HistoryError
from pipelines.events import Progress, Result
from pipelines.metadata import picture_metadata, picture_name, save_png
from serving.backend import Backend, LocalBackend
from serving.best_of import stream_best


@dataclass(frozen=True)
class Outcome:
    """Pictures on disk with their metadata, best first, and whether Ctrl+C ended the run.

    ``notice`` says why the history did not keep them, where it did not.
    """

    pictures: tuple[tuple[Path, Mapping[str, Any]], ...] = ()
    stopped: bool = False
    notice: str = ""


@contextmanager
def interrupt_cancels(backend: Backend, *job_ids: str) -> Iterator[threading.Event]:
    """Turn the first Ctrl+C into Stop of jobs; the second ends the process as always.

    Yields:
        What says whether that has happened.

    The handler runs between any two instructions of the main thread, locks included, so it leaves
    the cancelling to another thread.
    """
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def cancel_all() -> None:
        for job_id in job_ids:
            backend.cancel(job_id)

    def stop(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, previous)
        interrupted.set()
        threading.Thread(target=cancel_all).start()

    previous = signal.signal(signal.SIGINT, stop)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, previous)


def show_progress(bar: tqdm, event: Progress) -> None:
    """Move a bar to where a run is."""
    # A message holds until the next step: what was loaded is not loading any more.
    bar.set_description_str(event.message or "Drawing", refresh=False)
    if event.total:
        bar.total = event.total
        bar.n = event.step
    if event.losses:
        bar.set_postfix({name: f"{value:.3f}" for name, value in event.losses.items()},
                        refresh=False)
    bar.refresh()


def generate(fields: Mapping[str, Any], out: Path, backend: LocalBackend,
             best_of: int | None = None) -> Outcome:
    """Run one request to its end and write its pictures.

    Args:
        fields: fields of the request by name.
        out: folder for the PNG files; made where it does not exist.
        backend: where to run it.
        best_of: how many pictures to draw for the best ``num_images``; None for no more.

    Raises:
        InvalidRequest: the request cannot be run.
        EaselError: the run or the writing failed.
    """
    job_id = uuid.uuid4().hex
    result: Result | None = None
    notice = ""
    try:
        with (interrupt_cancels(backend, job_id),
              tqdm(total=None, file=sys.stderr, leave=False, unit="step") as bar):
            events = backend.stream(fields, job_id) if best_of is None else stream_best(
                backend, backend.registry, fields, best_of, job_id)
            for event in events:
                if isinstance(event, Progress):
                    show_progress(bar, event)
                elif isinstance(event, Result):
                    result = event
    except Cancelled:
        return Outcome(stopped=True)
    except HistoryError as error:
        notice = str(error)
    if result is None:
        raise RuntimeError("the backend ended a stream without a result")
    pictures = []
    for candidate in result.candidates:
        metadata = picture_metadata(result, candidate)
        path = out / picture_name(metadata)
        save_png(path, candidate.image, metadata)
        pictures.append((path, metadata))
    return Outcome(tuple(pictures), bool(result.metadata.get("stopped")), notice)
