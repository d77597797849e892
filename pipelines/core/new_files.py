"""Files that people ask for by a name: what is there already stays, and the new one gets another.

A picture that took minutes is not to be lost to one whose name is the same by chance, so the
command line writes to the first free name: ``x.png``, ``x-2.png``, ``x-3.png``.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile

from pipelines.core.errors import EaselError, reason
from pipelines.core.files import written_beside
from pipelines.core.sentences import Sentence
from pipelines.core.texts import shown_name

# What file systems without hard links say, such as FAT and some network shares.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK,
             errno.EXDEV, errno.EINVAL)


def _names(path: Path) -> Iterator[Path]:
    yield path
    if _is_nameless(path):  # a folder, whose name the system knows
        path = path.resolve()
    if not path.name:
        raise EaselError("The folder {} holds files already, and has no name for a number.",
                         str(path))
    for number in itertools.count(2):
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")


def _is_nameless(path: Path) -> bool:
    """Whether it is ``.``, ``..`` or ``/``, which name no file."""
    return path.name in ("", "..")


def write_new(path: Path, data: bytes) -> Path:
    """Write a file whole or not at all, and over no other.

    What is no file, such as ``/dev/stdout``, is written to as it is.

    Returns:
        Its path; with a number where there was a file of that name.

    Raises:
        OSError: the folder cannot be made or written to; nothing is left behind.
    """
    if _is_nameless(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if _is_device(path):
        path.write_bytes(data)
        return path
    temporary = written_beside(path, data)
    try:
        return place_new(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _is_device(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def place_new(temporary: Path, path: Path) -> Path:
    """Give a finished file its name, or the first that is free; of two at once, each gets its own.

    Raises:
        OSError: the folder cannot be written to.
    """
    for free in _names(path):
        try:
            os.link(temporary, free)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            try:
                os.close(os.open(free, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            temporary.replace(free)
            return free
        temporary.unlink(missing_ok=True)
        return free
    raise AssertionError("there is always a free name")


def free_folder(folder: Path, patterns: Sequence[str] = ("*",)) -> Path:
    """A folder in which no file of certain names is yet: itself, or one with a number.

    Args:
        folder: where files are to go together.
        patterns: of the names that they have.

    Raises:
        EaselError: the root of the disk holds some, which has no name for a number.
    """
    for free in _names(folder):
        if not any(True for pattern in patterns for _ in free.glob(pattern)):
            return free
    raise AssertionError("there is always a free folder")


def check_file(path: Path, what: str) -> None:
    """See before a long run that a file can be written afterwards; nothing is left there.

    Args:
        path: what it is to be called; what is no file, such as ``/dev/stdout``, is not looked at.
        what: the beginning of the sentence, as in "The table".

    Raises:
        EaselError: it is a folder, there is a file in its way, or it may not be written to.
    """
    try:
        if _is_device(path):
            return
        is_folder = _is_nameless(path) or path.is_dir()
    except (OSError, ValueError) as error:
        raise EaselError("{} could not be written: {}.", what, reason(error)) from None
    if is_folder:
        raise EaselError("{} could not be written: {}.", what,
                         Sentence("{} is a folder", shown_name(str(path))))
    check_place(path.parent, what)


def check_place(folder: Path, what: str, alone: Sequence[str] = ()) -> None:
    """See before a long run that its files can be written afterwards; nothing is left there.

    Args:
        folder: where they are to go; perhaps one that is not there yet.
        what: the beginning of the sentence, as in "The pictures".
        alone: for files that go together in a ``free_folder``, the patterns of their names.

    Raises:
        EaselError: there is a file in its way, or it may not be written to.
    """
    try:
        folder = free_folder(folder, alone) if alone and folder.is_dir() else folder
        there = next(place for place in (folder, *folder.absolute().parents)
                     if place.exists() or place.is_symlink())
        if not there.is_dir():
            why = Sentence("{} is not a folder", shown_name(there.name))
        elif not os.access(there, os.W_OK | os.X_OK):
            why = Sentence("the folder {} is not yours to write to",
                           shown_name(there.name or str(there)))
        else:
            # Root may write everywhere, by what the system says of modes: not to every file system.
            with TemporaryFile(dir=there):
                return
    except (OSError, ValueError) as error:
        why = reason(error)
    raise EaselError("{} could not be written: {}.", what, why)
