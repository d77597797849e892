"""``peers``: Easel's loops beside what people run without it, with random weights of public size.

Both sides run in the same process tree, on the same threads, in turns, and each figure is the
median of its turns. Seconds are those of the processor, not of the clock on the wall, so that
other work on the machine does not decide. "As shipped" is Easel as it comes, in the number format
that "auto" chooses on the machine, against float32, which is what the others ship on a CPU; "same
dtype" is float32 on both sides. The bound is the least time that Easel's own operations and bytes
can take at the rates measured in the same run. Each comparison carries its machine.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import open_clip
import torch

from benchmarks.peers.peers_dalle import dalle_mini
from benchmarks.peers.peers_turns import Work, compared, timed
from benchmarks.roofline import counted_flops, parameter_bytes
from benchmarks.speed import rounded
from pipelines.models import fast_clip, fast_vqgan
from pipelines.models.clip import ClipModel
from pipelines.models.machine_rates import Rates, measure_rates
from pipelines.models.precision import fast_bfloat16
from pipelines.models.vqgan import VQGAN, VQGANConfig
from pipelines.rerank import rank
from pipelines.vqgan_clip.cutouts import Cutouts
from pipelines.vqgan_clip.descent import Descent
from pipelines.vqgan_clip.guides import Guide
from pipelines.vqgan_clip.optimise import Optimisation
from pipelines.vqgan_clip.starts import start_parameters
from pipelines.vqgan_clip.vqgan_drawer import VQGANDrawer
from pipelines.weighted_prompts import WeightedPrompt

PROMPT = "a photo of a red apple and a blue car"
SIZE_PX, NUM_CUTOUTS = 256, 32
RANKED, OURS_TIMED, PEER_TIMED = 256, 64, 8  # pictures ranked, and how many of them a turn times


def shipped_dtype() -> torch.dtype:
    """What "auto" chooses on this machine for public checkpoints."""
    fast = fast_bfloat16(torch.device("cpu"), large=True)
    return torch.bfloat16 if fast else torch.float32


def random_vqgan(codes: int = 1024) -> VQGAN:
    """A VQGAN f16, random."""
    torch.manual_seed(0)
    return VQGAN(VQGANConfig(n_embed=codes)).eval().requires_grad_(False)


def random_clip() -> open_clip.CLIP:
    """A ViT-B/32, random."""
    torch.manual_seed(0)
    config = open_clip.get_model_config("ViT-B-32")
    if config is None:
        raise RuntimeError("open_clip does not know ViT-B-32")
    return open_clip.CLIP(**config).eval().requires_grad_(False)


def shipped_clip(clip: open_clip.CLIP, dtype: torch.dtype) -> ClipModel:
    """A copy as Easel's loader hands it out."""
    module = fast_clip.with_fast_kernels(copy.deepcopy(clip).to(dtype))
    return ClipModel(module, open_clip.SimpleTokenizer(), 224)


def shipped_vqgan(vqgan: VQGAN, dtype: torch.dtype) -> VQGAN:
    """A copy as Easel's loader hands it out."""
    return fast_vqgan.with_fast_kernels(copy.deepcopy(vqgan).to(dtype))


def shipped_optimisation(vqgan: VQGAN, guide: ClipModel, cutouts_at_once: int = NUM_CUTOUTS,
                         ) -> Optimisation:
    """A picture of 256 px under optimisation with 32 cutouts."""
    generator = torch.Generator().manual_seed(0)
    drawer = VQGANDrawer(vqgan, precision="float32")
    start = start_parameters(drawer, "noise", None, (SIZE_PX, SIZE_PX), [generator])
    return Optimisation(drawer, [Guide(guide, [WeightedPrompt(PROMPT)])],
                        Descent(start, drawer, "adam", 0.1, "constant", 0.0), [generator],
                        Cutouts(num_cutouts=NUM_CUTOUTS), precision="float32",
                        cutouts_at_once=cutouts_at_once)


def vqgan_clip_step(rates: Rates, turns: int = 3) -> dict[str, Any]:
    """A step at 256 px with 32 cutouts of 224 px, forward and backward."""
    from benchmarks.peers.peer_loops import PlainLoop

    vqgan, clip = random_vqgan(), random_clip()
    target = shipped_clip(clip, torch.float32).encode_text([PROMPT])
    plain = PlainLoop(vqgan, clip, target, SIZE_PX, NUM_CUTOUTS)
    steps: dict[torch.dtype, Callable[[], object]] = {}
    weights: dict[torch.dtype, float] = {}
    for dtype in {shipped_dtype(), torch.float32}:
        own, guide_clip = shipped_vqgan(vqgan, dtype), shipped_clip(clip, dtype)
        optimisation = shipped_optimisation(own, guide_clip)
        steps[dtype] = lambda optimisation=optimisation: optimisation.step(1, 100, lambda: False)
        # Read once forward and once backward.
        weights[dtype] = 2 * parameter_bytes(own.decoder, guide_clip.module.visual)
    ours = steps[shipped_dtype()]
    work = Work(counted_flops(ours), weights[shipped_dtype()], shipped_dtype())
    found = compared(lambda: timed(ours), lambda: timed(steps[torch.float32]),
                     lambda: timed(plain.step), turns, work, rates, "vqgan_clip_step")
    return {"vqgan_clip_step": found}


def rank_256(rates: Rates, turns: int = 3) -> dict[str, Any]:
    """Pictures of 256 px put in order by a ViT-B/32, from uint8 arrays to scores."""
    from benchmarks.peers.peer_loops import plain_ranking

    clip = random_clip()
    source = np.random.default_rng(0)
    images = list(source.integers(0, 256, (OURS_TIMED, 256, 256, 3), dtype=np.uint8))
    preprocess = open_clip.image_transform(224, is_train=False)
    models = {dtype: shipped_clip(clip, dtype) for dtype in {shipped_dtype(), torch.float32}}
    text = models[torch.float32].encode_text([PROMPT])

    def ours(dtype: torch.dtype) -> Callable[[], float]:
        part = RANKED / OURS_TIMED
        return lambda: part * timed(lambda: rank(images, [PROMPT], models[dtype]))

    def peer() -> float:
        part = RANKED / PEER_TIMED
        return part * timed(lambda: plain_ranking(images[:PEER_TIMED], clip, preprocess, text))

    dtype = shipped_dtype()
    flops = counted_flops(lambda: rank(images[:1], [PROMPT], models[dtype])) * RANKED
    work = Work(flops, parameter_bytes(models[dtype].module.visual), dtype)
    found = compared(ours(dtype), ours(torch.float32), peer, turns, work, rates, "rank_256")
    return {"rank_256": found | {"pictures_timed": {"ours": OURS_TIMED, "peer": PEER_TIMED}}}


COMPARISONS: dict[str, Callable[..., dict[str, Any]]] = {
    "dalle_mini": dalle_mini, "rank_256": rank_256, "vqgan_clip_step": vqgan_clip_step}


def peers(turns: int | None = None, only: Sequence[str] = (),
          earlier: Mapping[str, Any] | None = None,
          keep: Callable[[dict[str, Any]], None] = lambda figures: None) -> dict[str, Any]:
    """What ``peers.json`` holds.

    Args:
        turns: of every comparison; each its own number where None.
        only: names in ``COMPARISONS``; all where empty.
        earlier: figures of an earlier run; those of comparisons that are not made again stay.
        keep: called with all figures so far after every comparison.
    """
    torch.set_num_threads(1)  # processor seconds of several threads would be those of all
    rates = measure_rates(torch.device("cpu"), clock=time.process_time)
    given = {} if turns is None else {"turns": turns}
    figures = dict(earlier or {}) | {
        "clock": "processor seconds of one thread, median of turns taken one after the other"}
    for name in only or COMPARISONS:
        figures |= rounded(COMPARISONS[name](rates, **given))
        keep(figures)
    return figures
