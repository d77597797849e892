"""From a model's folder to its module: one function a file format, by the catalogue's ``loader``.

Such a function takes the folder and the catalogue's entry and returns the module on the CPU, with
the file's weights, whatever their dtype. ``weights.load_model``, which calls it, has checked sizes
and hashes before, and moves, casts and freezes the module afterwards.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pipelines.core.errors import WeightsError

if TYPE_CHECKING:
    from pipelines.models.checkpoints.entries import CatalogueEntry

LoadFunction = Callable[[Path, "CatalogueEntry"], nn.Module]
# Module and function of each loader; a module is imported when a model first needs it.
LOADERS: dict[str, tuple[str, str]] = {
    "embedded": ("pipelines.models.checkpoints.embedded", "load"),
    "open_clip": ("pipelines.models.checkpoints.open_clip", "load"),
    "min-dalle": ("pipelines.models.checkpoints.min_dalle", "load"),
    "min-dalle-vqgan": ("pipelines.models.checkpoints.min_dalle", "load_vqgan"),
    "janus": ("pipelines.models.checkpoints.janus", "load"),
    "taming-vqgan": ("pipelines.models.checkpoints.vqgan", "load_taming"),
    "kandinsky": ("pipelines.models.checkpoints.kandinsky", "load"),
    "flux2": ("pipelines.models.checkpoints.flux2", "load"),
    "diffusers-unclip": ("pipelines.models.checkpoints.unclip", "load"),
    "diffusers-vqmodel": ("pipelines.models.checkpoints.vqgan", "load_diffusers"),
}

# Those whose modules read their weights in ``forward`` alone, or say where else they do.
OFFLOADABLE = frozenset({"kandinsky", "flux2"})
# Counts of layers in configurations.
DEPTHS = frozenset({"blocks", "depth", "layers", "layers_per_block", "num_hidden_layers",
                    "num_layers", "num_res_blocks", "num_single_layers"})
FEW_LAYERS = 256  # built in a moment; then ``fill`` says what the file lacks
# Those whose modules have matrices that 8 bits can hold (``models.linear``).
PACKABLE = frozenset({"min-dalle"})


def loader(name: str) -> LoadFunction:
    """The function that reads models of that format.

    Raises:
        WeightsError: there is none.
    """
    try:
        module, function = LOADERS[name]
    except KeyError:
        raise WeightsError("There is no loader called {!r}; there are: {}.", name[:40],
                           ", ".join(LOADERS)) from None
    return getattr(importlib.import_module(module), function)


class WithoutRandomNumbers(TorchFunctionMode):
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


class WithoutMemory(TorchFunctionMode):
    """Builds parameters on the meta device, on this thread only; ``fill`` gives them the file's.

    What is made empty or random is a parameter. What constructors compute, such as masks and
    positions, stays on the CPU, where ``torch.device("meta")`` would lose it. Nothing is drawn
    for parameters: torch would load 80 MB of sympy to do so on that device.

    Args:
        more_than: numbers that a tensor on the meta device has; smaller ones are made as they are,
            for a library whose masks are made empty too before they are filled.
    """

    MAKES = frozenset({torch.empty, torch.randn, torch.rand})

    def __init__(self, more_than: int = 0) -> None:
        super().__init__()
        self._more_than = more_than

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in WithoutRandomNumbers.FILLS:
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta or self._more_than:  # small parameters come from the file too
                return tensor
        if func in self.MAKES:
            made = func(*args, **{**kwargs, "device": "meta"})
            if made.numel() > self._more_than:
                return made
        return func(*args, **kwargs)


def check_depth(config: Any, tensors: Sized, model_id: str) -> None:
    """Refuse a configuration of more layers than the file has tensors, before any is built.

    Args:
        config: as JSON, whose counts of layers have one of the names of ``DEPTHS``.
        tensors: those of the file.
        model_id: for sentences.

    Raises:
        WeightsError: it states more.
    """
    if isinstance(config, Mapping):
        for name, value in config.items():
            if name in DEPTHS:
                counts = value if isinstance(value, list | tuple) else [value]
                stated = sum(count for count in counts if isinstance(count, int))
                if stated > max(len(tensors), FEW_LAYERS):
                    raise WeightsError("The configuration of the model {} states {:,} layers, and "
                                       "its weights are {:,} tensors: they are of two models.",
                                       model_id, stated, len(tensors))
            check_depth(value, tensors, model_id)
    elif isinstance(config, list | tuple):
        for value in config:
            check_depth(value, tensors, model_id)


def _can_hold(expected: Tensor, given: Tensor) -> bool:
    """Whether numbers of a file can stand where a network has such.

    Counters of a file that was cast as a whole may be floating-point numbers.
    """
    if given.is_meta or given.layout != torch.strided or given.is_complex():
        return False
    return given.is_floating_point() or not expected.is_floating_point()


def fill(module: nn.Module, state_dict: dict[str, Tensor], model_id: str) -> nn.Module:
    """Give a module the file's tensors, without copies and whatever their dtype; returns it.

    Args:
        module: untrained.
        state_dict: emptied, so that a tensor that is cast or laid out anew leaves no second copy.
        model_id: for sentences.

    Raises:
        WeightsError: one sentence that names every kind of misfit at once.
    """
    expected = module.state_dict()
    missing = sorted(expected.keys() - state_dict.keys())
    unknown = sorted(state_dict.keys() - expected.keys())
    shapes = sorted(key for key in expected.keys() & state_dict.keys()
                    if expected[key].shape != state_dict[key].shape)
    numbers = sorted(key for key in expected.keys() & state_dict.keys()
                     if not _can_hold(expected[key], state_dict[key]))
    if faults := [f"{len(keys)} {what} (first {keys[0][:80]})"
                  for what, keys in (("missing", missing), ("unknown", unknown),
                                     ("of another shape", shapes),
                                     ("of another kind of numbers", numbers)) if keys]:
        raise WeightsError("The weights of the model {} do not fit its configuration: of its "
                           "tensors, {}.", model_id, ", ".join(faults))
    module.load_state_dict(state_dict, strict=True, assign=True)
    state_dict.clear()
    return module
