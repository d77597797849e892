"""The errors that people see: ``str(error)`` is one clear sentence for the user."""

from __future__ import annotations

import pickle
from itertools import pairwise
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

    An error is the same on another machine: pickling keeps its sentence with template and values,
    whatever else it knows, and what it was raised from.
    """

    def __init__(self, template: str, *values: Any) -> None:
        self.sentence = template if isinstance(template, Sentence) else Sentence(
            template, *(v.sentence if isinstance(v, EaselError) else v for v in values))

    def __str__(self) -> str:
        return self.sentence

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own would lose the cause, and call __init__ with what may not fit it.
        return _restored, ([_packed(each) for each in _chain(self)],)


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


class RunTakenOver(PausedRunError):
    """A run that is somebody else's: its server was not heard of for too long."""


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


def _chain(error: BaseException) -> list[BaseException]:
    """An error, what it was raised from, and so on, each once."""
    found, cause = [error], error.__cause__
    while cause is not None and cause not in found:
        found.append(cause)
        cause = cause.__cause__
    return found


def _packed(error: BaseException) -> BaseException | tuple[Any, ...]:
    """What pickle is to keep of one error without its causes.

    A library's error that pickle cannot make anew is kept as what it says under its name.
    """
    if isinstance(error, EaselError):
        return type(error), error.args, error.__dict__, error.__suppress_context__
    try:
        if type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    except Exception:  # it may fail in any way at all
        pass
    return RuntimeError(f"{type(error).__name__}: {error}")


def _restored(packed: list[BaseException | tuple[Any, ...]]) -> BaseException:
    """A pickled error and its causes made anew."""
    chain = [each if isinstance(each, BaseException) else _unpacked(*each) for each in packed]
    for error, cause in pairwise(chain):
        error.__cause__ = cause
    return chain[0]


def _unpacked(kind: type[EaselError], args: tuple[Any, ...], known: dict[str, Any],
              suppressed: bool) -> EaselError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(known)
    error.__suppress_context__ = suppressed
    return error
