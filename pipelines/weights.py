"""Model files to modules: hashes checked, safetensors only, nothing silently left out.

A model's folder holds ``config.json``, ``{"architecture": NAME, "config": {…}}``, and
``model.safetensors``. Nothing here unpickles anything.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pipelines.catalogue import Catalogue, CatalogueEntry, ModelFile
from pipelines.errors import WeightsError

CONFIG, WEIGHTS = "config.json", "model.safetensors"
MAX_HEADER_BYTES = 100_000_000  # the format's own limit


@dataclass(frozen=True)
class Architecture:
    """How a kind of model is built.

    Attributes:
        build: configuration to an untrained module whose state dict the file holds.
        finish: loaded module and configuration to what a lease hands out.
    """

    build: Callable[[Mapping[str, Any]], nn.Module]
    finish: Callable[[nn.Module, Mapping[str, Any]], nn.Module] = lambda module, config: module


def architecture(name: str) -> Architecture:
    """The architecture of that name; its code is imported here and not before.

    Raises:
        WeightsError: there is none.
    """
    if name == "vqgan":
        from pipelines.models import vqgan
        return Architecture(vqgan.build)
    if name == "dalle":
        from pipelines.models import transformer
        return Architecture(transformer.build)
    if name == "clip":
        from pipelines.models import clip
        return Architecture(clip.build, _with_vocabulary)
    if name == "upscaler":
        from pipelines.models import upscaler
        return Architecture(upscaler.build)
    raise WeightsError(f"There is no architecture called {name[:40]!r}.")


def _with_vocabulary(module: nn.Module, config: Mapping[str, Any]) -> nn.Module:
    from open_clip import CLIP

    from pipelines.models.clip import OPENAI_MEAN, OPENAI_STD, ClipModel, image_size
    from pipelines.vocabulary import Vocabulary

    return ClipModel(cast(CLIP, module), Vocabulary.load(), image_size(config),
                     config.get("mean", OPENAI_MEAN), config.get("std", OPENAI_STD))


class _WithoutRandomNumbers(TorchFunctionMode):
    """Skips random initialisation, on this thread only.

    The file's tensors replace the values anyway, so neither time nor the global generator is
    spent on them, and untouched memory is never really taken. The meta device would do the same,
    but loses what constructors compute: masks, tables, offsets.
    """

    FILLS = frozenset({
        "normal_", "uniform_", "trunc_normal_", "xavier_uniform_", "xavier_normal_",
        "kaiming_uniform_", "kaiming_normal_", "orthogonal_", "sparse_"})
    MAKES: ClassVar[dict[Any, Any]] = {
        torch.randn: torch.zeros, torch.rand: torch.zeros,
        torch.randn_like: torch.zeros_like, torch.rand_like: torch.zeros_like}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in self.FILLS:
            return args[0] if args else kwargs["tensor"]
        return self.MAKES.get(func, func)(*args, **kwargs)


def _read(path: Path, file: ModelFile, model_id: str) -> bytes:
    """A file's bytes, checked against the catalogue."""
    try:
        data = path.read_bytes()
    except OSError:
        raise WeightsError(f"The file {file.name} of the model {model_id} is not there.") from None
    if file.sha256 is not None and hashlib.sha256(data).hexdigest() != file.sha256:
        raise WeightsError(f"The file {file.name} of the model {model_id} is damaged or was "
                           "exchanged: its SHA-256 is not the one in the catalogue.")
    return data


def _parse_config(data: bytes, model_id: str) -> tuple[str, dict[str, Any]]:
    try:
        raw = json.loads(data)
        name, config = raw["architecture"], raw["config"]
        if isinstance(name, str) and isinstance(config, dict):
            return name, config
    except (ValueError, KeyError, TypeError):
        pass
    raise WeightsError(f"The {CONFIG} of the model {model_id} is not a model configuration.")


def _parse_weights(data: bytes, model_id: str) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(data)
    except (SafetensorError, ValueError, KeyError):
        raise WeightsError(f"The {WEIGHTS} of the model {model_id} is cut short or is not a "
                           "safetensors file.") from None


def _check_fit(module: nn.Module, state_dict: Mapping[str, Tensor], model_id: str) -> None:
    """Name every kind of misfit at once, in a sentence, before ``load_state_dict`` would."""
    expected = module.state_dict()
    missing = sorted(expected.keys() - state_dict.keys())
    unknown = sorted(state_dict.keys() - expected.keys())
    shapes = sorted(key for key in expected.keys() & state_dict.keys()
                    if expected[key].shape != state_dict[key].shape)
    if faults := [f"{len(keys)} {what} (first {keys[0][:80]})"
                  for what, keys in (("missing", missing), ("unknown", unknown),
                                     ("of another shape", shapes)) if keys]:
        raise WeightsError(f"The weights of the model {model_id} do not fit its configuration: "
                           f"of its tensors, {', '.join(faults)}.")


def load_model(catalogue: Catalogue, entry: CatalogueEntry, device: torch.device | str = "cpu",
               dtype: torch.dtype = torch.float32) -> nn.Module:
    """Read a model's files and build it, ready for inference.

    Parameters do not require gradients, yet gradients flow through them to an input, as
    VQGAN+CLIP needs: call this outside ``torch.inference_mode``.

    Args:
        catalogue: knows where the files are.
        entry: which model.
        device: where its tensors go.
        dtype: dtype of its floating-point tensors, whatever the file's.

    Raises:
        WeightsError: a file is missing, damaged, cut short, or of another model.
    """
    folder = catalogue.folder(entry)
    name, config = _parse_config(_read(folder / CONFIG, entry.file(CONFIG), entry.id), entry.id)
    kind = architecture(name)
    state_dict = _parse_weights(_read(folder / WEIGHTS, entry.file(WEIGHTS), entry.id), entry.id)
    try:
        with _WithoutRandomNumbers():
            module = kind.build(config)
    except (TypeError, ValueError, KeyError, AssertionError) as error:
        raise WeightsError(f"The {CONFIG} of the model {entry.id} does not fit the architecture "
                           f"{name}: {error}.") from None
    _check_fit(module, state_dict, entry.id)
    module.load_state_dict({
        key: tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)
        for key, tensor in state_dict.items()}, strict=True, assign=True)
    return kind.finish(module, config).to(device).requires_grad_(False).eval()


def stored_bytes(path: Path, dtype: torch.dtype) -> int:
    """Bytes that a safetensors file's tensors take in memory as ``dtype``; 0 if unreadable."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > MAX_HEADER_BYTES:
                return 0
            header = json.loads(file.read(length))
        total = 0
        for key, tensor in header.items():
            if key != "__metadata__":
                start, stop = tensor["data_offsets"]
                count = 1
                for size in tensor["shape"]:
                    count *= size
                floating = str(tensor["dtype"]).startswith(("F", "BF"))
                total += count * dtype.itemsize if floating else stop - start
        return total
    except (OSError, struct.error, ValueError, KeyError, TypeError, AttributeError):
        return 0


class CatalogueLoader:
    """Feeds a ``ModelCache`` from a catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self._sha256: dict[str, str] = {}

    def load(self, model_id: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """See ``load_model``."""
        entry = self.catalogue.get(model_id)
        model = load_model(self.catalogue, entry, device, dtype)
        path = self.catalogue.folder(entry) / WEIGHTS
        self._sha256[model_id] = entry.file(WEIGHTS).sha256 or file_sha256(path)
        return model

    def size_bytes(self, model_id: str, dtype: torch.dtype) -> int:
        """Bytes in memory as ``dtype``, read off the file's header."""
        return stored_bytes(self.catalogue.folder(self.catalogue.get(model_id)) / WEIGHTS, dtype)

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
    """The catalogue with the sizes and hashes of the files that are there now."""
    entries = []
    for entry in catalogue:
        folder = catalogue.folder(entry)
        files = tuple(
            ModelFile(name=file.name, size_bytes=path.stat().st_size, sha256=file_sha256(path))
            if (path := folder / file.name).is_file() else file for file in entry.files)
        entries.append(entry.model_copy(update={"files": files}))
    return Catalogue(tuple(entries), catalogue.weights_dir)


if __name__ == "__main__":
    from pipelines.weights_cli import main

    main()
