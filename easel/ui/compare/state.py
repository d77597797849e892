"""What the page knows of a comparison: plain data, and the shelf that keeps the last of them."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from easel.compare.plan import LETTERS, Plan
from easel.serving.jobs import Usage
from easel.ui.parts.panel import Card, Panel, comparable
from pipelines.core.errors import EaselError
from pipelines.core.request import CheckedRequest

# Comparisons that can still be voted on or saved, and what they may take of the memory: of one
# visitor, and of all. Their pictures are files; what each was given counts, and its curves.
MAX_EACH, MAX_EACH_BYTES = 40, 2**26
MAX_KEPT, MAX_KEPT_BYTES = 400, 2**28
BASE_BYTES, POINT_BYTES = 2**14, 160  # of a comparison without pictures, and of a point of a curve


@dataclass
class Pane:
    """One run of a comparison.

    Attributes:
        request: what runs.
        panel: its state, as on the Generate tab.
        usage: what it took of the device so far.
        facts: what is known of the run that has ended; None before that, and where it was opened
            from a file.
        notice: what else the user should read.
        weights: SHA-256 of the weights by model, where the comparison was opened from a file.
        known: whether its generator is one that this Easel knows, here or not.
        settings: what its options are, in English.
    """

    request: CheckedRequest[Any]
    panel: Panel
    usage: Usage = field(default_factory=Usage)
    facts: Mapping[str, Any] | None = None
    notice: str = ""
    weights: dict[str, str | None] = field(default_factory=dict)
    known: bool = True
    settings: Mapping[str, str] = field(default_factory=dict)

    def best(self) -> Card | None:
        """The picture that CLIP likes best; None where there is none."""
        return self.panel.cards[0] if self.panel.cards else None


@dataclass
class Comparison:
    """Two to four runs, of one prompt or of one each.

    Attributes:
        id: cannot be guessed; votes and bundles name it.
        session: whose it is.
        plan: what runs.
        panes: in the order of the request.
        order: panes from left to right.
        blind: nothing names the panes until the vote.
        choice: the vote: index into ``panes``, "tie" or "bad"; None before it.
        opened: it comes from a file, which anybody can write.
        counted: whether its vote counts on the leaderboard.
    """

    session: str
    plan: Plan
    panes: list[Pane]
    order: tuple[int, ...]
    blind: bool = False
    choice: int | str | None = None
    opened: bool = False
    counted: bool = True
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    @property
    def prompt(self) -> str:
        """What all panes draw, or the first of them."""
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

    def own_settings(self, index: int) -> dict[str, str]:
        """The settings of a pane in which it differs from another of the same generator."""
        pane = self.panes[index]
        others = [each.settings for each in self.panes if each is not pane
                  and each.panel.title == pane.panel.title]
        return {name: value for name, value in pane.settings.items()
                if any(other.get(name) != value for other in others)}

    def is_over(self) -> bool:
        """Whether every pane has ended."""
        return all(pane.panel.phase not in ("waiting", "running") for pane in self.panes)

    def can_be_voted_on(self) -> bool:
        """Whether at least two panes have a picture, all are of generators that are known, and
        nobody has voted."""
        drawn = sum(bool(pane.panel.cards) for pane in self.panes)
        return self.is_over() and drawn >= 2 and self.choice is None and self.is_known()

    def is_known(self) -> bool:
        """Whether all of its generators are known: a file may name any."""
        return all(pane.known for pane in self.panes)

    def size_bytes(self) -> int:
        """About what it takes of the memory."""
        points = sum(len(curve) for pane in self.panes for curve in pane.panel.losses.values())
        given = {id(data): len(data) for pane in self.panes
                 for data in pane.request.pictures.values()}
        return BASE_BYTES + POINT_BYTES * points + sum(given.values())


class RecentComparisons:
    """The last comparisons of each visitor, for votes and bundles.

    Where there are too many of one visitor, their own oldest ones leave; where there are too many
    of all, those of whoever has most.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[str, Comparison]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, comparison: Comparison, visitor: str) -> None:
        """Keep a comparison.

        Args:
            comparison: it stays, whoever has to leave.
            visitor: whose it is.
        """
        with self._lock:
            self._kept[comparison.id] = visitor, comparison
            shares = self._shares()
            while (own := shares[visitor])[0] > 1 and _too_much(own, MAX_EACH, MAX_EACH_BYTES):
                self._drop_oldest(visitor, shares)
            while _too_much(tuple(map(sum, zip(*shares.values(), strict=True))),
                            MAX_KEPT, MAX_KEPT_BYTES):
                most = max((who for who, (count, _) in shares.items()
                            if count > (who == visitor)), default=None,
                           key=lambda who: max(shares[who][0] / MAX_KEPT,
                                               shares[who][1] / MAX_KEPT_BYTES))
                if most is None:
                    break
                self._drop_oldest(most, shares)

    def _shares(self) -> dict[str, tuple[int, int]]:
        """Number and bytes of each visitor's comparisons."""
        shares: dict[str, tuple[int, int]] = {}
        for visitor, comparison in self._kept.values():
            count, size_bytes = shares.get(visitor, (0, 0))
            shares[visitor] = count + 1, size_bytes + comparison.size_bytes()
        return shares

    def _drop_oldest(self, visitor: str, shares: dict[str, tuple[int, int]]) -> None:
        oldest = next(key for key, (whose, _) in self._kept.items() if whose == visitor)
        _, comparison = self._kept.pop(oldest)
        count, size_bytes = shares[visitor]
        shares[visitor] = count - 1, size_bytes - comparison.size_bytes()

    def get(self, comparison_id: str | None, session: str, visitor: str) -> Comparison:
        """The comparison of that id.

        Raises:
            EaselError: there is none, or it is another visitor's.
        """
        with self._lock:
            whose, found = self._kept.get(comparison_id or "", ("", None))
        # Both: who knows the name of a session need not be its visitor.
        if found is None or found.session != session or whose != visitor:
            raise EaselError("This comparison is no longer there: run it again.")
        return found


def _too_much(share: Sequence[int], most: int, most_bytes: int) -> bool:
    return share[0] > most or share[1] > most_bytes


def clip_favourite(panes: Sequence[Pane]) -> int | None:
    """Index of the pane whose best picture CLIP scores highest; None where nothing is scored, or
    scores of several CLIPs say nothing of each other."""
    found = [(index, card) for index, pane in enumerate(panes)
             if (card := pane.best()) is not None and card.clip_score is not None]
    figures = comparable([card for _, card in found])
    return found[figures.index(max(figures))][0] if figures else None
