"""What the lab finds out: pictures over labels, texts against pictures, a collection on a plane."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from easel.guard.turns import reading
from easel.search.collections import Collection
from easel.search.files import PictureFile
from easel.search.projection import principal_components
from easel.search.snapshot import Item, Snapshot
from easel.search.update import embed_files
from easel.serving.session_runs import Run
from easel.ui.lab.lab import Lab
from pipelines.accuracy import (
    Accuracy,
    TemplateAnswer,
    accuracy_of,
    known_labels,
    template_answers,
)
from pipelines.core.errors import Cancelled, InvalidRequest
from pipelines.core.sentences import Sentence
from pipelines.models.clip_features import Features
from pipelines.zero_shot import Classification, classify, softmax

MAX_CELLS = 5_000_000  # pictures times labels, each with its probability in the table
MAX_SIDE = 12  # texts and pictures of a matrix
MAX_MAP = 400


@dataclass(frozen=True)
class Classified:
    """Pictures that were classified.

    Attributes:
        clip: which CLIP looked.
        names: what the pictures are called.
        paths: their files, for thumbnails.
        found: how they spread over the labels.
        unreadable: name and reason of files that could not be read.
        misfits: whether each picture is unlike anything that the CLIP has seen; empty for none.
        answers: of each template by itself, where there are several.
        known: (N,) int64 indices of the labels that the files are named by, -1 for none.
        accuracy: how many of those are right; None where they tell nothing.
    """

    clip: Features
    names: tuple[str, ...]
    paths: tuple[Path, ...]
    found: Classification
    unreadable: tuple[tuple[str, str], ...] = ()
    misfits: tuple[bool, ...] = ()
    answers: tuple[TemplateAnswer, ...] = ()
    known: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    accuracy: Accuracy | None = None


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
        misfits: whether each picture is unlike anything that the CLIP has seen; empty for none.
    """

    clip: Features
    texts: tuple[str, ...]
    names: tuple[str, ...]
    paths: tuple[Path, ...]
    similarities: np.ndarray
    over_texts: np.ndarray
    over_pictures: np.ndarray
    misfits: tuple[bool, ...] = ()


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


def classify_files(lab: Lab, uploads: Sequence[str | Path], labels: Sequence[str],
                   templates: Sequence[str], model_id: str, run: Run,
                   ) -> Generator[str | Classified]:
    """Classify uploaded files; nothing of them is kept.

    Yields:
        Sentences while it lasts, then the outcome.

    Raises:
        InvalidRequest: no file can be read, or there are none or too many.
        Busy: the visitor's files are being read already, or so many others'.
        Cancelled: the run was stopped.
    """
    paths = lab.uploaded(uploads)
    yield "Reading the labels."
    clip, directions = lab.label_features(model_id, labels, templates, run)
    files = [PictureFile(path.name, path, 0, 0, pipeline="", prompt="") for path in paths]
    names, kept, parts, faults = [], [], [], []
    looks = embed_files(files, lab.backend, clip, unwanted=lambda: run.stopped)
    with reading.turn(), closing(looks) as batches:
        for decoded, features in batches:
            faults += [(d.file.key, d.reason) for d in decoded if d.square is None]
            readable = [d.file for d in decoded if d.square is not None]
            names += [file.key for file in readable]
            kept += [file.path for file in readable]
            if features is not None:
                parts.append(features.images)
            yield Sentence("Looking at pictures: {:,} of {:,}.", len(names) + len(faults),
                           len(files))
            if run.stopped:
                raise Cancelled
    if not parts:
        raise InvalidRequest("No picture can be read; {}: {}", faults[0][0], faults[0][1],
                             field="images")
    seen = np.concatenate(parts)
    found = classify(seen, directions, labels, clip.logit_scale)
    known = known_labels(kept, labels)
    answers = template_answers(seen, clip.texts, labels, templates, clip.logit_scale)
    yield Classified(clip, tuple(names), tuple(kept), found, tuple(faults), answers=answers,
                     known=known, accuracy=accuracy_of(found, known))


def classify_collection(lab: Lab, collection: Collection, labels: Sequence[str],
                        templates: Sequence[str], model_id: str, run: Run,
                        rebuild: bool = False) -> Generator[str | Classified]:
    """Classify every picture of a collection, whose index is brought up to date first.

    Yields:
        Sentences while it lasts, then the outcome.

    Raises:
        InvalidRequest: the collection has no pictures, or too many for so many labels.
        Cancelled: the run was stopped; what was indexed is kept.
        SearchIndexError: see ``update_index``.
    """
    snapshot = None
    for snapshot in lab.current(collection, model_id, run, rebuild):
        if isinstance(snapshot, str):
            yield snapshot
    assert isinstance(snapshot, Snapshot)
    if len(snapshot) * len(labels) > MAX_CELLS:
        raise InvalidRequest("{:,} labels are too many for {:,} pictures: {:,} is the most.",
                             len(labels), len(snapshot), MAX_CELLS // len(snapshot), field="labels")
    clip, directions = lab.label_features(model_id, labels, templates, run)
    items = snapshot.items(range(len(snapshot)))
    found = classify(snapshot.features(), directions, labels, clip.logit_scale)
    yield Classified(clip, tuple(i.prompt or i.key for i in items),
                     tuple(Path(i.path) for i in items), found)


def matrix_of(lab: Lab, uploads: Sequence[str | Path], texts: Sequence[str], model_id: str,
              ) -> Matrix:
    """Compare texts with pictures, each with each.

    Raises:
        Busy: the visitor's files are being read already, or so many others'.
        InvalidRequest: no texts, no pictures, or too many.
        InvalidImage: a file cannot be read.
    """
    said = [text.strip() for text in texts if text.strip()]
    if not said:
        raise InvalidRequest("There are no texts: type one a line.", field="texts")
    paths = lab.uploaded(uploads)
    if len(said) > MAX_SIDE or len(paths) > MAX_SIDE:
        raise InvalidRequest("The matrix has room for {} texts and {} pictures.", MAX_SIDE,
                             MAX_SIDE, field="texts")
    clip = lab.searcher.features(model_id, said)
    files = [PictureFile(path.name, path, 0, 0, pipeline="", prompt="") for path in paths]
    with reading.turn(), closing(embed_files(files, lab.backend, clip)) as batches:
        looked = list(batches)
    decoded = [picture for part, _ in looked for picture in part]
    if bad := next((d for d in decoded if d.square is None), None):
        raise InvalidRequest("{}: {}", bad.file.key, bad.reason, field="images")
    seen = np.concatenate([features.images for _, features in looked if features is not None])
    similarities = clip.texts @ seen.T
    logits = similarities * clip.logit_scale
    return Matrix(clip, tuple(said), tuple(f.key for f in files), tuple(paths), similarities,
                  softmax(logits, axis=0), softmax(logits, axis=1))


def map_of(lab: Lab, snapshot: Snapshot, labels: Sequence[str], templates: Sequence[str],
           model_id: str, run: Run) -> PictureMap:
    """A collection on a plane, coloured by labels or, without any, by generator.

    Raises:
        InvalidRequest: there are fewer than three pictures.
    """
    if len(snapshot) < 3:
        raise InvalidRequest("A map needs at least three pictures.", field="images")
    features = snapshot.features()
    points, shares = principal_components(features)
    picks = np.unique(np.linspace(0, len(snapshot) - 1, MAX_MAP).round().astype(int))
    if labels:
        _, directions = lab.label_features(model_id, labels, templates, run)
        names, colours = tuple(labels), (features[picks] @ directions.T).argmax(1)
    else:
        names = tuple(name or "not known" for name in snapshot.pipeline_names)
        colours = snapshot.pipelines[picks]
    return PictureMap(tuple(snapshot.items(picks.tolist())), points[picks], shares, names,
                      colours, len(snapshot))
