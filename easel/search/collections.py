"""Which pictures may be searched together, and where their indexes lie.

A collection is a folder that the operator allows, a set of uploads, or one owner's history. Its
indexes lie in the data folder under a name that cannot be turned back into the owner's.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from easel.history.listing import list_pictures, listing_state
from easel.history.store import History
from easel.search.files import SUFFIXES, PictureFile, list_folder
from pipelines.core.errors import InvalidRequest, reason
from pipelines.core.given_files import given_name
from pipelines.core.texts import shown_name

UPLOADS_S = 86_400  # as long as the uploaded files themselves are kept


@dataclass(frozen=True)
class Collection:
    """Pictures that are searched together.

    Attributes:
        title: what people call it.
        folder: of its indexes, one a CLIP.
        files: lists its pictures as they are now.
        state: quicker than listing them, says whether they are others than before; None where
            only listing tells.
        shared: whether others search it too.
        brought: whether whoever asks brings the files; each has a folder of its own then.
    """

    title: str
    folder: Path
    files: Callable[[], Sequence[PictureFile]]
    state: Callable[[], Hashable] | None = None
    shared: bool = False
    brought: bool = False

    def name_of(self, key: str) -> str:
        """What people call a picture: without the folder that the server put it in."""
        return key.rpartition("/")[2] if self.brought else key


def _place(data_dir: Path, kind: str, name: str) -> Path:
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    return data_dir.resolve() / "search" / f"{kind}-{digest[:24]}"


def allowed_folder(text: str, roots: Sequence[Path]) -> Path:
    """A folder that visitors may search.

    Args:
        text: its path, absolute or below one of the allowed folders.
        roots: the allowed folders, resolved.

    Raises:
        InvalidRequest: it is not one of the allowed folders or below one, whether or not it
            exists; or it is, and is not there.
    """
    refused = InvalidRequest("That folder is not among those that this Easel may search "
                             "(EASEL_SEARCH_FOLDERS).", field="folder")
    if not text.strip() or "\0" in text:
        raise refused
    wanted = Path(text.strip())
    for root in roots:
        try:
            path = (root / wanted).resolve()  # an absolute path stays as it is
        except (OSError, RuntimeError, ValueError):
            raise refused from None
        if not any(_shows(each, path) for each in roots):
            continue
        if path.is_dir():
            return path
        if wanted.is_absolute() or root == roots[-1]:
            raise InvalidRequest("The folder {} is not there.", path.name, field="folder")
    raise refused


def _shows(root: Path, path: Path) -> bool:
    """Whether a folder is an allowed one or below it, and not hidden there, as in a listing."""
    return path.is_relative_to(root) and not any(
        part.startswith(".") for part in path.relative_to(root).parts)


def folder_collection(folder: Path, data_dir: Path) -> Collection:
    """The pictures in a folder and below; whether it may be searched was checked before."""
    try:
        resolved = folder.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise InvalidRequest("The folder {} cannot be read: {}.", given_name(folder),
                             reason(error), field="folder") from None
    return Collection(given_name(resolved),
                      _place(data_dir, "folder", str(resolved)), lambda: list_folder(resolved),
                      shared=True)


def upload_collection(paths: Sequence[Path], owner: str, data_dir: Path) -> Collection:
    """Files that a visitor uploaded; older sets of anybody are removed on the way.

    Args:
        paths: the files, each in a folder named after its content, as Gradio keeps them.
        owner: whose they are.
        data_dir: the data folder.
    """
    def files() -> list[PictureFile]:
        found = []
        for path in paths:
            try:
                state = path.stat()
            except OSError:
                raise InvalidRequest("An uploaded picture is no longer there: choose it again.",
                                     field="images") from None
            key = shown_name(f"{path.parent.name}/{path.name}")
            found.append(PictureFile(key, path, state.st_size, state.st_mtime_ns))
        return found

    place = _place(data_dir, "uploads", owner)
    for old in place.parent.glob("uploads-*"):
        try:
            if old != place and time.time() - old.stat().st_mtime > UPLOADS_S:
                shutil.rmtree(old, ignore_errors=True)
        except OSError:  # another process removed it
            continue
    return Collection("Uploaded pictures", place, files, lambda: tuple(files()), brought=True)


def history_collection(history: History, owner: str, data_dir: Path) -> Collection:
    """The history of one owner, without what lies among the deleted pictures."""
    def files() -> list[PictureFile]:
        # A file of the history never changes; its time would, when the same is drawn again.
        store = history.files
        return [PictureFile(p.id, store.path(p.sha256), p.size_bytes, int(p.created_s * 1e9),
                            p.created_s, p.pipeline, p.prompt,
                            partial(store.local, p.sha256) if store.elsewhere else None)
                for p in list_pictures(history, owner)]

    return Collection("My history", history_folder(data_dir, owner), files,
                      lambda: listing_state(history, owner))


def history_folder(data_dir: Path, owner: str) -> Path:
    """Where the indexes of an owner's history lie."""
    return _place(data_dir, "history", owner)


def history_folders(data_dir: Path) -> list[Path]:
    """Where indexes of histories lie, whosever they are or were."""
    return sorted((data_dir.resolve() / "search").glob("history-*"))


def picture_files(paths: Sequence[Path]) -> list[Path]:
    """Files as they are and folders as the pictures in them, for the command line.

    Raises:
        InvalidRequest: a path is not there, or no picture is found.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += [file.path for file in list_folder(path)]
        elif path.is_file():
            found.append(path)
        else:
            raise InvalidRequest("There is no file or folder {}.", given_name(path), field="images")
    if not found:
        raise InvalidRequest("There are no pictures ({}) to look at.", ", ".join(SUFFIXES),
                             field="images")
    return found
