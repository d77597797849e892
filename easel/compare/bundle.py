"""A comparison as a folder or zip: pictures, facts, and a page that opens without Easel.

A bundle comes from anyone, so reading one trusts nothing: names are those that this module writes,
sizes are counted while they are unpacked and not as the archive claims, and facts are checked.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from easel.compare.bundle_page import Titles, render_index
from easel.compare.plan import pictures_of
from easel.zip_files import FAULTS, unpacked
from pipelines.core.errors import EaselError, reason
from pipelines.core.files import atomic_write
from pipelines.core.images import MAX_PIXELS, load_image, pixels_of, suffix_of
from pipelines.core.json_values import read_json
from pipelines.core.new_files import free_folder
from pipelines.core.options import option_fields
from pipelines.core.request import MAX_IMAGE_PROMPTS, CheckedRequest, picture_fields
from pipelines.core.texts import clean_json

VERSION = 3  # 1 had no inputs, 2 no prompts of panes; without these it is written as before
FACTS, INDEX = "comparison.json", "index.html"
MAX_FILES, MAX_FILE_BYTES, MAX_BUNDLE_BYTES = 130, 32 * 2**20, 128 * 2**20
# Of all that is decoded to be checked: twice what generators draw at most, four panes of 16
# pictures of 1024 by 1024 px, and what people may give them.
MAX_BUNDLE_PIXELS = 2 * 4 * 16 * 1024**2 + (MAX_IMAGE_PROMPTS + 2) * MAX_PIXELS
# Year of the zip format's first day: the same comparison makes the same file.
EPOCH = (1980, 1, 1, 0, 0, 0)


class BundleError(EaselError):
    """A file that is no bundle, or that cannot be written as one."""


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class BundlePicture(_Facts):
    """A picture of a pane: its file in the bundle, its hash, and what is known of it."""

    file: str = Field(pattern=r"^pictures/[a-d]-\d{2}\.png$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    seed: int = Field(ge=0, lt=2**32)
    scores: dict[str, float] = Field(default_factory=dict)
    guide_score: float | None = None


class BundleInput(_Facts):
    """A picture that the comparison was given: which of them, its file in the bundle, its hash."""

    name: str = Field(pattern=r"^(init_image|image_prompt\.[0-3]|mask)$")
    file: str = Field(pattern=r"^inputs/[a-z0-9-]{4,16}\.(png|jpg|webp)$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class BundlePane(_Facts):
    """A pane: what ran, what it took, its pictures best first; its own prompt where it had one."""

    prompt: str = Field(default="", max_length=500)
    pipeline: str = Field(max_length=100)
    title: str = Field(max_length=200)
    num_images: int = Field(ge=1, le=16)
    seed: int = Field(ge=0, lt=2**32)
    options: dict[str, Any] = Field(default_factory=dict)
    weights: dict[str, str | None] = Field(default_factory=dict)
    elapsed_s: float = Field(default=0, ge=0)
    device_s: float = Field(default=0, ge=0)
    peak_memory_bytes: int | None = Field(default=None, ge=0, lt=2**63)
    stopped: bool = False
    pictures: list[BundlePicture] = Field(default_factory=list, max_length=16)


class BundleFacts(_Facts):
    """Everything of a comparison but the pixels."""

    version: int = Field(default=VERSION, ge=1, le=VERSION)
    prompt: str = Field(min_length=1, max_length=500)
    budget_s: float | None = Field(default=None, gt=0, le=600)
    blind: bool = False
    vote: Annotated[int, Field(ge=0, le=3)] | Literal["tie", "bad"] | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    inputs: list[BundleInput] = Field(default_factory=list, max_length=MAX_IMAGE_PROMPTS + 2)
    panes: list[BundlePane] = Field(min_length=2, max_length=4)

    def requests(self) -> list[dict[str, Any]]:
        """Panes as ``easel.compare.plan.plan_comparison`` takes them, to draw the same again."""
        return [{"pipeline": pane.pipeline, "num_images": pane.num_images, "seed": pane.seed,
                 "options": pane.options, **({"prompt": pane.prompt} if pane.prompt else {})}
                for pane in self.panes]


@dataclass(frozen=True)
class Bundle:
    """Facts, and the pictures' files by their names in the bundle.

    Attributes:
        facts: of the comparison.
        files: PNG files by name.
        titles: what its page calls the options, by generator and name.
    """

    facts: BundleFacts
    files: Mapping[str, bytes]
    titles: Titles = field(default_factory=dict)

    @property
    def pictures(self) -> dict[str, Any]:
        """The fields of a request that hold the pictures which the comparison was given."""
        return picture_fields({each.name: self.files[each.file] for each in self.facts.inputs})


def make_bundle(facts: Mapping[str, Any], pictures: Sequence[Sequence[bytes]],
                requests: Sequence[CheckedRequest[Any]] = ()) -> Bundle:
    """A bundle from facts without pictures' files and hashes, and the PNG files of each pane.

    Args:
        facts: as ``BundleFacts``, without inputs; each picture without "file" and "sha256".
        pictures: for each pane its PNG files, best first.
        requests: what the panes ran, for what people call their options, and for the pictures
            that they were given.

    Raises:
        BundleError: they do not fit together.
    """
    files: dict[str, bytes] = {}
    panes = []
    for letter, pane, datas in zip("abcd", facts["panes"], pictures, strict=False):
        entries = []
        for number, (picture, data) in enumerate(zip(pane["pictures"], datas, strict=True), 1):
            name = f"pictures/{letter}-{number:02}.png"
            files[name] = data
            entries.append({**picture, "file": name, "sha256": hashlib.sha256(data).hexdigest()})
        panes.append({**pane, "pictures": entries})
    titles = {request.pipeline: {option.name: option.title for option in option_fields(
        type(request.options))} for request in requests}
    given = []
    for name, data in pictures_of(requests).items():
        file = f"inputs/{re.sub('[_.]', '-', name)}.{suffix_of(data)}"
        files[file] = data
        given.append({"name": name, "file": file, "sha256": hashlib.sha256(data).hexdigest()})
    version = VERSION if any(pane.get("prompt") for pane in panes) else VERSION - 1
    return Bundle(_checked({"version": version, **facts, "panes": panes, "inputs": given}), files,
                  titles)


def write_zip(bundle: Bundle) -> bytes:
    """A bundle as a zip file; the same bundle gives the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in _contents(bundle):
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type = (zipfile.ZIP_STORED if name.endswith(".png")
                                  else zipfile.ZIP_DEFLATED)
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
    return buffer.getvalue()


def write_folder(bundle: Bundle, folder: Path) -> Path:
    """A bundle as a folder, each file whole or not at all.

    Returns:
        The folder; another one beside it where it holds something already.

    Raises:
        BundleError: a file cannot be written.
    """
    try:
        folder = free_folder(folder)
        for name, data in _contents(bundle):
            atomic_write(folder / name, data)
        return folder
    except OSError as error:
        raise BundleError("The comparison could not be written to {}: {}.", folder.name,
                          reason(error)) from None


def read_zip(data: bytes) -> Bundle:
    """A bundle from a zip file of anyone.

    Raises:
        BundleError: one sentence about what is wrong with it.
    """
    try:
        # The page is written anew, never taken over.
        return _read(_without_folder(dict(unpacked(
            data, MAX_FILES, MAX_FILE_BYTES, MAX_BUNDLE_BYTES, BundleError,
            lambda name: not name.endswith(INDEX)))))
    except FAULTS:
        raise BundleError("The file is no comparison that Easel saved, or it is damaged.",
                          ) from None


def _contents(bundle: Bundle) -> Iterator[tuple[str, bytes]]:
    facts = bundle.facts.model_dump(mode="json")
    for pane in facts["panes"]:
        if not pane["prompt"]:
            del pane["prompt"]
    yield FACTS, (json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    yield INDEX, render_index(facts, bundle.titles).encode()
    yield from sorted(bundle.files.items())


def _without_folder(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files by the names of a bundle, also where it was unpacked and its folder packed."""
    folders = {name.partition("/")[0] for name in files}
    if FACTS in files or len(folders) != 1:
        return files
    return {name.partition("/")[2]: data for name, data in files.items()}


def _read(files: Mapping[str, bytes]) -> Bundle:
    if FACTS not in files:
        raise BundleError("The file is no comparison that Easel saved: its facts are missing.")
    try:
        raw = clean_json(read_json(files[FACTS]))
    except (ValueError, RecursionError):
        raise BundleError("The comparison's facts are not valid JSON.") from None
    facts = _checked(raw)
    pictures = {}
    for picture in (*facts.inputs, *(each for pane in facts.panes for each in pane.pictures)):
        data = files.get(picture.file)
        if data is None or hashlib.sha256(data).hexdigest() != picture.sha256:
            raise BundleError("The picture {} is missing or was changed.", picture.file)
        pictures[picture.file] = data
    if (pixels := sum(map(pixels_of, pictures.values()))) > MAX_BUNDLE_PIXELS:
        raise BundleError("The comparison's pictures have {:.0f} megapixels together; {:.0f} is "
                          "the most.", pixels / 1e6, MAX_BUNDLE_PIXELS / 1e6)
    for data in pictures.values():
        load_image(data)
    return Bundle(facts, pictures)


def _named(raw: Any, fault: ErrorDetails) -> Iterator[str]:
    """The place of a fault as the facts name it, without the kinds that it might have been of."""
    for part in fault["loc"]:
        held: Any = dict(enumerate(raw)) if isinstance(raw, list) else raw
        there = isinstance(held, dict) and part in held
        if there or fault["type"] == "missing":
            yield str(part)
        if not there:
            return
        raw = held[part]


def _checked(raw: Any) -> BundleFacts:
    try:
        return BundleFacts.model_validate(raw)
    except (ValidationError, RecursionError) as error:
        where = ""
        if isinstance(error, ValidationError):
            fault = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(_named(raw, fault))[:80]
            where = f" at {place}" if place else ""
        raise BundleError("The comparison's facts are not as Easel writes them{}.", where) from None
