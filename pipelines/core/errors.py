"""The errors that people see: ``str(error)`` is one clear sentence for the user."""

from __future__ import annotations

from typing import Any

from pipelines.core.sentences import Sentence


class EaselError(Exception):
    """Root of all errors whose message is meant for the user.

    Args:
        template: one sentence in English with places for values, as ``str.format`` reads them; or
            a finished sentence.
        values: for the places; of another error its sentence.

    Attributes:
        sentence: template and values together, which can be translated.
    """

    def __init__(self, template: str, *values: Any) -> None:
        # Without Exception's own: its arguments are what pickle makes the error of again.
        self.sentence = template if isinstance(template, Sentence) else Sentence(
            template, *(v.sentence if isinstance(v, EaselError) else v for v in values))

    def __str__(self) -> str:
        return self.sentence


class InvalidRequest(EaselError):
    """A request that cannot be run as it stands.

    Args:
        template: one sentence that says what to change; see ``EaselError``.
        values: for its places.
        field: name of the request's field or of the option at fault, None where there is none.
    """

    def __init__(self, template: str, *values: Any, field: str | None = None) -> None:
        super().__init__(template, *values)
        self.field = field


class InvalidImage(InvalidRequest):
    """A file that is not a picture that Easel reads."""


class WeightsError(EaselError):
    """A model file that is missing, damaged, of another model, or refused."""


class OutOfMemory(EaselError):
    """The device or the model budget has no room left."""


class Busy(EaselError):
    """What is asked for is in use, or too much waits for it: to be tried again later."""


class PausedRunError(EaselError):
    """A paused run that cannot be kept, read or resumed."""


class Cancelled(EaselError):
    """The job was stopped by its user before there was anything to keep."""

    def __init__(self, template: str = "The job was stopped.", *values: Any) -> None:
        super().__init__(template, *values)


class Paused(Cancelled):
    """The run was paused with everything that it takes to resume it.

    Args:
        run_id: its name among the paused runs.
        step: steps taken.
        total: steps that it is to take.
    """

    def __init__(self, run_id: str, step: int, total: int) -> None:
        super().__init__("The run is paused at step {} of {}.", step, total)
        self.run_id, self.step, self.total = run_id, step, total


def reason(error: BaseException) -> str:
    """What the system says of a failure, to end a sentence with."""
    return (getattr(error, "strerror", None) or str(error)).lower()
