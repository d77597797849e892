"""Pictures by Easel for a history that has none yet: what can be done with kept ones, to try."""

from __future__ import annotations

import logging
from pathlib import Path

from easel.history.records import NewPicture
from easel.history.store import History
from easel.ui.parts.samples import SAMPLES
from pipelines.core.errors import EaselError
from pipelines.core.metadata import read_png

logger = logging.getLogger(__name__)


def example_pictures(folder: Path = SAMPLES) -> list[NewPicture]:
    """What Easel drew earlier, with the settings that its files carry, the first to be kept last.

    Args:
        folder: PNG files; one that does not say how it was drawn is left out.
    """
    found = []
    for path in sorted(folder.glob("*.png"), reverse=True):
        try:
            data = path.read_bytes()
            facts = dict(read_png(data)["easel"])
        except (EaselError, KeyError, OSError, TypeError, ValueError):
            logger.warning("%s is not a picture that Easel drew: left out.", path.name)
            continue
        facts.pop("picture_id", None)  # the name that it had in another history
        found.append(NewPicture(data, facts))
    return found


def keep_examples(history: History, owner: str) -> None:
    """Put them into an owner's history, one at a time, so that they have an order.

    Raises:
        HistoryError: they cannot be kept.
    """
    for picture in example_pictures():
        history.add(owner, [picture])
