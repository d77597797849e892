"""What the page stands on, put together once at start."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from pipelines.registry import Registry
from pipelines.vocabulary import Vocabulary
from serving.backend import Backend
from ui.examples import world_sampler
from ui.jobs import SessionRuns

logger = logging.getLogger(__name__)


@dataclass
class Playground:
    """The parts that event handlers share.

    Attributes:
        registry: the pipelines on offer, in the order of the page.
        backend: where requests run.
        vocabulary: words that the embedded models know; None where it is not installed.
        surprise: says a new scene of the world; None where the world is not installed.
    """

    registry: Registry
    backend: Backend
    vocabulary: Vocabulary | None = None
    surprise: Callable[[], str] | None = None

    @cached_property
    def runs(self) -> SessionRuns:
        """The runs in progress of every session."""
        return SessionRuns(self.backend)


def load_playground(registry: Registry, backend: Backend) -> Playground:
    """A playground with what is installed of the embedded models' vocabulary and world."""
    try:
        vocabulary = Vocabulary.load()
    except FileNotFoundError as error:
        logger.info("Unknown words are not marked: %s.", error)
        vocabulary = None
    return Playground(registry, backend, vocabulary, world_sampler())
