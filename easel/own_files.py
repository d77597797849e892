"""What visitors keep: a small file of TOML each, of all together only so many and so large.

Whoever comes has room: those leave first who never came back, then those who have been away for
longest, and all who were away for longer than browsers keep cookies.
"""

from __future__ import annotations

import os
import re
import threading
import time
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipelines.core.errors import InvalidRequest
from pipelines.core.files import atomic_write
from pipelines.core.given_files import read_given

MAX_FILE_BYTES = 2**18
# Of all visitors together, of each kind.
MAX_FILES, MAX_FILES_BYTES, MAX_AWAY_S, DAY_S = 10_000, 2**28, 400 * 86400.0, 86400.0
# A key of many parts costs the reader of TOML the square of their number. A generator with all its
# options in one line has some forty dots, outside of its texts and remarks, which are these. A text
# that is not closed is one too: looked for anew at each quote, it would cost the square again.
MAX_DOTS = 100
_TEXTS = re.compile(r'''"""(?:[^\\]|\\[\s\S])*?(?:"{3,5}|\Z)|'''
                    r"""'{3}[\s\S]*?(?:'{3,5}|\Z)|"(?:[^"\\\n]|\\.)*"?|'[^'\n]*'|#[^\n]*""")
changing = threading.Lock()  # from reading to writing: of two changes at once, neither is lost


class OwnFile:
    """The file of one visitor, or of whoever has the command line.

    Args:
        path: of the file; it need not be there.
        one_of_many: whether it is a visitor's, for whom others may have to leave.
    """

    def __init__(self, path: Path, one_of_many: bool = False) -> None:
        self.path, self.one_of_many = path, one_of_many

    def read(self) -> bytes:
        """The file, and one byte more than it may have where it is larger; empty for none.

        Raises:
            OSError: it cannot be read.
        """
        try:
            data = read_given(self.path, MAX_FILE_BYTES)
        except FileNotFoundError:
            return b""
        if self.one_of_many:
            with suppress(OSError):  # of no use to this visitor now
                os.utime(self.path, (time.time(), self.path.stat().st_mtime))
        return data

    def write(self, data: bytes) -> None:
        """Put something in its place; under ``changing``.

        Raises:
            InvalidRequest: it is larger than ``MAX_FILE_BYTES``.
            OSError: it cannot be written; what was there is kept.
        """
        check_size(data)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        first_s = self.path.stat().st_mtime if self.path.exists() else time.time()
        if self.one_of_many:
            sweep_files(self.path.parent, self.path, len(data))
        atomic_write(self.path, data)
        if self.one_of_many:
            os.utime(self.path, (time.time(), first_s))


def visitors_file(folder: Path, owner: str) -> OwnFile:
    """The file of a visitor.

    Args:
        folder: of all visitors' files of a kind.
        owner: a visitor's name, of hex digits.
    """
    if not owner.isalnum():
        raise ValueError(f"no visitor is called {owner!r}")
    return OwnFile(folder / f"{owner}.toml", one_of_many=True)


def sweep_files(folder: Path, new: Path | None = None, new_bytes: int = 0) -> int:
    """Remove the files of visitors who have stayed away, and of more where there is no room.

    A file's time of change is when its visitor first kept something, that of access the last use.

    Args:
        folder: where they are.
        new: the file that is to be written, which stays.
        new_bytes: its length.

    Returns:
        How many visitors' files were removed.
    """
    found, removed, now_s = [], 0, time.time()
    for path in folder.glob("*.toml"):
        with suppress(OSError):
            if path != new:
                state = path.stat()
                used_s = max(state.st_atime, state.st_mtime)
                came_back = used_s - state.st_mtime > DAY_S
                found.append((came_back, used_s, state.st_size, path))
    count, size_bytes = len(found) + (new is not None), sum(each[2] for each in found) + new_bytes
    for _, used_s, length, path in sorted(found):
        if now_s - used_s > MAX_AWAY_S or count > MAX_FILES or size_bytes > MAX_FILES_BYTES:
            with suppress(OSError):
                path.unlink()
            count, size_bytes, removed = count - 1, size_bytes - length, removed + 1
    return removed


def read_toml(data: bytes, field: str) -> dict[str, Any]:
    """The tables of a file from anyone.

    Args:
        data: the file.
        field: name of the request's field.

    Raises:
        InvalidRequest: it is larger than ``MAX_FILE_BYTES``, no TOML, or would take too long.
    """
    check_size(data, field)
    try:
        text = data.decode("utf-8-sig")
        if any(line.count(".") > MAX_DOTS for line in _TEXTS.sub("", text).split("\n")):
            raise InvalidRequest("A line of the file has more than {} dots.", MAX_DOTS, field=field)
        return tomllib.loads(text)
    except (ValueError, RecursionError):  # its own error, or that of a number of too many digits
        raise InvalidRequest("The file is not TOML.", field=field) from None


def check_size(data: bytes, field: str | None = None) -> None:
    """Refuse what is larger than ``MAX_FILE_BYTES``.

    Raises:
        InvalidRequest: it is.
    """
    if len(data) > MAX_FILE_BYTES:
        raise InvalidRequest("The file is larger than {} KB.", MAX_FILE_BYTES >> 10, field=field)
