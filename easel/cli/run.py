"""One run for the command line: a progress bar, Ctrl+C that keeps what is finished, PNG files."""

from __future__ import annotations

import signal
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from easel.cli.bar import Bar
from easel.history.records import LOCAL, HistoryError
from easel.serving.best_of import stream_best
from easel.serving.interface import Backend
from pipelines.core.errors import Cancelled, EaselError, InvalidRequest, Paused, reason
from pipelines.core.events import Event, Progress, Result
from pipelines.core.metadata import picture_metadata, picture_name, png_of, write_png
from pipelines.core.new_files import write_new
from pipelines.core.video import Film, last_frame


@dataclass(frozen=True)
class Outcome:
    """Pictures on disk with their metadata, best first, and whether Ctrl+C ended the run.

    ``notice`` says why the history did not keep them, where it did not; ``paused`` names the run
    where it was paused, and ``video`` the mp4 where one was asked for.
    """

    pictures: tuple[tuple[Path, Mapping[str, Any]], ...] = ()
    stopped: bool = False
    notice: str = ""
    paused: Paused | None = None
    video: Path | None = None


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


def show_progress(bar: Bar, event: Progress) -> None:
    """Move a bar to where a run is."""
    # A message holds until the next step: what was loaded is not loading any more.
    bar.set_description_str((event.message or "Drawing").removesuffix("."), refresh=False)
    if event.total:
        bar.total = event.total
        bar.n = event.step
    if event.losses:
        bar.set_postfix({name: f"{value:.3f}" for name, value in event.losses.items()},
                        refresh=False)
    bar.show()


def generate(fields: Mapping[str, Any], out: Path, backend: Backend,
             best_of: int | None = None, pause_after: int | None = None, video: bool = False,
             ) -> Outcome:
    """Run one request to its end and write its pictures.

    Args:
        fields: fields of the request by name.
        out: folder for the PNG files; made where it does not exist.
        backend: where to run it.
        best_of: how many pictures to draw for the best ``num_images``; None for no more.
        pause_after: steps after which the run is paused; None for never.
        video: write an mp4 of how the pictures came about as well.

    Raises:
        InvalidRequest: the request cannot be run.
        EaselError: the run or the writing failed.
    """
    request, job_id = backend.registry.check(fields), uuid.uuid4().hex
    if best_of is not None:
        if pause_after is not None:
            raise InvalidRequest("A run that draws the best of many cannot be paused.",
                                 field="pause_after")
        events = stream_best(backend, request, best_of, job_id, LOCAL)
    else:
        events = backend.stream(request, job_id, LOCAL, pause_after=pause_after)
    return write_pictures(events, job_id, out, backend, video)


def write_pictures(events: Iterable[Event], job_id: str, out: Path, backend: Backend,
                   video: bool = False) -> Outcome:
    """Follow a run to its end and write its pictures; see ``generate``.

    Args:
        events: of the run, which begins when they are read.
        job_id: its name at the backend.
        out: folder for the files.
        backend: where it runs.
        video: write an mp4 as well.

    Raises:
        EaselError: the run or the writing failed.
    """
    result: Result | None = None
    notice, film = "", Film()
    try:
        with (interrupt_cancels(backend, job_id),
              Bar("step") as bar):
            for event in events:
                if isinstance(event, Result):
                    result = event
                    continue
                film.take(event)
                if isinstance(event, Progress):
                    show_progress(bar, event)
    except Paused as error:
        return Outcome(paused=error)
    except Cancelled:
        return Outcome(stopped=True)
    except HistoryError as error:
        notice = str(error)
    if result is None:
        raise RuntimeError("the backend ended a stream without a result")
    pictures = []
    for candidate in result.candidates:
        metadata = picture_metadata(result, candidate)
        path = write_png(out / picture_name(metadata), png_of(result, candidate))
        pictures.append((path, metadata))
    stopped = bool(result.metadata.get("stopped"))
    if not video or not pictures:
        return Outcome(tuple(pictures), stopped, notice)
    path = min(path for path, _ in pictures).with_suffix(".mp4")
    try:
        path = write_new(path, film.video(last_frame(result.candidates)))
    except OSError as error:
        raise EaselError("The video {} could not be written: {}.", path.name,
                         reason(error)) from error
    return Outcome(tuple(pictures), stopped, notice, video=path)
