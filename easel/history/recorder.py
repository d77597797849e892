"""Between a backend and the history: what a run finished is kept before anyone reads of it."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from easel.history.records import (
    HistoryError,
    HistoryInUse,
    KeptLater,
    KeptPicture,
    NewPicture,
)
from easel.history.store import History
from pipelines.core.events import Candidate, Result
from pipelines.core.metadata import picture_metadata, png_of

ASKED = ("job_id", "pipeline", "prompt", "options", "init_image_sha256", "mask_sha256",
         "image_prompts_sha256")  # facts of a run that name its pictures


class Recorder:
    """Keeps the pictures of results; give one to a backend, and page, API and CLI share it.

    Args:
        history: where they are kept.
    """

    def __init__(self, history: History) -> None:
        self.history = history

    def __call__(self, result: Result, visitor: str) -> Result:
        """Keep every picture of a result, and once what several seeds drew alike.

        A job that is run again, because what ran it was lost on the way, finds the pictures that
        it kept before and keeps them no second time.

        Parents are the owner's own among the pictures that the result's metadata names under
        "parents", which forgets the others, and the one whose file the run started from.

        Args:
            result: with its provenance.
            visitor: who asked for it; ``easel.history.records.LOCAL`` on the command line.

        Returns:
            The same result, each picture with its name in the history as "picture_id" in its
            metadata, and with the file that is kept. One of the same pixels as a better one has
            that one's name, and its seed as "equal_to_seed".

        Raises:
            KeptLater: the database is in use; the pictures are kept as soon as it is not.
            HistoryError: nothing could be kept.
        """
        owner = self.history.owner_of(visitor)
        named = _named(result, owner)
        result = replace(result, candidates=named)
        if (said := result.metadata.get("parents")) is not None:
            own = self.history.owned(owner, [str(name) for name in said])
            rest = {name: value for name, value in result.metadata.items() if name != "parents"}
            result = replace(result, metadata={**rest, **({"parents": own} if own else {})})
        parents = self._parents(result, owner)
        pictures, earlier, late = [], dict[str, bytes](), None
        for candidate in named:
            facts = picture_metadata(result, candidate)
            pictures.append(NewPicture(png_of(result, candidate), facts, parents,
                                       facts["picture_id"]))
        new = [picture for picture in pictures if "equal_to_seed" not in picture.facts]
        if new:
            try:
                earlier = self._earlier(new, self.history.add(owner, new))
            except HistoryInUse as error:
                try:
                    self.history.late.put(owner, new)
                except OSError:
                    raise error from None
                late = error
        result = replace(result, candidates=tuple(
            replace(candidate, png=picture.data if "equal_to_seed" in picture.facts
                    else earlier.get(picture.facts["picture_id"], picture.data))
            for candidate, picture in zip(named, pictures, strict=True)))
        if late is not None:
            raise KeptLater(result, late)
        return result

    def _earlier(self, new: Sequence[NewPicture], kept: Sequence[KeptPicture]) -> dict[str, bytes]:
        """Files of those that were kept before this time, by their names."""
        found: dict[str, bytes] = {}
        for picture, there in zip(new, kept, strict=True):
            if there.sha256 != hashlib.sha256(picture.data).hexdigest():
                with suppress(HistoryError):  # where its file is gone, the new one is told
                    found[there.id] = self.history.files.read(there.sha256)
        return found

    def _parents(self, result: Result, owner: str) -> tuple[str, ...]:
        parents = [str(name) for name in result.metadata.get("parents", ())]
        if digest := result.metadata.get("init_image_sha256"):
            parents += self.history.with_hash(owner, str(digest))[:1]
        return tuple(dict.fromkeys(parents))


def _named(result: Result, owner: str) -> tuple[Candidate, ...]:
    """Candidates with the names that they get in the history, equal ones with one name."""
    first: dict[tuple[tuple[int, ...], bytes], tuple[str, int]] = {}
    named = []
    for candidate in result.candidates:
        pixels = candidate.image.shape, hashlib.sha256(candidate.image.tobytes()).digest()
        equal = {"equal_to_seed": first[pixels][1]} if pixels in first else {}
        name, _ = first.setdefault(pixels, (picture_id(result, candidate, owner), candidate.seed))
        named.append(replace(candidate, metadata={**candidate.metadata, "picture_id": name,
                                                  **equal}))
    return tuple(named)


def picture_id(result: Result, candidate: Candidate, owner: str) -> str:
    """The name of a picture in an owner's history, 32 hex digits.

    It follows from the job and the picture's place in it, so that a job that is run again, here or
    on another machine, gives its pictures the names that they had. What was asked for counts as
    well: parts of a run go under one job, and so may what a program asks for twice. Nobody who
    does not know the job's name can guess it.
    """
    facts = result.metadata
    if not facts.get("job_id"):
        return secrets.token_hex(16)
    said = [owner, *(facts.get(name) for name in ASKED), candidate.seed, candidate.index]
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:32]
