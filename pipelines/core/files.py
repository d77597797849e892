"""Files written whole or not at all, under names that any file system takes."""

from __future__ import annotations

import os
import re
import tempfile
import unicodedata
from pathlib import Path

MAX_STEM_CHARS = 60


def atomic_write(path: Path, data: bytes, durable: bool = True) -> None:
    """Write a file so that a reader, or a crash, finds the old file or the new one.

    Args:
        durable: wait until it is on the disk; not worth it for what nobody needs after a crash.

    Raises:
        OSError: the folder cannot be made or written to; nothing is left behind.
    """
    temporary = written_beside(path, data, durable)
    try:
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def written_beside(path: Path, data: bytes, durable: bool = True) -> Path:
    """Write data to a file beside a path, under a name that nobody looks for; returns that name.

    Raises:
        OSError: the folder cannot be made or written to; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=".part", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        # mkstemp makes files that only their owner reads, whatever the umask allows.
        temporary.chmod(0o666 & ~_umask())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _umask() -> int:
    """The process's mask, which can only be read by setting it: to the strictest meanwhile."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def safe_stem(text: str, default: str = "picture") -> str:
    """A file name without extension made from any text: ASCII letters, digits and dashes."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    stem = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:MAX_STEM_CHARS].strip("-")
    return stem or default
