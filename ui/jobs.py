"""Which runs belong to which browser session, so that Stop and a closed tab end the right ones."""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass, field

from serving.backend import Backend


@dataclass
class Run:
    """One press of Generate: several pipelines, one after the other.

    Attributes:
        session: whose run it is.
        job_id: the backend's name for the pipeline that runs now; None between two of them.
    """

    session: str
    job_id: str | None = None
    _stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def stopped(self) -> bool:
        """True once the user asked for the run to end; no further pipeline starts."""
        return self._stopped.is_set()

    def next_job(self) -> str:
        """A new job id for the pipeline that starts now."""
        self.job_id = uuid.uuid4().hex
        return self.job_id

    def stop(self, backend: Backend) -> None:
        """End the pipeline that runs and let no other one start."""
        self._stopped.set()
        if (job_id := self.job_id) is not None:
            backend.cancel(job_id)


class SessionRuns:
    """The runs in progress of every session."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lock = threading.Lock()
        self._runs: dict[str, list[Run]] = {}

    def start(self, session: str) -> Run:
        """Note a new run."""
        run = Run(session)
        with self._lock:
            self._runs.setdefault(session, []).append(run)
        return run

    def end(self, run: Run) -> None:
        """Forget a run; call it in ``finally``."""
        with self._lock:
            runs = self._runs.get(run.session, [])
            if run in runs:
                runs.remove(run)
            if not runs:
                self._runs.pop(run.session, None)

    def stop(self, session: str) -> int:
        """Stop every run of a session; returns how many there were."""
        with self._lock:
            runs = list(self._runs.get(session, []))
        for run in runs:
            run.stop(self._backend)
        return len(runs)
