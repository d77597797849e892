"""Pictures that DALL·E writes in layers: how many steps they take, how layers become a picture, and
what their plans say.

Source: Zhang and Agrawala, "Transparent Image Layer Diffusion using Latent Transparency" (2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from pipelines.core.errors import WeightsError
from pipelines.models.dalle import ImageTransformer, TransformerConfig
from pipelines.models.minilm import SentenceEncoder
from pipelines.models.vqgan import VQGAN
from pipelines.world.composition import composed
from pipelines.world.plans import spots_of, told_names

SIZE_PX = 256
WANTED = ("The model {} needs the part {!r}, one of the kind {!r} that fits it; its entry in the "
          "catalogue names none.")


def check_parts(model: nn.Module, model_id: str) -> None:
    """Whether a transformer brought what it reads texts and draws layers with.

    Raises:
        WeightsError: the catalogue names no such part of it, or one that does not fit.
    """
    config, parts = cast(TransformerConfig, model.config), dict(model.named_children())
    if config.sentence_dim:
        encoder = parts.get("text")
        if not isinstance(encoder, SentenceEncoder) or encoder.width != config.sentence_dim:
            raise WeightsError(WANTED, model_id, "text", "minilm")
    if config.plan_length:
        vqgan = parts.get("vqgan")
        if not isinstance(vqgan, VQGAN) or not config.layers or (
                vqgan.config.channels, vqgan.config.resolution) != (
                4, config.grid * vqgan.downsampling):
            raise WeightsError(WANTED, model_id, "vqgan", "vqgan")


def steps_of(model: ImageTransformer, plans: Tensor) -> int:
    """Blocks that pictures with these plans (N, P) have at most: those of the ground and of the
    things."""
    return model.layer_steps * (1 + int(spots_of(plans)[1].sum(1).max()))


def plan_facts(plans: Tensor) -> list[dict[str, Any]]:
    """Plans (N, P) as JSON-ready facts: style and background by name, and of each thing its left
    column, upper row and side, in sixteenths of the picture, and whether it is mirrored."""
    spots, there = spots_of(plans)
    facts = []
    for row, things, kept in zip(plans.tolist(), spots.tolist(), there.tolist(), strict=True):
        style, background = told_names(row)
        facts.append({"style": style, "background": background, "things": [
            {"column": column, "row": top, "side": side, "mirrored": bool(flip)}
            for (column, top, side, flip), is_there in zip(things, kept, strict=True) if is_there]})
    return facts


@torch.no_grad()
def draw_written(model: ImageTransformer, vqgan: VQGAN, plans: Tensor, blocks: Sequence[Tensor],
                 ) -> Tensor:
    """Decode the layers that are written so far and put them together.

    Args:
        model: knows where the blocks go.
        vqgan: of layers.
        plans: (N, P) int64.
        blocks: at least one, (N, patch² · digits) each.

    Returns:
        (N, 3, 256, 256) in [-1, 1]; grey where there is no ground yet. Of a layer that is begun
        what is missing is not there.
    """
    spots, there = (each.cpu() for each in spots_of(plans))
    layers = -(-len(blocks) // model.layer_steps)
    missing = layers * model.layer_steps - len(blocks)
    written = torch.stack([*blocks, *[torch.zeros_like(blocks[0])] * missing], 1)
    codes = model.to_grid(written).clamp_max(vqgan.codes - 1)  # (N, L, grid, grid)
    # Layer by layer: a picture that has fewer of them costs no more than it must.
    pixels = torch.zeros(len(codes), layers, 4, vqgan.config.resolution, vqgan.config.resolution)
    for layer in range(layers):
        rows = torch.ones(len(codes), dtype=torch.bool) if layer == 0 else there[:, layer - 1]
        if rows.any():
            drawn = vqgan.decode_indices(codes[:, layer][rows.to(codes.device)]).float().cpu()
            pixels[rows, layer] = ((drawn + 1) / 2).clamp(0, 1)
    if missing:
        pixels[:, -1] = _blanked(pixels[:, -1], missing, model, layers == 1)
    return torch.stack([
        composed(row[0], [row[1 + n] for n in range(layers - 1) if there[k, n]], spots[k], SIZE_PX)
        for k, row in enumerate(pixels)]) * 2 - 1


def _blanked(layer: Tensor, missing: int, model: ImageTransformer, is_ground: bool) -> Tensor:
    """A layer (N, 4, h, w) whose last blocks are not written yet."""
    side = model.config.grid // model.config.patch
    absent = torch.arange(side * side).view(side, side) >= side * side - missing
    scale = layer.shape[-1] // side
    mask = absent.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
    return layer.masked_fill(mask, 0.5 if is_ground else 0.0)
