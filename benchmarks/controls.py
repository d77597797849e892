"""The controls of ``compose``: pictures of which we know what the judge ought to say.

True renders give the judge's ceiling, renders through the VQGAN that of the codes, and pictures of
other prompts the floor.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from benchmarks.judge.model import Verdict, prepare
from benchmarks.scoring import Pool, score
from benchmarks.tasks import TaskPrompt, scene_of
from pipelines.models.vqgan import VQGAN
from pipelines.world.concepts import Concept
from pipelines.world.scenes import Scene

JudgeFunction = Callable[[Tensor], list[Verdict]]
RenderFunction = Callable[[Sequence[Scene]], Tensor]
BATCH_SIZE = 16


def reconstruct(vqgan: VQGAN, pictures: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) in [0, 1] through the codes and back, at the VQGAN's own size."""
    pictures = prepare(pictures, vqgan.config.resolution)
    with torch.no_grad():
        pixels = vqgan.decode_indices(vqgan.encode(pictures * 2 - 1))
    return ((pixels.float() + 1) / 2).clamp(0, 1)


def render_pools(prompts: Sequence[TaskPrompt], render: RenderFunction, judge: JudgeFunction,
                 concepts: Mapping[str, Concept], vqgan: VQGAN | None = None,
                 ) -> tuple[list[Pool], list[Verdict]]:
    """Judge one true render a prompt.

    Args:
        prompts: what to draw.
        render: scenes to pictures (B, 3, 256, 256) float in [0, 1].
        judge: pictures to verdicts.
        concepts: by id.
        vqgan: if given, the pictures first go through its codes.

    Returns:
        Pools of one picture, and what the judge saw.
    """
    verdicts: list[Verdict] = []
    for start in range(0, len(prompts), BATCH_SIZE):
        pictures = render([scene_of(p) for p in prompts[start : start + BATCH_SIZE]])
        verdicts += judge(pictures if vqgan is None else reconstruct(vqgan, pictures))
    pools = [Pool(p, (score(p, v, concepts),), (0.0,))
             for p, v in zip(prompts, verdicts, strict=True)]
    return pools, verdicts


def shuffled_pools(prompts: Sequence[TaskPrompt], verdicts: Sequence[Verdict],
                   concepts: Mapping[str, Concept]) -> list[Pool]:
    """Hold each picture against another prompt of the same task."""
    by_task: dict[str, list[int]] = {}
    for i, prompt in enumerate(prompts):
        by_task.setdefault(prompt.task, []).append(i)
    pools = []
    for task, rows in by_task.items():
        order = list(rows)
        random.Random(f"shuffled/{task}").shuffle(order)
        # A cycle through a random order sends no picture to its own prompt.
        for mine, other in zip(order, order[1:] + order[:1], strict=True):
            pools.append(Pool(prompts[mine],
                              (score(prompts[mine], verdicts[other], concepts),), (0.0,)))
    return pools
