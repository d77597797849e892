"""What a VQGAN+CLIP run has behind it, when its state is kept, and how it is resumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.checkpointer import Checkpointer
from pipelines.core.errors import Paused, PausedRunError
from pipelines.core.events import Earlier, Event, Preview, Progress
from pipelines.core.request import CheckedRequest, candidate_seed
from pipelines.core.video import Film
from pipelines.models.pixels import to_uint8
from pipelines.saved_run import DAMAGED, Snapshot
from pipelines.vqgan_clip.optimise import Painting


class PausableRun:
    """Between the steps of a run and its checkpointer.

    Args:
        checkpointer: None where nothing is kept.
        painting: the pictures, before their first step.
        request: as it runs.
        total: steps that the run is to take.

    Attributes:
        film: the previews so far.
        notice: why the run could not be paused, in a sentence; empty where nothing went wrong.
    """

    def __init__(self, checkpointer: Checkpointer | None, painting: Painting,
                 request: CheckedRequest[Any], total: int) -> None:
        self._checkpointer, self._painting = checkpointer, painting
        self._request, self._total = request, total
        self._start = checkpointer.start if checkpointer is not None else None
        self._earlier = self._start.earlier if self._start is not None else Earlier()
        self._losses = {name: list(points) for name, points in self._earlier.losses.items()}
        self._weights: Mapping[str, str | None] = {}
        self.film = Film(self._earlier.frames)
        self.notice = ""

    def resume(self, weights: Mapping[str, str | None]) -> None:
        """Put the painting where the checkpointer's start left off, and make the change.

        Args:
            weights: SHA-256 of the weights in use, by model id.

        Raises:
            PausedRunError: the start was made with other weights, or is no state of such a run.
        """
        self._weights = dict(weights)
        start, checkpointer = self._start, self._checkpointer
        if start is None or checkpointer is None:
            return
        for model, digest in start.weights.items():
            if digest != self._weights.get(model):
                raise PausedRunError("The run was paused with other weights of {} than those that "
                                     "are here now, so it cannot go on.", model[:60])
        try:
            self._painting.restore(start.step, start.tensors, start.facts)
        except (KeyError, ValueError, TypeError, RuntimeError):
            raise PausedRunError(DAMAGED) from None
        self._change(checkpointer)

    def earlier_events(self, seeds: tuple[int, ...], elapsed_s: float) -> Iterator[Event]:
        """What a run that is resumed shows before its next step."""
        if self._start is None:
            return
        yield Progress(self._start.step, self._total, elapsed_s, earlier=self._earlier)
        if self._painting.best_pixels is not None:
            yield Preview(self._start.step, to_uint8(self._painting.best_pixels), seeds)

    def note(self, step: int, losses: Mapping[str, float]) -> None:
        """Take in what a step brought."""
        for name, value in losses.items():
            self._losses.setdefault(name, []).append((step, value))

    def pausing(self) -> bool:
        """Whether the run should be paused before its next step."""
        return self._checkpointer is not None and self._checkpointer.pausing(self._painting.steps)

    def save(self) -> None:
        """Keep the state where it is time to, or where the run is to be paused.

        What cannot be kept is no reason to end the run; ``notice`` says why.

        Raises:
            Paused: it was, and is kept.
        """
        step, checkpointer = self._painting.steps, self._checkpointer
        if checkpointer is None or step >= self._total:
            return
        pausing = checkpointer.pausing(step)
        if not pausing and not checkpointer.due():
            return
        try:
            checkpointer.save(self._snapshot(), pausing)
        except PausedRunError as error:
            self.notice = str(error) if pausing else self.notice
            return
        if pausing:
            raise Paused(checkpointer.run_id, step, self._total)

    def metadata(self) -> dict[str, Any]:
        """JSON-ready facts of a run that was changed on its way; {} for any other."""
        marks = self._earlier.marks
        return {"changes": [{"step": m.step, **m.changes} for m in marks]} if marks else {}

    def _change(self, checkpointer: Checkpointer) -> None:
        painting, change = self._painting, checkpointer.change
        if change.seed is not None:
            for i, generator in enumerate(painting.generators):
                generator.manual_seed(candidate_seed(change.seed, i))
        if change.noise:
            painting.latents.shake(change.noise, painting.generators)
        marks = [mark for mark in self._earlier.marks if mark.step == painting.steps]
        if any("prompt" in mark.changes for mark in marks):
            painting.forget_best()

    def _snapshot(self) -> Snapshot:
        tensors, facts = self._painting.state()
        return Snapshot(request=self._request.plain(), step=self._painting.steps,
                        total=self._total, facts=facts, weights=dict(self._weights),
                        losses=self._losses,
                        marks=[(mark.step, dict(mark.changes)) for mark in self._earlier.marks],
                        branch_of=self._start.branch_of if self._start is not None else "",
                        tensors=tensors, frames=self.film.frames)
