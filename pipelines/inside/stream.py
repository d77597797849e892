"""DALL·E's one stream, looked into: what the transformer expected of each block of a picture.

One pass under teacher forcing: each token of the plan and every block of the layers is predicted
from the caption and what stands before it, as if the transformer had written that itself.

Source: Ramesh et al., "Zero-Shot Text-to-Image Generation" (2021), section 2; guidance: Ho and
Salimans, "Classifier-Free Diffusion Guidance" (2022), section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from pipelines.dalle import TRANSFORMER, DalleOptions, read_texts
from pipelines.inside.attention import Looked, looked_at
from pipelines.inside.blocks import block_logits, draw_blocks, likeliest_blocks
from pipelines.inside.layers import Stage, each_layer, stages_in, vqgan_of
from pipelines.inside.planned import PlanToken, expected_plan
from pipelines.inside.question import checked_prompt
from pipelines.inside.written import Layers, Written, own_layers, poll
from pipelines.models.cache.cache import ModelCache
from pipelines.models.dalle import ImageTransformer
from pipelines.sampling import guide, truncate
from pipelines.world.plans import slots_of


@dataclass(frozen=True, eq=False)
class Stream:
    """What was expected of each of the N blocks of a picture, in the order of writing.

    Attributes:
        picture: (256, 256, 3) uint8 RGB, the layers put together.
        layers: (L, S, S, 3) uint8 RGB, each alone: the ground, and the things before a chequered
            ground.
        codes: (L, G, G) int64, theirs.
        stages: of the layers, what each shows.
        reread: whether plan and codes were read of the picture; else they are those it was
            written by.
        plan: what was expected of the plan's tokens, in the order of writing.
        side: blocks along a side of a layer, so that N is L times its square.
        surprise: (N,) float32, minus the logarithm of a block's probability given the caption, the
            plan and the blocks before it, in nats.
        without: (N,) float32, the same without a caption.
        blocks: (N, 1 + K, T) int64, the picture's own block and the K likeliest, the likeliest
            first, in T tokens.
        likely: (N, 1 + K) float32, their probabilities with the caption.
        likely_without: (N, 1 + K) float32, and without it.
        drawn: (N, 1 + K) float32, and after guidance, temperature, top-k and top-p.
        count: how many codes there are to choose from.
        patches: (N, 1 + K, P, P, 3) uint8 RGB, what each would look like among the codes around.
        looked: which words the transformer looked at for each block.
    """

    picture: np.ndarray
    layers: np.ndarray
    codes: np.ndarray
    stages: tuple[Stage, ...]
    reread: bool
    plan: tuple[PlanToken, ...]
    side: int
    surprise: np.ndarray
    without: np.ndarray
    blocks: np.ndarray
    likely: np.ndarray
    likely_without: np.ndarray
    drawn: np.ndarray
    count: int
    patches: np.ndarray
    looked: Looked

    def place(self, number: int) -> tuple[int, int, int]:
        """Layer, row and column, from 0, of a block."""
        layer, at = divmod(number, self.side**2)
        return layer, *divmod(at, self.side)


@dataclass(frozen=True, eq=False)
class ReadStream:
    """The question what the transformer expected of a picture.

    Attributes:
        image: (H, W, 3) uint8 RGB, of any size.
        prompt: the caption to expect it by, which may be another than it was drawn by.
        options: how codes would be drawn: guidance, temperature, top-k and top-p count.
        written: what it was written by, where that is known. Codes that are read of a picture
            are others than it was drawn by, of which the transformer would expect next to none.
    """

    image: np.ndarray
    prompt: str
    options: DalleOptions = field(default_factory=DalleOptions)
    written: Written | None = None

    def __post_init__(self) -> None:
        """Check the prompt; see ``checked_prompt``."""
        object.__setattr__(self, "prompt", checked_prompt(self.prompt))

    @property
    def models(self) -> tuple[str, ...]:
        """The transformer, which brings its VQGAN."""
        return (TRANSFORMER,)

    def answer(self, models: ModelCache, cancelled: Callable[[], bool] = lambda: False) -> Stream:
        """See ``Question.answer``, ``own_layers`` and ``Stream``."""
        with models.lease(TRANSFORMER, cancelled=cancelled) as model:
            own = own_layers(self.image, self.written, model, cancelled)
            return stream_of(own, self.prompt, model, self.options, cancelled)


@torch.no_grad()
def stream_of(own: Layers, prompt: str, model: ImageTransformer, options: DalleOptions,
              cancelled: Callable[[], bool] = lambda: False) -> Stream:
    """What a transformer expected of a plan and of codes; see ``Stream``.

    Args:
        own: those of the picture.
        prompt: the caption.
        model: predicts, and draws by its VQGAN.
        options: see ``ReadStream``.
        cancelled: polled between the pass, the beam and the drawing.

    Raises:
        Cancelled: ``cancelled`` turned true.
    """
    device = model.start.device
    ids, states = read_texts(model, [prompt, ""])  # the second row is without a caption
    plan = torch.from_numpy(own.plan).to(device)
    tokens = model.to_blocks(torch.from_numpy(own.codes).to(device)[None])[0]  # (N, T)
    plans = plan.expand(2, -1)
    planned, hidden = model.trunk(ids, tokens.expand(2, -1, -1), states, plans, slots_of(plans))
    poll(cancelled)
    blocks = likeliest_blocks(model, hidden[0])  # (N, K, T)
    poll(cancelled)
    # The picture's own block first: (N, 1 + K, T), then logits (2, N, 1 + K, T, values).
    asked = torch.cat([tokens[:, None], blocks], 1)
    logits = torch.stack([block_logits(model, each, asked) for each in hidden])
    with_caption, without = (_said(each.log_softmax(-1), asked) for each in logits)
    kept = guide(logits[0], logits[1], options.guidance_scale) / options.temperature
    kept = truncate(kept.flatten(0, -2), options.top_k, options.top_p).view_as(logits[0])
    drawn = _said(kept.log_softmax(-1), asked).exp()
    poll(cancelled)
    vqgan = vqgan_of(model)
    return Stream(
        picture=own.picture, layers=each_layer(own.codes, vqgan), codes=own.codes,
        stages=tuple(stages_in(own.plan)), reread=own.reread,
        plan=expected_plan(planned, own.plan, model, own.given),
        side=model.config.grid // model.config.patch, surprise=_plain(-with_caption[:, 0]),
        without=_plain(-without[:, 0]), blocks=asked.cpu().numpy(),
        likely=_plain(with_caption.exp()), likely_without=_plain(without.exp()),
        drawn=_plain(drawn), count=vqgan.codes, patches=draw_blocks(own.codes, model, asked),
        looked=looked_at(ids[0], states[0], plan, tokens, model))


def _said(values: Tensor, tokens: Tensor) -> Tensor:
    """Logarithms (…, T, values) of tokens (…, T), summed over them: of whole blocks (…,)."""
    return values.gather(-1, tokens[..., None])[..., 0].sum(-1)


def _plain(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()
