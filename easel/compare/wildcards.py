"""Words for wildcards: those that the embedded models know, and lists of one's own."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from pipelines.core.errors import InvalidRequest, reason
from pipelines.core.given_files import read_given
from pipelines.core.texts import MAX_FILE_BYTES, decode_file

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white",
           "gray")
PLACES = ("in the snow", "at sunset", "at night", "under water", "in space", "on the beach",
          "in the desert", "in a forest", "in the city")
MEDIA = ("a watercolor painting of", "an oil painting of", "a pencil sketch of", "pixel art of",
         "a mosaic of")
MAX_LISTS, MAX_WORD_CHARS = 200, 200
OWN = "wildcards"  # folder in the data folder
WILDCARD_NAME = re.compile(r"[a-z][a-z0-9-]*")
NUMBERS = ("two", "three", "four", "five")


@functools.cache
def wildcard_words() -> dict[str, tuple[str, ...]]:
    """Words by wildcard: colour, place, medium, number, thing, and each group of concepts.

    The concepts are those of the world that the embedded models were trained on; without it there
    are the others alone.
    """
    found = {"colour": COLOURS, "color": COLOURS, "place": PLACES, "medium": MEDIA,
             "number": NUMBERS}
    try:
        from pipelines.world.concepts import load_concepts
    except ImportError:
        return found
    groups: dict[str, list[str]] = {}
    for concept in load_concepts():
        groups.setdefault(concept.group, []).append(concept.name)
        groups.setdefault("thing", []).append(concept.name)
    return {**found, **{group: tuple(names) for group, names in sorted(groups.items())}}


class Wildcards(Mapping[str, Sequence[str]]):
    """Words by wildcard: those of the world, the operator's lists, which outweigh them, and those
    of whoever asks, which outweigh both.

    A list of the operator's is a text file, ``NAME.txt``, with one word a line; lines that begin
    with # are remarks. It is read when its words are asked for, so that one which cannot be read is
    told to who uses it, and stands in nobody else's way.

    Args:
        folder: of the lists; it need not be there. Files whose name no wildcard can have are none.
        mine: lists of whoever asks, by name.
    """

    def __init__(self, folder: Path,
                 mine: Mapping[str, tuple[str, ...]] = MappingProxyType({})) -> None:
        paths = (path for path in sorted(folder.glob("*.txt"))
                 if WILDCARD_NAME.fullmatch(path.stem) and path.is_file())
        self._own = {path.stem: path for path in itertools.islice(paths, MAX_LISTS)}
        self._read = dict(mine)

    def __getitem__(self, name: str) -> tuple[str, ...]:
        """The words of a wildcard.

        Raises:
            KeyError: there is none of that name.
            InvalidRequest: its list cannot be read, is no text or too long, or holds no words.
        """
        if name not in self._read:
            if name not in self._own:
                return wildcard_words()[name]
            self._read[name] = _words(self._own[name])
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def __contains__(self, name: object) -> bool:
        return name in self._names()

    def _names(self) -> dict[str, object]:
        return {**wildcard_words(), **self._own, **self._read}


def _words(path: Path) -> tuple[str, ...]:
    try:
        data = read_given(path, MAX_FILE_BYTES)
    except OSError as error:
        raise InvalidRequest("The list of words {} cannot be read: {}.", path.name, reason(error),
                             field="prompt") from None
    return read_words(path.name, data)


def read_words(name: str, data: bytes) -> tuple[str, ...]:
    """The words of a list, each once.

    Args:
        name: of its file.
        data: the file.

    Raises:
        InvalidRequest: it is no text or too long, holds no words, or one that is too long.
    """
    return check_words(name, words_of(decode_file(name, data, "prompt")), "prompt")


def words_of(text: str, remarks: bool = True) -> tuple[str, ...]:
    """The words of a text, one a line, each once and with single blanks.

    Args:
        text: any.
        remarks: whether lines that begin with # are none.
    """
    lines = (" ".join(line.split()) for line in text.splitlines())
    return tuple(dict.fromkeys(line for line in lines
                               if line and not (remarks and line.startswith("#"))))


def check_words(name: str, words: tuple[str, ...], field: str) -> tuple[str, ...]:
    """The words themselves.

    Args:
        name: of their list.
        words: as ``words_of`` gives them.
        field: name of the request's field.

    Raises:
        InvalidRequest: there are none, or one is too long.
    """
    if not words:
        raise InvalidRequest("The list of words {} holds no words.", name, field=field)
    if long := next((word for word in words if len(word) > MAX_WORD_CHARS), None):
        raise InvalidRequest("The word {!r}… of the list {} has more than {} characters.",
                             long[:40], name, MAX_WORD_CHARS, field=field)
    return words


def suggestions(text: str, limit: int = 8, mine: Iterable[str] | None = ()) -> list[str]:
    """Wildcards and words that complete the end of a prompt, for autocompletion.

    Args:
        text: the prompt up to the cursor.
        limit: how many at most.
        mine: wildcards of whoever types, which come first; None where none is filled in.

    Returns:
        ``__animal__`` and the like after two underscores; else words of the world that begin as
        the last word does, which has at least two letters and is not one of them.
    """
    words = wildcard_words()
    last = text.rsplit(" ", 1)[-1].lower()
    if last.startswith("__"):
        if mine is None:
            return []
        start = last[2:].rstrip("_")
        return [f"__{name}__" for name in dict.fromkeys((*mine, *words))
                if name.startswith(start) and last != f"__{name}__"][:limit]
    if len(last) < 2:
        return []
    known = {word for names in words.values() for word in names
             if " " not in word and word.startswith(last)}
    return [] if last in known else sorted(known)[:limit]
