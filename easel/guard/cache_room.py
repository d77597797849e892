"""Room in the cache for what is written for somebody without any of the device's time.

A zip of some KB unpacks to a hundred times as much, a comparison or a history is packed as often as
somebody asks: without a bound, one visitor fills the disk on which all pictures are kept.
"""

from __future__ import annotations

from pathlib import Path
from weakref import WeakValueDictionary

from easel.guard.cache_folder import CacheFolder
from easel.guard.visitors import requester
from pipelines.core.errors import Busy

_caches: WeakValueDictionary[Path, CacheFolder] = WeakValueDictionary()  # by their folders


def open_room(cache: CacheFolder) -> None:
    """Let ``take_room`` ask a cache from now on, in place of another one of its folder."""
    _caches[cache.folder] = cache


def take_room(folder: str | Path, more_bytes: int, more_files: int = 1) -> None:
    """Announce files that are about to be written for whoever asks.

    Args:
        folder: of the cache; one that no server looks after has room.
        more_bytes: their length together.
        more_files: their number.

    Raises:
        Busy: there is no room for them, or not for more of one visitor or address.
    """
    cache = _caches.get(Path(folder))
    if cache is not None and not cache.has_room_for(requester(), more_bytes, more_files):
        raise Busy("There is no room for these files now: try again in some minutes.")
