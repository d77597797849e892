"""How fast unCLIP draws, beside a plain loop of diffusers over the same U-Net."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import FlowMatchEulerDiscreteScheduler

from benchmarks.roofline import parameter_bytes
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.vocabulary import load_vocabulary
from pipelines.models.machine_rates import Rates, best_seconds
from pipelines.models.unclip import TIME_STEPS, UnclipDecoder
from pipelines.unclip.pipeline import DECODER
from pipelines.unclip.steps import Noise, sample_decoder

GUIDANCE, STEPS, ROUNDS = 3.0, 8, 3


@torch.no_grad()
def plain_loop(decoder: UnclipDecoder, text: str, image: torch.Tensor, noise: torch.Tensor,
               ) -> torch.Tensor:
    """What diffusers' own pipelines do: scheduler, U-Net with guided rows, scheduler step.

    Args:
        decoder: the modules.
        text: the caption of all rows.
        image: (N, D) standardised image embeddings.
        noise: (N, C, grid, grid).

    Returns:
        Latents (N, C, grid, grid).
    """
    count = len(noise)
    ids = load_vocabulary()([text, ""], context_length=decoder.text_length)
    ids = ids.repeat_interleave(count, dim=0)
    condition = torch.cat([image, torch.zeros_like(image)])
    states, visible = decoder.caption_encoder(ids, condition)
    scheduler: Any = FlowMatchEulerDiscreteScheduler(shift=1.0)
    scheduler.set_timesteps(sigmas=torch.linspace(1, 1 / STEPS, STEPS).tolist())
    told_cells = [decoder.get_buffer("places").expand(2 * count, -1, -1, -1)]
    if decoder.conditioned_by_cell:
        by_cell = condition.unflatten(1, (decoder.cells, decoder.cells, -1))
        told_cells.append(by_cell.permute(0, 3, 1, 2))
    x = noise
    for t in scheduler.timesteps:
        cells = F.pixel_unshuffle(torch.cat([x, x]), 2)
        sample = decoder.unet(torch.cat([cells, *told_cells], dim=1), t, states,
                              class_labels=condition, encoder_attention_mask=visible,
                              return_dict=False)[0]
        guided, unguided = F.pixel_shuffle(sample, 2).chunk(2)
        clean = (unguided + GUIDANCE * (guided - unguided)).clamp(-1, 1)
        velocity = (x - clean) / (t / TIME_STEPS)
        x = scheduler.step(velocity, t, x, return_dict=False)[0]
    return x


def unclip_speed(cache: ModelCache, rates: Rates, four_s: float, flops: float) -> dict[str, Any]:
    """Seconds a step of Easel's loop and of diffusers', and a picture as a share of the bound.

    Args:
        cache: where the decoder is leased.
        rates: what the machine reaches in this run.
        four_s: seconds of a whole run of four pictures.
        flops: operations of that run.
    """
    with cache.lease(DECODER) as decoder:
        device = decoder.get_buffer("places").device
        noise = Noise.of(range(4), len(decoder.caption_encoder.image_mean), decoder.latent_shape,
                         device)
        text = "a photo of a red apple and a blue car"

        def ours() -> torch.Tensor:
            return list(sample_decoder(decoder, [text] * 4, noise.prior, noise.decoder, STEPS,
                                       GUIDANCE))[-1]

        def plain() -> torch.Tensor:
            return plain_loop(decoder, text, noise.prior, noise.decoder)

        # In turns, so that both meet the same disturbances.
        rounds = [(best_seconds(ours, 1), best_seconds(plain, 1)) for _ in range(ROUNDS)]
        size = parameter_bytes(decoder)
        difference = float((ours() - plain()).abs().max())
    own_s, plain_s = (min(times) / STEPS for times in zip(*rounds, strict=True))
    bound = rates.bound_s(flops, STEPS * size)
    return {"ms_per_step": 1000 * own_s, "diffusers_ms_per_step": 1000 * plain_s,
            "largest_difference": difference, "s_per_picture": four_s / 4,
            "gflops_per_picture": flops / 4e9, "fraction_of_bound": bound / four_s}
