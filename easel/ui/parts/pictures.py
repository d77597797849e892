"""Finished pictures as PNG files with their metadata, where a browser can fetch them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from easel.guard.cache_room import take_room
from easel.guard.made_of import note, twin_of
from easel.ui.parts.facts import facts_of
from easel.ui.parts.panel import Card
from pipelines.calibration import calibration_of
from pipelines.core.errors import EaselError, reason
from pipelines.core.events import Result
from pipelines.core.files import atomic_write
from pipelines.core.images import resize
from pipelines.core.metadata import picture_metadata, picture_name, png_of
from pipelines.core.request import CheckedRequest
from pipelines.models.checkpoints.ids import RANKER
from pipelines.pipeline import Pipeline

LOOK_PX = 16  # side of what pictures are compared by, to say that they are nearly the same


class PictureStore:
    """Writes pictures into Gradio's cache, unchanged: Gradio's own components re-encode them.

    What is lost there in a crash is on no page any more.

    Args:
        owner: component whose files they are; ``delete_cache`` of the page removes them.
    """

    def __init__(self, owner: gr.HTML) -> None:
        self._owner = owner

    def new_folder(self) -> Path:
        """A folder of its own; its name cannot be guessed: who has an address may see the file.

        Raises:
            EaselError: it cannot be made.
        """
        folder = Path(self._owner.GRADIO_CACHE) / "pictures" / secrets.token_urlsafe(16)
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise EaselError("The folder of EASEL_DATA_DIR cannot be used: {}.",
                             reason(error)) from None
        return folder

    def take_room(self, files: Iterable[bytes]) -> None:
        """Announce files that nothing was drawn for; see ``easel.guard.cache_room.take_room``.

        Args:
            files: their contents, before the first of them is written.

        Raises:
            Busy: there is no room for them.
        """
        sizes = [len(data) for data in files]
        take_room(self._owner.GRADIO_CACHE, sum(sizes), len(sizes))

    def serve(self, path: Path, made_of: Iterable[str]) -> Path:
        """Let a browser fetch a file of ``new_folder``; returns its path.

        Args:
            path: of the file.
            made_of: SHA-256 of the pictures within, with which it goes; none for a copy of one,
                byte by byte, which is known by itself.

        Raises:
            EaselError: the disk is full.
        """
        try:
            note(path, made_of)
        except OSError as error:
            raise _not_written(path, error) from None
        self._owner.move_resource_to_block_cache(path)
        return path

    def write(self, path: Path, data: bytes, made_of: Iterable[str]) -> Path:
        """Write a file into a folder of ``new_folder`` and let a browser fetch it.

        Args:
            path: where.
            data: what is in it.
            made_of: as for ``serve``.

        Raises:
            EaselError: it cannot be written.
        """
        try:
            atomic_write(path, data, durable=False)
        except OSError as error:
            raise _not_written(path, error) from None
        return self.serve(path, made_of)

    def keep(self, request: CheckedRequest[Any], result: Result, pipeline: Pipeline,
             rejected: bool = False) -> list[Card]:
        """Write the pictures of a run.

        Args:
            request: what was asked for.
            result: candidates in rank order.
            pipeline: who drew them.
            rejected: those that are not among the best, in place of the best.

        Returns:
            A card for each picture, in the same order.

        Raises:
            EaselError: a file cannot be written.
        """
        chosen = result.rejected if rejected else result.candidates
        if not chosen:
            return []
        folder = self.new_folder()
        cards = []
        for candidate in chosen:
            metadata = picture_metadata(result, candidate)
            path = self.write(folder / picture_name(metadata), png_of(result, candidate),
                              twin_of(result, candidate))
            cards.append(Card(
                path=path, prompt=request.prompt, generator=pipeline.title, seed=candidate.seed,
                clip_score=candidate.scores.get("clip"),
                probability=candidate.scores.get("probability"),
                facts=tuple(facts_of(metadata, pipeline)),
                guide_score=candidate.metadata.get("guide_score"),
                picture_id=str(candidate.metadata.get("picture_id", "")),
                size_px=(metadata["width_px"], metadata["height_px"]),
                scale=calibration_of(metadata, request.prompt),
                equal_to_seed=metadata.get("equal_to_seed"),
                ranker=str(getattr(request.options, "ranker", RANKER)),
                look=resize(candidate.image, LOOK_PX, LOOK_PX).tobytes()))
        return cards


def read_shown(path: Path) -> bytes:
    """The file of a picture that a page shows.

    Raises:
        EaselError: it is gone.
    """
    try:
        return path.read_bytes()
    except OSError:
        raise EaselError("A picture of it is gone: it was deleted for good, or has been here for "
                         "more than a day.") from None


def _not_written(path: Path, error: OSError) -> EaselError:
    return EaselError("The file {} could not be written: {}.", path.name, reason(error))


def size_of(path: Path) -> tuple[int, int] | None:
    """Width and height of a picture's file in pixels; None where it cannot be read."""
    try:
        with Image.open(path) as picture:
            return picture.size
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
