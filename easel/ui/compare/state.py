"""What the page knows of a comparison: plain data, and the shelf that keeps the last of them."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from easel.compare.plan import LETTERS, Plan
from easel.serving.jobs import Usage
from easel.ui.parts.panel import Card, Panel, comparable
from pipelines.core.errors import EaselError
from pipelines.core.events import Result
from pipelines.core.request import CheckedRequest

MAX_KEPT = 200  # comparisons that can still be voted on or saved


@dataclass
class Pane:
    """One run of a comparison.

    Attributes:
        request: what runs.
        panel: its state, as on the Generate tab.
        usage: what it took of the device so far.
        result: what the run ended with; None before that, and where it was opened from a file.
        notice: what else the user should read.
        weights: SHA-256 of the weights by model, where the comparison was opened from a file.
    """

    request: CheckedRequest[Any]
    panel: Panel
    usage: Usage = field(default_factory=Usage)
    result: Result | None = None
    notice: str = ""
    weights: dict[str, str | None] = field(default_factory=dict)

    def best(self) -> Card | None:
        """The picture that CLIP likes best; None where there is none."""
        return self.panel.cards[0] if self.panel.cards else None


@dataclass
class Comparison:
    """Two to four runs of one prompt.

    Attributes:
        id: cannot be guessed; votes and bundles name it.
        session: whose it is.
        plan: what runs.
        panes: in the order of the request.
        order: panes from left to right.
        blind: nothing names the panes until the vote.
        choice: the vote: index into ``panes``, "tie" or "bad"; None before it.
    """

    session: str
    plan: Plan
    panes: list[Pane]
    order: tuple[int, ...]
    blind: bool = False
    choice: int | str | None = None
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    @property
    def prompt(self) -> str:
        """What all panes draw."""
        return self.plan.requests[0].prompt

    @property
    def hidden(self) -> bool:
        """Whether names, scores and options must not be seen yet."""
        return self.blind and self.choice is None

    def shown(self) -> list[Pane]:
        """The panes from left to right."""
        return [self.panes[index] for index in self.order]

    def cards(self) -> list[Card]:
        """The finished pictures, pane by pane."""
        return [card for pane in self.panes for card in pane.panel.cards]

    def label(self, place: int) -> str:
        """What the pane at a place is called: its letter, or its place while that is hidden."""
        return str(place + 1) if self.hidden else LETTERS[self.order[place]]

    def is_over(self) -> bool:
        """Whether every pane has ended."""
        return all(pane.panel.phase not in ("waiting", "running") for pane in self.panes)

    def can_be_voted_on(self) -> bool:
        """Whether at least two panes have a picture and nobody has voted."""
        drawn = sum(bool(pane.panel.cards) for pane in self.panes)
        return self.is_over() and drawn >= 2 and self.choice is None


class RecentComparisons:
    """The last comparisons, for votes and bundles."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Comparison] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, comparison: Comparison) -> None:
        """Keep a comparison; the oldest one leaves where there are too many."""
        with self._lock:
            self._kept[comparison.id] = comparison
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)

    def get(self, comparison_id: str | None, session: str) -> Comparison:
        """The comparison of that id.

        Raises:
            EaselError: there is none, or it is another visitor's.
        """
        with self._lock:
            found = self._kept.get(comparison_id or "")
        if found is None or found.session != session:
            raise EaselError("This comparison is no longer there: run it again.")
        return found


def clip_favourite(panes: Sequence[Pane]) -> int | None:
    """Index of the pane whose best picture CLIP scores highest; None where nothing is scored, or
    scores of several CLIPs say nothing of each other."""
    found = [(index, card) for index, pane in enumerate(panes)
             if (card := pane.best()) is not None and card.clip_score is not None]
    figures = comparable([card for _, card in found])
    return found[figures.index(max(figures))][0] if figures else None
