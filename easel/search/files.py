"""Picture files of a collection: finding them, and decoding them in threads."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from pipelines.core.cpu_pool import single_core_pool
from pipelines.core.errors import EaselError, InvalidImage, InvalidRequest, reason
from pipelines.core.given_files import given_name, read_given
from pipelines.core.images import MAX_BYTES, check_name, open_image
from pipelines.core.json_values import read_json
from pipelines.core.sentences import Sentence
from pipelines.core.texts import clean_text, shown_name

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MAX_DECODERS = 8
AHEAD = 128  # pictures decoded before the device wants them
MAX_PROMPT_CHARS = 2000
NO_FAULT = Sentence("")


@dataclass(frozen=True)
class PictureFile:
    """A picture of a collection before it is read.

    Attributes:
        key: what the collection calls it: its path below the folder, or its id in the history;
            text, also where a name is not one, and perhaps that of another file as well.
        path: the file.
        size_bytes: of the file.
        mtime_ns: when it was last written; with the size it tells whether it is still the same.
        created_s: seconds since 1970 for filters by date; ``mtime_ns`` where None.
        pipeline: who drew it; read from the file where None.
        prompt: of what; read from the file where None.
        fetch: brings a file of another machine to ``path``; None where it is there.
    """

    key: str
    path: Path
    size_bytes: int
    mtime_ns: int
    created_s: float | None = None
    pipeline: str | None = None
    prompt: str | None = None
    fetch: Callable[[], object] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Decoded:
    """A picture ready for CLIP.

    Attributes:
        file: where it comes from.
        square: (S, S, 3) uint8 RGB, squeezed so that nothing is cut; None where unreadable.
        pipeline: who drew it, "" where not known.
        prompt: of what, "" where not known.
        reason: one sentence about what is wrong, "" where nothing is.
        refused: whether the disk is at fault and not the picture, so that another try may succeed.
    """

    file: PictureFile
    square: np.ndarray | None
    pipeline: str = ""
    prompt: str = ""
    reason: Sentence = NO_FAULT
    refused: bool = False


def list_folder(folder: Path) -> list[PictureFile]:
    """The pictures in a folder and below, in the order of their paths.

    Hidden files and links are left out, so that nothing outside the folder comes in.

    Raises:
        InvalidRequest: the folder is not there or cannot be read.
    """
    try:
        with os.scandir(folder):
            pass
    except OSError as error:
        raise InvalidRequest("The folder {} cannot be read: {}.", given_name(folder),
                             reason(error), field="folder") from None
    return sorted(_walk(folder), key=lambda file: (file.key, os.fsencode(file.path)))


def _walk(folder: Path) -> Iterator[PictureFile]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.startswith(".") or not name.lower().endswith(SUFFIXES):
                continue
            path = Path(parent, name)
            try:
                state = path.lstat()
            except OSError:  # gone since it was listed
                continue
            if stat.S_ISREG(state.st_mode):  # no links, and no pipes, which would be waited for
                key = shown_name(path.relative_to(folder).as_posix())
                yield PictureFile(key, path, state.st_size, state.st_mtime_ns)


def with_own_keys(files: Iterable[PictureFile]) -> list[PictureFile]:
    """Files, each by a key that no other has: a key that comes twice gets a number.

    A file that comes twice stays two, or near-duplicates would not name it.
    """
    files = list(files)
    taken = {file.key for file in files}
    numbers, found = dict[str, int](), []
    for file in files:
        key = file.key
        if key in numbers:
            while key in taken:
                numbers[file.key] += 1
                key = f"{file.key} ({numbers[file.key]})"
            taken.add(key)
            file = replace(file, key=key)
        else:
            numbers[key] = 1
        found.append(file)
    return found


def picture_facts(image: Image.Image) -> tuple[str, str]:
    """Pipeline and prompt that Easel wrote into a picture; "" and "" where it did not."""
    try:
        facts = read_json(image.info.get("easel", "{}"))
        pipeline, prompt = str(facts.get("pipeline", "")), str(facts.get("prompt", ""))
        return clean_text(pipeline)[:100], clean_text(prompt)[:MAX_PROMPT_CHARS]
    except Exception:  # a file from anyone may be wrong in any way; it is a picture all the same
        return "", ""


def decode(file: PictureFile, side_px: int) -> Decoded:
    """Read a picture and squeeze it into a square; never raises for what the file holds."""
    try:
        if file.fetch is not None:
            file.fetch()
        if file.path.stat().st_size > MAX_BYTES:
            return Decoded(file, None, reason=Sentence("The file has more than {} MB.",
                                                        MAX_BYTES >> 20))
        data = read_given(file.path, MAX_BYTES)
        check_name(file.path.name, data)
        image = open_image(data, least_px=side_px)
        square = _squeezed(image, side_px)
    except InvalidImage as error:
        return Decoded(file, None, reason=error.sentence)
    except EaselError as error:
        return Decoded(file, None, refused=True, reason=error.sentence)
    except OSError as error:
        return Decoded(file, None, refused=True,
                       reason=Sentence("The file cannot be read: {}.", reason(error)))
    pipeline, prompt = file.pipeline, file.prompt
    if pipeline is None or prompt is None:
        read = picture_facts(image)
        pipeline = read[0] if pipeline is None else pipeline
        prompt = read[1] if prompt is None else prompt
    return Decoded(file, square, clean_text(pipeline or ""), clean_text(prompt or ""))


def _squeezed(image: Image.Image, side_px: int) -> np.ndarray:
    """A picture in RGB as a square (side_px, side_px, 3) uint8, whatever its proportions.

    torch resizes bytes four times as fast as Pillow, by the same filter.
    """
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    small = F.interpolate(pixels, (side_px, side_px), mode="bicubic", antialias=True)
    return small[0].permute(1, 2, 0).contiguous().numpy()


def decode_all(files: Sequence[PictureFile], side_px: int) -> Generator[Decoded]:
    """Decode pictures in threads, in order, never far ahead of the reader.

    Decoding and resizing leave Python's lock, so threads share the cores, of which one is left to
    whoever drives the device: on two cores without an accelerator two threads took a sixth of its
    rate.
    """
    cores = (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity")
             else os.cpu_count() or 1)
    threads = max(1, min(MAX_DECODERS, cores - 1))
    waiting: list[Future[Decoded]] = []
    with single_core_pool(threads, "decode") as pool:
        try:
            for file in files:
                waiting.append(pool.submit(decode, file, side_px))
                if len(waiting) > AHEAD:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
