"""Train the judge of ``compose`` on scenes of the world: ``python -m benchmarks.judge.train``.

The judge measures the generators, so it shares neither weights nor scene seeds with any of them
(splits "judge" and "judge-eval"), and unlike them it sees the held-out combinations: a judge that
had never met a blue dog would score the generator and itself at once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from benchmarks.judge.data import JudgeData, load_vqgan, reconstruct
from benchmarks.judge.files import WEIGHTS_PATH, save_judge
from benchmarks.judge.model import Judge, JudgeConfig, Verdict, look_at
from benchmarks.judge.targets import COLOURLESS, Targets, judge_loss, look_of
from pipelines.models.vqgan import VQGAN
from pipelines.world.scenes import Scene
from training.data import World, prefetched
from training.loop import Loop, parse_arguments


def evaluate(judge: Judge, world: World, scenes: int,
             vqgan: VQGAN | None = None) -> dict[str, float]:
    """Shares of unseen scenes read rightly, drawn at 256 px as the pictures to judge are.

    Returns:
        ``objects``: objects found with the right concept; ``plain_objects``: those of pictures
        without a medium; ``colours``: stated colours of found objects read rightly; ``counts``:
        pictures with exactly the right number of objects; ``backgrounds`` and ``looks``:
        pictures; all in [0, 1].
    """
    sampler = world.sampler("judge-eval", held_out=True, jitter=0.1)
    ids = [c.id for c in world.concepts]
    names = ("objects", "plain_objects", "colours", "counts", "backgrounds", "looks")
    right: dict[str, int] = dict.fromkeys(names, 0)
    total = right.copy()
    for start in range(0, scenes, 32):
        batch = [sampler.sample(n) for n in range(start, min(start + 32, scenes))]
        pictures = world.render(batch, 256)
        if vqgan is not None:
            pictures = torch.cat([reconstruct(vqgan, part) for part in pictures.split(16)])
        for scene, verdict in zip(batch, look_at(judge, ids, pictures), strict=True):
            _compare(scene, verdict, right, total)
    return {name: round(right[name] / max(1, total[name]), 4) for name in names}


def _compare(scene: Scene, verdict: Verdict, right: dict[str, int], total: dict[str, int]) -> None:
    """Add one picture's hits to the tallies."""
    def add(name: str, hit: bool) -> None:
        right[name] += hit
        total[name] += 1

    for item in scene.objects:
        x, y = (item.box[0] + item.box[2]) / 2, (item.box[1] + item.box[3]) / 2
        near = [d for d in verdict.detections
                if abs((d.box[0] + d.box[2]) / 2 - x) + abs((d.box[1] + d.box[3]) / 2 - y) < 0.12]
        found = [d for d in near if d.concept == item.concept]
        add("objects", bool(found))
        if scene.medium is None:
            add("plain_objects", bool(found))
        if found and item.colour and scene.medium not in COLOURLESS:
            add("colours", found[0].colour in (item.colour, "native"))
    add("counts", len(verdict.detections) == len(scene.objects))
    if scene.medium not in COLOURLESS:
        add("backgrounds", verdict.background == scene.background)
    add("looks", verdict.look == look_of(scene))


def train(config: dict[str, Any], weights_path: Path = WEIGHTS_PATH) -> dict[str, Any]:
    """Run or resume the training and save the averaged weights; returns the figures."""
    torch.manual_seed(config["seed"])
    world = World()
    shape: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v
                             for k, v in config["model"].items()}
    judge = Judge(JudgeConfig(num_concepts=len(world.concepts), **shape))
    judge.to(memory_format=torch.channels_last)
    loop = Loop(config, judge)
    if config.get("compile"):
        judge.compile(dynamic=False)
    data = JudgeData(config, world, loop.folder)
    batches = prefetched(lambda step: step, data.batch, loop.step)
    for _ in loop.steps():
        pictures, truth = next(batches)
        truth = Targets(**{k: v.to(loop.device) for k, v in vars(truth).items()})
        with loop.accelerator.autocast():
            parts = judge_loss(judge, pictures.to(loop.device), truth)
        loop.backward(torch.stack(list(parts.values())).sum())
        loop.scenes += len(pictures)
        loop.log(**parts)
    network = loop.ema.eval().float()
    figures: dict[str, Any] = {
        "scenes": loop.scenes, "minutes": round(loop.seconds / 60, 1), "device": loop.device.type,
        "renders": evaluate(network, world, config["evaluation_scenes"])}
    vqgan = load_vqgan()
    if vqgan is not None:
        figures["reconstructed"] = evaluate(network, world, config["evaluation_scenes"] // 4, vqgan)
    save_judge(network, list(data.classes), figures, weights_path)
    print(json.dumps(figures, indent=1))
    return figures


def main() -> None:
    """Command line."""
    train(parse_arguments("judge.toml"))


if __name__ == "__main__":
    main()
