"""Where the engine's checkpointer puts the states of one run: a row with a lease, and a file."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from easel.history.records import HistoryError
from easel.serving.leases import Leases
from easel.serving.paused_rows import TAKEN_OVER, PausedRows, Used
from pipelines.core.errors import PausedRunError, RunTakenOver, reason
from pipelines.saved_run import FORMAT, SavedRun

logger = logging.getLogger(__name__)


class KeptRun:
    """The states of one run of an owner; see ``pipelines.checkpointer.CheckpointStore``.

    Args:
        rows: of all runs.
        leases: renewed as long as this process has the run.
        owner: by ``owner_key``.
        run_id: the run's name.
        check_fits: refuses a state by ``PausedRunError``; see ``PausedRuns.check_fits``.
    """

    def __init__(self, rows: PausedRows, leases: Leases, owner: str, run_id: str,
                 check_fits: Callable[[str, int, bool, Used], None]) -> None:
        self.run_id, self.lease = run_id, secrets.token_hex(16)
        self._rows, self._leases, self._owner, self._check_fits = rows, leases, owner, check_fits
        self._has = self._may_have = self._counted = self._claimed = False

    def claim(self) -> None:
        """Make a run that nobody has this process's own.

        Raises:
            PausedRunError: it is not there, or under way.
        """
        self._rows.claim(self._owner, self.run_id, self.lease)
        self._claimed = True
        self._hold()

    def put(self, run: SavedRun, paused: bool) -> None:
        """Keep a state; see ``CheckpointStore.put``."""
        saved_s = time.time()
        data = run.encode(paused, saved_s)
        try:
            self._may_have = True  # also where the database does not say how it ended
            # Its place is looked up again only where somebody's pause counts.
            self._rows.put(self._owner, self.run_id, self.lease, not self._has,
                           paused or not self._counted, data, facts_of(run, paused, saved_s),
                           partial(self._check_fits, self._owner, len(data),
                                   paused and not self._claimed))
        except HistoryError as error:
            raise PausedRunError("The run could not be paused. {}", error) from None
        except OSError as error:
            raise PausedRunError("The run could not be paused: {}.", reason(error)) from None
        self._counted = True
        self._hold()

    def renew(self) -> None:
        """Say that the run is under way; see ``CheckpointStore.renew``."""
        with _left_to_others("renewed"):
            if self._has and not self._rows.renew([self.lease]):
                raise RunTakenOver(TAKEN_OVER)

    def drop(self) -> None:
        """Remove what is kept of the run; see ``CheckpointStore.drop``."""
        if self._may_have:
            with _left_to_others("removed"):
                self._rows.drop(self.lease)

    def release(self) -> None:
        """Let others have the run; see ``CheckpointStore.release``."""
        self._leases.forget(self.lease)
        if self._may_have:
            self._has = self._may_have = False
            with _left_to_others("released"):
                self._rows.release(self.lease)

    def _hold(self) -> None:
        self._has = self._may_have = True
        self._leases.hold(self.lease)


def facts_of(run: SavedRun, paused: bool, saved_s: float) -> dict[str, Any]:
    """What the row of a state says of it."""
    header = {"format": FORMAT, "pipeline": run.request.pipeline, "prompt": run.request.prompt,
              "num_images": run.request.num_images, "step": run.step, "total": run.total}
    return {"saved_s": saved_s, "interrupted": not paused, "header": header,
            "frame": run.frames[-1] if run.frames else None}


@contextmanager
def _left_to_others(what: str) -> Iterator[None]:
    """Let a lease run out by itself where the database cannot be told."""
    try:
        yield
    except HistoryError as error:
        logger.warning("a paused run was not %s: %s", what, error)
