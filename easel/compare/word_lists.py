"""Lists of words of a visitor's own, for wildcards: kept in a file, and exchanged as TOML.

A file has a list a name: ``mood = ["quiet", "calm"]`` is what ``__mood__`` may become. One list
alone is a text file as well, ``mood.txt`` with one word a line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from easel.compare.wildcards import WILDCARD_NAME, check_words, read_words, words_of
from easel.own_files import changing, read_toml, visitors_file
from pipelines.core.errors import EaselError, InvalidRequest, reason
from pipelines.core.texts import check_text, clean_text, shown_name

FILE, FOLDER = "wildcards.toml", "word-lists"  # as it is downloaded; in the data folder
MAX_LISTS, MAX_WORDS, MAX_NAME_CHARS = 50, 500, 40
FIELD = "wildcard"
WordLists = dict[str, tuple[str, ...]]  # by the wildcard that stands for one of them


class WordListStore:
    """The lists of one visitor.

    Args:
        data_dir: the data folder.
        owner: the visitor's name, of hex digits.
    """

    def __init__(self, data_dir: Path, owner: str) -> None:
        self.file = visitors_file(data_dir / FOLDER, owner)

    def own(self) -> WordLists:
        """The lists by name.

        Raises:
            EaselError: the file is damaged or cannot be read.
        """
        try:
            return read_lists(self.file.read())
        except OSError as error:
            raise EaselError("Your lists of words cannot be read: {}.", reason(error)) from None

    def save(self, name: str, text: str) -> tuple[str, tuple[str, ...]]:
        """Keep a list, in place of one's own of that name.

        Args:
            name: of the wildcard; its underscores may stand around it.
            text: one word a line; lines that begin with # are remarks.

        Returns:
            Its name as it is kept, and its words, each once.

        Raises:
            InvalidRequest: the name is none, there are no words, too many or too long ones, or
                too many lists.
        """
        name = "-".join(name.lower().strip("_ ").split())
        words = words_of(check_text(text, "The list", FIELD))
        new = {name: _checked(name, words)}
        with changing:
            self._write({**self.own(), **new})
        return name, new[name]

    def delete(self, name: str) -> None:
        """Forget a list.

        Raises:
            InvalidRequest: there is none of that name.
        """
        with changing:
            found = self.own()
            if name not in found:
                raise InvalidRequest("There is no list of yours called {!r}.", name[:40],
                                     field=FIELD)
            del found[name]
            self._write(found)

    def add(self, file_name: str, data: bytes) -> WordLists:
        """Keep the lists of a file; returns them.

        Args:
            file_name: of one that ends in .txt, the list's name; another is TOML.
            data: the file.

        Raises:
            InvalidRequest: it holds no lists of words; nothing is kept then.
        """
        path = Path(file_name)
        if path.suffix.lower() == ".txt":
            name = "-".join(path.stem.lower().split())
            new = {name: _checked(name, read_words(shown_name(path.name), data))}
        else:
            new = read_lists(data)
        with changing:
            self._write({**self.own(), **new})
        return new

    def _write(self, lists: WordLists) -> None:
        if len(lists) > MAX_LISTS:
            raise InvalidRequest("{} lists of words are the most: delete some first.", MAX_LISTS,
                                 field=FIELD)
        try:
            self.file.write(write_lists(lists).encode())
        except OSError as error:
            raise EaselError("Your lists of words could not be written: {}.",
                             reason(error)) from None


def read_lists(data: bytes) -> WordLists:
    """The lists of a file of TOML.

    Args:
        data: from anyone.

    Raises:
        InvalidRequest: one sentence about its first fault.
    """
    found = {}
    for name, words in read_toml(data, FIELD).items():
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise InvalidRequest("The file has something else than lists of words.", field=FIELD)
        lines = "\n".join(clean_text(" ".join(word.split())) for word in words)
        found[name] = _checked(name, words_of(lines, remarks=False))
    return found


def write_lists(lists: Mapping[str, tuple[str, ...]]) -> str:
    """Lists as TOML, which ``read_lists`` reads."""
    # What JSON writes of texts is TOML too, but for one sign.
    return "\n".join("\n".join((f"{name} = [", *(
        f"  {json.dumps(word, ensure_ascii=False)},".replace("\x7f", "\\u007f")
        for word in words), "]\n")) for name, words in lists.items())


def _checked(name: str, words: tuple[str, ...]) -> tuple[str, ...]:
    if len(name) > MAX_NAME_CHARS or not WILDCARD_NAME.fullmatch(name):
        raise InvalidRequest("The name of a list has 1 to {} of the letters a to z, digits and -, "
                             "and begins with a letter, unlike {!r}.", MAX_NAME_CHARS,
                             clean_text(name)[:40], field=FIELD)
    if len(words) > MAX_WORDS:
        raise InvalidRequest("The list {} has {} words; {} is the most.", name, len(words),
                             MAX_WORDS, field=FIELD)
    return check_words(name, words, FIELD)
