"""What goes into the history and what comes out of it: plain data, free of the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.core.errors import EaselError, InvalidRequest
from pipelines.core.events import Result
from pipelines.core.request import MAX_PROMPT_CHARS
from pipelines.core.texts import fault_of

PAGE_SIZE = 48
COUNTED = 1000  # pictures that the page counts, where each of them has to be looked at
MAX_PAGE_SIZE = 500
MAX_RATING = 5
LOCAL = "local"  # the owner of what is drawn on the command line; no visitor is called so


class HistoryError(EaselError):
    """The history's database or files cannot be used as asked."""


class HistoryInUse(HistoryError):
    """The history's database is locked or out of reach, which may be over in a moment."""


class FilesOutOfReach(HistoryInUse):
    """The store of the pictures' files cannot be used, which may be over in a moment."""


@dataclass(frozen=True)
class NewPicture:
    """A finished picture to keep.

    Attributes:
        data: the PNG file.
        facts: JSON-ready, as ``pipelines.core.metadata.picture_metadata`` makes them.
        parents: ids of pictures of the same owner that it was made from.
        id: its name in the history; a new one where None.
    """

    data: bytes = field(repr=False)
    facts: Mapping[str, Any]
    parents: tuple[str, ...] = ()
    id: str | None = None


class KeptLater(HistoryError):
    """The pictures of a result are safe, and in the history once its database is free.

    Args:
        result: as it will be kept.
        error: why it is not kept now.
    """

    def __init__(self, result: Result, error: HistoryInUse | None = None) -> None:
        if isinstance(error, FilesOutOfReach):
            super().__init__("The store of EASEL_FILES_URL cannot be used now: the pictures are "
                             "kept as soon as it can be.")
        else:
            super().__init__("The history's database is in use by another program: the pictures "
                             "are kept as soon as it is free.")
        self.result = result


@dataclass(frozen=True)
class KeptPicture:
    """A picture of the history.

    Attributes:
        id: its unguessable name.
        owner: whose history it belongs to.
        sha256: content hash of its PNG file, by which ``FileStore`` finds it.
        size_bytes: length of that file.
        created_s: Unix time of keeping.
        deleted: whether it lies among the deleted ones.
        clip_score: the ranker's cosine similarity, in [-1, 1]; None where nothing ranked it.
        rating: 1..5 stars; None where not rated.
        facts: everything that is known of it.
    """

    id: str
    owner: str
    sha256: str
    size_bytes: int
    created_s: float
    deleted: bool
    pipeline: str
    prompt: str
    seed: int
    width_px: int
    height_px: int
    clip_score: float | None
    rating: int | None
    favourite: bool
    facts: Mapping[str, Any] = field(repr=False)

    def public(self) -> dict[str, Any]:
        """What programs read of it, JSON-ready; no path of the server."""
        return {"id": self.id, "created_s": round(self.created_s, 3), "deleted": self.deleted,
                "pipeline": self.pipeline, "prompt": self.prompt, "seed": self.seed,
                "width_px": self.width_px, "height_px": self.height_px,
                "clip_score": self.clip_score, "rating": self.rating,
                "favourite": self.favourite, "sha256": self.sha256,
                "size_bytes": self.size_bytes, "facts": dict(self.facts)}


@dataclass(frozen=True)
class Filters:
    """Which pictures to show; the default is all that are not deleted.

    Attributes:
        text: words that the prompt must hold, in any order and case.
        since_s: Unix time of the first moment.
        until_s: Unix time after the last moment.
        pipeline: name of the generator; empty for any.
        model: id of a model that took part; empty for any.
        min_rating: fewest stars, 1..5; 0 for any, rated or not.
        favourite: only favourites.
        deleted: the deleted ones in place of the others.

    Raises:
        InvalidRequest: a text is longer than any prompt, or none that a database can hold.
    """

    text: str = ""
    since_s: float | None = None
    until_s: float | None = None
    pipeline: str = ""
    model: str = ""
    min_rating: int = 0
    favourite: bool = False
    deleted: bool = False

    def __post_init__(self) -> None:
        for name in ("text", "pipeline", "model"):
            filter_text(name, getattr(self, name))


def filter_text(name: str, value: Any) -> str:
    """The text of a filter.

    Raises:
        InvalidRequest: it is no text, longer than any prompt, or none that a database can hold.
    """
    if not isinstance(value, str) or len(value) > MAX_PROMPT_CHARS or fault_of(value) is not None:
        raise InvalidRequest("The filter {} must be text of at most {} characters.", name,
                             MAX_PROMPT_CHARS, field=name)
    return value


@dataclass(frozen=True)
class Page:
    """One page of pictures, the newest first.

    Attributes:
        pictures: at most ``size`` of them.
        number: which page, from 1.
        pages: how many there are, at least 1.
        total: how many pictures all pages hold.
        more: there are more pages and pictures than these; nobody counted on.
    """

    pictures: tuple[KeptPicture, ...]
    number: int
    pages: int
    total: int
    more: bool = False

    @property
    def is_last(self) -> bool:
        """Whether no page comes after it."""
        return self.number >= self.pages and not self.more


@dataclass(frozen=True)
class Family:
    """What a picture was made from and what was made from it, the oldest first."""

    ancestors: tuple[KeptPicture, ...]
    descendants: tuple[KeptPicture, ...]
