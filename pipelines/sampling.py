"""Draw tokens from logits, each row of a batch from random numbers of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class RowNoise:
    """Gumbel noise for the rows of a batch.

    Each row has a generator of its own, on the CPU, and takes as many numbers from it at a time as
    it would alone. What a row receives depends on its seed only.

    Args:
        seeds: one a row.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __len__(self) -> int:
        return len(self._generators)

    def draw(self, *shape: int) -> Tensor:
        """Standard Gumbel noise (rows, *shape), float32 on the CPU."""
        uniform = torch.stack([torch.rand(shape, generator=g) for g in self._generators])
        tiny = torch.finfo(torch.float32).tiny
        return -(-uniform.clamp_min(tiny).log()).clamp_min(tiny).log()


def guide(conditioned: Tensor, unconditioned: Tensor, guidance_scale: float) -> Tensor:
    """Move logits away from those without a caption.

    Source: Ho and Salimans, "Classifier-Free Diffusion Guidance" (2022), section 3.2; for codes:
    Gafni et al., "Make-A-Scene" (2022), section 3.4.
    """
    return unconditioned + guidance_scale * (conditioned - unconditioned)


def truncate(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """Set unlikely logits to minus infinity.

    Args:
        logits: (B, V).
        top_k: how many to keep, more where several are equal; 0 for all.
        top_p: keep the likeliest that have this probability together; 1 for all.

    Source: Fan et al., "Hierarchical Neural Story Generation" (2018), section 5.4; Holtzman et
    al., "The Curious Case of Neural Text Degeneration" (2019), section 3.1.
    """
    if 0 < top_k < logits.shape[-1]:
        least = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p < 1:
        values, order = logits.sort(dim=-1, descending=True)
        shares = values.softmax(dim=-1)
        beyond = shares.cumsum(dim=-1) - shares >= top_p  # the likeliest is never beyond
        beyond[:, 0] = False
        logits = logits.masked_fill(torch.zeros_like(beyond).scatter(1, order, beyond), -torch.inf)
    return logits


def choose(logits: Tensor, noise: Tensor, temperature: float, top_k: int, top_p: float) -> Tensor:
    """Draw one token a row by the Gumbel-max trick.

    A difference in the last bits of the logits, as between batch sizes, changes a choice only
    where two tokens are as good as equal, even at the edge of what ``truncate`` keeps. Drawing by
    inverse cumulative distribution would shift all later tokens at such an edge.

    Args:
        logits: (B, V).
        noise: (B, V) standard Gumbel noise.
        temperature: divides the logits; greater than 0.
        top_k: see ``truncate``.
        top_p: see ``truncate``.

    Returns:
        (B,) int64.

    Source: Maddison et al., "A* Sampling" (2014), section 2.
    """
    kept = truncate(logits.float() / temperature, top_k, top_p)
    return (kept + noise.to(kept.device)).argmax(dim=-1)
