"""The leases on what this process has are renewed, so that they run out once it is gone."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection

from pipelines.core.errors import EaselError

logger = logging.getLogger(__name__)


class Leases:
    """Renews leases on a thread of its own, which ends when none is left.

    Args:
        renew: renews leases by their names.
        every_s: how often.
    """

    def __init__(self, renew: Callable[[Collection[str]], object], every_s: float) -> None:
        self._renew, self._every_s = renew, every_s
        self._lock, self._emptied = threading.Lock(), threading.Event()
        self._held = set[str]()
        self._thread: threading.Thread | None = None

    def hold(self, lease: str) -> None:
        """Renew a lease from now on."""
        with self._lock:
            self._held.add(lease)
            self._emptied.clear()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
                self._thread.start()

    def forget(self, lease: str) -> None:
        """Renew a lease no more."""
        with self._lock:
            self._held.discard(lease)
            if not self._held:
                self._emptied.set()

    def _run(self) -> None:
        while True:
            self._emptied.wait(self._every_s)
            with self._lock:
                held = frozenset(self._held)
                if not held:
                    self._thread = None
                    return
            try:
                self._renew(held)
            except EaselError as error:
                logger.warning("the leases on paused runs are not renewed: %s", error)
            except Exception:
                logger.exception("the leases on paused runs are not renewed")
