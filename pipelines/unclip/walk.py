"""Walk between two pictures or prompts: unCLIP's interpolation, as frames, a strip and a video.

All frames start from the same noise; only the image embedding moves, along the sphere.

Source: Ramesh et al., "Hierarchical Text-Conditional Image Generation with CLIP Latents" (2022),
section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from pipelines.core.errors import InvalidRequest, WeightsError
from pipelines.core.events import Preview, Progress
from pipelines.core.options import parse_options
from pipelines.core.request import MAX_PROMPT_CHARS, SEED_COUNT, decoded
from pipelines.core.sentences import Sentence
from pipelines.core.texts import check_text
from pipelines.models.clip_features import image_features, text_features
from pipelines.models.pixels import enlarge
from pipelines.pipeline import RunContext
from pipelines.unclip.pipeline import (
    CLIP,
    DECODER,
    OTHER_CLIP,
    PRIOR,
    UPSCALER,
    VQGAN,
    UnclipOptions,
)
from pipelines.unclip.steps import Noise, decode, sample_decoder, sample_prior, slerp

MIN_FRAMES, MAX_FRAMES = 2, 64
FRAMES_AT_ONCE = 8
MODELS = (PRIOR, DECODER, CLIP, VQGAN, UPSCALER)
WalkEvent: TypeAlias = Progress | Preview


def _ignore(event: WalkEvent) -> None:
    pass


@dataclass(frozen=True)
class Walk:
    """From where to where.

    Attributes:
        start: a prompt, or the file of a picture.
        end: likewise.
        frames: pictures, the two ends among them.
        seed: of the noise that all of them start from.
        options: how they are drawn.
    """

    start: str | bytes
    end: str | bytes
    frames: int
    seed: int
    options: UnclipOptions

    @classmethod
    def checked(cls, start: str | bytes, end: str | bytes, frames: int = 9, seed: int = 0,
                options: Mapping[str, Any] | None = None) -> Walk:
        """A walk whose every part was checked.

        Raises:
            InvalidRequest: one sentence about the first fault.
            InvalidImage: an end is not a picture that Easel reads.
        """
        for end_of_walk, name in ((start, "start"), (end, "end")):
            if isinstance(end_of_walk, bytes):
                decoded(end_of_walk)
            elif not end_of_walk.strip():
                raise InvalidRequest("The {} of the walk is neither a prompt nor a picture.", name,
                                     field=name)
            elif len(end_of_walk) > MAX_PROMPT_CHARS:
                raise InvalidRequest("The {} of the walk has {:,} characters; {} is the most.",
                                     name, len(end_of_walk), MAX_PROMPT_CHARS, field=name)
            else:
                check_text(end_of_walk, "The prompt", name)
        for number, low, high, name in ((frames, MIN_FRAMES, MAX_FRAMES, "frames"),
                                        (seed, 0, SEED_COUNT - 1, "seed")):
            if isinstance(number, bool) or not isinstance(number, int) \
                    or not low <= number <= high:
                raise InvalidRequest("{} must be a whole number between {} and {}.",
                                     name.capitalize(), low, high, field=name)
        parsed = parse_options(UnclipOptions, options or {})
        assert isinstance(parsed, UnclipOptions)
        return cls(start, end, frames, seed, parsed)


@torch.no_grad()
def walk(plan: Walk, context: RunContext, callback: Callable[[WalkEvent], None] = _ignore,
         ) -> np.ndarray:
    """Draw the frames.

    Args:
        plan: a checked walk.
        context: of the run.
        callback: called at each step with how far the walk is, in frames (those of a batch advance
            together, so that it counts the whole frames that their steps so far would make), and
            after a batch with all frames so far.

    Returns:
        (frames, H, W, 3) uint8 RGB.

    Raises:
        Cancelled: it was stopped.
        WeightsError: prior or decoder know another CLIP than the one that is here.
    """
    options = plan.options
    with context.leases as stack:
        leased = []
        for name in MODELS:
            for loading in context.loading(name):
                callback(loading)
            leased.append(stack.enter_context(context.lease(name)))
        prior, decoder, clip, vqgan, upscaler = leased
        there = context.cache.fingerprints((CLIP,))[CLIP]
        for part, name in ((decoder, "decoder"), (prior, "prior")):
            if None not in (part.clip_sha256, there) and part.clip_sha256 != there:
                raise WeightsError("{}, so that there is no way between embeddings.",
                                   Sentence(OTHER_CLIP, name))
        noise = Noise.of((plan.seed,), prior.image_dim, decoder.latent_shape, clip.device)

        def embedding(end: str | bytes) -> Tensor:
            if isinstance(end, bytes):
                return image_features(clip, [decoded(end)])
            if not options.prior:
                return text_features(clip, [end])
            steps = sample_prior(prior, clip, end, noise.prior, options.prior_steps,
                                 options.prior_guidance_scale)
            return prior.unit(list(steps)[-1])

        shares = torch.linspace(0, 1, plan.frames, device=clip.device)[:, None]
        start, end = (embedding(each).expand(plan.frames, -1) for each in (plan.start, plan.end))
        image = decoder.caption_encoder.standardise(slerp(start, end, shares))
        drawn, frames = [], np.empty(0)
        for rows in torch.arange(plan.frames).split(FRAMES_AT_ONCE):
            latents = noise.decoder
            sampling = sample_decoder(decoder, [""] * len(rows), image[rows],
                                      noise.decoder.expand(len(rows), -1, -1, -1),
                                      options.decoder_steps, options.decoder_guidance_scale)
            for step in range(options.decoder_steps):
                latents = next(sampling)
                context.check()
                done = int(rows[0]) + len(rows) * (step + 1) // options.decoder_steps
                callback(Progress(done, plan.frames, context.elapsed_s()))
            drawn.append(enlarge(decode(vqgan, latents), upscaler))
            frames = np.concatenate(drawn)
            if len(frames) < plan.frames:
                callback(Preview(len(frames), frames, (plan.seed,) * len(frames)))
    return frames
