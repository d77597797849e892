"""What the page stands on, put together once at start."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from easel.compare.votes import VoteStore
from easel.compare.wildcards import OWN, Wildcards
from easel.compare.word_lists import WordListStore
from easel.history.store import History
from easel.serving.interface import Backend
from easel.serving.session_runs import SessionRuns
from easel.settings import Settings, load_settings
from easel.ui.compare.state import RecentComparisons
from easel.ui.generate.examples import world_sampler
from easel.ui.models.admins import ModelAdmins
from easel.ui.parts.live import LiveRuns
from easel.ui.parts.panel import Card
from easel.ui.parts.prompt_note import prompt_reader
from pipelines.models.cache.inventory import Models
from pipelines.models.checkpoints.vocabulary import load_vocabulary
from pipelines.models.tokenizer import Vocabulary
from pipelines.prompt_words import PromptReader
from pipelines.registry import Registry

logger = logging.getLogger(__name__)


@dataclass
class Playground:
    """The parts that event handlers share.

    Attributes:
        registry: the pipelines on offer, in the order of the page.
        backend: where requests run.
        vocabulary: words that the embedded models know; None where it is not installed.
        surprise: says a new scene of the world; None where the world is not installed.
        history: where finished pictures are kept; None where there is no history.
        settings: the operator's.
    """

    registry: Registry
    backend: Backend
    vocabulary: Vocabulary | None = None
    surprise: Callable[[], str] | None = None
    history: History | None = None
    settings: Settings = field(default_factory=load_settings)

    @cached_property
    def reader(self) -> PromptReader | None:
        """Says what of a prompt is known; None where there is no vocabulary."""
        if self.vocabulary is None:
            return None
        return prompt_reader(self.vocabulary, self.backend.cache)

    @cached_property
    def votes(self) -> VoteStore:
        """Votes on comparisons: in the history's database, else they end with the process."""
        return VoteStore(None if self.history is None else self.history.database)

    @cached_property
    def comparisons(self) -> RecentComparisons:
        """The last comparisons of all visitors."""
        return RecentComparisons()

    @cached_property
    def models(self) -> Models | None:
        """The models and what may be done with them; None where they come from no catalogue."""
        return self.backend.models(self.settings.offline)

    def word_lists(self, visitor: str) -> WordListStore:
        """A visitor's own lists of words."""
        return WordListStore(self.settings.data_dir, visitor)

    def wildcards(self, visitor: str) -> Wildcards:
        """Words by wildcard, of the operator's and the visitor's own lists too, as they are now."""
        return Wildcards(self.settings.data_dir / OWN, self.word_lists(visitor).own())

    def can_pause(self, pipeline_name: str) -> bool:
        """Whether runs of a generator can be paused here."""
        return self.backend.paused is not None and self.registry.get(pipeline_name).can_pause

    @cached_property
    def admins(self) -> ModelAdmins:
        """Who may change which models are here."""
        return ModelAdmins(self.settings.models_by,
                           self.settings.models_password.get_secret_value())

    @cached_property
    def runs(self) -> SessionRuns[Card]:
        """The runs in progress of every session."""
        return SessionRuns(self.backend)

    @cached_property
    def live(self) -> LiveRuns:
        """The runs that a reload of the page finds again."""
        return LiveRuns(self.runs, most=self.settings.user_jobs)


def load_playground(registry: Registry, backend: Backend,
                    history: History | None = None,
                    settings: Settings | None = None) -> Playground:
    """A playground with what is installed of the embedded models' vocabulary and world.

    Settings are read from the environment where they are not given.
    """
    try:
        vocabulary = load_vocabulary()
    except FileNotFoundError as error:
        logger.info("Unknown words are not marked: %s.", error)
        vocabulary = None
    return Playground(registry, backend, vocabulary, world_sampler(), history,
                      settings=settings or load_settings())
