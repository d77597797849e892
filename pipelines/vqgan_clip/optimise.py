"""One step of VQGAN+CLIP: draw, cut, compare with the prompts, and where to move what is drawn.

Source: Crowson et al., "VQGAN-CLIP: Open Domain Image Generation and Editing with Natural Language
Guidance" (2022), section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.core.errors import Cancelled, OutOfMemory, WeightsError
from pipelines.core.request import candidate_seed
from pipelines.core.sentences import Sentence
from pipelines.models.batches import Batches
from pipelines.models.precision import Precision, computing_in
from pipelines.vqgan_clip.camera import Camera
from pipelines.vqgan_clip.cutouts import CutoutNumbers, Cutouts, draw_numbers, make_cutouts
from pipelines.vqgan_clip.descent import Descent
from pipelines.vqgan_clip.drawer import Drawer
from pipelines.vqgan_clip.guides import Guide
from pipelines.vqgan_clip.pictures import Mask
from pipelines.vqgan_clip.terms import NO_TERMS, Terms

_GENERATOR = "generator."  # before a candidate's index in a state


class Optimisation:
    """Pictures under optimisation.

    Candidates do not influence one another. On a CPU they are computed one after the other, which
    is as fast there and gives every candidate exactly what it would get alone; elsewhere in one
    batch, where kernels may differ in the last bits from one batch size to another.

    Args:
        drawer: draws.
        guides: what to match, by one CLIP or several, which count alike.
        descent: what is moved.
        generators: one a candidate, on the CPU.
        cutouts: how cutouts are made.
        terms: what the loss has beside the guides.
        precision: number format; "auto" is bfloat16 where the device computes faster in it.
        make_room: takes idle models off a device that is full, and says how many bytes that freed;
            from then on half as many candidates are computed at once.
        cutouts_at_once: the most of a candidate's cutouts that a guide sees at once; where even
            half of the candidates are too much for the device, fewer and fewer. The gradient is
            the same up to rounding.
        mask: what of the pictures is held; None for nothing.
        patience: steps without a lower loss after which a candidate has ended; 0 for never.

    Attributes:
        notice: what there is to say, in a sentence; empty for nothing.
        steps: whole steps taken.
        pixels: (N, 3, H, W) in [-1, 1] of the last step, None before the first.
        best_pixels: those of each candidate's step with the lowest loss.
    """

    def __init__(self, drawer: Drawer, guides: Sequence[Guide], descent: Descent,
                 generators: Sequence[torch.Generator], cutouts: Cutouts, terms: Terms = NO_TERMS,
                 precision: Precision = "auto", make_room: Callable[[], int] = lambda: 0,
                 cutouts_at_once: int = 64, mask: Mask | None = None, patience: int = 0) -> None:
        self.drawer, self.guides, self.descent = drawer, guides, descent
        self.generators, self.cutouts = generators, cutouts
        self._precision: Precision = precision
        self.terms, self._done, self.patience = terms, 0.0, patience
        self._device = descent.start.device
        count = len(generators)
        self._batches = Batches(candidates_at_once(self._device, count), make_room)
        self._cutouts_at_once = min(cutouts.num_cutouts, cutouts_at_once)
        self._mask, self.notice = mask, ""
        self.steps = 0
        self.pixels: Tensor | None = None
        self.best_pixels: Tensor | None = None
        self._best_loss = torch.full((count,), torch.inf)
        self._best_step, self._best_score = [0] * count, [0.0] * count

    def step(self, step: int, total: int, cancelled: Callable[[], bool]) -> dict[str, float] | None:
        """Take step 1..total for all candidates.

        Returns:
            Means over the candidates: "loss", and "guide score", the guide's own similarity of the
            whole picture. None where the run was cancelled before the step was complete, which
            then has no effect.

        Raises:
            OutOfMemory: the device is full, even for half of the candidates and a cutout at once.
            WeightsError: a network gives values that are no numbers.
        """
        self.descent.begin_step(step, total)
        self._done = (step - 1) / total
        before = [generator.get_state() for generator in self.generators]

        def compute(rows: Sequence[int]) -> tuple[Tensor, ...]:
            part = slice(rows[0], rows[-1] + 1)
            if rows[0] and cancelled():
                raise Cancelled
            # Their numbers may have been drawn before, for more candidates than there is room for.
            _set_states(self.generators[part], before[part])
            return self._rest(part) if all(map(self._ended, rows)) else self._gradient(part)

        parts = None
        while parts is None:
            try:
                parts = self._batches.run(compute, range(len(self.generators)))
            except Cancelled:
                _set_states(self.generators, before)
                return None
            except OutOfMemory:
                if self._cutouts_at_once == 1:
                    raise
                self._cutouts_at_once = (self._cutouts_at_once + 1) // 2
                self.notice = Sentence("The device was full: seeing at most {} cutouts at a time.",
                                       self._cutouts_at_once)
        gradients, pixels, losses, scores = zip(*parts, strict=True)
        self.pixels = torch.cat(pixels)
        loss, score = (torch.cat([each.cpu() for each in parts]) for parts in (losses, scores))
        if not loss.isfinite().all():
            raise WeightsError("The VQGAN or a guide gives values that are no numbers: its weights "
                               "are damaged, or too large for this number format.")
        self._keep_best(step, loss, score)
        self.descent.update(torch.cat(gradients))
        self.steps = step
        return {"loss": float(loss.mean()), "guide score": float(score.mean())}

    @property
    def ended(self) -> bool:
        """Whether no candidate has become better for as long as there is patience."""
        return all(map(self._ended, range(len(self.generators))))

    def _ended(self, index: int) -> bool:
        return 0 < self.patience <= self.steps - self._best_step[index]

    def facts(self, index: int) -> dict[str, Any]:
        """JSON-ready facts of a candidate's best picture."""
        return {"best_step": self._best_step[index],
                "guide_score": round(self._best_score[index], 4)}

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What the next step depends on and the best so far: tensors, and JSON-ready facts.

        A optimisation made with the same arguments continues with the same bits after ``restore``.
        """
        tensors = self.descent.state()
        for i, generator in enumerate(self.generators):
            tensors[f"{_GENERATOR}{i}"] = generator.get_state()
        if self.best_pixels is not None:
            tensors |= {"best_pixels": self.best_pixels.cpu(), "best_loss": self._best_loss.clone()}
        return tensors, {"best_step": self._best_step.copy(), "best_score": self._best_score.copy()}

    def restore(self, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Go back to a ``state`` after ``step`` steps.

        Raises:
            KeyError: a part is missing.
            ValueError: it is the state of another optimisation.
            RuntimeError: what should be a generator's state is not one.
        """
        count = len(self.generators)
        self.descent.restore(tensors)
        for i, generator in enumerate(self.generators):
            generator.set_state(tensors[f"{_GENERATOR}{i}"])
        best_step, best_score = list(facts["best_step"]), list(facts["best_score"])
        if step:
            pixels, loss = tensors["best_pixels"], tensors["best_loss"]
            sides = (side * self.drawer.cell_px for side in self.descent.start.shape[-2:])
            if pixels.shape != (count, 3, *sides) or loss.shape != (count,) \
                    or len(best_step) != count or len(best_score) != count:
                raise ValueError("pictures of another run")
            self.best_pixels = pixels.to(self._device, torch.float32, copy=True)
            self._best_loss = loss.clone()
        self._best_step = [int(each) for each in best_step]
        self._best_score = [float(each) for each in best_score]
        self.steps = step

    def change(self, changes: Mapping[str, Any]) -> None:
        """Make what is new at this step count.

        Args:
            changes: "seed" restarts the random numbers, "noise" is added to the parameters, and
                with another "prompt" the next step's pictures take the place of the best.
        """
        if "seed" in changes:
            for i, generator in enumerate(self.generators):
                generator.manual_seed(candidate_seed(changes["seed"], i))
        if "noise" in changes:
            self.descent.add_noise(changes["noise"], self.generators)
        if "prompt" in changes:
            self.begin_anew()

    @torch.no_grad()
    def see_through(self, camera: Camera) -> None:
        """Go on from what a camera sees of the pictures after its move."""
        found = []
        for row in range(len(self.generators)):  # none depends on the others
            rows = slice(row, row + 1)
            pixels = self._drawn(self.descent.full(self.descent.change[rows], rows))
            found.append(self.drawer.parameters(camera.seen(pixels)))
        self.descent.begin_at(torch.cat(found))
        self.begin_anew()

    def begin_anew(self) -> None:
        """Have the next step's pictures take the place of the best, whatever their losses."""
        self._best_loss.fill_(torch.inf)
        self._best_step = [self.steps] * len(self.generators)

    def _rest(self, rows: slice) -> tuple[Tensor, ...]:
        """What ``_gradient`` gives, of candidates that have ended: their best, and no pull."""
        assert self.best_pixels is not None
        return (torch.zeros_like(self.descent.change[rows]), self.best_pixels[rows],
                self._best_loss[rows], self._best_loss.new_tensor(self._best_score[rows]))

    def _gradient(self, rows: slice) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gradient, pixels (n, 3, H, W), losses (n,) and scores (n,) of some candidates."""
        numbers = [draw_numbers(self.generators[rows], self.cutouts, guide.clip.image_size)
                   for guide in self.guides]
        with torch.enable_grad():
            change = self.descent.change[rows].detach().requires_grad_()
            parameters = self.descent.full(change, rows)
            pixels = self._drawn(parameters)
            total, scores = self._seen(pixels, numbers)
            total = self.terms.added(total, parameters, self.descent.start[rows], pixels,
                                     self._done)
            (gradient,) = torch.autograd.grad(total.sum(), change)
        return gradient, pixels.detach(), total.detach(), scores

    def _seen(self, pixels: Tensor, numbers: Sequence[CutoutNumbers]) -> tuple[Tensor, Tensor]:
        """Losses (n,), differentiable, and scores (n,) of pictures (n, 3, H, W) in [-1, 1].

        In groups of cutouts each group's gradient is taken at once, so that only one group's way
        through the guides is held; the picture's own way through the drawer is gone once.
        """
        count, at_once = self.cutouts.num_cutouts, self._cutouts_at_once
        if at_once >= count:
            return self._look(pixels, numbers, 0, count)
        seen = pixels.detach().requires_grad_()
        pull, losses, scores = torch.zeros_like(pixels), [], []
        for first in range(0, count, at_once):
            last = min(first + at_once, count)
            loss, score = self._look(seen, numbers, first, last)
            loss = loss * ((last - first) / count)
            pull += torch.autograd.grad(loss.sum(), seen)[0]
            losses.append(loss.detach())
            scores.append(score)
        # Worth nothing by itself; its gradient is the sum of the groups'.
        lever = ((pixels - pixels.detach()) * pull).flatten(1).sum(dim=1)
        return torch.stack(losses).sum(dim=0) + lever, scores[0]

    def _look(self, pixels: Tensor, numbers: Sequence[CutoutNumbers], first: int, last: int,
              ) -> tuple[Tensor, Tensor]:
        """What the guides say of the cutouts first..last-1 of pictures; see ``_seen``.

        Returns:
            Mean losses (n,), and scores (n,) of each picture's first of these cutouts.
        """
        losses, scores = [], []
        for guide, each in zip(self.guides, numbers, strict=True):
            some = each.some(self.cutouts.num_cutouts, first, last)
            features = self._features(guide, pixels, some, first)
            losses.append(guide.loss(features).view(len(pixels), -1).mean(dim=1))
            # Of the whole picture, which is each guide's first cutout.
            scores.append(guide.score(features.detach().unflatten(0, (len(pixels), -1))[:, 0]))
        return _mean(losses), _mean(scores)

    def _drawn(self, parameters: Tensor) -> Tensor:
        """Pictures (n, 3, H, W) float32 in [-1, 1] of parameters (n, C, h, w)."""
        pixels = self.drawer.draw(parameters)
        return pixels if self._mask is None else self._mask.laid_on(pixels)

    def _features(self, guide: Guide, pixels: Tensor, numbers: CutoutNumbers, first: int,
                  ) -> Tensor:
        """A guide's unit features (n · K, D) of cutouts from the first on of pictures."""
        cut = make_cutouts((pixels + 1) / 2, numbers, self.cutouts, guide.clip.image_size, first)
        with computing_in(self._device, self.drawer.dtype, self._precision):
            features = guide.clip.encode_image(cut)
        return F.normalize(features.float(), dim=-1)

    def _keep_best(self, step: int, loss: Tensor, score: Tensor) -> None:
        pixels = self.pixels
        assert pixels is not None
        # What a candidate becomes does not depend on how long others take.
        running = [not self._ended(index) for index in range(len(loss))]
        better = (loss < self._best_loss) & torch.tensor(running)
        if self.best_pixels is None:
            better = torch.ones_like(better)
            self.best_pixels = pixels.clone()
        self.best_pixels[better.to(pixels.device)] = pixels[better.to(pixels.device)]
        self._best_loss = torch.where(better, loss, self._best_loss)
        for i in better.nonzero().flatten().tolist():
            self._best_step[i], self._best_score[i] = step, float(score[i])


def _mean(parts: Sequence[Tensor]) -> Tensor:
    """The mean of tensors of one shape; a single one as it is."""
    return parts[0] if len(parts) == 1 else torch.stack(list(parts)).mean(0)


def candidates_at_once(device: torch.device, count: int) -> int:
    """How many of ``count`` candidates a device computes in one batch; see ``Optimisation``."""
    return 1 if device.type == "cpu" else count


def _set_states(generators: Sequence[torch.Generator], states: Sequence[Tensor]) -> None:
    for generator, state in zip(generators, states, strict=True):
        generator.set_state(state)
