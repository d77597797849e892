"""From texts and pictures to image embeddings, and from those to pictures: unCLIP's own steps.

Every row has a generator of its own for its noise, so that a picture does not depend on the rows
beside it. Guided rows run with the others in one batch.

Source: Ramesh et al., "Hierarchical Text-Conditional Image Generation with CLIP Latents" (2022),
sections 2 and 3; guidance: Ho and Salimans, "Classifier-Free Diffusion Guidance" (2022), section 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.flow_matching import flow_steps
from pipelines.models.checkpoints.vocabulary import load_vocabulary
from pipelines.models.clip_features import text_features
from pipelines.models.tokenizer import PAD_ID
from pipelines.sampling import guide

if TYPE_CHECKING:  # what a run is handed; diffusers takes seconds to import
    from pipelines.models.clip import ClipModel
    from pipelines.models.unclip import UnclipDecoder, UnclipPrior
    from pipelines.models.vqgan import VQGAN


@dataclass(frozen=True)
class Noise:
    """Where each picture starts.

    Attributes:
        prior: (N, D) standard normal, for the image embedding.
        decoder: (N, C, grid, grid) standard normal, for the latents.
    """

    prior: Tensor
    decoder: Tensor

    @classmethod
    def of(cls, seeds: Sequence[int], image_dim: int, latent_shape: Sequence[int],
           device: torch.device) -> Noise:
        """The noise of some seeds; the decoder's is the same whether the prior's is used or not."""
        prior, decoder = [], []
        for seed in seeds:
            generator = torch.Generator().manual_seed(seed)
            prior.append(torch.randn(image_dim, generator=generator))
            decoder.append(torch.randn(*latent_shape, generator=generator))
        return cls(torch.stack(prior).to(device), torch.stack(decoder).to(device))


def slerp(start: Tensor, end: Tensor, share: Tensor | float) -> Tensor:
    """Walk on the sphere from unit-length vectors to others, at a constant speed.

    Args:
        start: (N, D).
        end: (N, D).
        share: how far, 0 to 1; a number or (N, 1).

    Returns:
        (N, D) unit-length.

    Source: Shoemake, "Animating Rotation with Quaternion Curves" (1985), section 3.3.
    """
    angle = (start * end).sum(-1, keepdim=True).clamp(-1, 1).acos()
    share = torch.as_tensor(share, dtype=start.dtype, device=start.device)
    mixed = torch.where(angle < 1e-4, start + share * (end - start),
                        ((1 - share) * angle).sin() * start + (share * angle).sin() * end)
    return F.normalize(mixed, dim=-1)


@torch.no_grad()
def text_difference(clip: ClipModel, embeds: Tensor, before: str, after: str, share: float,
                    ) -> Tensor:
    """Turn image embeddings by what one text says and another does not.

    Args:
        clip: the CLIP of the embeddings.
        embeds: (N, D) unit-length.
        before: what the picture shows.
        after: what it should show.
        share: how far to turn, 0 to 1.

    Source: Ramesh et al. (2022), section 3.3.
    """
    old, new = text_features(clip, [before, after])
    return slerp(embeds, F.normalize(new - old, dim=-1).expand_as(embeds), share)


def _without_grad(steps: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """The same steps; no grad mode is held between them."""
    while True:
        with torch.no_grad():
            step = next(steps, None)
        if step is None:
            return
        yield step


def text_condition(clip: ClipModel, texts: Sequence[str], features: Tensor,
                   ) -> tuple[Tensor, Tensor, Tensor]:
    """What a CLIP knows of texts, for ``UnclipPrior.predict``.

    Args:
        clip: reads the texts.
        texts: N of them.
        features: of the texts, (N, D), unit length.

    Returns:
        The features (N, D), states of the tokens (N, T, D), and which of them are no
        padding (N, T) bool.
    """
    module = cast(Any, clip.module)
    ids = clip.tokenizer(list(texts), context_length=module.context_length).to(clip.device)
    x = module.token_embedding(ids) + module.positional_embedding
    states = module.ln_final(module.transformer(x, attn_mask=module.attn_mask))
    states = states @ module.text_projection  # as wide as the features
    return features, states.float(), ids != PAD_ID


@torch.no_grad()
def sample_prior(prior: UnclipPrior, clip: ClipModel, text: str, noise: Tensor, steps: int,
                 guidance_scale: float, negative: str = "") -> Iterator[Tensor]:
    """Let the prior turn a caption into image embeddings.

    Args:
        prior: of this CLIP.
        clip: reads the caption.
        text: the caption.
        noise: (N, D).
        steps: how many.
        guidance_scale: 1 for none.
        negative: the caption to lead away from.

    Returns:
        After each step the standardised embeddings (N, D) so far.
    """
    guided, count = guidance_scale != 1, len(noise)
    # Each text alone, so that its features do not depend on the other one.
    texts = [text_condition(clip, [t], text_features(clip, [t]))
             for t in ((text, negative) if guided else (text,))]
    dtype = prior.transformer.dtype
    embeds, states, visible = (torch.cat(parts).repeat_interleave(count, dim=0)
                               for parts in zip(*texts, strict=True))
    condition = embeds.to(dtype), states.to(dtype), visible

    def predict(x: Tensor, t: Tensor) -> Tensor:
        rows = len(condition[0]) // count
        clean = prior.predict(x.to(dtype).repeat(rows, 1), t.repeat(rows), condition).float()
        return guide(clean[:count], clean[count:], guidance_scale) if guided else clean

    return (x for x, _ in _without_grad(flow_steps(predict, noise, steps)))


@torch.no_grad()
def sample_decoder(decoder: UnclipDecoder, texts: Sequence[str], image: Tensor, noise: Tensor,
                   steps: int, guidance_scale: float, negative: str = "") -> Iterator[Tensor]:
    """Let the decoder draw.

    Args:
        decoder: the decoder.
        texts: the caption of each picture; empty for none.
        image: (N, D) standardised image embeddings; a row of zeros for none.
        noise: (N, C, grid, grid).
        steps: how many.
        guidance_scale: 1 for none.
        negative: the caption to lead away from.

    Returns:
        After each step the latents (N, C, grid, grid) in [-1, 1] that the pictures tend to.
    """
    guided, count, device = guidance_scale != 1, len(noise), noise.device
    ids = load_vocabulary()([*texts, *[negative] * count] if guided else list(texts),
                            context_length=decoder.text_length).to(device)
    images = torch.cat([image, torch.zeros_like(image)]) if guided else image
    dtype = decoder.unet.dtype
    condition = decoder.condition(ids, images.to(dtype))

    def predict(x: Tensor, t: Tensor) -> Tensor:
        rows = len(ids) // count
        clean = decoder.predict(x.to(dtype).repeat(rows, 1, 1, 1), t.repeat(rows), condition)
        clean = clean.float()
        if guided:
            clean = guide(clean[:count], clean[count:], guidance_scale)
        return clean.clamp(-1, 1)

    return (clean for _, clean in _without_grad(flow_steps(predict, noise, steps)))


@torch.no_grad()
def decode(vqgan: VQGAN, latents: Tensor) -> Tensor:
    """Pictures (N, 3, H, W), about [-1, 1], of latents, each replaced by the nearest code."""
    return vqgan.decode_indices(vqgan.nearest(latents))
