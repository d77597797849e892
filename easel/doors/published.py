"""Pictures at addresses that nobody can guess, for an hour, as OpenAI's API hands them out."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

from easel.guard.cache_folder import EXPORT_S, CacheFolder
from easel.guard.made_of import note
from pipelines.core.errors import EaselError, reason

_NAME = re.compile(r"[A-Za-z0-9_-]{43}\.png")
NO_ROOM = "There is no room for pictures now: try again in some minutes, or ask for b64_json."


class Published:
    """Files below the cache's folder for what is fetched once.

    Args:
        cache: whose quota and age they fall under.
    """

    def __init__(self, cache: CacheFolder) -> None:
        self.cache, self.folder = cache, cache.folder / "exports"

    def add(self, png: bytes, made_of: Sequence[str] = ()) -> str:
        """Write a picture; returns its name.

        Args:
            png: the file.
            made_of: SHA-256 of the kept picture that it goes with, where it is no copy of that.

        Raises:
            EaselError: there is no room for it.
        """
        if not self.cache.has_room(len(png), 1 + bool(made_of)):
            raise EaselError(NO_ROOM)
        name = f"{secrets.token_urlsafe(32)}.png"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            note(self.folder / name, made_of)
            (self.folder / name).write_bytes(png)
        except OSError as error:
            raise EaselError("The picture {} could not be written: {}.", name[:8],
                             reason(error)) from None
        return name

    def find(self, name: str) -> Path | None:
        """The file of a name; None where there is none, or not any more."""
        path = self.folder / name
        if not _NAME.fullmatch(name):
            return None
        try:
            fresh = time.time() - path.stat().st_mtime < EXPORT_S
        except OSError:
            return None
        return path if fresh else None
