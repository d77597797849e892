"""What a class must not see by surprise: a zero-shot CLIP looks at pictures of public models.

Easel's own models draw a small, harmless world and are not looked at. A public model draws what it
is asked for, and what a picture is most like, of a list of labels that whoever leads may change,
says whether the wall waits for a word of theirs before it shows the picture. Such a filter errs
both ways; it is a help for the eye, not in its place.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision"
(2021), sections 3.1.2 and 7.1 (what such a classifier is not fit for).
"""

from __future__ import annotations

import json
import logging
import threading
import time
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from easel.history.records import KeptPicture
from easel.serving.interface import Backend
from easel.wall.wall import Wall
from pipelines.core.errors import EaselError, InvalidRequest, reason
from pipelines.core.files import atomic_write
from pipelines.core.images import load_image
from pipelines.models.checkpoints.ids import EMBEDDED
from pipelines.zero_shot import (
    check_labels,
    class_features,
    class_texts,
    classify,
    parse_templates,
)

logger = logging.getLogger(__name__)
FILE = "class-labels.toml"  # in the data folder
RETRY_S = 5.0


@dataclass(frozen=True)
class Labels:
    """What pictures are compared with.

    Attributes:
        held: a picture that is most like one of these is not shown by itself.
        fine: a picture that is most like one of these is.
    """

    held: tuple[str, ...]
    fine: tuple[str, ...]

    @staticmethod
    def checked(held: Sequence[str], fine: Sequence[str]) -> Labels:
        """Labels without blanks and repetitions.

        Raises:
            InvalidRequest: one of the two lists is empty, a label is too long, or on both.
        """
        lists = [
            [text for text in (" ".join(each.split()) for each in labels) if text]
            for labels in (held, fine)
        ]
        if not all(lists):
            raise InvalidRequest(
                "The filter needs a label to hold back and one that is fine, at least.",
                field="labels",
            )
        if both := {*map(str.casefold, lists[0])} & {*map(str.casefold, lists[1])}:
            raise InvalidRequest("The label {!r} is on both lists.", min(both)[:40], field="labels")
        known = check_labels([*lists[0], *lists[1]])
        first = {*map(str.casefold, lists[0])}
        return Labels(
            tuple(each for each in known if each.casefold() in first),
            tuple(each for each in known if each.casefold() not in first),
        )


DEFAULT = Labels(
    (
        "a naked person",
        "nudity",
        "a sexual scene",
        "blood",
        "a wounded person",
        "a corpse",
        "a gun",
        "a fight",
        "drugs",
        "a swastika",
        "a scary monster",
    ),
    (
        "a person in clothes",
        "a face",
        "a group of people",
        "an animal",
        "a plant",
        "food",
        "a building",
        "a room",
        "a landscape",
        "the sky",
        "a vehicle",
        "a toy",
        "a cartoon",
        "a pattern",
        "a text",
        "a household object",
    ),
)


class LabelStore:
    """The labels in a file of the data folder, which may be edited by hand too.

    Args:
        path: of the file; it need not be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Labels:
        """The labels of the file; those that ship where there is none, or it is damaged."""
        with suppress(FileNotFoundError):
            try:
                table = tomllib.loads(self.path.read_text("utf-8-sig"))
                return Labels.checked(
                    *([str(each) for each in table[name]] for name in ("held", "fine"))
                )
            except (EaselError, ValueError, KeyError, TypeError) as error:
                logger.warning(
                    "%s is not read, the labels that ship are used: %s", self.path.name, error
                )
        return DEFAULT

    def write(self, labels: Labels) -> None:
        """Keep labels.

        Raises:
            EaselError: the file cannot be written.
        """
        lines = [
            f"{name} = {json.dumps(list(values), ensure_ascii=False)}\n".replace("\x7f", "\\u007f")
            for name, values in (("held", labels.held), ("fine", labels.fine))
        ]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(self.path, "".join(lines).encode())
        except OSError as error:
            raise EaselError(
                "The labels in {} could not be written: {}.", self.path.name, reason(error)
            ) from None


def is_public(picture: KeptPicture) -> bool:
    """Whether a model that is not Easel's own took part in a picture."""
    return any(
        not str(model).startswith(EMBEDDED) for model in dict(picture.facts.get("weights", {}))
    )


class WallFilter:
    """Looks at what waits for it, on a thread of its own, through the device's one queue.

    What cannot be looked at, because the CLIP is not on the machine, say, goes on waiting: nobody
    sees it until it could be, or whoever leads shows it.

    Args:
        wall: whose pictures it looks at.
        backend: where the CLIP is.
        model_id: id of a CLIP in the catalogue.
        labels: what is held back.
    """

    def __init__(self, wall: Wall, backend: Backend, model_id: str, labels: LabelStore) -> None:
        self.wall, self.backend, self.model_id, self.labels = wall, backend, model_id, labels
        wall.must_be_seen, wall.on_unseen = is_public, self.wake
        self._woken = threading.Event()
        self._woken.set()  # something may wait since the last time
        self._thread = threading.Thread(target=self._run, name="wall filter", daemon=True)

    def start(self) -> None:
        """Look from now on, until the backend closes."""
        self._thread.start()

    def wake(self) -> None:
        """There is something to look at."""
        self._woken.set()

    def look(self) -> None:
        """Judge everything that waits.

        Raises:
            EaselError: it cannot be looked at now.
        """
        labels = self.labels.read()
        for picture in self.wall.unseen():
            try:
                image = load_image(self.wall.history.files.read(picture.sha256))
            except EaselError as error:  # nor can anybody see it
                logger.warning("a picture on the wall cannot be read: %s", error)
                continue
            texts = class_texts([*labels.held, *labels.fine], parse_templates(""))
            features = self.backend.embed(self.model_id, [image], texts)
            names = [*labels.held, *labels.fine]
            found = classify(
                features.images,
                class_features(features.texts, len(names)),
                names,
                features.logit_scale,
            )
            best = found.ranking(0)[0]
            self.wall.judge(picture.id, names[best] if best < len(labels.held) else "")

    def _run(self) -> None:
        said = ""
        while self.backend.is_open():
            if not self._woken.wait(RETRY_S):
                continue
            self._woken.clear()
            try:
                self.look()
                said = ""
            except Exception as error:  # of any kind: what waits is looked at again
                self._woken.set()
                if str(error) != said:
                    said = str(error)
                    logger.warning(
                        "pictures wait to be looked at before the class sees them: %s", said
                    )
                time.sleep(RETRY_S)
