"""A picture that DALL·E's transformer goes on with: some codes stay, it writes the rest.

What stays is read in its turn, as if the transformer had written it; it therefore goes by what
stands above a place and to the left of it, never by what comes later.

Source: Ramesh et al., "Zero-Shot Text-to-Image Generation" (2021), section 2; completing pictures:
Chen et al., "Generative Pretraining from Pixels" (2020), section 3 and figure 4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from pipelines.core.errors import Cancelled
from pipelines.core.request import SEED_COUNT, candidate_seed
from pipelines.dalle import TRANSFORMER, DalleOptions, begin, write_block
from pipelines.inside.codes import CODER, draw_grids
from pipelines.inside.mask import Mask, kept_codes
from pipelines.inside.question import check_whole, checked_prompt
from pipelines.inside.stream import Written, own_grid, texts_for
from pipelines.models.cache.cache import ModelCache
from pipelines.models.dalle import ImageTransformer
from pipelines.negative_prompt import check_negative

MAX_COMPLETIONS = 8
BOLD = DalleOptions(temperature=1.0)  # or all seeds write nearly the same
TO_WRITE = -1  # in the place of a token that is to be drawn


@dataclass(frozen=True, eq=False)
class Completed:
    """A picture that was gone on with in N ways.

    Attributes:
        picture: (S, S, 3) uint8 RGB, its codes drawn.
        reread: whether the codes were read of it; else they are those it was drawn by.
        kept: (G, G) bool, which codes stay.
        seeds: of the completions.
        grids: (N, G, G) int64, their codes.
        pictures: (N, S, S, 3) uint8 RGB, they drawn.
    """

    picture: np.ndarray
    reread: bool
    kept: np.ndarray
    seeds: tuple[int, ...]
    grids: np.ndarray
    pictures: np.ndarray


@dataclass(frozen=True, eq=False)
class CompletePicture:
    """The question how the transformer goes on with a part of a picture.

    Attributes:
        image: (H, W, 3) uint8 RGB, of any size.
        prompt: what the picture should show.
        mask: which codes stay, as of ``kept_codes``.
        options: how codes are drawn; by default boldly.
        seed: of the first completion; those of the others follow it.
        count: of completions.
        written: what the picture was written by, where that is known; see ``ReadStream``.
    """

    image: np.ndarray
    prompt: str
    mask: Mask = "upper"
    options: DalleOptions = BOLD
    seed: int = 0
    count: int = 3
    written: Written | None = None

    def __post_init__(self) -> None:
        """Check prompt, seed and count.

        Raises:
            InvalidRequest: one of them is none.
        """
        object.__setattr__(self, "prompt", checked_prompt(self.prompt))
        check_whole(self.count, 1, MAX_COMPLETIONS, "Completions", "count")
        check_whole(self.seed, 0, SEED_COUNT - 1, "Seed", "seed")
        check_negative(self.options.negative_prompt, self.options.guidance_scale)

    @property
    def models(self) -> tuple[str, ...]:
        """The transformer and the VQGAN."""
        return (TRANSFORMER, CODER)

    def answer(self, models: ModelCache, cancelled: Callable[[], bool] = lambda: False,
               ) -> Completed:
        """See ``Question.answer`` and ``Completed``.

        Raises:
            InvalidRequest: the mask keeps all codes, or none; or the VQGAN's codes are not the
                transformer's.
        """
        with (models.lease(TRANSFORMER, cancelled=cancelled) as model,
              models.lease(CODER, cancelled=cancelled) as vqgan):
            kept = kept_codes(self.mask, model.config.grid)
            grid, reread = own_grid(self.image, self.written, model, vqgan, cancelled)
            seeds = tuple(candidate_seed(self.seed, index) for index in range(self.count))
            grids = complete(grid, kept, self.prompt, seeds, model, self.options, cancelled)
            # One by one: the last bits of a picture must not depend on how many are beside it.
            drawn = [draw_grids(each[None], vqgan)[0] for each in (grid, *grids)]
            return Completed(drawn[0], reread, kept, seeds, grids, np.stack(drawn[1:]))


@torch.no_grad()
def complete(grid: np.ndarray, kept: np.ndarray, prompt: str, seeds: tuple[int, ...],
             model: ImageTransformer, options: DalleOptions,
             cancelled: Callable[[], bool] = lambda: False) -> np.ndarray:
    """Write the codes of a picture that do not stay.

    Args:
        grid: (G, G) int64, the picture's codes.
        kept: (G, G) bool, which of them stay.
        prompt: what it should show.
        seeds: one a completion, whose codes depend on it alone.
        model: writes.
        options: see ``CompletePicture``.
        cancelled: polled at every block.

    Returns:
        (N, G, G) int64.

    Raises:
        Cancelled: ``cancelled`` turned true.
    """
    codes = torch.from_numpy(grid).to(model.start.device)
    stays = torch.from_numpy(kept).to(codes.device)
    tokens = model.to_blocks(codes[None])[0]  # (steps, T)
    # Every digit of a code stays or is drawn with it: a number all of whose digits are one.
    ones = sum(model.config.codebook_size**digit for digit in range(model.config.digits))
    written = model.to_blocks(torch.where(stays, 0, ones)[None])[0] > 0
    given = tokens.masked_fill(written, TO_WRITE)
    last = int(written.any(-1).nonzero().max())
    texts = texts_for(model, prompt, options.negative_prompt)
    writing = begin(model, texts, seeds, options.guidance_scale != 1)
    for place in range(last + 1):
        if cancelled():
            raise Cancelled
        write_block(model, writing, options, given[place])
    rest = [each.expand(len(seeds), -1) for each in tokens[last + 1:]]
    return model.to_grid(torch.stack([*writing.blocks, *rest], 1)).cpu().numpy()
