"""Between a backend and the history: what a run finished is kept before anyone reads of it."""

from __future__ import annotations

import secrets
from dataclasses import replace

from easel.history.records import HistoryInUse, KeptLater, NewPicture
from easel.history.store import History
from pipelines.core.events import Result
from pipelines.core.metadata import picture_metadata, png_of


class Recorder:
    """Keeps the pictures of results; give one to a backend, and page, API and CLI share it.

    Args:
        history: where they are kept.
    """

    def __init__(self, history: History) -> None:
        self.history = history

    def __call__(self, result: Result, visitor: str) -> Result:
        """Keep every picture of a result.

        Parents are the pictures that the result's metadata names under "parents", and the one
        whose file the run started from.

        Args:
            result: with its provenance.
            visitor: who asked for it; ``easel.history.records.LOCAL`` on the command line.

        Returns:
            The same result, each picture with its name in the history as "picture_id" in its
            metadata, and with the file that is kept.

        Raises:
            KeptLater: the database is in use; the pictures are kept as soon as it is not.
            HistoryError: nothing could be kept.
        """
        owner = self.history.owner_of(visitor)
        named = tuple(replace(candidate, metadata={**candidate.metadata,
                                                   "picture_id": secrets.token_hex(16)})
                      for candidate in result.candidates)
        result = replace(result, candidates=named)
        parents = self._parents(result, owner)
        pictures, late = [], False
        for candidate in named:
            facts = picture_metadata(result, candidate)
            pictures.append(NewPicture(png_of(result, candidate), facts, parents,
                                       facts["picture_id"]))
        if pictures:
            try:
                self.history.add(owner, pictures)
            except HistoryInUse as error:
                try:
                    self.history.late.put(owner, pictures)
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
