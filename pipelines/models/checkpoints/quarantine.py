"""Where files go that are not what they should be: kept for a look, never used."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

logger = logging.getLogger(__name__)
FOLDER = ".quarantine"  # no model id begins with a dot


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
