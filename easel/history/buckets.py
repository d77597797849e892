"""Files of the history in an object store, which all machines of a cluster reach alike.

Keys and addresses of the store come from the environment under the names that its own tools have,
such as AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from easel.history.records import FilesOutOfReach, HistoryError
from easel.history.shelves import FolderShelf, Shelf

CONNECT_S, TIMEOUT_S, RETRY_S, RETRIES = 5, 30, 10, 3


def open_shelf(url: str) -> Shelf:
    """The shelf of an address.

    Args:
        url: ``file:///folder``, or a bucket with or without a prefix, ``s3://bucket/folder``.

    Raises:
        HistoryError: it is no address of a store, or the store cannot be used as asked.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that hold no address
        raise HistoryError(_NO_ADDRESS) from None
    if not parts.scheme:
        raise HistoryError(_NO_ADDRESS)
    if parts.scheme == "file":
        if parts.netloc or not parts.path.startswith("/"):
            raise HistoryError(_NO_ADDRESS)
        return FolderShelf(Path(unquote(parts.path)))  # flushed to its disk, as a bucket is not
    shelf = BucketShelf(url)
    shelf.check()
    return shelf


class BucketShelf:
    """A bucket of S3 or what speaks like it, of Google's or of Azure's store.

    Args:
        url: with its prefix.

    Raises:
        HistoryError: it is no address of a store, or the library that speaks to it is missing.
    """

    def __init__(self, url: str) -> None:
        try:
            obstore, stores = import_module("obstore"), import_module("obstore.store")
        except ImportError:
            raise HistoryError("EASEL_FILES_URL needs a package that is not installed: run pip "
                               "install -r requirements-files.txt.") from None
        self._obstore: Any = obstore
        self._url = url.rstrip("/")
        try:
            self._store = stores.from_url(
                url, client_options={"allow_http": True,  # where the operator names such an address
                                     "connect_timeout": timedelta(seconds=CONNECT_S),
                                     "timeout": timedelta(seconds=TIMEOUT_S)},
                retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_S)})
        except Exception:  # not the address itself: it may hold a password
            raise HistoryError(_NO_ADDRESS) from None

    def check(self) -> None:
        """Find out at start whether the bucket is there and may be written to.

        Raises:
            HistoryError: it may not.
        """
        key = f"check/{secrets.token_hex(8)}"
        try:
            self.put(key, b"Easel")
        except FileNotFoundError:
            raise HistoryError(_REFUSED) from None
        self.remove(key)

    def put(self, key: str, data: bytes) -> None:
        """Keep a file; see ``Shelf.put``. What is written again is new again."""
        with self._errors():
            self._obstore.put(self._store, key, data)

    def read(self, key: str) -> bytes:
        """The file of a key; see ``Shelf.read``."""
        with self._errors():
            return bytes(self._obstore.get(self._store, key).bytes())

    def has(self, key: str) -> bool:
        """Whether there is such a file."""
        try:
            with self._errors():
                self._obstore.head(self._store, key)
        except FileNotFoundError:
            return False
        return True

    def remove(self, key: str) -> None:
        """Remove a file; one that is gone already is no error."""
        try:
            with self._errors():
                self._obstore.delete(self._store, key)
        except FileNotFoundError:
            return

    def old(self, kind: str, age_s: float) -> Iterator[str]:
        """Keys of old files; see ``Shelf.old``. A request for every thousand files."""
        newest = time.time() - age_s
        with self._errors():
            found = [str(each["path"]) for batch in self._obstore.list(self._store, kind)
                     for each in batch if each["last_modified"].timestamp() < newest]
        yield from found

    def path(self, key: str) -> None:
        """Not on this machine."""

    def where(self, key: str) -> str:
        """The file's address."""
        return f"{self._url}/{key}"

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what the store says into one sentence.

        Raises:
            FileNotFoundError: there is no such file, or no such bucket.
            HistoryError: in place of any other error of the store.
        """
        errors = self._obstore.exceptions
        try:
            yield
        except FileNotFoundError:
            raise
        except (errors.PermissionDeniedError, errors.UnauthenticatedError) as error:
            raise HistoryError(_REFUSED) from error
        except errors.BaseError as error:
            raise FilesOutOfReach("The store of EASEL_FILES_URL cannot be used now: try again in "
                                  "a moment.") from error


_REFUSED = ("The store of EASEL_FILES_URL refuses what Easel asks for: check its keys, its region "
            "and its bucket.")
_NO_ADDRESS = ("EASEL_FILES_URL is not the address of a store of files, such as s3://bucket/folder "
               "or file:///folder.")
