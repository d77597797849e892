"""Between a backend and the history: what a run finished is kept before anyone reads of it."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import replace

from easel.history.records import HistoryInUse, KeptLater, NewPicture
from easel.history.store import History
from pipelines.core.events import Candidate, Result
from pipelines.core.metadata import picture_metadata, png_of


class Recorder:
    """Keeps the pictures of results; give one to a backend, and page, API and CLI share it.

    Args:
        history: where they are kept.
    """

    def __init__(self, history: History) -> None:
        self.history = history

    def __call__(self, result: Result, visitor: str) -> Result:
        """Keep every picture of a result, and once what several seeds drew alike.

        Parents are the pictures that the result's metadata names under "parents", and the one
        whose file the run started from.

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
        named = _named(result.candidates)
        result = replace(result, candidates=named)
        parents = self._parents(result, owner)
        pictures, late = [], False
        for candidate in named:
            facts = picture_metadata(result, candidate)
            pictures.append(NewPicture(png_of(result, candidate), facts, parents,
                                       facts["picture_id"]))
        new = [picture for picture in pictures if "equal_to_seed" not in picture.facts]
        if new:
            try:
                self.history.add(owner, new)
            except HistoryInUse as error:
                try:
                    self.history.late.put(owner, new)
                except OSError:
                    raise error from None
                late = True
        result = replace(result, candidates=tuple(
            replace(candidate, png=picture.data)
            for candidate, picture in zip(named, pictures, strict=True)))
        if late:
            raise KeptLater(result)
        return result

    def _parents(self, result: Result, owner: str) -> tuple[str, ...]:
        parents = [str(name) for name in result.metadata.get("parents", ())]
        if digest := result.metadata.get("init_image_sha256"):
            parents += self.history.with_hash(owner, str(digest))[:1]
        return tuple(dict.fromkeys(parents))


def _named(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Candidates with the names that they get in the history, equal ones with one name."""
    first: dict[tuple[tuple[int, ...], bytes], tuple[str, int]] = {}
    named = []
    for candidate in candidates:
        pixels = candidate.image.shape, hashlib.sha256(candidate.image.tobytes()).digest()
        equal = {"equal_to_seed": first[pixels][1]} if pixels in first else {}
        name, _ = first.setdefault(pixels, (secrets.token_hex(16), candidate.seed))
        named.append(replace(candidate, metadata={**candidate.metadata, "picture_id": name,
                                                  **equal}))
    return tuple(named)
