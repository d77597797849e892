"""Train the judge of ``compose`` on scenes of the world: ``python -m training.train_judge``.

The judge measures the generators, so it shares neither weights nor scene seeds with any of them
(splits "judge" and "judge-eval"), and unlike them it sees the held-out combinations: a judge that
had never met a blue dog would score the generator and itself at once.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.judge import Judge, JudgeConfig, look_at, prepare
from benchmarks.judge_files import WEIGHTS_PATH, save_judge
from benchmarks.judge_targets import Targets, judge_loss, targets_of
from pipelines.errors import EaselError
from pipelines.models.vqgan import VQGAN
from training.data import World, prefetched
from training.loop import Loop, parse_arguments
from training.world.scenes import Scene

LOST_PX = 9


def load_vqgan() -> VQGAN | None:
    """The embedded VQGAN, or None before it was trained."""
    from pipelines.catalogue import Catalogue
    from pipelines.weights import load_model

    catalogue = Catalogue.load()
    try:
        module = load_model(catalogue, catalogue.get("embedded/vqgan"))
    except EaselError:
        return None
    assert isinstance(module, VQGAN)
    return module


@torch.no_grad()
def reconstruct(vqgan: VQGAN, pictures: Tensor, perturbed: float = 0.0,
                generator: torch.Generator | None = None) -> Tensor:
    """Pictures (B, 3, H, W) in [0, 1] through the codes and back, some codes replaced at random."""
    device = next(vqgan.parameters()).device
    with torch.autocast(device.type, torch.bfloat16):
        latents = vqgan.encode_latents(pictures.to(device) * 2 - 1)
        codes = vqgan.nearest(latents)
        if perturbed:
            other = torch.randint(0, vqgan.config.n_embed, codes.shape, generator=generator)
            swap = torch.rand(codes.shape, generator=generator) < perturbed
            codes = torch.where(swap.to(device), other.to(device), codes)
        pixels = vqgan.decode_indices(codes)
    return ((pixels.float() + 1) / 2).clamp(0, 1)


def soften(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Blur one half of the pictures mildly and add noise to the other."""
    size = pictures.shape[-1]
    small = F.interpolate(pictures, (size * 5 // 8, size * 5 // 8), mode="area")
    blurred = F.interpolate(small, (size, size), mode="bilinear", align_corners=False)
    sigma = 0.08 * torch.rand(len(pictures), 1, 1, 1, generator=generator)
    noisy = pictures + sigma * torch.randn(pictures.shape, generator=generator)
    blur = torch.rand(len(pictures), 1, 1, 1, generator=generator) < 0.5
    return torch.where(blur, blurred, noisy).clamp(0, 1)


def lose_identity(pictures: Tensor) -> Tensor:
    """Blur pictures until only blobs of colour are left."""
    size = pictures.shape[-1]
    small = F.interpolate(pictures, (LOST_PX, LOST_PX), mode="area")
    return F.interpolate(small, (size, size), mode="bicubic", align_corners=False).clamp(0, 1)


class JudgeData:
    """Batches of pictures with their truth; batch ``i`` is always the same.

    Args:
        config: as in ``training/configs/judge.toml``.
        world: draws the scenes.
        folder: where reconstructions are kept between resumed runs.
    """

    def __init__(self, config: dict[str, Any], world: World, folder: Path) -> None:
        self.config, self.world = config, world
        rare = {c.id: config["rare"] for c in world.concepts if not c.coco}
        options = {"single": config["single"], "jitter": config["jitter"], "held_out": True}
        self.sampler = world.sampler("judge", weights=rare, **options)
        self.classes = {c.id: i for i, c in enumerate(world.concepts)}
        self.size_px = config["model"]["image_px"]
        self.pool_sampler = world.sampler("judge-reconstructed", weights=rare, **options)
        self.pool = self._reconstructions(folder / "reconstructions.pt")

    def _reconstructions(self, path: Path) -> Tensor | None:
        """(n, 3, size_px, size_px) uint8; scene n of the pool's split is picture n."""
        if path.exists():
            return torch.load(path, weights_only=True)
        vqgan, wanted = load_vqgan(), self.config["reconstructions"]
        if vqgan is None or not wanted:
            print("no VQGAN yet: training on renders only", flush=True)
            return None
        generator = torch.Generator().manual_seed(self.config["seed"])
        parts = []
        for start in range(0, wanted, 16):
            scenes = self._pool_scenes(range(start, min(start + 16, wanted)))
            pictures = self.world.render(scenes, 256)
            perturbed = self.config["perturbed"] if start % 32 else 0.0
            pictures = reconstruct(vqgan, pictures, perturbed, generator)
            parts.append((prepare(pictures, self.size_px) * 255).round().byte())
            if start % 256 == 0:
                print(f"reconstructions {start} of {wanted}", flush=True)
        pool = torch.cat(parts)
        torch.save(pool, path)
        return pool

    def _pool_scenes(self, numbers: range | list[int]) -> list[Scene]:
        return [self.pool_sampler.sample(n) for n in numbers]

    def batch(self, i: int) -> tuple[Tensor, Targets]:
        """Pictures (batch_size, 3, size_px, size_px) float in [0, 1] and their truth."""
        config, size = self.config, self.config["batch_size"]
        rng = random.Random(f"judge/{i}")
        generator = torch.Generator().manual_seed(rng.getrandbits(40))
        from_pool = round(size * config["reconstructed"]) if self.pool is not None else 0
        drawn = size - from_pool
        scenes = [self.sampler.sample(i * size + k) for k in range(drawn)]
        native = rng.random() < config["native"]
        pictures = prepare(self.world.render(scenes, 256 if native else self.size_px), self.size_px)
        lost = [rng.random() < config["lost"] for _ in scenes]
        for row in range(drawn):
            if lost[row]:
                pictures[row] = lose_identity(pictures[row : row + 1])[0]
        soft = [row for row in range(drawn) if not lost[row] and rng.random() < config["soft"]]
        if soft:
            pictures[soft] = soften(pictures[soft], generator)
        if self.pool is not None and from_pool:
            numbers = [rng.randrange(len(self.pool)) for _ in range(from_pool)]
            scenes += self._pool_scenes(numbers)
            lost += [False] * from_pool
            pictures = torch.cat([pictures, self.pool[numbers].float() / 255])
        return pictures, targets_of(scenes, self.classes, self.world.by_id, lost)


def evaluate(judge: Judge, world: World, scenes: int,
             vqgan: VQGAN | None = None) -> dict[str, float]:
    """Shares of unseen scenes read rightly, drawn at 256 px as the pictures to judge are.

    Returns:
        ``objects``: objects found with the right concept; ``colours``: of these, stated colours
        read rightly; ``counts``: pictures with exactly the right number of objects;
        ``backgrounds`` and ``looks``: pictures; all in [0, 1].
    """
    sampler = world.sampler("judge-eval", held_out=True, jitter=0.1)
    ids = [c.id for c in world.concepts]
    names = ("objects", "colours", "counts", "backgrounds", "looks")
    right, total = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for start in range(0, scenes, 32):
        batch = [sampler.sample(n) for n in range(start, min(start + 32, scenes))]
        pictures = world.render(batch, 256)
        if vqgan is not None:
            pictures = torch.cat([reconstruct(vqgan, part) for part in pictures.split(16)])
        for scene, verdict in zip(batch, look_at(judge, ids, pictures), strict=True):
            _compare(scene, verdict, right, total)
    return {name: round(right[name] / max(1, total[name]), 4) for name in names}


def _compare(scene: Scene, verdict: Any, right: dict[str, int], total: dict[str, int]) -> None:
    """Add one picture's hits to the tallies."""
    from benchmarks.judge_targets import COLOURLESS, look_of

    def add(name: str, hit: bool) -> None:
        right[name] += hit
        total[name] += 1

    for item in scene.objects:
        x, y = (item.box[0] + item.box[2]) / 2, (item.box[1] + item.box[3]) / 2
        near = [d for d in verdict.detections
                if abs((d.box[0] + d.box[2]) / 2 - x) + abs((d.box[1] + d.box[3]) / 2 - y) < 0.12]
        found = [d for d in near if d.concept == item.concept]
        add("objects", bool(found))
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
    shape = {k: tuple(v) if isinstance(v, list) else v for k, v in config["model"].items()}
    judge = Judge(JudgeConfig(num_concepts=len(world.concepts), **shape))
    judge.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    loop = Loop(config, judge)
    data = JudgeData(config, world, loop.folder)
    batches = prefetched(data.batch, loop.step)
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
