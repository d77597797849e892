"""What the first download of each model brought: the commit, and every file's size and hash.

A hub's branch may move and a mirror may be wrong. What was pinned once is checked ever after; files
that are not what they should be go to quarantine, kept for a look and never used.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from pipelines.core.errors import WeightsError
from pipelines.core.files import atomic_write

logger = logging.getLogger(__name__)
FOLDER = ".quarantine"  # no model id begins with a dot


class FilePin(BaseModel):
    """A file as it was at its first download."""

    model_config = ConfigDict(frozen=True)

    size_bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class ModelPin(BaseModel):
    """A model as it was at its first download.

    Attributes:
        repository: where it came from.
        revision: the commit that the catalogue's revision pointed to then.
        files: by name; those that were downloaded so far.
    """

    model_config = ConfigDict(frozen=True)

    repository: str
    revision: str
    files: dict[str, FilePin]


_TABLE = TypeAdapter(dict[str, ModelPin])


class Pins:
    """The pins of a data folder; safe to use from several threads.

    Args:
        path: JSON file, made by the first ``add``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._read_at: tuple[int, int] | None = None
        self._pins: dict[str, ModelPin] = {}

    def get(self, model_id: str) -> ModelPin | None:
        """The pin of a model, None before its first download.

        Raises:
            WeightsError: the file is there and is not one of pins.
        """
        with self._lock:
            return self._current().get(model_id)

    def add(self, model_id: str, repository: str, revision: str, name: str, file: FilePin) -> None:
        """Pin a file that was just downloaded.

        Raises:
            OSError: the file of pins cannot be written.
        """
        with self._lock:
            pins = dict(self._current())
            old = pins.get(model_id)
            files = old.files if old is not None and old.repository == repository else {}
            pins[model_id] = ModelPin(repository=repository, revision=revision,
                                      files={**files, name: file})
            data = {key: pin.model_dump() for key, pin in sorted(pins.items())}
            atomic_write(self.path, (json.dumps(data, indent=2) + "\n").encode())
            self._pins = pins
            self._read_at = self._stamp()

    def _stamp(self) -> tuple[int, int] | None:
        try:
            stat = self.path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size

    def _current(self) -> dict[str, ModelPin]:
        """The pins, read again where another process has written them."""
        stamp = self._stamp()
        if stamp is None:
            self._pins, self._read_at = {}, None
        elif stamp != self._read_at:
            try:
                self._pins = _TABLE.validate_json(self.path.read_bytes())
            except (OSError, ValidationError):
                raise WeightsError("The file of pins {} cannot be read; repair it, or remove it "
                                   "to pin what is downloaded next.", self.path.name) from None
            self._read_at = stamp
        return self._pins


def quarantine(models_dir: Path, model_id: str, path: Path) -> Path | None:
    """Move a file out of use.

    Args:
        models_dir: folder of downloaded models.
        model_id: whose file it is.
        path: the file.

    Returns:
        Where it is now; None where it could not even be moved and was removed.
    """
    target = models_dir / FOLDER / model_id / f"{time.time_ns()}-{path.name}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
    except OSError:
        logger.exception("%s could not be moved to quarantine", path)
        path.unlink(missing_ok=True)
        return None
    logger.warning("%s of %s is in quarantine at %s", path.name, model_id, target)
    return target
