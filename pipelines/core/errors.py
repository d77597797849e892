"""The errors that people see: ``str(error)`` is one clear sentence for the user."""

from __future__ import annotations


class EaselError(Exception):
    """Root of all errors whose message is meant for the user."""


class InvalidRequest(EaselError):
    """A request that cannot be run as it stands.

    Args:
        message: one sentence that says what to change.
        field: name of the request's field or of the option at fault, None where there is none.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class InvalidImage(InvalidRequest):
    """A file that is not a picture that Easel reads."""


class WeightsError(EaselError):
    """A model file that is missing, damaged, of another model, or refused."""


class OutOfMemory(EaselError):
    """The device or the model budget has no room left."""


class HistoryError(EaselError):
    """The history's database or files cannot be used as asked."""


class SearchIndexError(EaselError):
    """A search index that is missing, damaged, or in use."""


class IndexOutdated(SearchIndexError):
    """A search index of other weights, of another version or damaged: made anew once allowed."""


class IndexInUse(SearchIndexError):
    """A search index that another run is bringing up to date."""


class Busy(EaselError):
    """The queue is full."""


class PausedRunError(EaselError):
    """A paused run that cannot be kept, read or continued."""


class Cancelled(EaselError):
    """The job was stopped by its user before there was anything to keep."""

    def __init__(self, message: str = "The job was stopped.") -> None:
        super().__init__(message)


class Paused(Cancelled):
    """The run was paused with everything that it takes to resume it.

    Args:
        run_id: its name among the paused runs.
        step: steps taken.
        total: steps that it is to take.
    """

    def __init__(self, run_id: str, step: int, total: int) -> None:
        super().__init__(f"The run is paused at step {step} of {total}.")
        self.run_id, self.step, self.total = run_id, step, total


def reason(error: OSError) -> str:
    """What the system says of a failure, to end a sentence with."""
    return (error.strerror or str(error)).lower()
