"""Best of N: draw many, show the few that the ranker likes best.

Source: Ramesh et al., "Zero-Shot Text-to-Image Generation" (2021), section 2.6, which draws 512
and keeps the best.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, cast

from easel.serving.interface import Backend
from pipelines.core.errors import Cancelled, EaselError, InvalidRequest
from pipelines.core.events import Candidate, Event, Preview, Progress, Result
from pipelines.core.request import MAX_IMAGES, CheckedRequest, candidate_seed

MAX_DRAWN = 128


def stream_best(backend: Backend, request: CheckedRequest[Any], drawn: Any,
                job_id: str | None = None, owner: str = "") -> Generator[Event, None, None]:
    """Draw many pictures of a request and keep its ``num_images`` best.

    Each picture has the seed that it would have in one long run, so any of them is drawn again
    alone. Pictures of a run that was stopped count too.

    Args:
        backend: where to run.
        request: what is asked for; ``num_images`` is how many are kept.
        drawn: how many are drawn, at least as many.
        job_id: as for ``Backend.stream``; the same for all parts, one after the other.
        owner: as for ``Backend.stream``.

    Yields:
        As ``Backend.stream``; steps are counted over all parts, previews show the part that runs.

    Raises:
        InvalidRequest: ``drawn`` is out of bounds.
        EaselError: what ends a run.
    """
    count = check_drawn(drawn, request.num_images)
    if count == request.num_images:
        return backend.stream(request, job_id, owner)
    return _stream_parts(backend, request, list(_parts(request, count)), job_id, owner)


def _stream_parts(backend: Backend, request: CheckedRequest[Any],
                  parts: Sequence[CheckedRequest[Any]], job_id: str | None, owner: str,
                  ) -> Generator[Event, None, None]:
    """The parts of a run one after the other, as one; see ``stream_best``."""
    found: list[Result] = []
    problem: EaselError | None = None
    for number, part in enumerate(parts):
        spent_s = sum(result.elapsed_s for result in found)
        stream = cast("Generator[Event]",
                      backend.stream(part, job_id, owner, can_pause=False))
        try:
            with closing(stream) as events:
                for event in events:
                    if isinstance(event, Result):
                        found.append(event)
                    elif isinstance(event, Progress):
                        yield _counted(event, number, len(parts), spent_s)
                    else:
                        yield _fitted(event, request.num_images)
        except EaselError as error:
            if not found:
                raise
            problem = error
            break
        if found[-1].metadata.get("stopped"):
            break
    yield _merged(found, request.num_images, stopped=isinstance(problem, Cancelled))
    if problem is not None and not isinstance(problem, Cancelled):
        raise problem  # the pictures are there, and so is what went wrong


def check_drawn(drawn: Any, kept: int) -> int:
    """How many pictures to draw for ``kept`` of them.

    Raises:
        InvalidRequest: it is no whole number, fewer than are kept, or too many.
    """
    whole = isinstance(drawn, int | float) and not isinstance(drawn, bool) and drawn == drawn // 1
    if not whole or not kept <= drawn <= MAX_DRAWN:
        raise InvalidRequest("The pictures to choose from must be a whole number between {} and "
                             "{}.", kept, MAX_DRAWN, field="best_of")
    return int(drawn)


def _parts(request: CheckedRequest[Any], count: int) -> Iterator[CheckedRequest[Any]]:
    for start in range(0, count, MAX_IMAGES):
        yield replace(request, seed=candidate_seed(request.seed, start),
                      num_images=min(MAX_IMAGES, count - start))


def _counted(event: Progress, part: int, parts: int, spent_s: float) -> Progress:
    """A part's progress as that of the whole."""
    return replace(event, step=part * event.total + event.step, total=parts * event.total,
                   elapsed_s=spent_s + event.elapsed_s)


def _fitted(event: Preview, kept: int) -> Preview:
    return Preview(event.step, event.images[:kept], event.seeds[:kept])


def _merged(results: list[Result], kept: int, stopped: bool) -> Result:
    """One result of all parts: the best, with the place that each had in the whole."""
    candidates: list[Candidate] = []
    for number, result in enumerate(results):
        for candidate in result.candidates:
            # A share among the pictures of a part says nothing about the whole.
            scores = {n: s for n, s in candidate.scores.items() if n != "probability"}
            candidates.append(replace(candidate, index=number * MAX_IMAGES + candidate.index,
                                      scores=scores))
    candidates.sort(key=lambda c: (-c.scores.get("clip", 0.0), c.index))
    first = results[0]
    metadata = {**first.metadata, "num_images": kept,
                "best_of": len(candidates),
                "device_s": round(sum(r.metadata.get("device_s", 0) for r in results), 3)}
    if stopped or any(result.metadata.get("stopped") for result in results):
        metadata["stopped"] = True
    return Result(tuple(candidates[:kept]), sum(r.elapsed_s for r in results), metadata,
                  tuple(candidates[kept:]))
