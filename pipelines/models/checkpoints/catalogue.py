"""The models that Easel knows, as data: ``assets/catalogue.toml`` and a user's own catalogue."""

from __future__ import annotations

import json
import logging
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date, time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from pipelines.core.errors import WeightsError
from pipelines.core.files import atomic_write
from pipelines.core.sentences import Sentence
from pipelines.models.checkpoints.ids import EMBEDDED
from pipelines.models.checkpoints.licences import known_licence
from pipelines.models.checkpoints.pins import ModelPin, Pins
from pipelines.models.checkpoints.shards import INDEX, SAFETENSORS, is_shard, shard_names

logger = logging.getLogger(__name__)
ASSETS = Path(__file__).resolve().parents[3] / "assets"
CATALOGUE_PATH = ASSETS / "catalogue.toml"
# No part begins with a dot, so that no id or file name leads out of its folder.
_PART = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_MODEL_ID = re.compile(rf"{_PART}(?:/{_PART})*")

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ModelId = Annotated[str, StringConstraints(pattern=rf"^{_PART}(/{_PART})*$", max_length=200)]
Family = Literal["clip", "vqgan", "dalle", "upscaler", "dalle-mini", "detokenizer", "janus",
                 "kandinsky", "flux2", "unclip", "sentences", "features"]


class ModelFile(BaseModel):
    """One file of a model.

    Attributes:
        name: path below the model's folder, and in its repository.
        size_bytes: its size, None where that is not known.
        sha256: in hex; without it the file is not checked yet.
        optional: whether a repository may lack it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ModelId
    size_bytes: Annotated[int, Field(ge=0)] | None = None
    sha256: Sha256 | None = None
    optional: bool = False


class Network(BaseModel):
    """What a model's files must hold; a file of another network under its name is refused.

    Attributes:
        codes: of a codebook.
        width: of its embeddings or states, as its paper gives it.
        parameters: numbers that training learned, of the parts that Easel loads.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    codes: Annotated[int, Field(ge=1)] | None = None
    width: Annotated[int, Field(ge=1)] | None = None
    parameters: Annotated[int, Field(ge=1)] | None = None


class CatalogueEntry(BaseModel):
    """One model.

    Attributes:
        id: what leases call it; "embedded/NAME" lies in ``assets/weights/NAME``.
        title: what people call it, as in "loading the TITLE".
        family: which pipelines can use it.
        loader: which code reads its files, a name of ``pipelines.models.checkpoints.formats``.
        licence: SPDX identifier of the weights' own licence, which need not be the code's;
            NOASSERTION where none is stated.
        restrictions: sentences on what the authors ask not to do with the weights.
        source: where the weights come from, for people.
        repository: "OWNER/NAME" on the hub that they are downloaded from; None for no download.
        revision: branch, tag or commit there; the first download fixes the commit.
        path: folder of the files on this machine; None for the catalogue's own folders.
        files_of: id of an earlier entry of the same repository that has these files; they are
            downloaded once, for both.
        download_bytes: about how much a download is; the hub says it exactly.
        vram_bytes: device memory of weights and activations together, as an estimate.
        network: what the files must hold, as far as it is known.
        config: what the loader must know and the files do not say.
        parts: ids of models whose modules this one holds, by the attribute that holds them; none
            of them has parts itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: ModelId
    title: Annotated[str, StringConstraints(min_length=1)]
    family: Family
    loader: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]*$")] = "embedded"
    licence: Annotated[str, AfterValidator(known_licence)]
    restrictions: str = ""
    source: Annotated[str, StringConstraints(min_length=1)]
    repository: Annotated[str, StringConstraints(
        pattern=rf"^{_PART}/{_PART}$", max_length=96)] | None = None
    revision: Annotated[str, StringConstraints(
        pattern=rf"^{_PART}(/{_PART})*$", max_length=100)] | None = None
    path: Path | None = None
    files_of: ModelId | None = None
    download_bytes: Annotated[int, Field(ge=0)] | None = None
    vram_bytes: Annotated[int, Field(ge=0)] | None = None
    network: Network | None = None
    config: Mapping[str, Any] = Field(default_factory=dict)
    parts: Mapping[str, ModelId] = Field(default_factory=dict)
    files: tuple[ModelFile, ...]

    @model_validator(mode="after")
    def _one_source(self) -> CatalogueEntry:
        if self.path is not None and self.repository is not None:
            raise ValueError("a model has a path or a repository, not both")
        if self.revision is not None and self.repository is None:
            raise ValueError("a revision needs a repository")
        if self.files_of is not None and self.repository is None:
            raise ValueError("another model's files are of a repository")
        if len({file.name for file in self.files}) < len(self.files):
            raise ValueError("a file is listed twice")
        return self

    @property
    def kept_as(self) -> str:
        """Id of the model under which its downloaded files and their pins are kept."""
        return self.files_of or self.id

    def file(self, name: str) -> ModelFile:
        """The entry's file of that name.

        Raises:
            WeightsError: the entry lists no such file.
        """
        for file in self.files:
            if file.name == name:
                return file
        raise WeightsError("The catalogue lists no {} for the model {}.", name, self.id)


class Catalogue:
    """Entries by id.

    Args:
        entries: the models, in the order of the file.
        weights_dir: folder of the embedded models.
        models_dir: folder of downloaded models.
        pins: what the first download of each model brought; applied to every entry.

    Attributes:
        faults: sentences on what could not be read of the user's own catalogue.

    Raises:
        WeightsError: two entries have one id.
    """

    def __init__(self, entries: tuple[CatalogueEntry, ...],
                 weights_dir: Path = ASSETS / "weights", models_dir: Path | None = None,
                 pins: Pins | None = None) -> None:
        self.weights_dir = weights_dir
        self.models_dir = models_dir or Path("data") / "models"
        self.pins = pins or Pins(self.models_dir / "pins.json")
        self.faults: tuple[str, ...] = ()
        self._entries: dict[str, CatalogueEntry] = {}
        for entry in entries:
            self._add(entry)

    def _add(self, entry: CatalogueEntry) -> None:
        if entry.id in self._entries:
            raise WeightsError("The catalogue has two models called {}.", entry.id)
        owner = self._entries.get(entry.files_of or "")
        if entry.files_of is not None and (
                owner is None or owner.repository != entry.repository or owner.files_of):
            raise WeightsError("The catalogue has a wrong entry: {} names the files of {}, which "
                               "has no such repository.", entry.id, entry.files_of)
        self._entries[entry.id] = entry

    @classmethod
    def load(cls, path: Path = CATALOGUE_PATH, weights_dir: Path | None = None,
             models_dir: Path | None = None) -> Catalogue:
        """Read a catalogue file.

        Raises:
            WeightsError: the file is missing, is not TOML, or an entry is not valid.
        """
        entries = tuple(_parse_entry(raw, path) for raw in _read_toml(path))
        return cls(entries, weights_dir or path.parent / "weights", models_dir)

    def add_user_entries(self, path: Path) -> None:
        """Add the models of a user's own catalogue; a file that is not there adds none.

        One wrong entry must not take the other models away: it is left out and reported in
        ``faults``.
        """
        if not path.exists():
            return
        faults = []
        try:
            tables = _read_toml(path)
        except WeightsError as error:
            tables, faults = [], [str(error)]
        for raw in tables:
            try:
                entry = _parse_entry(raw, path)
                if entry.id.startswith(EMBEDDED):
                    raise WeightsError("The catalogue {} has a wrong entry: {} is taken, names "
                                       "with {} are Easel's own.", path.name, entry.id, EMBEDDED)
                if entry.path is not None:
                    entry = entry.model_copy(update={"path": _whole_path(path, entry)})
                elif entry.repository is None:
                    raise WeightsError("The catalogue {} has a wrong entry: {} has neither a path "
                                       "nor a repository.", path.name, entry.id)
                self.parts(entry)  # must be known before
                self._add(entry)
            except WeightsError as error:
                faults.append(str(error))
        for fault in faults:
            logger.warning("%s", fault)
        self.faults += tuple(faults)

    def get(self, model_id: str) -> CatalogueEntry:
        """The entry of that id, with what is pinned of it, and shards where they are here.

        Raises:
            WeightsError: the id is malformed or unknown.
        """
        if not _MODEL_ID.fullmatch(model_id):
            raise WeightsError("{!r} is not the name of a model.", model_id[:60])
        try:
            return self._as_it_is(self._entries[model_id])
        except KeyError:
            raise WeightsError("The catalogue has no model called {}.", model_id[:60]) from None

    def parts(self, entry: CatalogueEntry) -> dict[str, CatalogueEntry]:
        """The models that one is made of, by attribute.

        Raises:
            WeightsError: one of them is unknown, or has parts itself.
        """
        found = {name: self.get(model_id) for name, model_id in entry.parts.items()}
        if nested := next((part for part in found.values() if part.parts), None):
            raise WeightsError("The model {}, a part of {}, has parts itself.", nested.id, entry.id)
        return found

    def kept_as(self, model_id: str) -> str:
        """See ``CatalogueEntry.kept_as``; the id itself where the catalogue has no such model."""
        entry = self._entries.get(model_id)
        return model_id if entry is None else entry.kept_as

    def _as_it_is(self, entry: CatalogueEntry) -> CatalogueEntry:
        """An entry with its shards and pins.

        What the catalogue itself states comes first; pins fill in the rest.
        """
        pin = self.pins.get(entry.kept_as) if entry.repository is not None else None
        if pin is not None and pin.repository != entry.repository:
            pin = None
        folder = self.folder(entry)
        files = tuple(part for file in entry.files for part in _in_shards(file, folder, pin))
        if pin is None:
            return entry if files == entry.files else entry.model_copy(update={"files": files})
        files = tuple(
            file if file.sha256 is not None or file.name not in pin.files else
            file.model_copy(update=pin.files[file.name].model_dump()) for file in files)
        return entry.model_copy(update={"files": files, "revision": pin.revision})

    def folder(self, entry: CatalogueEntry) -> Path:
        """Folder that holds the files of an entry."""
        if entry.path is not None:
            return entry.path
        if entry.id.startswith(EMBEDDED) or entry.repository is None:
            return self.weights_dir / entry.id.removeprefix(EMBEDDED)
        return self.models_dir / entry.kept_as

    def save(self, path: Path = CATALOGUE_PATH) -> None:
        """Write the catalogue back, atomically, comments above the first entry kept."""
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        head = old.partition("[[models]]")[0].rstrip()
        parts = [head] if head else []
        parts += [_to_toml(entry) for entry in self._entries.values()]
        atomic_write(path, ("\n\n".join(parts) + "\n").encode())

    def __iter__(self) -> Iterator[CatalogueEntry]:
        return iter([self._as_it_is(entry) for entry in self._entries.values()])


def _in_shards(file: ModelFile, folder: Path, pin: ModelPin | None) -> tuple[ModelFile, ...]:
    """The index and the shards that lie in a file's place, or were pinned; else the file."""
    index = file.name + INDEX
    if not file.name.endswith(SAFETENSORS) or (folder / file.name).exists():
        return (file,)
    try:
        names = (index, *shard_names(file.name, (folder / index).read_bytes()))
    except FileNotFoundError:
        pinned = sorted(name for name in pin.files if is_shard(file.name, name)) if pin else []
        names = (index, *pinned) if pinned else ()
    except (OSError, ValueError):
        names = (index,)  # whoever reads it says what is wrong
    return tuple(ModelFile(name=name, optional=file.optional) for name in names) or (file,)


def open_catalogue(data_dir: Path, user_path: Path | None = None) -> Catalogue:
    """The shipped catalogue and the user's own, with downloads and pins in the data folder.

    Args:
        data_dir: where downloaded models lie, in "models".
        user_path: the user's catalogue; ``data_dir/catalogue.toml`` where None.

    Raises:
        WeightsError: the shipped catalogue is broken; the user's own only adds to ``faults``.
    """
    catalogue = Catalogue.load(models_dir=data_dir / "models")
    catalogue.add_user_entries(user_path or data_dir / "catalogue.toml")
    return catalogue


def _whole_path(path: Path, entry: CatalogueEntry) -> Path:
    """Where an entry's folder is, whose path may be relative to its catalogue's."""
    try:
        return (path.parent / (entry.path or Path()).expanduser()).resolve()
    except (RuntimeError, ValueError, OSError):  # no such account, a NUL, links that go round
        raise WeightsError("The catalogue {} has a wrong entry: {} has a path that leads nowhere.",
                           path.name, entry.id) from None


def _read_toml(path: Path) -> list[Any]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("models", [])
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WeightsError("The catalogue {} cannot be read: {}.", path.name, error) from None
    if not isinstance(tables, list):
        raise WeightsError("The catalogue {} cannot be read: its models are not [[models]].",
                           path.name)
    return tables


def _parse_entry(raw: Any, path: Path) -> CatalogueEntry:
    try:
        return CatalogueEntry.model_validate(raw)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        name = str(raw.get("id", ""))[:60] if isinstance(raw, dict) else ""
        where = ".".join([*([repr(name)] if name else []), *map(str, fault["loc"])])
        said = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "string_pattern_mismatch":
            said = Sentence("{!r} is not of the form that is needed there",
                            str(fault["input"])[:60])
        raise WeightsError("The catalogue {} has a wrong entry: {}: {}.", path.name, where,
                           said) from None


def _toml_value(value: Any) -> str:
    """A value as TOML; a JSON string or number is a TOML one too."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml_key(key)} = {_toml_value(v)}"
                               for key, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text.replace("\x7f", "\\u007f")  # which JSON takes as it is


def _toml_key(key: str) -> str:
    """A name as TOML, in quotes where it needs them."""
    return key if _BARE_KEY.fullmatch(key) else _toml_value(key)


def _to_toml(entry: CatalogueEntry) -> str:
    def lines(table: Mapping[str, Any]) -> list[str]:
        return [f"{_toml_key(key)} = {_toml_value(value)}" for key, value in table.items()
                if value is not None and value is not False and value not in ({}, "")]

    fields = entry.model_dump(exclude_none=True)
    files = fields.pop("files")
    text = ["[[models]]", *lines(fields), *([] if files else ["files = []"])]
    for file in files:
        text += ["[[models.files]]", *lines(file)]
    return "\n".join(text)
