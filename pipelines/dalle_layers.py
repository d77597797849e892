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
from pipelines.world.plans import slots_of, spots_of, told_names

SIZE_PX = 256
WANTED = ("The model {} needs the part {!r}, one of the kind {!r} that fits it; its entry in the "
          "catalogue names none.")


def check_parts(model: nn.Module, model_id: str) -> None:
    """Whether a transformer brought what it reads texts and draws layers with.

    Raises:
        WeightsError: the catalogue names no such part of it, or one that does not fit.
    """
    config, parts = cast(TransformerConfig, model.config), dict(model.named_children())
    encoder, vqgan = parts.get("text"), parts.get("vqgan")
    if not isinstance(encoder, SentenceEncoder) or encoder.width != config.sentence_dim:
        raise WeightsError(WANTED, model_id, "text", "minilm")
    if not isinstance(vqgan, VQGAN) or not config.layers or (
            vqgan.config.channels, vqgan.config.resolution) != (
            4, config.grid * vqgan.downsampling):
        raise WeightsError(WANTED, model_id, "vqgan", "vqgan")


def steps_of(model: ImageTransformer, plans: Tensor) -> int:
    """Blocks that pictures with these plans (N, P) have at most: those of the ground, of the things
    and of their drafts."""
    return model.layer_steps * slots_of(plans).shape[1]


def plan_facts(plans: Tensor) -> list[dict[str, Any]]:
    """Plans (N, P) as JSON-ready facts: style and background by name, and of each thing its left
    column, upper row and side, in sixteenths of the picture, whether it is mirrored, and whether it
    is drafted in its own colours before it is finished."""
    facts = []
    for row, *spots in zip(plans.tolist(), *map(Tensor.tolist, spots_of(plans)), strict=True):
        style, background = told_names(row)
        facts.append({"style": style, "background": background, "things": [
            {"column": column, "row": top, "side": side, "mirrored": bool(flip), "drafted": drafted}
            for (column, top, side, flip), is_there, drafted in zip(*spots, strict=True)
            if is_there]})
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
        what is missing is not there, or is as its draft has it.
    """
    spots = spots_of(plans).cells.cpu()
    grids, written = shown_codes(model, plans, blocks)
    grids = grids.clamp_max(vqgan.codes - 1)
    # Layer by layer: a picture that has fewer of them costs no more than it must.
    size, scale = vqgan.config.resolution, vqgan.config.resolution // model.config.grid
    pixels = torch.zeros(*grids.shape[:2], 4, size, size)
    pixels[:, 0] = 0.5
    for layer in range(grids.shape[1]):
        there = written[:, layer]  # (N, grid, grid)
        rows = there.flatten(1).any(1)
        if rows.any():
            drawn = vqgan.decode_indices(grids[:, layer][rows]).float().cpu()
            mask = there[rows].cpu().repeat_interleave(scale, 1).repeat_interleave(scale, 2)
            pixels[rows.cpu(), layer] = torch.where(
                mask[:, None], ((drawn + 1) / 2).clamp(0, 1), pixels[rows.cpu(), layer])
    begun = written.flatten(2).any(2)[:, 1:].cpu()
    return torch.stack([
        composed(row[0], [row[1 + n] for n in kept.nonzero().flatten()], cells[kept], SIZE_PX)
        for row, kept, cells in zip(pixels, begun, spots[:, : begun.shape[1]], strict=True)
    ]) * 2 - 1


def shown_codes(model: ImageTransformer, plans: Tensor, blocks: Sequence[Tensor],
                ) -> tuple[Tensor, Tensor]:
    """Codes of the ground and of each thing, as far as they are written: of a layer that is
    finished as far as it is, beyond that of its draft.

    Args:
        model: knows where the blocks go.
        plans: (N, P) int64.
        blocks: at least one, (N, patch² · digits) each.

    Returns:
        (N, layers, grid, grid) int64, and the same bool, False where nothing is written.
    """
    layers = -(-len(blocks) // model.layer_steps)
    missing = layers * model.layer_steps - len(blocks)
    empty = torch.zeros_like(blocks[0])
    codes = model.to_grid(torch.stack([*blocks, *[empty] * missing], 1))  # (N, L, grid, grid)
    known = [torch.ones_like(empty)] * len(blocks) + [empty] * missing
    written = model.to_grid(torch.stack(known, 1)) > 0
    slots = slots_of(plans).to(codes.device)[:, :layers]
    shape = (len(codes), model.config.layers, *codes.shape[2:])
    shown, there = codes.new_zeros(shape), written.new_zeros(shape)
    for layer in range(layers):
        rows = (slots[:, layer] >= 0).nonzero().flatten()
        which = slots[rows, layer] % model.config.layers
        now = written[rows, layer]
        shown[rows, which] = torch.where(now, codes[rows, layer], shown[rows, which])
        there[rows, which] |= now
    return shown, there
