"""Model files to modules: sizes and hashes checked first, nothing silently left out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, MutableMapping, Sequence
from pathlib import Path
from weakref import WeakValueDictionary

import torch
from torch import nn

from pipelines.core.errors import WeightsError
from pipelines.core.heap import give_back
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.entries import CatalogueEntry, ModelFile
from pipelines.models.checkpoints.formats import OFFLOADABLE, PACKABLE, loader
from pipelines.models.checkpoints.pins import quarantine
from pipelines.models.checkpoints.tensor_files import SUFFIXES, memory_bytes, missing_file
from pipelines.models.fast_linear import in_int8


class Verifier:
    """Checks files against the catalogue; a file that did not change is hashed once a process."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int, int], str]] = {}

    def sha256(self, path: Path) -> str:
        """SHA-256 of a file in hex.

        Raises:
            OSError: it cannot be read.
        """
        stat = path.stat()
        stamp = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
        known = self._known.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        digest = file_sha256(path)
        self._known[path] = stamp, digest
        return digest

    def check(self, catalogue: Catalogue, entry: CatalogueEntry) -> None:
        """Check every file of a model whose hash or size is known.

        A downloaded file of another one is put in quarantine, so that it can be fetched again.

        Raises:
            WeightsError: a file is missing, damaged or exchanged.
        """
        folder = catalogue.folder(entry)
        for file in entry.files:
            path = folder / file.name
            if file.optional and not path.exists():
                continue
            try:
                if file.sha256 is not None:
                    wrong = self.sha256(path) != file.sha256
                else:
                    wrong = file.size_bytes not in (None, path.stat().st_size)
            except OSError:
                raise missing_file(file.name, entry.id) from None
            if wrong:
                moved = ""
                if entry.repository is not None:
                    quarantine(catalogue.models_dir, entry.id, path)
                    moved = " It was moved to quarantine: download it again."
                if file.sha256 is None:
                    raise WeightsError("The file {} of the model {} is damaged or was exchanged: "
                                       "its size is not the one in the catalogue.{}", file.name,
                                       entry.id, moved)
                raise WeightsError("The file {} of the model {} is damaged or was exchanged: its "
                                   "SHA-256 is not the one in the catalogue.{}", file.name,
                                   entry.id, moved)


def is_complete(catalogue: Catalogue, entry: CatalogueEntry) -> bool:
    """Whether every file that a model and its parts need is there."""
    return all(file.optional or (catalogue.folder(model) / file.name).is_file()
               for model in (entry, *catalogue.parts(entry).values()) for file in model.files)


def bytes_on_disk(catalogue: Catalogue, entry: CatalogueEntry) -> int:
    """Bytes of those files of a model that are there."""
    folder = catalogue.folder(entry)
    return sum(path.stat().st_size for file in entry.files
               if (path := folder / file.name).is_file())


# By id, dtype and the hashes of the files: who exchanges a file gets another part.
Parts = MutableMapping[tuple[str, torch.dtype, tuple[str, ...]], nn.Module]


def load_model(catalogue: Catalogue, entry: CatalogueEntry, device: torch.device | str = "cpu",
               dtype: torch.dtype = torch.float32, verifier: Verifier | None = None,
               shared: Parts | None = None) -> nn.Module:
    """Read a model's files and build it, ready for inference.

    Parameters do not require gradients, yet gradients flow through them to an input, as
    VQGAN+CLIP needs: call this outside ``torch.inference_mode``.

    Args:
        catalogue: knows where the files are.
        entry: which model.
        device: where its tensors go.
        dtype: dtype of its floating-point tensors, whatever the file's. ``torch.int8`` packs the
            matrices that can be (see ``models.linear``) and gives the others float32.
        verifier: remembers which files were checked already.
        shared: parts on the CPU by id and dtype, which several models look or read through; those
            that are there are taken, others are added. Elsewhere models move on their own, and
            each has its own parts.

    Raises:
        WeightsError: a file is missing, damaged, cut short, or of another model.
    """
    verifier = verifier or Verifier()
    shared = shared if torch.device(device).type == "cpu" else None
    verifier.check(catalogue, entry)
    module = loader(entry.loader)(catalogue.folder(entry), entry)
    check_network(module, entry)
    for name, part in catalogue.parts(entry).items():
        setattr(module, name, _part(catalogue, part, dtype, verifier, shared))
    if dtype == torch.int8:  # first, so that no matrix is there in float32 and in 8 bits at once
        module, dtype = in_int8(module), torch.float32
    give_back()  # what reading took, before whole tables are there in two number formats
    # What a file holds takes the dtype; tables that constructors compute keep their own.
    for tensor in module.state_dict(keep_vars=True).values():
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(device=device, dtype=dtype)
    give_back()
    return module.to(device).requires_grad_(False).eval()


def _part(catalogue: Catalogue, entry: CatalogueEntry, dtype: torch.dtype, verifier: Verifier,
          shared: Parts | None) -> nn.Module:
    """A part on the CPU, one for all that share it."""
    if shared is None:
        return load_model(catalogue, entry, "cpu", dtype, verifier)
    hashes = []
    for file in weight_files(entry):
        try:
            hashes.append(verifier.sha256(catalogue.folder(entry) / file.name))
        except OSError:
            raise missing_file(file.name, entry.id) from None
    key = entry.id, dtype, tuple(hashes)
    loaded = shared.get(key)
    if loaded is None:
        loaded = shared[key] = load_model(catalogue, entry, "cpu", dtype, verifier)
    return loaded


def check_network(module: nn.Module, entry: CatalogueEntry) -> None:
    """Compare what was loaded with what the catalogue states of it.

    Args:
        module: tells ``codes`` and ``width`` where it has such.
        entry: states what is expected.

    Raises:
        WeightsError: the files hold another network; the sentence says which.
    """
    if entry.network is None:
        return
    stated = entry.network
    codes, width = getattr(module, "codes", None), getattr(module, "width", None)
    if None not in (stated.codes, codes) and codes != stated.codes:
        raise WeightsError("The files of the model {} hold another network than its title says: "
                           "it has {:,} codes, not {:,}.", entry.id, codes, stated.codes)
    if None not in (stated.width, width) and width != stated.width:
        raise WeightsError("The files of the model {} hold another network than its title says: "
                           "its width is {:,}, not {:,}.", entry.id, width, stated.width)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    if stated.parameters not in (None, parameters):
        raise WeightsError("The files of the model {} hold another network than its title says: "
                           "it has {:,} parameters, not {:,}.", entry.id, parameters,
                           stated.parameters)


def weight_files(entry: CatalogueEntry) -> Iterator[ModelFile]:
    """Those files of a model that hold tensors."""
    return (file for file in entry.files if file.name.endswith(SUFFIXES))


def fingerprint_of(catalogue: Catalogue, entry: CatalogueEntry, verifier: Verifier) -> str:
    """SHA-256 in hex of a model's weights and those of its parts: of the file, or of the files'
    hashes where there are several."""
    return joint_sha256([verifier.sha256(path) for _, _, path in _weights_of(catalogue, entry)])


def joint_sha256(hashes: Sequence[str]) -> str:
    """One hash in hex of the hashes of several files, in their order; that of one file itself."""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _weights_of(catalogue: Catalogue, entry: CatalogueEntry,
                ) -> Iterator[tuple[CatalogueEntry, ModelFile, Path]]:
    """The files of a model and of its parts that hold tensors, each with the model that it is of
    and where it is."""
    for model in (entry, *catalogue.parts(entry).values()):
        for file in weight_files(model):
            yield model, file, catalogue.folder(model) / file.name


class CatalogueLoader:
    """Feeds a ``ModelCache`` from a catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.verifier = Verifier()
        self._sha256: dict[str, str] = {}
        self._parts: Parts = WeakValueDictionary()

    def load(self, model_id: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """See ``load_model``."""
        entry = self.catalogue.get(model_id)
        if entry.repository is not None and not is_complete(self.catalogue, entry):
            raise WeightsError("The model {} is not on this machine: download it on the Models "
                               "tab or by `python -m pipelines.weights download {}`.", entry.id,
                               entry.id)
        model = load_model(self.catalogue, entry, device, dtype, self.verifier, self._parts)
        self._sha256[model_id] = fingerprint_of(self.catalogue, entry, self.verifier)
        return model


    def size_bytes(self, model_id: str, dtype: torch.dtype) -> int:
        """Bytes in memory as ``dtype``: read off headers, or guessed from the files' sizes."""
        total = 0
        for model, file, path in _weights_of(self.catalogue, self.catalogue.get(model_id)):
            if size_bytes := memory_bytes(path, dtype, model.loader in PACKABLE):
                total += size_bytes
            elif path.is_file() or file.size_bytes:
                on_disk = path.stat().st_size if path.is_file() else file.size_bytes or 0
                itemsize = torch.float32.itemsize if dtype == torch.int8 else dtype.itemsize
                total += on_disk * itemsize // torch.float32.itemsize
        return total

    def offloadable(self, model_id: str) -> bool:
        """Whether the model can run with its weights in host memory; see ``cache.offload``."""
        return self.catalogue.get(model_id).loader in OFFLOADABLE

    def title(self, model_id: str) -> str:
        """What people call the model."""
        return self.catalogue.get(model_id).title

    def fingerprint(self, model_id: str) -> str | None:
        """SHA-256 of the weights that were loaded last, None before."""
        return self._sha256.get(model_id)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pinned(catalogue: Catalogue) -> Catalogue:
    """The catalogue with the sizes and hashes of the files that are there now.

    Models that are downloaded have pins of their own and stay as they are.
    """
    entries = []
    for entry in catalogue:
        if entry.repository is not None:
            entries.append(entry)
            continue
        folder = catalogue.folder(entry)
        files = tuple(
            file.model_copy(update={"size_bytes": path.stat().st_size,
                                    "sha256": file_sha256(path)})
            if (path := folder / file.name).is_file() else file for file in entry.files)
        entries.append(entry.model_copy(update={"files": files}))
    return Catalogue(tuple(entries), catalogue.weights_dir, catalogue.models_dir, catalogue.pins)
