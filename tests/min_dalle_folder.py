"""DALL·E mini's published files, made the way that kuprel/min-dalle's converter makes them.

It starts from Flax parameters: nested, every layer's in one array of its kind, matrices (in, out).
What it leaves is what the hub has: half precision, matrices as transposed views, the layers of a
parameter as views of one block of memory, and no scale for the normalisations that were trained
without. The detokenizer stays in float32.

Source: kuprel/min-dalle-flax, ``min_dalle_flax/load_params.py``; which scales there are:
borisdayma/dalle-mini, ``src/dalle_mini/model/modeling.py``, ``use_scale=config.force_ln_scale``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

Tree = dict[str, Any]
# Names of Flax's modules within a layer; those of the encoder lack LayerNorm_2, 3, Attention_1.
LAYER = {"LayerNorm_0": "pre_self_attn_layer_norm", "LayerNorm_1": "self_attn_layer_norm",
         "FlaxBartAttention_0": "self_attn", "LayerNorm_2": "pre_encoder_attn_layer_norm",
         "LayerNorm_3": "encoder_attn_layer_norm", "FlaxBartAttention_1": "encoder_attn",
         "GLU_0": "glu"}
GLU = {"LayerNorm_0": "ln0", "LayerNorm_1": "ln1", "Dense_0": "fc0", "Dense_1": "fc1",
       "Dense_2": "fc2"}


@dataclass(frozen=True)
class Sizes:
    """Of a DALL·E mini; the published ones are ``MINI`` and ``MEGA``."""

    texts: int
    codes: int
    dim: int
    hidden: int
    depth: int
    text_length: int = 64
    places: int = 256


MINI = Sizes(50264, 2**14, 1024, 2730, 12)
MEGA = Sizes(50272, 16415, 2048, 4096, 24)


def flax_parameters(sizes: Sizes, decoder: bool, dtype: torch.dtype = torch.float32) -> Tree:
    """An encoder or a decoder as dalle-mini trains it, with random numbers.

    Args:
        sizes: of the network.
        decoder: which of the two.
        dtype: half precision takes half the memory for the same file.
    """
    s, depth = sizes, sizes.depth

    def numbers(*shape: int, std: float = 0.06) -> Tensor:
        """Random ones; a large block repeats itself."""
        few = (torch.randn(min(prod(shape), 2**22)) * std).to(dtype)
        return few.repeat(-(-prod(shape) // len(few)))[:prod(shape)].view(shape)

    def norm(width: tuple[int, ...], scaled: bool) -> Tree:
        found = {"bias": numbers(*width, std=0.1)}
        return {"scale": 1 + numbers(*width, std=0.1), **found} if scaled else found

    def dense(width_in: int, width_out: int) -> Tree:
        return {"kernel": numbers(depth, width_in, width_out)}

    def attention() -> Tree:
        return {name: dense(s.dim, s.dim) for name in ("k_proj", "out_proj", "q_proj", "v_proj")}

    wide, hidden = (depth, s.dim), (depth, s.hidden)
    layer: Tree = {
        "FlaxBartAttention_0": attention(),
        "GLU_0": {"Dense_0": dense(s.dim, s.hidden), "Dense_1": dense(s.dim, s.hidden),
                  "Dense_2": dense(s.hidden, s.dim), "LayerNorm_0": norm(wide, False),
                  "LayerNorm_1": norm(hidden, False)},
        "LayerNorm_0": norm(wide, False), "LayerNorm_1": norm(wide, True)}
    if decoder:
        layer |= {"FlaxBartAttention_1": attention(), "LayerNorm_2": norm(wide, False),
                  "LayerNorm_3": norm(wide, True)}
    kind = "Decoder" if decoder else "Encoder"
    words, places = (s.codes + 1, s.places) if decoder else (s.texts, s.text_length)
    outside: Tree = {
        "embed_tokens": {"embedding": numbers(words, s.dim, std=1.0)},
        "embed_positions": {"embedding": numbers(places, s.dim, std=1.0)},
        "final_ln": norm((s.dim,), False), "layernorm_embedding": norm((s.dim,), True),
        f"FlaxBart{kind}Layers": layer}
    if decoder:
        outside["lm_head"] = {"kernel": numbers(s.dim, s.codes + 1)}
    return outside


def _leaves(tree: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, Tensor]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*above, name))
        else:
            yield ".".join((*above, name)), value


def _torch_name(name: str) -> str:
    return name.replace("kernel", "weight").replace("scale", "weight")


def converted(tree: Tree) -> dict[str, Tensor]:
    """The state of ``encoder.pt`` or ``decoder.pt``."""
    layers = next(name for name in tree if name.endswith("Layers"))
    inside: Tree = {LAYER[name]: value for name, value in tree[layers].items()}
    inside["glu"] = {GLU[name]: value for name, value in inside["glu"].items()}
    found: dict[str, Tensor] = {}
    stacked = dict(_leaves(inside))
    for name, value in _leaves({k: v for k, v in tree.items() if k != layers}):
        half = value.to(torch.float16)
        if name.endswith("embedding"):
            found[name.replace(".embedding", ".weight")] = half
        else:
            found[_torch_name(name)] = half.transpose(-1, -2) if "kernel" in name else half
    for name, value in stacked.items():
        half = value.to(torch.float16)
        if "kernel" in name:
            half = half.transpose(-1, -2)
        for layer in range(len(half)):  # views: the file has the whole block once
            found[f"layers.{layer}.{_torch_name(name)}"] = half[layer]
    return found


def converted_vqgan(tree: Tree) -> dict[str, Tensor]:
    """The state of ``detoker.pt``, of Flax's VQGAN: no encoder, float32, channels first."""
    found = {}
    for name, value in _leaves(tree):
        if name.split(".")[0] in ("encoder", "quant_conv"):
            continue
        new = name
        if "up" in name or "down" in name:  # up_3.block_0.nin_shortcut: a dot for each number
            new = name.replace("_", ".").replace("proj.out", "proj_out")
            new = new.replace("nin.short", "nin_short")
        if "kernel" in name:
            value = value.permute(3, 2, 0, 1).contiguous()
        new = new.replace("kernel", "weight").replace("scale", "weight")
        found[new] = value.float()
    found["embedding.weight"] = found.pop("quantize.embedding.embedding")
    return found


def flax_vqgan(state: Mapping[str, Tensor]) -> Tree:
    """Flax's parameters of a VQGAN that decodes as a ``VQGanDetokenizer`` of this state does."""
    tree: Tree = {"quantize": {"embedding": {"embedding": state["embedding.weight"]}},
                  "encoder": {"conv_in": {"kernel": torch.zeros(3, 3, 3, 8)}},
                  "quant_conv": {"kernel": torch.zeros(1, 1, 8, 8)}}
    for name, value in state.items():
        if name == "embedding.weight":
            continue
        *path, kind = name.split(".")
        parts: list[str] = []
        for part in path:  # up.3.block.0 is up_3.block_0
            if part.isdigit():
                parts[-1] += f"_{part}"
            else:
                parts.append(part)
        if kind == "weight":
            kind = "kernel" if value.ndim == 4 else "scale"
        below = tree
        for part in parts:
            below = below.setdefault(part, {})
        below[kind] = value.permute(2, 3, 1, 0).contiguous() if value.ndim == 4 else value
    return tree
