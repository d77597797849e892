"""The models that Easel knows, as data: ``assets/catalogue.toml`` and a user's own catalogue."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

from pipelines.core.errors import WeightsError
from pipelines.core.files import atomic_write
from pipelines.models.checkpoints.catalogue_toml import entry_text, parse_entry, read_tables
from pipelines.models.checkpoints.entries import PART, CatalogueEntry, ModelFile
from pipelines.models.checkpoints.ids import EMBEDDED
from pipelines.models.checkpoints.pins import ModelPin, Pins
from pipelines.models.checkpoints.shards import INDEX, SAFETENSORS, is_shard, shard_names

logger = logging.getLogger(__name__)
ASSETS = Path(__file__).resolve().parents[3] / "assets"
CATALOGUE_PATH = ASSETS / "catalogue.toml"
_MODEL_ID = re.compile(rf"{PART}(?:/{PART})*")


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
        entries = tuple(parse_entry(raw, path) for raw in read_tables(path))
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
            tables = read_tables(path)
        except WeightsError as error:
            tables, faults = [], [str(error)]
        for raw in tables:
            try:
                entry = parse_entry(raw, path)
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
        parts += [entry_text(entry) for entry in self._entries.values()]
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
