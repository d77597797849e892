"""Gradio's cache: uploads, and copies of pictures that browsers fetch, bounded in age and size.

Gradio removes what its own process made and knows of, a day later; what a killed process, an upload
that was cut off or its own temporary files leave behind would stay, and be served, for ever.
"""

from __future__ import annotations

import logging
import re
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from easel.guard.made_of import NOTE, digest_of, note_of, noted
from easel.serving.jobs import Requester

logger = logging.getLogger(__name__)
MAX_AGE_S = 86400.0
PART_S = 1800.0  # no upload that is still under way has not grown for so long
EXPORT_S = 3600.0  # archives may hold pictures that were deleted since
MADE_S = 600.0  # what was begun before a picture went for good may be written so long after
FREE_BYTES = 2**20  # of the disk, left for what is not an upload
MAX_FILES = 200_000  # each takes of the disk, and of every sweep, however short it is
# Of one upload: files, and what an empty one takes of its request.
MAX_UPLOADED, MIN_UPLOADED_BYTES = 1000, 64
FRESH_S = 600.0  # what makes room for others has been there for so long at least
# Of the quota, what one visitor and one address have written in that time without drawing it, since
# anyone may be many visitors; how many are counted.
EACH_SHARE, ADDRESS_SHARE, MAX_COUNTED = 0.25, 0.5, 10_000
# What Gradio and Easel write there; in a folder that is shared with others, the rest is theirs.
_OWN = re.compile(r"tmp[a-z0-9_]{8}|[0-9a-f]{64}|pictures|exports|lab")


class CacheFolder:
    """The cache of a server.

    Args:
        folder: of the cache; nothing is done where it is not there.
        quota_bytes: the most that its files may take together.
        kept: paths that stay whatever their age, such as those of examples.
        named: the sets in which Gradio notes the path of every file that it ever wrote; from
            these go the paths of files that are gone, which Gradio itself leaves there.
        most_files: how many there may be.
    """

    def __init__(self, folder: Path, quota_bytes: int,
                 kept: Callable[[], Collection[str]] = tuple,
                 named: Callable[[], Iterable[set[str]]] = tuple,
                 most_files: int = MAX_FILES) -> None:
        self.folder, self.quota_bytes, self.most_files = folder, quota_bytes, most_files
        self._kept, self._named = kept, named
        self._lock = threading.Lock()
        # At the last look at the disk, and what was announced since: bytes and files.
        self._used: tuple[int, int] | None = None
        # Bytes by visitor and by address, and since when.
        self._written: dict[tuple[str, str], int] = {}
        self._since_s = time.monotonic()

    def sweep(self, room_bytes: int = 0) -> int:
        """Remove what is old, then the oldest of the rest until quota and number hold.

        Args:
            room_bytes: that should be free below the quota afterwards.

        Returns:
            How many files were removed.
        """
        with self._lock:
            return self._sweep(room_bytes, 0)

    def has_room(self, more_bytes: int, more_files: int | None = None) -> bool:
        """Whether files of so many bytes may be written; makes room where there is none.

        Args:
            more_bytes: their length together.
            more_files: their number; as many as an upload of that length may hold where None.
        """
        if not self._disk_has(more_bytes):
            return False
        if more_files is None:
            more_files = min(MAX_UPLOADED, 1 + more_bytes // MIN_UPLOADED_BYTES)
        with self._lock:
            if self._used is None:
                sizes = [size for _, size, _ in self._files()]
                self._used = sum(sizes), len(sizes)
            if not self._fits(more_bytes, more_files):
                self._sweep(more_bytes, more_files)
            fits = self._fits(more_bytes, more_files)
            if fits:
                used, count = self._used
                self._used = used + more_bytes, count + more_files
            return fits

    def has_room_for(self, who: Requester, more_bytes: int, more_files: int | None = None) -> bool:
        """Whether files may be written that nothing was drawn for, as in ``has_room``.

        Args:
            who: asks for them, a visitor of whom no more than ``EACH_SHARE`` of the quota is
                written within ``FRESH_S`` seconds, and ``ADDRESS_SHARE`` of an address.
            more_bytes, more_files: their length and number.
        """
        shares = {("visitor", who.visitor): EACH_SHARE}
        if who.address:
            shares["address", who.address] = ADDRESS_SHARE
        with self._lock:
            if time.monotonic() - self._since_s > FRESH_S:
                self._written.clear()
                self._since_s = time.monotonic()
            elif len(self._written) >= MAX_COUNTED:  # visitors cost nothing, addresses do
                self._written = {each: size for each, size in self._written.items()
                                 if each[0] == "address"}
            written = {each: self._written.get(each, 0) + more_bytes for each in shares}
            if any(written[each] > self.quota_bytes * share for each, share in shares.items()):
                return False
        if not self.has_room(more_bytes, more_files):
            return False
        with self._lock:
            for each in shares:
                self._written[each] = self._written.get(each, 0) + more_bytes
        return True

    def _fits(self, more_bytes: int, more_files: int) -> bool:
        used, count = self._used or (0, 0)
        return used + more_bytes <= self.quota_bytes and count + more_files <= self.most_files

    def _disk_has(self, more_bytes: int) -> bool:
        try:
            return shutil.disk_usage(self.folder).free >= more_bytes + FREE_BYTES
        except OSError:  # whoever writes there says what is wrong
            return True

    def forget(self, sizes: Mapping[str, int], since_s: Mapping[str, float] | None = None) -> None:
        """Remove all copies of files that are gone for good, and all that was made of them.

        Args:
            sizes: length in bytes by SHA-256 in hex.
            since_s: Unix time at which each went, where what came later is somebody's own again,
                such as an upload; None for now.
        """
        lengths, ends_s = set(sizes.values()), since_s or {}

        def forgotten(digest: str, mtime_s: float, more_s: float) -> bool:
            return digest in sizes and mtime_s <= ends_s.get(digest, mtime_s) + more_s

        for path, size, mtime_s in list(self._files()) if sizes else ():
            with suppress(OSError):
                made_of = path.with_name(path.name.removesuffix(NOTE))
                if path != made_of:
                    if any(forgotten(each, mtime_s, MADE_S) for each in noted(made_of)):
                        made_of.unlink(missing_ok=True)
                        path.unlink()
                elif size in lengths and forgotten(digest_of(path.read_bytes()), mtime_s, 0.0):
                    _remove(path)

    def _sweep(self, room_bytes: int, room_files: int) -> int:
        now, kept, left, removed = time.time(), set(self._kept()), [], 0
        for path, size, mtime_s in self._files():
            if str(path) in kept:
                continue
            if path.name.endswith(NOTE):  # it goes with its file, not before
                if now - mtime_s > PART_S and not path.with_name(
                        path.name.removesuffix(NOTE)).exists():
                    removed += _remove(path)
                continue
            if now - mtime_s > self._life_s(path):
                removed += _remove(path)
            else:
                left.append((mtime_s, size, path))
        self._used = sum(size for _, size, _ in left), len(left)
        for mtime_s, size, path in sorted(left):
            if self._fits(room_bytes, room_files) or now - mtime_s < FRESH_S:
                break
            if _remove(path):
                used, count = self._used
                removed, self._used = removed + 1, (used - size, count - 1)
        self._remove_empty_folders(now)
        for paths in self._named():  # copied: requests add to them meanwhile
            paths.difference_update([path for path in tuple(paths) if not Path(path).exists()])
        if removed:
            logger.info("%d files were removed from the cache.", removed)
        return removed

    def _life_s(self, path: Path) -> float:
        first = path.relative_to(self.folder).parts[0]
        if first == path.name:  # an upload's part, or an empty file of Gradio's
            return PART_S
        return EXPORT_S if first == "exports" else MAX_AGE_S

    def _files(self) -> Iterator[tuple[Path, int, float]]:
        """Path, length and time of the last change of every file."""
        for top in _entries(self.folder):
            if not _OWN.fullmatch(top.name):
                continue
            for path in [top] if top.is_file() else top.rglob("*"):
                with suppress(OSError):
                    state = path.lstat()
                    if not path.is_dir():
                        yield path, state.st_size, state.st_mtime

    def _remove_empty_folders(self, now: float) -> None:
        for top in _entries(self.folder):
            if _OWN.fullmatch(top.name) and top.is_dir():
                for path in [*sorted(top.rglob("*"), reverse=True), top]:
                    with suppress(OSError):  # rmdir removes none that holds anything
                        if path.is_dir() and now - path.stat().st_mtime > FRESH_S:
                            path.rmdir()


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _remove(path: Path) -> bool:
    """Remove a file with the note on what it was made of; False where it is gone already."""
    try:
        path.unlink()
    except OSError:
        return False
    with suppress(OSError):
        note_of(path).unlink()
    return True
