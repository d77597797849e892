"""DALL·E's one stream, looked into: what the transformer expected of each block of a picture.

One pass under teacher forcing: every block is predicted from the caption and the blocks that stand
before it in the picture, as if the transformer had written them itself.

Source: Ramesh et al., "Zero-Shot Text-to-Image Generation" (2021), section 2; guidance: Ho and
Salimans, "Classifier-Free Diffusion Guidance" (2022), section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.core.errors import Cancelled, InvalidRequest
from pipelines.dalle import TRANSFORMER, DalleOptions, DallePipeline, begin, write_block
from pipelines.inside.attention import Looked, looked_at
from pipelines.inside.blocks import block_logits, draw_blocks, likeliest_blocks
from pipelines.inside.codes import CODER, draw_grids, psnr_db, read_grid
from pipelines.inside.question import checked_prompt
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.vocabulary import load_vocabulary
from pipelines.models.dalle import ImageTransformer
from pipelines.models.vqgan import VQGAN
from pipelines.registry import Registry
from pipelines.sampling import guide, truncate

SAME_DB = 25.0  # PSNR of a picture and the same before it was made larger; others have 15


@dataclass(frozen=True, eq=False)
class Stream:
    """What was expected of each of the N blocks of a picture, in the order of writing.

    Attributes:
        picture: (S, S, 3) uint8 RGB, the codes drawn.
        reread: whether the codes were read of the picture; else they are those it was drawn by.
        side: blocks along a side of the picture, so that N is its square.
        surprise: (N,) float32, minus the logarithm of a block's probability given the caption and
            the blocks before it, in nats.
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
    reread: bool
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


@dataclass(frozen=True)
class Written:
    """What a picture was written by, so that its codes can be written again.

    Attributes:
        prompt: as it was then.
        seed: of this picture alone.
        options: of the generator.
    """

    prompt: str
    seed: int
    options: DalleOptions


def written_by(facts: Mapping[str, Any]) -> Written | None:
    """What a picture's file says of how it was written; None where it was drawn by others.

    What no run could be asked for says nothing either.

    Args:
        facts: as ``pipelines.core.metadata.picture_metadata`` makes them, from anyone.
    """
    asked = {name: facts.get(name) for name in ("pipeline", "prompt", "seed", "options")}
    # A request takes digits for a seed, and none for a new one.
    if asked["pipeline"] != DallePipeline.name or not isinstance(asked["seed"], int):
        return None
    registry = Registry()
    registry.register(DallePipeline())
    try:
        request = registry.check(asked, kept=True)
    except InvalidRequest:
        return None
    if request.options.model != TRANSFORMER:
        return None
    return Written(request.prompt, request.seed, request.options)


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
        """The transformer and the VQGAN."""
        return (TRANSFORMER, CODER)

    def answer(self, models: ModelCache, cancelled: Callable[[], bool] = lambda: False) -> Stream:
        """See ``Question.answer`` and ``Stream``.

        Raises:
            InvalidRequest: the VQGAN's codes are not the transformer's.
        """
        with (models.lease(TRANSFORMER, cancelled=cancelled) as model,
              models.lease(CODER, cancelled=cancelled) as vqgan):
            grid, reread = own_grid(self.image, self.written, model, vqgan, cancelled)
            found = stream_of(grid, texts_for(model, self.prompt), model, vqgan, self.options,
                              cancelled)
            return replace(found, reread=reread)


def own_grid(image: np.ndarray, written: Written | None, model: ImageTransformer, vqgan: VQGAN,
             cancelled: Callable[[], bool] = lambda: False) -> tuple[np.ndarray, bool]:
    """The codes (G, G) int64 that a picture was drawn by, or those that are read of it.

    Args:
        image: (H, W, 3) uint8 RGB, of any size.
        written: what the picture was written by, where that is known.
        model: the transformer.
        vqgan: reads and draws.
        cancelled: polled while codes are written again.

    Returns:
        The codes, and whether they were read of the picture.

    Raises:
        Cancelled: ``cancelled`` turned true.
        InvalidRequest: the VQGAN's codes are not the transformer's.
    """
    square, grid = read_grid(image, vqgan)
    if len(grid) != model.config.grid:
        raise InvalidRequest("The transformer writes {0} × {0} codes, and the VQGAN reads "
                             "{1} × {1}.", model.config.grid, len(grid), field="model")
    again = None if written is None else write_again(written, model, cancelled)
    # Other weights, or another file's facts, and it is another picture.
    if again is None or psnr_db(square, draw_grids(again[None], vqgan)[0]) < SAME_DB:
        return grid, True
    return again, False


def texts_for(model: ImageTransformer, prompt: str, other: str = "") -> Tensor:
    """Token ids (2, T) int64 of a prompt and of what stands in its place without one."""
    return load_vocabulary()([prompt, other], context_length=model.config.text_length)


def write_again(written: Written, model: ImageTransformer,
                cancelled: Callable[[], bool] = lambda: False) -> np.ndarray:
    """The codes (G, G) int64 that a picture was drawn by.

    Raises:
        Cancelled: ``cancelled`` turned true.
    """
    options = written.options
    texts = texts_for(model, written.prompt, options.negative_prompt)
    writing = begin(model, texts, [written.seed], options.guidance_scale != 1)
    for _ in range(model.num_steps):
        _poll(cancelled)
        write_block(model, writing, options)
    return model.to_grid(torch.stack(writing.blocks, 1))[0].cpu().numpy()


@torch.no_grad()
def stream_of(grid: np.ndarray, text_ids: Tensor, model: ImageTransformer, vqgan: VQGAN,
              options: DalleOptions, cancelled: Callable[[], bool] = lambda: False) -> Stream:
    """What a transformer expected of codes; see ``Stream``.

    Args:
        grid: (G, G) int64, those of the picture.
        text_ids: (2, T) int64: the caption's, and those of an empty one.
        model: predicts.
        vqgan: draws.
        options: see ``ReadStream``.
        cancelled: polled between the pass, the beam and the drawing.

    Raises:
        Cancelled: ``cancelled`` turned true.
    """
    device = model.start.device
    codes = torch.from_numpy(grid).to(device)
    tokens = model.to_blocks(codes[None]).expand(2, -1, -1)  # (2, N, T)
    _, hidden = model.trunk(text_ids.to(device), tokens)  # (2, N, dim)
    _poll(cancelled)
    blocks = likeliest_blocks(model, hidden[0])  # (N, K, T)
    _poll(cancelled)
    # The picture's own block first: (2, N, 1 + K, T), then logits (2, N, 1 + K, T, values).
    asked = torch.cat([tokens[0][:, None], blocks], 1).expand(2, -1, -1, -1)
    logits = torch.stack([block_logits(model, each, some) for each, some
                          in zip(hidden, asked, strict=True)])
    with_caption, without = (_said(each.log_softmax(-1), asked[0]) for each in logits)
    kept = guide(logits[0], logits[1], options.guidance_scale) / options.temperature
    kept = truncate(kept.flatten(0, -2), options.top_k, options.top_p).view_as(logits[0])
    drawn = _said(kept.log_softmax(-1), asked[0]).exp()
    _poll(cancelled)
    return Stream(
        picture=draw_grids(grid[None], vqgan)[0], reread=True,
        side=model.config.grid // model.config.patch, surprise=_plain(-with_caption[:, 0]),
        without=_plain(-without[:, 0]), blocks=asked[0].cpu().numpy(),
        likely=_plain(with_caption.exp()), likely_without=_plain(without.exp()),
        drawn=_plain(drawn), count=vqgan.codes,
        patches=draw_blocks(grid, model, vqgan, asked[0]),
        looked=looked_at(text_ids[0].to(device), tokens[0], model))


def _said(values: Tensor, tokens: Tensor) -> Tensor:
    """Logarithms (…, T, values) of tokens (…, T), summed over them: of whole blocks (…,)."""
    return values.gather(-1, tokens[..., None])[..., 0].sum(-1)


def _plain(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()


def _poll(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise Cancelled
