"""A growing store of the codes of scenes' layers: encoded once, trained on several times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pipelines.models.vqgan import VQGAN
from pipelines.world.plans import MOST_THINGS
from pipelines.world.scenes import Scene
from training.codes import CodeStore, exact_autocast
from training.data import World
from training.transparent import Layer, draw_layers, layers_of

LAYERS = 1 + MOST_THINGS
NONE = -1  # codes of layers that a scene has not


@torch.no_grad()
def encode_layers(vqgan: VQGAN, world: World, scenes: Sequence[Scene],
                  known: dict[Layer, Tensor] | None = None) -> Tensor:
    """Codes (N, LAYERS, grid, grid) int16 of scenes, the ground first, ``NONE`` where there is no
    layer.

    Args:
        vqgan: of layers.
        world: draws them.
        scenes: N.
        known: codes by layer; what is missing is added.
    """
    known = {} if known is None else known
    device = next(vqgan.parameters()).device
    rows = [layers_of(scene) for scene in scenes]
    missing = [layer for layer in dict.fromkeys(layer for row in rows for layer in row)
               if layer not in known]
    size = 16 if device.type == "cpu" else 256
    for start in range(0, len(missing), size):
        part = missing[start : start + size]
        pixels = draw_layers(world, part).to(device) * 2 - 1
        with exact_autocast(device):
            latents = vqgan.encode_latents(pixels)
        known.update(zip(part, vqgan.nearest(latents.float()).to(torch.int16).cpu(), strict=True))
    side = vqgan.config.resolution // vqgan.downsampling
    codes = torch.full((len(scenes), LAYERS, side, side), NONE, dtype=torch.int16)
    for place, row in zip(codes, rows, strict=True):
        place[: len(row)] = torch.stack([known[layer] for layer in row])
    return codes


class LayerCodeStore(CodeStore):
    """Codes (N, LAYERS, grid, grid) of scenes; arguments as ``CodeStore``."""

    def __init__(self, *args: Any, **sampler_options: Any) -> None:
        super().__init__(*args, **sampler_options)
        self._known: dict[Layer, Tensor] = {}

    def encode(self, scenes: Sequence[Scene]) -> Tensor:
        """See ``encode_layers``; what was encoded before is not again."""
        return encode_layers(self.vqgan, self.world, scenes, self._known)
