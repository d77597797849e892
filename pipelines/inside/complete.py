"""A picture that DALL·E's transformer goes on with: some codes stay, it writes the rest.

The plan stays. What stays of the codes is read in its turn, as if the transformer had written it;
it therefore goes by what was written before, the ground, the things before and what stands above a
place and to the left of it, never by what comes later.

Source: Ramesh et al., "Zero-Shot Text-to-Image Generation" (2021), section 2; completing pictures:
Chen et al., "Generative Pretraining from Pixels" (2020), section 3 and figure 4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from pipelines.core.request import SEED_COUNT, candidate_seed
from pipelines.dalle import TRANSFORMER, DalleOptions, begin, read_texts, write_block
from pipelines.inside.layers import draw_kept, draw_picture, spots_in, stages_in
from pipelines.inside.mask import Mask, kept_codes, kept_in_layers
from pipelines.inside.question import check_whole, checked_prompt
from pipelines.inside.written import Layers, Written, own_layers, poll
from pipelines.models.cache.cache import ModelCache
from pipelines.models.dalle import ImageTransformer
from pipelines.negative_prompt import check_negative
from pipelines.world.layouts import GRID

MAX_COMPLETIONS = 8
BOLD = DalleOptions(temperature=1.0)  # or all seeds write nearly the same
TO_WRITE = -1  # in the place of a token that is to be drawn


@dataclass(frozen=True, eq=False)
class Completed:
    """A picture that was gone on with in N ways.

    Attributes:
        picture: (256, 256, 3) uint8 RGB, its layers put together.
        reread: whether plan and codes were read of it; else they are those it was written by.
        plan: (P,) int64, its tokens, which stay.
        cells: (16, 16) bool, which parts of the picture were to stay.
        kept: (L, G, G) bool, which codes of each layer stay.
        stays: (256, 256, 3) uint8 RGB, they drawn.
        seeds: of the completions.
        codes: (N, L, G, G) int64, theirs.
        pictures: (N, 256, 256, 3) uint8 RGB, they drawn.
    """

    picture: np.ndarray
    reread: bool
    plan: np.ndarray
    cells: np.ndarray
    kept: np.ndarray
    stays: np.ndarray
    seeds: tuple[int, ...]
    codes: np.ndarray
    pictures: np.ndarray


@dataclass(frozen=True, eq=False)
class CompletePicture:
    """The question how the transformer goes on with a part of a picture.

    Attributes:
        image: (H, W, 3) uint8 RGB, of any size.
        prompt: what the picture should show.
        mask: what of the picture stays, as of ``kept_codes``; see ``kept_in_layers`` for its codes.
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
        """The transformer, which brings its VQGAN."""
        return (TRANSFORMER,)

    def answer(self, models: ModelCache, cancelled: Callable[[], bool] = lambda: False,
               ) -> Completed:
        """See ``Question.answer``, ``own_layers`` and ``Completed``.

        Raises:
            InvalidRequest: the mask keeps all codes, or none.
        """
        with models.lease(TRANSFORMER, cancelled=cancelled) as model:
            cells = kept_codes(self.mask, GRID)
            own = own_layers(self.image, self.written, model, cancelled)
            kept = kept_in_layers(cells, spots_in(own.plan), model.config.grid)
            kept = kept[[stage.thing for stage in stages_in(own.plan)]]
            seeds = tuple(candidate_seed(self.seed, index) for index in range(self.count))
            codes = complete(own, kept, self.prompt, seeds, model, self.options, cancelled)
            # One by one: the last bits of a picture must not depend on how many are beside it.
            pictures = np.stack([draw_picture(own.plan, each, model) for each in codes])
            return Completed(own.picture, own.reread, own.plan, cells, kept,
                             draw_kept(own.plan, own.codes, kept, model), seeds, codes, pictures)


@torch.no_grad()
def complete(own: Layers, kept: np.ndarray, prompt: str, seeds: tuple[int, ...],
             model: ImageTransformer, options: DalleOptions,
             cancelled: Callable[[], bool] = lambda: False) -> np.ndarray:
    """Write the codes of a picture that do not stay.

    Args:
        own: the picture's plan, which stays, and codes.
        kept: (L, G, G) bool, which of them stay.
        prompt: what it should show.
        seeds: one a completion, whose codes depend on it alone.
        model: writes.
        options: see ``CompletePicture``.
        cancelled: polled at every block.

    Returns:
        (N, L, G, G) int64.

    Raises:
        Cancelled: ``cancelled`` turned true.
    """
    codes = torch.from_numpy(own.codes).to(model.start.device)
    stays = torch.from_numpy(kept).to(codes.device)
    tokens = model.to_blocks(codes[None])[0]  # (N, T)
    # Every digit of a code stays or is drawn with it: a number all of whose digits are one.
    ones = sum(model.config.codebook_size**digit for digit in range(model.config.digits))
    written = model.to_blocks(torch.where(stays, 0, ones)[None])[0] > 0
    given = tokens.masked_fill(written, TO_WRITE)
    last = int(written.any(-1).nonzero().max())
    ids, states = read_texts(model, [prompt, options.negative_prompt])
    writing = begin(model, ids, states, seeds, options.guidance_scale != 1,
                    {position: [token] for position, token in enumerate(own.plan.tolist())})
    for place in range(last + 1):
        poll(cancelled)
        write_block(model, writing, options, given[place])
    rest = [each.expand(len(seeds), -1) for each in tokens[last + 1:]]
    return model.to_grid(torch.stack([*writing.blocks, *rest], 1)).cpu().numpy()
