"""VQGAN+CLIP's loop, looked into: what CLIP saw at some steps, what it said, and what was moved.

Source: Crowson et al., "VQGAN-CLIP: Open Domain Image Generation and Editing with Natural Language
Guidance" (2022), section 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.core.errors import Cancelled, InvalidRequest
from pipelines.core.request import CheckedRequest
from pipelines.inside.question import check_whole, checked_prompt
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.pixels import to_uint8
from pipelines.models.precision import computing_in
from pipelines.registry import Registry
from pipelines.rerank import similarities, weighted_scores
from pipelines.vqgan_clip.cutouts import draw_numbers, make_cutouts
from pipelines.vqgan_clip.optimise import Optimisation
from pipelines.vqgan_clip.options import VQGANCLIPOptions
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from pipelines.vqgan_clip.set_up import prompt_parts, set_up
from pipelines.vqgan_clip.vqgan_drawer import VQGANDrawer

KEPT = 8  # steps that are shown
MIN_STEPS, MAX_STEPS = 8, 60
MAX_CUTOUTS = 16


@dataclass(frozen=True, eq=False)
class LoopStep:
    """One step, before the latents are moved.

    Attributes:
        step: from 1.
        picture: (S, S, 3) uint8 RGB, what the codes draw.
        cutouts: (K, P, P, 3) uint8 RGB, what CLIP sees of it.
        distances: of each text the squared angular distance to the cutouts, their mean, without
            its weight.
        pull: (S, S) float32 in [0, 1], how strongly the loss asks each pixel to change, as a share
            of the strongest of this step.
        wanted: (S, S, 3) uint8 RGB around grey, the change that it asks for.
        changed: (G, G) bool, the codes that differ from those of the step shown before; none at
            the first.
    """

    step: int
    picture: np.ndarray
    cutouts: np.ndarray
    distances: tuple[float, ...]
    pull: np.ndarray
    wanted: np.ndarray
    changed: np.ndarray


@dataclass(frozen=True, eq=False)
class Loop:
    """A run that was watched.

    Attributes:
        texts: what pulled, each with its weight.
        losses: of every step.
        steps: those that are shown, in order.
        cosines: of their pictures with the texts, weighted, by the ranker, which does not guide.
    """

    texts: tuple[tuple[str, float], ...]
    losses: tuple[float, ...]
    steps: tuple[LoopStep, ...]
    cosines: tuple[float, ...]


@dataclass(frozen=True)
class WatchLoop:
    """The question how a picture comes about by the embedded VQGAN and guide.

    Attributes:
        prompt: what to draw.
        seed: of the run, 0 to 2**32 - 1.
        steps: of the run, ``MIN_STEPS`` to ``MAX_STEPS``.
        cutouts: that CLIP looks at in each of them, up to ``MAX_CUTOUTS``; by default the
            embedded guide looks at one, the whole picture.
    """

    prompt: str
    seed: int = 0
    steps: int = 32
    cutouts: int = 1

    def __post_init__(self) -> None:
        """Check everything, so that a wrong question is refused where it is asked.

        Raises:
            InvalidRequest: no run can be asked for so.
        """
        object.__setattr__(self, "prompt", checked_prompt(self.prompt))
        check_whole(self.steps, MIN_STEPS, MAX_STEPS, "Steps", "steps")
        check_whole(self.cutouts, 1, MAX_CUTOUTS, "Cutouts", "cutouts")
        if len(prompt_parts(self.request)) > 1:
            raise InvalidRequest("This view shows one prompt and no story: leave the caret (^) "
                                 "out.", field="prompt")

    @cached_property
    def request(self) -> CheckedRequest[VQGANCLIPOptions]:
        """As VQGAN+CLIP would be asked."""
        registry = Registry()
        registry.register(VQGANCLIPPipeline())
        # More than one cutout is worth looking at where they differ.
        several = {"whole_cuts": 0.25, "smallest_cut": 0.5, "augmentations": "light",
                   "noise": 0.05} if self.cutouts > 1 else {}
        return registry.check({
            "pipeline": VQGANCLIPPipeline.name, "prompt": self.prompt, "seed": self.seed,
            "num_images": 1, "options": {
                "iterations": self.steps, "num_cutouts": self.cutouts, **several}})

    @property
    def models(self) -> tuple[str, ...]:
        """The VQGAN, the guide, and the ranker."""
        options = self.request.options
        return (*options.vqgans(), *options.guides(), RANKER)

    def answer(self, models: ModelCache, cancelled: Callable[[], bool] = lambda: False) -> Loop:
        """See ``Question.answer`` and ``Loop``."""
        vqgan_id, guide_id, _ = self.models
        with (models.lease(vqgan_id, cancelled=cancelled) as vqgan,
              models.lease(guide_id, cancelled=cancelled) as guide):
            device = vqgan.post_quant_conv.weight.device
            state = set_up(self.request, (vqgan, guide), (self.request.seed,), device,
                           models.evict_idle)
            optimisation, options = state.optimisation, self.request.options
            shown, losses, steps = shown_steps(self.steps), [], []
            before: Tensor | None = None
            for step in range(1, self.steps + 1):
                if cancelled():
                    raise Cancelled
                optimisation.descent.begin_step(step, self.steps)
                if step in shown:
                    found, before = look(optimisation, options, step, before)
                    steps.append(found)
                said = optimisation.step(step, self.steps, cancelled)
                if said is None:
                    raise Cancelled
                losses.append(said["loss"])
        texts, weights = zip(*((p.text, p.weight) for p in prompt_parts(self.request)[0]),
                             strict=True)
        with models.lease(RANKER, cancelled=cancelled) as ranker:
            judged = weighted_scores(
                similarities([step.picture for step in steps], texts, ranker), weights)
        return Loop(tuple(zip(texts, weights, strict=True)), tuple(losses), tuple(steps),
                    tuple(judged.tolist()))


def shown_steps(total: int) -> tuple[int, ...]:
    """Which of ``total`` steps are shown: ``KEPT`` from the first to the last, as many of the
    early ones, in which most happens, as of the others."""
    spread = np.linspace(0, 1, KEPT) ** 1.6
    return tuple(sorted({1 + round(float(share) * (total - 1)) for share in spread}))


def look(optimisation: Optimisation, options: VQGANCLIPOptions, step: int, before: Tensor | None,
         ) -> tuple[LoopStep, Tensor]:
    """What a step is about to do, which is not changed by looking.

    Args:
        optimisation: of one candidate, with a VQGAN and one guide, at the beginning of the step.
        options: of its run.
        step: from 1.
        before: (G, G) int64, the codes of the step that was shown before; None at the first.

    Returns:
        That, and the codes.
    """
    drawer, descent, (guide,) = optimisation.drawer, optimisation.descent, optimisation.guides
    assert isinstance(drawer, VQGANDrawer)
    generators = optimisation.generators
    states = [generator.get_state() for generator in generators]
    numbers = draw_numbers(generators, optimisation.cutouts, guide.clip.image_size)
    for generator, state in zip(generators, states, strict=True):
        generator.set_state(state)
    with torch.no_grad():
        latents = descent.full(descent.change.detach(), slice(None))
        codes = drawer.vqgan.nearest(latents)[0]
        pixels = drawer.draw(latents)
    with torch.enable_grad():
        pixels.requires_grad_()
        cut = make_cutouts((pixels + 1) / 2, numbers, optimisation.cutouts, guide.clip.image_size)
        with computing_in(pixels.device, drawer.dtype, options.precision):
            features = guide.clip.encode_image(cut)
        features = F.normalize(features.float(), dim=-1)
        loss = guide.loss(features).mean()
        (gradient,) = torch.autograd.grad(loss, pixels)
    with torch.no_grad():
        chords = (features[:, None] - guide.features[None]).norm(dim=-1)
        distances = (2 * (chords / 2).clamp_max(1).arcsin().square()).mean(0)
        pull, wanted = pictured(gradient[0])
    changed = torch.zeros_like(codes, dtype=torch.bool) if before is None else codes != before
    return LoopStep(step, to_uint8(pixels.detach())[0], to_uint8(cut.detach() * 2 - 1),
                    tuple(distances.tolist()), pull, wanted, changed.cpu().numpy()), codes


def pictured(gradient: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """A gradient (3, S, S) as ``LoopStep.pull`` and ``LoopStep.wanted``."""
    size = gradient.norm(dim=0)
    # The strongest pixels alone would leave the rest black: what a hundredth exceeds counts as 1.
    most = size.flatten().quantile(0.99).clamp_min(1e-12)
    wanted = (-gradient / most).clamp(-1, 1)
    return (size / most).clamp(0, 1).float().cpu().numpy(), to_uint8(wanted[None])[0]
