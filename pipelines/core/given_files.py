"""Files that people name: nothing else is waited for, or read without an end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from pipelines.core.texts import shown_name


def given_name(path: Path) -> str:
    """What a sentence calls a path: its last part, or all of it where it has none, as "." and "/".
    """
    return shown_name(path.name or str(path))


def read_given(path: Path, most_bytes: int) -> bytes:
    """The beginning of a file that somebody names.

    Args:
        path: of the file; a link to one is one.
        most_bytes: that are of use.

    Returns:
        The file; where it has more, one byte more than of use, so that whoever looks at its length
        refuses it.

    Raises:
        OSError: it cannot be read; or it is no file but a folder, a pipe, which may have no end and
            is waited for before it begins, or a device, which may have none either.
    """
    # A pipe is opened at once then, whether or not anybody writes into it.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is no file", str(path))
    except OSError:
        os.close(handle)
        raise
    with os.fdopen(handle, "rb") as file:
        return file.read(most_bytes + 1)
