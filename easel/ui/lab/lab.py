"""Which pictures and CLIPs the lab has for a visitor, and their indexes, free of components."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Generator, Hashable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from gradio.context import LocalContext

from easel.guard.turns import reading
from easel.history.listing import present_ids
from easel.search.collections import (
    Collection,
    allowed_folder,
    folder_collection,
    history_collection,
    upload_collection,
)
from easel.search.database import IndexInUse
from easel.search.index import VectorIndex
from easel.search.opening import find_index
from easel.search.searcher import Searcher
from easel.search.snapshot import Item, Snapshot
from easel.search.update import UpdateProgress, update_index
from easel.serving.session_runs import Run
from easel.ui.parts.suited import MAX_LOOKED, Suited, suited
from easel.ui.playground import Playground
from pipelines.core.errors import Cancelled, InvalidRequest
from pipelines.core.sentences import Sentence
from pipelines.model_options import choice_label, choices
from pipelines.models.checkpoints.catalogue import open_catalogue
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.checkpoints.loading import is_complete
from pipelines.models.clip_features import Features
from pipelines.suited import BY_PICTURES
from pipelines.zero_shot import class_features, class_texts

UPLOADS, HISTORY = "uploads", "history"  # places beside the folders
MAX_UPLOADS = 1000
MAX_REMEMBERED = 1000  # collections that are known to be up to date
STOPPED = "Stopped; what was indexed is kept."


Faults = tuple[tuple[str, str], ...]


def _named(collection: Collection, faults: Iterable[tuple[str, str]]) -> Faults:
    return tuple((collection.name_of(key), reason) for key, reason in faults)


def first_files(collection: Collection) -> list[Path]:
    """Files of a collection, enough to see what kind of pictures it holds."""
    return [file.path for file in list(collection.files())[:MAX_LOOKED]]


class Lab:
    """Collections, queries and classifications of a playground.

    Args:
        playground: whose backend, history and settings are used.
    """

    def __init__(self, playground: Playground) -> None:
        self.playground = playground
        self.backend = playground.backend
        self.searcher = Searcher(playground.backend)
        self.data_dir = playground.settings.data_dir
        self.roots = playground.settings.search_roots()
        self._lock = threading.Lock()
        self._indexed: OrderedDict[Hashable, Hashable] = OrderedDict()

    @cached_property
    def clips(self) -> list[tuple[str, str]]:
        """Title and id of every CLIP of the catalogue, the embedded ranker first."""
        catalogue = open_catalogue(self.data_dir, self.playground.settings.catalogue)
        found = [(choice_label(entry), entry.id) for entry in choices(catalogue, "clip")]
        return sorted(found, key=lambda choice: choice[1] != RANKER)

    def _here(self) -> list[str]:
        """Ids of the CLIPs whose files are on this machine."""
        catalogue = open_catalogue(self.data_dir, self.playground.settings.catalogue)
        return [entry.id for entry in choices(catalogue, "clip") if is_complete(catalogue, entry)]

    def titles(self) -> dict[str, str]:
        """Titles of the CLIPs by id."""
        return {model_id: title for title, model_id in self.clips}

    def suited(self, wanted: object, place: object, paths: Sequence[str | Path], run: Run,
               ) -> Suited:
        """The CLIP that judges: as wanted, or as the pictures of the place suggest.

        Args:
            wanted: id of a CLIP, or ``BY_PICTURES``.
            place: whose pictures they are; those of the history are Easel's own.
            paths: files of an upload, or a few of a folder.
            run: whose job the looking is.

        Raises:
            InvalidRequest: the catalogue has no CLIP of that name.
        """
        if place == HISTORY:
            return Suited(RANKER if wanted == BY_PICTURES else self.check_clip(wanted))
        model_id = BY_PICTURES if wanted == BY_PICTURES else self.check_clip(wanted)
        return suited(self.backend, model_id, paths, run.next_job(), self._here())

    def check_clip(self, model_id: object) -> str:
        """The id of a CLIP, checked.

        Raises:
            InvalidRequest: it is no text, or the catalogue has no CLIP of that name.
        """
        if not isinstance(model_id, str):
            raise InvalidRequest("The CLIP must be the id of one, as text.", field="model")
        if model_id not in {known for _, known in self.clips}:
            raise InvalidRequest("The catalogue has no CLIP called {!r}.", model_id[:60],
                                 field="model")
        return model_id

    def places(self) -> list[tuple[str, str]]:
        """Title and name of every place that may be searched."""
        history = [("My history", HISTORY)] if self.playground.history is not None else []
        folders = [(Sentence("Folder {}", root.name or str(root)), str(root))
                   for root in self.roots]
        return [*history, ("Pictures that I upload", UPLOADS), *folders]

    def collection(self, place: object, visitor: str, uploads: Sequence[str | Path] = ()) \
            -> Collection:
        """The pictures of a place, as far as a visitor may see them.

        Args:
            place: ``UPLOADS``, ``HISTORY``, or the path of an allowed folder.
            visitor: who asks.
            uploads: files that the visitor uploaded, for ``UPLOADS``.

        Raises:
            InvalidRequest: there are no uploads or too many, or the folder may not be searched.
        """
        if place == HISTORY and self.playground.history is not None:
            owner = self.playground.history.owner_of(visitor)
            return history_collection(self.playground.history, owner, self.data_dir)
        if place == UPLOADS:
            return upload_collection(self.uploaded(uploads), visitor, self.data_dir)
        folder = allowed_folder(place if isinstance(place, str) else "", self.roots)
        return folder_collection(folder, self.data_dir)

    def uploaded(self, uploads: Sequence[str | Path]) -> list[Path]:
        """The files of an upload.

        Raises:
            InvalidRequest: there are none, or too many.
        """
        if not uploads:
            raise InvalidRequest("There are no pictures: choose some files first.", field="images")
        if len(uploads) > MAX_UPLOADS:
            raise InvalidRequest("{:,} pictures are too many at once: {:,} is the most.",
                                 len(uploads), MAX_UPLOADS, field="images")
        return [Path(upload) for upload in uploads]

    def index(self, collection: Collection, model_id: str, run: Run, rebuild: bool = False,
              ) -> Generator[UpdateProgress]:
        """Bring the index of a collection up to date; see ``easel.search.update.update_index``.

        Raises:
            Busy: the visitor brings files and others of theirs are being read already, or so many
                others'.
            Cancelled: the run was stopped; what was indexed is kept.
            InvalidRequest: the index is everybody's, and who asks may not make it anew.
        """
        if rebuild and collection.shared:
            self._check_admin()
        updates = update_index(collection.folder, collection.files, self.backend, model_id,
                               rebuild, lambda: run.stopped)
        with ExitStack() as turn, closing(updates):
            try:
                for number, progress in enumerate(updates):
                    if number == 0 and progress.total and collection.brought:
                        turn.enter_context(reading.turn())  # no picture was read yet
                    yield replace(progress, unreadable=_named(collection, progress.unreadable))
            except Cancelled:
                raise Cancelled(STOPPED) from None

    def unreadable(self, collection: Collection, snapshot: Snapshot) -> Faults:
        """Name and reason of each picture that could not be read for the index of a snapshot."""
        return _named(collection, VectorIndex(snapshot.folder).unreadable())

    def _check_admin(self) -> None:
        """Refuse a visitor who may not change what is everybody's; the models' rule holds."""
        request: Any = LocalContext.request.get(None)  # set by Gradio around every handler
        if request is not None and not self.playground.admins.may(request):
            raise InvalidRequest("Only who may change models here may make the index of a shared "
                                 "folder anew (EASEL_MODELS_BY).", field="rebuild")

    def label_features(self, model_id: str, labels: Sequence[str], templates: Sequence[str],
                       run: Run) -> tuple[Features, np.ndarray]:
        """Facts of a CLIP, and one direction a label: (L, D) float32."""
        clip = self.backend.embed(model_id, texts=class_texts(labels, templates),
                                  job_id=run.next_job())
        return clip, class_features(clip.texts, len(labels))

    def current(self, collection: Collection, model_id: str, run: Run, rebuild: bool = False,
                ) -> Generator[str | Snapshot]:
        """A collection's index brought up to date, as far as that is needed.

        While another run does that, the index is taken as it is.

        Yields:
            Sentences while it lasts, then the snapshot.

        Raises:
            InvalidRequest: the collection has no pictures.
            SearchIndexError: see ``easel.search.update.update_index``.
        """
        clip = self.searcher.features(model_id)
        state = None if collection.state is None else collection.state()
        if rebuild or not self._is_current(collection, clip, state):
            try:
                for progress in self.index(collection, model_id, run, rebuild):
                    yield progress.message()
            except IndexInUse:
                index = find_index(collection.folder, clip.model_id, clip.fingerprint)
                if index is None or not len(index):
                    raise
            else:
                self._note_current(collection, clip, state)
        snapshot = self.searcher.snapshot(collection, clip)
        if not len(snapshot):
            if faults := self.unreadable(collection, snapshot):
                raise InvalidRequest("No picture can be read; {}: {}", faults[0][0],
                                     faults[0][1], field="images")
            raise InvalidRequest("{}: there are no pictures yet.", collection.title, field="images")
        yield snapshot

    def _is_current(self, collection: Collection, clip: Features, state: Hashable) -> bool:
        key = (collection.folder, clip.model_id, clip.fingerprint)
        with self._lock:
            known = self._indexed.get(key)
        return state is not None and known == state and find_index(*key) is not None

    def _note_current(self, collection: Collection, clip: Features, state: Hashable) -> None:
        """Remember the state of a collection from before it was listed, which cannot be newer."""
        key = (collection.folder, clip.model_id, clip.fingerprint)
        with self._lock:
            self._indexed[key] = state
            self._indexed.move_to_end(key)
            while len(self._indexed) > MAX_REMEMBERED:
                self._indexed.popitem(last=False)

    def still_own(self, place: object, visitor: str, items: Sequence[Item]) -> list[bool]:
        """For each picture whether the visitor still has it: the bin is no place to find things."""
        history = self.playground.history
        if place != HISTORY or history is None:
            return [True] * len(items)
        own = present_ids(history, history.owner_of(visitor), [item.key for item in items])
        return [item.key in own for item in items]
