"""Published VQGAN checkpoints: taming-transformers' and diffusers' ``VQModel`` folders.

Every dimension is read off the tensors. What a VQGAN does not need for pictures, such as the
discriminator and LPIPS under ``loss.`` and the optimiser's state, is not looked at.

Source: Esser, Rombach, Ommer, "Taming Transformers for High-Resolution Image Synthesis" (2021),
section 3.1; Gumbel codes: Ramesh et al., "Zero-Shot Text-to-Image Generation" (2021), section 2.1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pipelines.core.errors import WeightsError
from pipelines.models.checkpoints.entries import CatalogueEntry
from pipelines.models.checkpoints.formats import WithoutMemory, fill
from pipelines.models.checkpoints.tensor_files import (
    NEVER_LOADED,
    missing_file,
    read_tensors,
    weights_path,
)
from pipelines.models.fast_vqgan import with_fast_kernels
from pipelines.models.vqgan import VQGAN, VQGANConfig

RESOLUTION_PX = 256  # no tensor has it; attention is found by level, so that any would do
MOST = 32  # levels, and blocks of one; published VQGANs have up to 6 and 3
GROUPS = 32  # of taming's group norms
PARTS = ("encoder.", "decoder.", "quantizer.", "quant_conv.", "post_quant_conv.")
RENAMED = (("quantize.embed.", "quantizer.embedding."), ("quantize.", "quantizer."))


def from_taming(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a taming checkpoint by ``VQGAN``'s names."""
    found = {}
    for name, tensor in tensors.items():
        if name.startswith(NEVER_LOADED):
            continue
        for old, new in RENAMED:
            if name.startswith(old):
                name = new + name.removeprefix(old)
                break
        found[name] = tensor
    return found


def config_of(tensors: Mapping[str, Tensor], model_id: str) -> VQGANConfig:
    """The shape of a VQGAN, read off its tensors by ``VQGAN``'s names.

    Raises:
        WeightsError: they are those of something else.
    """
    try:
        channels = tensors["encoder.conv_in.weight"].shape[0]
        levels = _count(tensors, r"encoder\.down\.(\d+)\.")
        widths = [tensors[f"encoder.down.{level}.block.0.conv1.weight"].shape[0]
                  for level in range(levels)]
        attended = {int(found[1]) for name in tensors
                    if (found := re.match(r"encoder\.down\.(\d+)\.attn\.", name))}
        n_embed, embed_dim = tensors["quantizer.embedding.weight"].shape
        if not levels or any(width % channels for width in widths):
            raise ValueError(widths)
        return VQGANConfig(
            resolution=RESOLUTION_PX, ch=channels,
            ch_mult=tuple(width // channels for width in widths),
            num_res_blocks=_count(tensors, r"encoder\.down\.0\.block\.(\d+)\."),
            attn_resolutions=tuple(sorted(RESOLUTION_PX >> level for level in attended)),
            z_channels=tensors["decoder.conv_in.weight"].shape[1],
            embed_dim=embed_dim, n_embed=n_embed,
            gumbel="quantizer.proj.weight" in tensors)
    except _FAULTS:
        raise _another(model_id) from None


def decoder_config_of(tensors: Mapping[str, Tensor], model_id: str) -> VQGANConfig:
    """The shape of a VQGAN without an encoder, read off the tensors of its decoder.

    Raises:
        WeightsError: they are those of something else.
    """
    try:
        channels = tensors["decoder.conv_out.weight"].shape[1]
        levels = _count(tensors, r"decoder\.up\.(\d+)\.")
        widths = [tensors[f"decoder.up.{level}.block.0.conv1.weight"].shape[0]
                  for level in range(levels)]
        attended = {int(found[1]) for name in tensors
                    if (found := re.match(r"decoder\.up\.(\d+)\.attn\.", name))}
        n_embed, embed_dim = tensors["quantizer.embedding.weight"].shape
        if not levels or any(width % channels for width in widths):
            raise ValueError(widths)
        return VQGANConfig(
            resolution=RESOLUTION_PX, ch=channels,
            ch_mult=tuple(width // channels for width in widths),
            num_res_blocks=_count(tensors, r"decoder\.up\.0\.block\.(\d+)\.") - 1,
            attn_resolutions=tuple(sorted(RESOLUTION_PX >> level for level in attended)),
            z_channels=tensors["decoder.conv_in.weight"].shape[1],
            embed_dim=embed_dim, n_embed=n_embed, encoder=False)
    except _FAULTS:
        raise _another(model_id) from None


_FAULTS = (KeyError, ValueError, IndexError, ZeroDivisionError)


def _another(model_id: str) -> WeightsError:
    return WeightsError("The weights of the model {} are not those of a VQGAN: its tensors have "
                        "other names or sizes.", model_id)


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """How many numbers, from 0 on, a pattern finds in the names; 0 without any.

    Raises:
        ValueError: one is left out, or there are more than any VQGAN has.
    """
    found = {int(match[1]) for name in tensors if (match := re.match(pattern, name))}
    if found != set(range(len(found))) or len(found) > MOST:
        raise ValueError(pattern)
    return len(found)


def load_taming(folder: Path, entry: CatalogueEntry) -> VQGAN:
    """A VQGAN in taming's layout: a trainer's ``.ckpt``, a ``.bin`` of tensors, or safetensors.

    Raises:
        WeightsError: the file is missing, damaged, refused, or of something else.
    """
    return _filled(from_taming(read_tensors(weights_path(folder, entry), entry.id)), entry)


def _filled(tensors: dict[str, Tensor], entry: CatalogueEntry) -> VQGAN:
    config = config_of(tensors, entry.id)
    module = empty_vqgan(config, entry.id)
    fill(module, tensors, entry.id)
    return with_fast_kernels(module)


def empty_vqgan(config: VQGANConfig, model_id: str) -> VQGAN:
    """A VQGAN whose parameters have no memory yet.

    Raises:
        WeightsError: none can be so, such as one of widths that its norms cannot group.
    """
    try:
        with WithoutMemory():
            return VQGAN(config)
    except (ValueError, TypeError, RuntimeError, ArithmeticError):
        raise _another(model_id) from None


def _diffusers_config(path: Path, model_id: str) -> dict[str, Any]:
    """Read a folder's ``config.json``, and refuse what taming's architecture cannot express."""
    try:
        config = json.loads(path.read_bytes())
    except OSError:
        raise missing_file(path.name, model_id) from None
    except ValueError:
        config = None
    if not isinstance(config, dict) or config.get("_class_name") != "VQModel":
        raise WeightsError("The {} of the model {} is not that of a diffusers VQModel.", path.name,
                           model_id)
    wanted = {"norm_type": "group", "norm_num_groups": GROUPS, "act_fn": "silu",
              "mid_block_add_attention": True}
    for name, value in wanted.items():
        if config.get(name, value) != value:
            raise WeightsError("The model {} is a VQModel of another architecture: its {} is "
                               "{!r}, not {!r}.", model_id, name, config[name], value)
    return config


# diffusers' names to taming's, below "encoder.down.N." and the like.
_BLOCK = (("conv_shortcut.", "nin_shortcut."), ("group_norm.", "norm."), ("to_q.", "q."),
          ("to_k.", "k."), ("to_v.", "v."), ("to_out.0.", "proj_out."), ("query.", "q."),
          ("key.", "k."), ("value.", "v."), ("proj_attn.", "proj_out."))
_MIDDLE = (("resnets.0.", "block_1."), ("resnets.1.", "block_2."), ("attentions.0.", "attn_1."))
_LEVEL = (("resnets.", "block."), ("attentions.", "attn."), ("downsamplers.0.", "downsample."),
          ("upsamplers.0.", "upsample."))


def from_diffusers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a diffusers ``VQModel`` by ``VQGAN``'s names, attention as 1×1 convolutions.

    Raises:
        ValueError: their levels are not those of a VQGAN.
    """
    levels = _count(tensors, r"decoder\.up_blocks\.(\d+)\.")
    found = {}
    for name, tensor in tensors.items():
        new = _taming_name(name, levels)
        if ".attn" in new and tensor.ndim == 2:
            tensor = tensor[:, :, None, None]
        found[new] = tensor
    return found


def _taming_name(name: str, levels: int) -> str:
    name = name.replace("quantize.", "quantizer.", 1) if name.startswith("quantize.") else name
    name = name.replace(".conv_norm_out.", ".norm_out.")
    if found := re.fullmatch(r"(encoder|decoder)\.mid_block\.(.+)", name):
        side, rest = found.groups()
        return f"{side}.mid.{_renamed(_renamed(rest, _MIDDLE), _BLOCK)}"
    if found := re.fullmatch(r"encoder\.down_blocks\.(\d+)\.(.+)", name):
        return f"encoder.down.{found[1]}.{_renamed(_renamed(found[2], _LEVEL), _BLOCK)}"
    if found := re.fullmatch(r"decoder\.up_blocks\.(\d+)\.(.+)", name):
        level = levels - 1 - int(found[1])
        return f"decoder.up.{level}.{_renamed(_renamed(found[2], _LEVEL), _BLOCK)}"
    return name


def _renamed(name: str, pairs: Iterable[tuple[str, str]]) -> str:
    for old, new in pairs:
        at = name.find(old)
        if at == 0 or (at > 0 and name[at - 1] == "."):
            return name[:at] + new + name[at + len(old):]
    return name


def load_diffusers(folder: Path, entry: CatalogueEntry) -> VQGAN:
    """A VQGAN saved by diffusers: ``config.json`` beside its weights.

    Raises:
        WeightsError: a file is missing, damaged, refused, or of another architecture.
    """
    config = next((f.name for f in entry.files if Path(f.name).name == "config.json"),
                  "config.json")
    _diffusers_config(folder / config, entry.id)
    tensors = read_tensors(weights_path(folder, entry), entry.id)
    try:
        named = from_diffusers(tensors)
    except ValueError:
        raise _another(entry.id) from None
    return _filled(named, entry)
