"""Folders as diffusers publishes a model of several parts: one folder a part, with its classes' own
configuration and weights.

Parts are built without memory for their weights and take the file's tensors as they are read, so
that loading needs hardly more than the weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pipelines.core.errors import WeightsError
from pipelines.models.checkpoints.entries import CatalogueEntry
from pipelines.models.checkpoints.formats import WithoutMemory, check_depth, fill
from pipelines.models.checkpoints.tensor_files import held, missing_file, read_safetensors

DIFFUSERS_WEIGHTS, TRANSFORMERS_WEIGHTS = "diffusion_pytorch_model.safetensors", "model.safetensors"
Build = Callable[[Path, CatalogueEntry], nn.Module]


def build_part(folder: Path, entry: CatalogueEntry, parts: Mapping[str, Build]) -> nn.Module:
    """Build the part that an entry's ``config`` names (``part``).

    Args:
        folder: of the entry's files.
        entry: of the catalogue.
        parts: how each is built, by name.

    Raises:
        WeightsError: a file is missing, damaged, or of another model.
    """
    part = str(entry.config.get("part", ""))
    build = parts.get(part)
    if build is None:
        raise WeightsError("The model {} is none of the parts of its kind; there are: {}.",
                           entry.id, ", ".join(parts))
    try:
        return build(folder, entry)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        fault = " ".join(str(error).split())[:200]
        raise WeightsError("The {} of the model {} cannot be built from its files: {}.", part,
                           entry.id, fault) from None


def read_config(folder: Path, entry: CatalogueEntry, name: str) -> dict[str, Any]:
    """A configuration file.

    Raises:
        WeightsError: it is missing, or none.
    """
    path = folder / name
    try:
        return json.loads(path.read_bytes())
    except OSError:
        raise missing_file(name, entry.id) from None
    except ValueError:
        raise WeightsError("The {} of the model {} is not a configuration.", name,
                           entry.id) from None


def diffusers_part(kind: Any, part: str, folder: Path, entry: CatalogueEntry) -> Any:
    """A module of diffusers from its part's folder.

    Raises:
        WeightsError: a file is missing, damaged, or of another model.
    """
    config = read_config(folder, entry, f"{part}/config.json")
    path = folder / part / DIFFUSERS_WEIGHTS
    _check_depth(config, path, entry)
    with WithoutMemory():
        module = kind.from_config(config)
    return _filled(module, path, entry)


def transformers_part(kind: Any, part: str, folder: Path, entry: CatalogueEntry,
                      changes: Mapping[str, Any] | None = None, prefix: str = "") -> Any:
    """A module of transformers from its part's folder; see ``diffusers_part``.

    Args:
        kind: its class.
        part: name of the folder.
        folder: of the entry's files.
        entry: of the catalogue.
        changes: of the configuration, for a module that needs less than the file holds.
        prefix: what the names of its tensors begin with in the file; others are not read then.
    """
    config = {**read_config(folder, entry, f"{part}/config.json"), **(changes or {})}
    path = folder / part / TRANSFORMERS_WEIGHTS
    _check_depth(config, path, entry)
    with WithoutMemory():
        module = kind(kind.config_class.from_dict(config))
    return _filled(module, path, entry, prefix)


def _check_depth(config: dict[str, Any], path: Path, entry: CatalogueEntry) -> None:
    """See ``check_depth``; a file that cannot be read says so when it is."""
    if tensors := held(path):
        check_depth(config, tensors, entry.id)


def read_scheduler(kind: Any, folder: Path, entry: CatalogueEntry) -> Any:
    """A noise schedule of diffusers from its folder.

    Raises:
        WeightsError: its configuration is missing, or none.
    """
    return kind.from_config(read_config(folder, entry, "scheduler/scheduler_config.json"))


def _filled(module: nn.Module, path: Path, entry: CatalogueEntry, prefix: str = "") -> nn.Module:
    expected = module.state_dict()

    def wanted(name: str) -> bool:
        if prefix:
            return name.removeprefix(prefix) in expected
        # Older files also hold tables that are computed now.
        return name in expected or not name.endswith("position_ids")

    tensors: dict[str, Tensor] = {
        name.removeprefix(prefix): tensor
        for name, tensor in read_safetensors(path, entry.id, wanted).items()}
    filled = fill(module, tensors, entry.id)
    for name, buffer in filled.named_buffers():
        if buffer.is_meta:
            raise WeightsError("The weights of the model {} lack the table {}.", entry.id, name)
    return filled
