"""Files of named tensors: safetensors, whole or in shards, and those of ``torch.save``.

Tensors are read one after the other into memory of their own, so that loading takes hardly more
than they do. Nothing is mapped: a file that shrinks later cannot crash the process. What a file
holds can be told without its numbers (``held``). Nothing is ever unpickled without
``weights_only=True``.

Source: the safetensors format (huggingface/safetensors, README); its index of shards
(transformers, ``save_pretrained``).
"""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from io import FileIO
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.serialization import safe_globals

from pipelines.core.errors import WeightsError
from pipelines.models.checkpoints.int8 import SCALE
from pipelines.models.checkpoints.shards import INDEX, SAFETENSORS, shard_names

if TYPE_CHECKING:
    from pipelines.models.checkpoints.entries import CatalogueEntry

SUFFIXES = (SAFETENSORS, ".ckpt", ".bin", ".pt", ".pth")  # the safest format first
MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors format
# What trainers keep beside a network: the discriminator and LPIPS, averages, a colour table.
NEVER_LOADED = ("loss.", "model_ema.", "colorize")
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "U16": torch.uint16, "U32": torch.uint32, "U64": torch.uint64, "BOOL": torch.bool}


class _Inert:
    """Stands for a class that a checkpoint names and that nothing here needs."""


# Trainers of taming's time used this class as a key of their own records.
_NAMED_CLASSES = tuple(
    (_Inert, f"pytorch_lightning.callbacks.{module}.{name}")
    for module, name in (("model_checkpoint", "ModelCheckpoint"),
                         ("lr_monitor", "LearningRateMonitor"),
                         ("lr_logger", "LearningRateLogger"),
                         ("progress", "ProgressBar")))


@dataclass(frozen=True)
class Held:
    """A tensor of a file, less its numbers.

    Attributes:
        start: where its bytes begin in a safetensors file; not used for others.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of its numbers."""
        return prod(self.shape) * self.dtype.itemsize


def missing_file(name: str, model_id: str) -> WeightsError:
    """The error for a file that is not there."""
    return WeightsError("The file {} of the model {} is not there.", name, model_id)


def weights_path(folder: Path, entry: CatalogueEntry, suffixes: Iterable[str] = SUFFIXES) -> Path:
    """The file of tensors among an entry's files, the safest format first.

    Where it lies in shards, it is the path that the whole file would have.

    Raises:
        WeightsError: the entry lists none.
    """
    names = [file.name for file in entry.files]
    for suffix in suffixes:
        for ending in (suffix + INDEX, suffix):
            for name in names:
                if name.endswith(ending):
                    return folder / name.removesuffix(INDEX)
    raise WeightsError("The model {} lists no file of weights; one ends in {}.", entry.id,
                       ", ".join(suffixes))


def read_tensors(path: Path, model_id: str) -> dict[str, Tensor]:
    """The named tensors of a file, on the CPU, out of its ``state_dict`` where it has one.

    Raises:
        WeightsError: the file is missing, damaged, refused, or holds something else, such as
            tensors on the meta device, sparse ones, or one number in many places.
    """
    if path.suffix == SAFETENSORS:
        return read_safetensors(path, model_id)
    found = _named(read_checkpoint(path, model_id))
    if not found:
        raise WeightsError("The {} of the model {} holds no named tensors.", path.name, model_id)
    for name, tensor in found.items():
        if not _has_numbers(tensor):
            raise WeightsError("The {} of the model {} holds a tensor without its own numbers "
                               "({}).", path.name, model_id, name[:80])
    return found


def _has_numbers(tensor: Tensor) -> bool:
    """Whether each number of a tensor is in the file, which could otherwise state any size."""
    if tensor.is_meta or tensor.layout != torch.strided:
        return False
    return tensor.nbytes <= tensor.untyped_storage().nbytes()


def _named(found: Any) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name; none where it holds something else."""
    while isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        return {}
    return {name.removeprefix("module."): value for name, value in found.items()
            if isinstance(value, Tensor)}


def read_safetensors(path: Path, model_id: str,
                     wanted: Callable[[str], bool] = lambda name: True) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of the shards that lie in its place, on the CPU.

    Args:
        path: of the whole file; where only ``PATH.index.json`` is there, its shards are read.
        model_id: for sentences.
        wanted: which tensors to read, by name.

    Raises:
        WeightsError: a file is missing, cut short, or something else.
    """
    found: dict[str, Tensor] = {}
    for each in _parts(path, model_id):
        try:
            with FileIO(each) as file:
                for held in _header(file):
                    if wanted(held.name):
                        found[held.name] = _read(file, held)
        except OSError:
            raise missing_file(each.name, model_id) from None
        except _FAULTS:
            raise WeightsError("The {} of the model {} is cut short or is not a safetensors file.",
                               each.name, model_id) from None
    return found


_FAULTS = (ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError)


def _parts(path: Path, model_id: str) -> list[Path]:
    """A safetensors file, or its shards where there is an index in its place."""
    index = path.with_name(path.name + INDEX)
    if path.exists() or not index.is_file():
        return [path]
    try:
        return [path.with_name(name) for name in shard_names(path.name, index.read_bytes())]
    except OSError:
        raise missing_file(index.name, model_id) from None
    except _FAULTS:
        raise WeightsError("The {} of the model {} is not an index of shards.", index.name,
                           model_id) from None


def _header(file: FileIO) -> list[Held]:
    """What a safetensors file says that it holds, in the order of its bytes.

    Raises:
        ValueError: header and size of the file do not agree, or it is something else; so do the
            other exceptions of ``_FAULTS``.
    """
    size_bytes = file.seek(0, 2)
    file.seek(0)
    (length,) = struct.unpack("<Q", file.read(8))
    if not 2 <= length <= min(MAX_HEADER_BYTES, size_bytes - 8):
        raise ValueError("no header")
    header = json.loads(file.read(length))
    found = []
    for name, fields in header.items():
        if name == "__metadata__":
            continue
        start, stop = map(int, fields["data_offsets"])
        shape = tuple(map(int, fields["shape"]))
        held = Held(name, _DTYPES[fields["dtype"]], shape, 8 + length + start)
        if min(shape, default=0) < 0 or held.nbytes != stop - start:
            raise ValueError(name)
        found.append(held)
    found.sort(key=lambda held: (held.start, held.nbytes))
    end = 8 + length
    for held in found:
        if held.start != end:
            raise ValueError(held.name)
        end += held.nbytes
    if end != size_bytes:
        raise ValueError("another size")
    return found


def _read(file: FileIO, held: Held) -> Tensor:
    tensor = torch.empty(held.shape, dtype=held.dtype)
    if held.nbytes:
        file.seek(held.start)
        view = memoryview(cast(Any, tensor.view(-1).view(torch.uint8).numpy()))
        done = 0
        while done < held.nbytes:
            count = file.readinto(view[done:])
            if not count:
                raise ValueError("cut short")
            done += count
    return tensor


def read_checkpoint(path: Path, model_id: str) -> Any:
    """What a file of ``torch.save`` holds, tensors and plain containers only, on the CPU.

    Raises:
        WeightsError: it is missing, damaged, or a pickle that asks for code to be run.
    """
    try:
        with safe_globals(list(_NAMED_CLASSES)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise missing_file(path.name, model_id) from None
    except pickle.UnpicklingError:
        raise WeightsError("The {} of the model {} is refused: it is not a file of plain tensors, "
                           "and reading it could run code.", path.name, model_id) from None
    except (RuntimeError, ValueError, KeyError, EOFError, AttributeError, TypeError):
        raise WeightsError("The {} of the model {} is cut short or is not a PyTorch checkpoint.",
                           path.name, model_id) from None


def held(path: Path) -> list[Held]:
    """What a file of tensors, or its shards, hold; none of their numbers is read.

    Empty where the file cannot be read, or is of a format that does not tell.
    """
    try:
        if path.suffix == SAFETENSORS:
            found = []
            for each in _parts(path, ""):
                with FileIO(each) as file:
                    found += _header(file)
            return found
        with safe_globals(list(_NAMED_CLASSES)):
            # Mapped for the length of this call; numbers are not looked at.
            tensors = _named(torch.load(path, map_location="cpu", weights_only=True, mmap=True))
        return [Held(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()]
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, WeightsError, *_FAULTS):
        return []


def memory_bytes(path: Path, dtype: torch.dtype, packs: bool = False) -> int:
    """Bytes that a file's tensors take in memory as ``dtype``; 0 if it does not tell.

    Args:
        path: of the file, or of the whole one that lies in shards.
        dtype: of floating-point tensors; others keep theirs. ``torch.int8`` is float32 beside
            matrices of 8 bits, where the model has such.
        packs: whether it has.
    """
    found = held(path)
    stored_in_int8 = {each.name.removesuffix(SCALE) for each in found if each.name.endswith(SCALE)}
    total = 0
    for each in found:
        count = prod(each.shape)
        if each.name.startswith(NEVER_LOADED) or each.name.endswith(SCALE):
            continue
        if not (each.dtype.is_floating_point or each.name in stored_in_int8):
            total += each.nbytes
        elif dtype != torch.int8:
            total += count * dtype.itemsize
        elif packs and len(each.shape) == 2 and "embed" not in each.name:
            total += count + 12 * each.shape[0]  # a scale, a zero point and a sum for each row
        else:
            total += count * torch.float32.itemsize
    return total
