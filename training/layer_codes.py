"""A growing store of the codes of scenes' layers: encoded once, trained on several times.

Of each scene there are the ground and, in its own order, its things, each with its draft.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pipelines.models.vqgan import VQGAN
from pipelines.world.plans import LAYERS, MOST_THINGS, NONE
from pipelines.world.scenes import Scene
from training.codes import CodeStore, exact_autocast
from training.data import World
from training.transparent import Layer, draft_of, draw_layers, layers_of

STORED = 1 + 2 * MOST_THINGS


@torch.no_grad()
def encode_layers(vqgan: VQGAN, world: World, scenes: Sequence[Scene],
                  known: dict[Layer, Tensor] | None = None) -> Tensor:
    """Codes (N, STORED, grid, grid) int16 of scenes: of the ground, and of each thing its draft and
    itself; ``NONE`` where there is no such layer.

    Args:
        vqgan: of layers.
        world: draws them.
        scenes: N.
        known: codes by layer; what is missing is added.
    """
    known = {} if known is None else known
    device = next(vqgan.parameters()).device
    rows = [with_drafts(scene) for scene in scenes]
    missing = [layer for layer in dict.fromkeys(layer for row in rows for layer in row)
               if layer is not None and layer not in known]
    size = 16 if device.type == "cpu" else 256
    for start in range(0, len(missing), size):
        part = missing[start : start + size]
        pixels = draw_layers(world, part).to(device) * 2 - 1
        with exact_autocast(device):
            latents = vqgan.encode_latents(pixels)
        known.update(zip(part, vqgan.nearest(latents.float()).to(torch.int16).cpu(), strict=True))
    side = vqgan.config.resolution // vqgan.downsampling
    codes = torch.full((len(scenes), STORED, side, side), NONE, dtype=torch.int16)
    for places, row in zip(codes, rows, strict=True):
        for place, layer in enumerate(row):
            if layer is not None:
                places[place] = known[layer]
    return codes


def with_drafts(scene: Scene) -> list[Layer | None]:
    """The layers of a scene, each thing after its draft or None."""
    ground, *things = layers_of(scene)
    drafts = [draft_of(thing, scene.medium) for thing in scene.objects]
    return [ground, *(each for pair in zip(drafts, things, strict=True) for each in pair)]


def in_stream(codes: Tensor, orders: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Layers as the stream has them: one after the other, things in the order of a caption.

    Args:
        codes: (N, STORED, grid, grid) of ``encode_layers``.
        orders: of each scene the numbers of its things.

    Returns:
        (N, L, grid, grid), and (N, L) int64, what each layer is, as
        ``pipelines.world.plans.slots_of`` has it; ``NONE`` beyond a scene's last.
    """
    rows = []
    for scene, order in zip(codes, orders, strict=True):
        row = [(0, 0)]
        for n, thing in enumerate(order, 1):
            draft, finished = 1 + 2 * thing, 2 + 2 * thing
            if int(scene[draft, 0, 0]) == NONE:
                row.append((finished, n))
            else:
                row += [(draft, n), (finished, n + LAYERS)]
        rows.append(row)
    shape = len(rows), max(map(len, rows))
    layers = torch.full((*shape, *codes.shape[2:]), NONE, dtype=codes.dtype)
    slots = torch.full(shape, NONE)
    for k, row in enumerate(rows):
        layers[k, : len(row)] = codes[k, [place for place, _ in row]]
        slots[k, : len(row)] = torch.tensor([slot for _, slot in row])
    return layers, slots


class LayerCodeStore(CodeStore):
    """Codes (N, STORED, grid, grid) of scenes; arguments as ``CodeStore``."""

    kind = f"{STORED} layers"

    def __init__(self, *args: Any, **sampler_options: Any) -> None:
        super().__init__(*args, **sampler_options)
        self._known: dict[Layer, Tensor] = {}

    def encode(self, scenes: Sequence[Scene]) -> Tensor:
        """See ``encode_layers``; what was encoded before is not again."""
        return encode_layers(self.vqgan, self.world, scenes, self._known)
