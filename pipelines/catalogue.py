"""The models that Easel knows, as data: ``assets/catalogue.toml``."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from pipelines.errors import WeightsError
from pipelines.files import atomic_write

ASSETS = Path(__file__).resolve().parent.parent / "assets"
CATALOGUE_PATH = ASSETS / "catalogue.toml"
EMBEDDED = "embedded/"
# No part begins with a dot, so that no id or file name leads out of its folder.
_PART = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_MODEL_ID = re.compile(rf"{_PART}(?:/{_PART})*")

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ModelId = Annotated[str, StringConstraints(pattern=rf"^{_PART}(/{_PART})*$", max_length=200)]


class ModelFile(BaseModel):
    """One file of a model; without ``sha256`` it is not checked yet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ModelId
    size_bytes: Annotated[int, Field(ge=0)] | None = None
    sha256: Sha256 | None = None


class CatalogueEntry(BaseModel):
    """One model.

    Attributes:
        id: what leases call it; "embedded/NAME" lies in ``assets/weights/NAME``.
        title: what people call it, as in "loading the TITLE".
        family: which pipelines can use it.
        loader: which code reads its files.
        licence: SPDX identifier of the weights' licence.
        source: where the weights come from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: ModelId
    title: Annotated[str, StringConstraints(min_length=1)]
    family: Literal["clip", "vqgan", "dalle", "upscaler"]
    loader: Literal["embedded"] = "embedded"
    licence: Annotated[str, StringConstraints(min_length=1)]
    source: Annotated[str, StringConstraints(min_length=1)]
    files: tuple[ModelFile, ...]

    def file(self, name: str) -> ModelFile:
        """The entry's file of that name.

        Raises:
            WeightsError: the entry lists no such file.
        """
        for file in self.files:
            if file.name == name:
                return file
        raise WeightsError(f"The catalogue lists no {name} for the model {self.id}.")


class Catalogue:
    """Entries by id.

    Args:
        entries: the models, in the order of the file.
        weights_dir: folder of the embedded models.

    Raises:
        WeightsError: two entries have one id.
    """

    def __init__(self, entries: tuple[CatalogueEntry, ...],
                 weights_dir: Path = ASSETS / "weights") -> None:
        self.weights_dir = weights_dir
        self._entries: dict[str, CatalogueEntry] = {}
        for entry in entries:
            if entry.id in self._entries:
                raise WeightsError(f"The catalogue has two models called {entry.id}.")
            self._entries[entry.id] = entry

    @classmethod
    def load(cls, path: Path = CATALOGUE_PATH, weights_dir: Path | None = None) -> Catalogue:
        """Read a catalogue file.

        Raises:
            WeightsError: the file is missing, is not TOML, or an entry is not valid.
        """
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
            entries = tuple(CatalogueEntry.model_validate(e) for e in raw.get("models", []))
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in fault["loc"])
            raise WeightsError(f"The catalogue {path.name} has a wrong entry: {where}: "
                               f"{fault['msg']}.") from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise WeightsError(f"The catalogue {path.name} cannot be read: {error}.") from None
        return cls(entries, weights_dir or path.parent / "weights")

    def get(self, model_id: str) -> CatalogueEntry:
        """The entry of that id.

        Raises:
            WeightsError: the id is malformed or unknown.
        """
        if not _MODEL_ID.fullmatch(model_id):
            raise WeightsError(f"{model_id[:60]!r} is not the name of a model.")
        try:
            return self._entries[model_id]
        except KeyError:
            raise WeightsError(f"The catalogue has no model called {model_id[:60]}.") from None

    def folder(self, entry: CatalogueEntry) -> Path:
        """Folder that holds the files of an entry."""
        return self.weights_dir / entry.id.removeprefix(EMBEDDED)

    def save(self, path: Path = CATALOGUE_PATH) -> None:
        """Write the catalogue back, atomically, comments above the first entry kept."""
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        head = old.partition("[[models]]")[0].rstrip()
        parts = [head] if head else []
        parts += [_to_toml(entry) for entry in self]
        atomic_write(path, ("\n\n".join(parts) + "\n").encode())

    def __iter__(self) -> Iterator[CatalogueEntry]:
        return iter(self._entries.values())


def _to_toml(entry: CatalogueEntry) -> str:
    """An entry as TOML; a JSON string or number is a TOML one too."""
    def lines(table: dict[str, Any]) -> list[str]:
        return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()]

    fields = entry.model_dump(exclude_none=True)
    files = fields.pop("files")
    text = ["[[models]]", *lines(fields)]
    for file in files:
        text += ["[[models.files]]", *lines(file)]
    return "\n".join(text)
