"""Downloads of models: one process each, with progress, cancel, timeout, pins and quarantine."""

from __future__ import annotations

import json
import logging
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipelines.core.errors import Cancelled, WeightsError, reason
from pipelines.core.sentences import Sentence
from pipelines.models.checkpoints.catalogue import ASSETS, Catalogue
from pipelines.models.checkpoints.entries import CatalogueEntry
from pipelines.models.checkpoints.loading import Verifier, is_complete
from pipelines.models.checkpoints.pins import FilePin, quarantine

logger = logging.getLogger(__name__)
INCOMING = ".incoming"  # no model id begins with a dot
POLL_S = 0.1
START_S = 60.0  # a busy machine may take its time to start a process
Phase = Literal["running", "done", "failed", "cancelled"]


@dataclass
class Download:
    """A download and how far it is; only its own thread writes to it, apart from ``cancel``.

    Attributes:
        model_id: of which model.
        phase: how it is going.
        done_bytes: bytes that are here.
        total_bytes: bytes of the whole model; 0 while the hub has not said it.
        checking: whether a file that came is being compared with its hash.
        error: why it failed, as a sentence.
        started_s: ``time.monotonic()`` of its start.
    """

    model_id: str
    phase: Phase = "running"
    done_bytes: int = 0
    total_bytes: int = 0
    checking: bool = False
    error: str = ""
    started_s: float = field(default_factory=time.monotonic)
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _ended: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """End it within a moment; what came so far is kept for the next time."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether it was asked to end."""
        return self._cancelled.is_set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for its end; False where it is still under way after that time."""
        return self._ended.wait(timeout_s)

    def end(self, phase: Phase, error: str = "") -> None:
        """Note the outcome."""
        self.phase, self.error, self.checking = phase, error, False
        self._ended.set()


class Downloads:
    """Starts downloads and knows how they are going.

    Args:
        catalogue: what can be downloaded, and where to.
        offline: whether to refuse all of them.
        timeout_s: seconds without a single byte after which a download is given up.
    """

    def __init__(self, catalogue: Catalogue, offline: bool = False, timeout_s: float = 60.0,
                 ) -> None:
        self.catalogue, self.offline, self.timeout_s = catalogue, offline, timeout_s
        self._lock = threading.Lock()
        self._downloads: dict[str, Download] = {}

    def start(self, model_id: str) -> Download:
        """Start a download, or join the one of that model that is running.

        Raises:
            WeightsError: there is nothing to download, or Easel is offline.
        """
        entry = self.catalogue.get(model_id)
        if entry.repository is None:
            raise WeightsError("The model {} is not one to download: its files are on this "
                               "machine.", entry.id)
        if self.offline:
            raise WeightsError("Easel is offline: EASEL_OFFLINE forbids downloads.")
        with self._lock:
            running = self._downloads.get(entry.kept_as)
            if running is not None and running.phase == "running":
                return running
            download = self._downloads[entry.kept_as] = Download(model_id)
        threading.Thread(target=self._run, args=(entry, download), daemon=True,
                         name=f"download-{model_id}").start()
        return download

    def get(self, model_id: str) -> Download | None:
        """The last download of a model; None where there was none."""
        with self._lock:
            return self._downloads.get(self.catalogue.kept_as(model_id))

    def cancel(self, model_id: str) -> bool:
        """Cancel a download; False where none is running."""
        download = self.get(model_id)
        if download is None or download.phase != "running":
            return False
        download.cancel()
        return True

    def close(self) -> None:
        """Cancel all of them and wait."""
        with self._lock:
            downloads = list(self._downloads.values())
        for download in downloads:
            download.cancel()
        for download in downloads:
            download.wait(10)

    def _run(self, entry: CatalogueEntry, download: Download) -> None:
        try:
            self._fetch(entry, download)
        except Cancelled:
            download.end("cancelled")
        except WeightsError as error:
            download.end("failed", str(error))
        except OSError as error:
            download.end("failed", Sentence("The files of {} cannot be written: {}.", entry.id,
                                            reason(error)))
        except Exception:
            logger.exception("the download of %s failed", entry.id)
            download.end("failed", Sentence("The download of {} failed; the server's log says why.",
                                            entry.id))
        else:
            download.end("done")

    def _fetch(self, entry: CatalogueEntry, download: Download) -> None:
        folder = self.catalogue.folder(entry)
        missing = [file for file in entry.files if not (folder / file.name).is_file()]
        here = tuple(file for file in entry.files if file not in missing)
        download.checking = True  # or a wrong file would be taken for one that was downloaded
        Verifier().check(self.catalogue, entry.model_copy(update={"files": here}))
        download.checking = False
        if is_complete(self.catalogue, entry):
            return
        staging = (self.catalogue.models_dir / INCOMING / entry.kept_as).resolve()
        job = {"repository": entry.repository, "revision": entry.revision or "main",
               "staging": str(staging), "timeout_s": min(10.0, self.timeout_s),
               "files": [{"name": f.name, "size_bytes": f.size_bytes, "sha256": f.sha256,
                          "optional": f.optional} for f in missing]}
        worker = _Worker(job, self.timeout_s, lambda: download.cancelled)
        commit = ""
        for event in worker.events():
            if event["event"] == "plan":
                commit, download.total_bytes = event["commit"], event["total_bytes"]
            elif event["event"] == "progress":
                download.done_bytes, download.checking = event["done_bytes"], False
            elif event["event"] == "checking":
                download.checking = True
            elif event["event"] == "file":
                download.checking = False
                self._take_in(entry, commit, staging, event)
            elif event["event"] == "error":
                logger.warning("the download of %s failed: %s", entry.id, event.get("detail"))
                raise WeightsError(event["template"], *event["values"])
        shutil.rmtree(staging, ignore_errors=True)

    def _take_in(self, entry: CatalogueEntry, commit: str, staging: Path, event: dict[str, Any],
                 ) -> None:
        """Put a file that came in its place, whole and pinned, or in quarantine."""
        name, sha256 = event["name"], event["sha256"]
        if event["expected"] is not None and sha256 != event["expected"]:
            quarantine(self.catalogue.models_dir, entry.id, staging / name)
            raise WeightsError("The file {} of the model {} came damaged or exchanged: its "
                               "SHA-256 is {}… and should be {}…; it was moved to quarantine and "
                               "is not used.", name, entry.id, sha256[:12], event["expected"][:12])
        # The pin first: a file without one would never be checked.
        self.catalogue.pins.add(entry.kept_as, entry.repository or "", commit, name,
                                FilePin(size_bytes=event["size_bytes"], sha256=sha256))
        target = self.catalogue.folder(entry) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(staging / name, target)


class _Worker:
    """The other process: its events, and its end when it hangs or is cancelled."""

    def __init__(self, job: dict[str, Any], timeout_s: float, cancelled: Callable[[], bool],
                 ) -> None:
        self._job, self._timeout_s, self._cancelled = job, timeout_s, cancelled

    def events(self) -> Any:
        """Yield what happens.

        Raises:
            Cancelled: ``cancelled`` turned true.
            WeightsError: nothing happened for too long, or the process died.
        """
        environment = {key: value for key, value in os.environ.items()
                       if key not in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")}
        environment |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1",
                        "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.models.checkpoints.download_worker"],
            cwd=ASSETS.parent, env=environment, text=True, encoding="utf-8", stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdin is not None
        assert process.stdout is not None
        lines: queue.Queue[str] = queue.Queue()
        reader = threading.Thread(target=_pump, args=(process.stdout, lines), daemon=True)
        try:
            process.stdin.write(json.dumps(self._job) + "\n")
            process.stdin.flush()
            reader.start()
            yield from self._read(lines)
        finally:
            process.kill()
            process.wait()
            process.stdin.close()
            if reader.ident is not None:
                reader.join()
            process.stdout.close()

    def _read(self, lines: queue.Queue[str]) -> Any:
        heard_s, patience_s = time.monotonic(), START_S
        while True:
            if self._cancelled():
                raise Cancelled("The download was stopped.")
            try:
                line = lines.get(timeout=POLL_S)
            except queue.Empty:
                if time.monotonic() - heard_s > patience_s:
                    raise WeightsError("The hub sent nothing for {:.0f} s; what came so far is "
                                       "kept, and the next download goes on from there.",
                                       self._timeout_s) from None
                continue
            heard_s, patience_s = time.monotonic(), self._timeout_s
            if not line:
                raise WeightsError("The download ended before it was complete; the next one goes "
                                   "on from there.")
            event = json.loads(line)
            if event["event"] == "done":
                return
            yield event


def _pump(stream: Any, lines: queue.Queue[str]) -> None:
    """Every line of a stream, and "" for its end."""
    for line in stream:
        lines.put(line)
    lines.put("")
