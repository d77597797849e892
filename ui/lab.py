"""What the lab does for a visitor, free of components: the page and the API share it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from pipelines.checkpoints.catalogue import open_catalogue
from pipelines.checkpoints.choices import choice_label, choices
from pipelines.classify import (
    Classification,
    class_features,
    class_texts,
    classify,
    softmax,
)
from pipelines.errors import Cancelled, EaselError, InvalidRequest
from pipelines.features import Features
from pipelines.rerank import RANKER
from search.collections import (
    Collection,
    allowed_folder,
    folder_collection,
    history_collection,
    upload_collection,
)
from search.files import PictureFile
from search.projection import principal_components
from search.searcher import Searcher
from search.snapshot import Item, Snapshot
from search.update import UpdateProgress, embed_files, update_index
from ui.jobs import Run
from ui.playground import Playground
from ui.visitors import HEADER

UPLOADS, HISTORY = "uploads", "history"  # places beside the folders
MAX_UPLOADS = 1000
MAX_SIDE = 12  # texts and pictures of a matrix
MAX_MAP = 400
STOPPED = "Stopped; what was indexed is kept."


@dataclass(frozen=True)
class Classified:
    """Pictures that were classified.

    Attributes:
        clip: which CLIP looked.
        names: what the pictures are called.
        paths: their files, for thumbnails.
        found: how they spread over the labels.
        unreadable: name and reason of files that could not be read.
    """

    clip: Features
    names: tuple[str, ...]
    paths: tuple[Path, ...]
    found: Classification
    unreadable: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Matrix:
    """Texts against pictures, as CLIP was trained.

    Attributes:
        clip: which CLIP compares.
        texts: M of them.
        names: of the N pictures.
        paths: their files.
        similarities: (M, N) cosine similarities.
        over_texts: (M, N), softmax over the texts: each picture's column sums to 1.
        over_pictures: (M, N), softmax over the pictures: each text's row sums to 1.
    """

    clip: Features
    texts: tuple[str, ...]
    names: tuple[str, ...]
    paths: tuple[Path, ...]
    similarities: np.ndarray
    over_texts: np.ndarray
    over_pictures: np.ndarray


@dataclass(frozen=True)
class PictureMap:
    """A collection in two dimensions.

    Attributes:
        items: the pictures that are shown.
        points: (n, 2) float32 coordinates.
        shares: (2,) shares of the variance that the two directions keep.
        labels: names of the colours, in their order; empty where nothing is coloured.
        colours: (n,) indices of labels.
        total: how many pictures the collection has.
    """

    items: tuple[Item, ...]
    points: np.ndarray
    shares: np.ndarray
    labels: tuple[str, ...]
    colours: np.ndarray
    total: int


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

    @cached_property
    def clips(self) -> list[tuple[str, str]]:
        """Title and id of every CLIP of the catalogue, the embedded ranker first."""
        catalogue = open_catalogue(self.data_dir, self.playground.settings.catalogue)
        found = [(choice_label(entry), entry.id) for entry in choices(catalogue, "clip")]
        return sorted(found, key=lambda choice: choice[1] != RANKER)

    def check_clip(self, model_id: object) -> str:
        """The id of a CLIP, checked.

        Raises:
            InvalidRequest: the catalogue has no CLIP of that name.
        """
        if not isinstance(model_id, str) or model_id not in {known for _, known in self.clips}:
            raise InvalidRequest(f"The catalogue has no CLIP called {str(model_id)[:60]!r}.",
                                 "model")
        return model_id

    def places(self) -> list[tuple[str, str]]:
        """Title and name of every place that may be searched."""
        history = [("My history", HISTORY)] if self.playground.history is not None else []
        folders = [(f"Folder {root.name or root}", str(root)) for root in self.roots]
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
        if place in (HISTORY, UPLOADS) and not visitor:
            # The empty name is the command line's, which is nobody's to see here.
            raise InvalidRequest(f"Say who you are by a session or by the header {HEADER}.",
                                 "place")
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
            raise InvalidRequest("There are no pictures: choose some files first.", "images")
        if len(uploads) > MAX_UPLOADS:
            raise InvalidRequest(f"{len(uploads):,} pictures are too many at once: "
                                 f"{MAX_UPLOADS:,} is the most.", "images")
        return [Path(upload) for upload in uploads]

    def index(self, collection: Collection, model_id: str, run: Run, rebuild: bool = False,
              ) -> Generator[UpdateProgress]:
        """Bring the index of a collection up to date; see ``search.update.update_index``.

        Raises:
            Cancelled: the run was stopped; what was indexed is kept.
        """
        updates = update_index(collection.folder, collection.files, self.backend, model_id, rebuild)
        with closing(updates):
            for progress in updates:
                yield progress
                if run.stopped and not progress.finished:
                    raise Cancelled(STOPPED)

    def label_features(self, model_id: str, labels: Sequence[str], templates: Sequence[str],
                       run: Run) -> tuple[Features, np.ndarray]:
        """Facts of a CLIP, and one direction a label: (L, D) float32."""
        clip = self.backend.embed(model_id, texts=class_texts(labels, templates),
                                  job_id=run.next_job())
        return clip, class_features(clip.texts, len(labels))

    def classify_files(self, uploads: Sequence[str | Path], labels: Sequence[str],
                       templates: Sequence[str], model_id: str, run: Run,
                       ) -> Generator[str | Classified]:
        """Classify uploaded files; nothing of them is kept.

        Yields:
            Sentences while it lasts, then the outcome.

        Raises:
            InvalidRequest: no file can be read, or there are none or too many.
            Cancelled: the run was stopped.
        """
        paths = self.uploaded(uploads)
        yield "Reading the labels."
        clip, directions = self.label_features(model_id, labels, templates, run)
        files = [PictureFile(path.name, path, 0, 0, pipeline="", prompt="") for path in paths]
        names, kept, parts, faults = [], [], [], []
        with closing(embed_files(files, self.backend, clip)) as batches:
            for decoded, features in batches:
                faults += [(d.file.key, d.reason) for d in decoded if d.square is None]
                readable = [d.file for d in decoded if d.square is not None]
                names += [file.key for file in readable]
                kept += [file.path for file in readable]
                if features is not None:
                    parts.append(features.images)
                yield f"Looking at pictures: {len(names) + len(faults):,} of {len(files):,}."
                if run.stopped:
                    raise Cancelled
        if not parts:
            raise InvalidRequest(f"No picture can be read; {faults[0][0]}: {faults[0][1]}",
                                 "images")
        found = classify(np.concatenate(parts), directions, labels, clip.logit_scale)
        yield Classified(clip, tuple(names), tuple(kept), found, tuple(faults))

    def classify_collection(self, collection: Collection, labels: Sequence[str],
                            templates: Sequence[str], model_id: str, run: Run,
                            rebuild: bool = False) -> Generator[str | Classified]:
        """Classify every picture of a collection, whose index is brought up to date first.

        Yields:
            Sentences while it lasts, then the outcome.

        Raises:
            InvalidRequest: the collection has no pictures.
            Cancelled: the run was stopped; what was indexed is kept.
            SearchIndexError: see ``update_index``.
        """
        snapshot = None
        for snapshot in self.current(collection, model_id, run, rebuild):
            if isinstance(snapshot, str):
                yield snapshot
        assert isinstance(snapshot, Snapshot)
        clip, directions = self.label_features(model_id, labels, templates, run)
        items = snapshot.items(range(len(snapshot)))
        found = classify(snapshot.features(), directions, labels, clip.logit_scale)
        yield Classified(clip, tuple(i.prompt or i.key for i in items),
                         tuple(Path(i.path) for i in items), found)

    def current(self, collection: Collection, model_id: str, run: Run, rebuild: bool = False,
                ) -> Generator[str | Snapshot]:
        """A collection's index brought up to date.

        Yields:
            Sentences while it lasts, then the snapshot.

        Raises:
            InvalidRequest: the collection has no pictures.
        """
        for progress in self.index(collection, model_id, run, rebuild):
            yield progress.message()
        snapshot = self.searcher.snapshot(collection, self.searcher.features(model_id))
        if not len(snapshot):
            raise InvalidRequest(f"{collection.title}: there are no pictures yet.", "images")
        yield snapshot

    def matrix(self, uploads: Sequence[str | Path], texts: Sequence[str], model_id: str) -> Matrix:
        """Compare texts with pictures, each with each.

        Raises:
            InvalidRequest: no texts, no pictures, or too many.
            InvalidImage: a file cannot be read.
        """
        said = [text.strip() for text in texts if text.strip()]
        if not said:
            raise InvalidRequest("There are no texts: type one a line.", "texts")
        paths = self.uploaded(uploads)
        if len(said) > MAX_SIDE or len(paths) > MAX_SIDE:
            raise InvalidRequest(f"The matrix has room for {MAX_SIDE} texts and {MAX_SIDE} "
                                 "pictures.", "texts")
        clip = self.searcher.features(model_id, said)
        files = [PictureFile(path.name, path, 0, 0, pipeline="", prompt="") for path in paths]
        with closing(embed_files(files, self.backend, clip)) as batches:
            looked = list(batches)
        decoded = [picture for part, _ in looked for picture in part]
        if bad := next((d for d in decoded if d.square is None), None):
            raise InvalidRequest(f"{bad.file.key}: {bad.reason}", "images")
        seen = np.concatenate([features.images for _, features in looked if features is not None])
        similarities = clip.texts @ seen.T
        logits = similarities * clip.logit_scale
        return Matrix(clip, tuple(said), tuple(f.key for f in files), tuple(paths), similarities,
                      softmax(logits, axis=0), softmax(logits, axis=1))

    def map_of(self, snapshot: Snapshot, labels: Sequence[str], templates: Sequence[str],
               model_id: str, run: Run) -> PictureMap:
        """A collection on a plane, coloured by labels or, without any, by generator.

        Raises:
            InvalidRequest: there are fewer than three pictures.
        """
        if len(snapshot) < 3:
            raise InvalidRequest("A map needs at least three pictures.", "images")
        features = snapshot.features()
        points, shares = principal_components(features)
        picks = np.unique(np.linspace(0, len(snapshot) - 1, MAX_MAP).round().astype(int))
        if labels:
            _, directions = self.label_features(model_id, labels, templates, run)
            names, colours = tuple(labels), (features[picks] @ directions.T).argmax(1)
        else:
            names = tuple(name or "not known" for name in snapshot.pipeline_names)
            colours = snapshot.pipelines[picks]
        return PictureMap(tuple(snapshot.items(picks.tolist())), points[picks], shares, names,
                          colours, len(snapshot))

    def still_own(self, place: object, visitor: str, items: Sequence[Item]) -> list[bool]:
        """For each picture whether the visitor still has it: the bin is no place to find things."""
        history = self.playground.history
        if place != HISTORY or history is None:
            return [True] * len(items)
        owner, found = history.owner_of(visitor), []
        for item in items:
            try:
                found.append(not history.get(owner, item.key).deleted)
            except EaselError:
                found.append(False)
        return found
