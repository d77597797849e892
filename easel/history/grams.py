"""What SQLite's index of texts is asked, see the migration ``r0008_growth``.

The index knows of each picture every three letters that follow each other in its prompt, and whose
it is. It is asked for the first, the middle and the last three of a word, since each more that it
has to find takes longer than it saves. It proposes; whoever asks it looks into the texts of those.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Connection, column, inspect, table

TABLE = "pictures_text"
LETTERS = 3
MOST = 60  # asked for at once; more of them would hardly leave fewer pictures
Text = table(TABLE, column(TABLE), column("rowid", BigInteger))


def has_index(connection: Connection) -> bool:
    """Whether the database has that index: PostgreSQL's own is used without being asked for."""
    return connection.dialect.name == "sqlite" and inspect(connection).has_table(TABLE)


def expression(owner: str, deleted: bool, words: list[str]) -> str:
    """Which pictures the index is to propose, in the language of FTS5.

    Args:
        owner: whose they are.
        deleted: the deleted ones in place of the others.
        words: in lower case, none of them empty.
    """
    asked = dict.fromkeys(gram for word in words for gram in _grams(word))
    return " ".join([f'"{"x" if deleted else "k"}{_digits(owner)}"', *list(asked)[:MOST]])


def _grams(word: str) -> list[str]:
    if len(word) < LETTERS:
        return [f'"{_digits(word)}"*']
    last = len(word) - LETTERS
    return [f'"{_digits(word[place:place + LETTERS])}"' for place in (0, last // 2, last)]


def _digits(text: str) -> str:
    return text.encode().hex()
