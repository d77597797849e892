"""Pictures for the judge's training: renders and reconstructions, some softened, with truth."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from benchmarks.judge.model import prepare
from benchmarks.judge.targets import Targets, targets_of
from pipelines.core.errors import EaselError
from pipelines.models.vqgan import VQGAN
from pipelines.world.layouts import GRID, jitter_box
from pipelines.world.scenes import COLOURS, PLACES, Scene, SceneObject, SceneSampler, styles_for
from training.data import World
from training.degrade import lose_identity, soften
from training.loop import fast_autocast

# Layouts of crowds as squares (x, y, side) on the grid of scenes.
CROWDS = (
    tuple((x, y, 5) for y in (0, 5, 10) for x in (0, 5, 10)),
    tuple((x, y, 7) for y in (0, 8) for x in (0, 8)),
    ((0, 0, 10), (10, 0, 5), (10, 5, 5), (0, 10, 5), (5, 10, 5), (10, 10, 5)),
    ((6, 6, 9), (0, 0, 6), (6, 0, 6), (0, 6, 6), (0, 11, 5)),
)


def load_vqgan() -> VQGAN | None:
    """The embedded VQGAN, or None before it was trained."""
    from pipelines.models.checkpoints.catalogue import Catalogue
    from pipelines.models.checkpoints.loading import load_model

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
    """Pictures (B, 3, H, W) in [0, 1] through the codes and back, some codes replaced at random.

    They come back at the size that the VQGAN was trained for, as generators decode them.
    """
    device = next(vqgan.parameters()).device
    pictures = prepare(pictures, vqgan.config.resolution)
    with fast_autocast(device):
        latents = vqgan.encode_latents(pictures.to(device) * 2 - 1)
        codes = vqgan.nearest(latents)
        if perturbed:
            other = torch.randint(0, vqgan.config.n_embed, codes.shape, generator=generator)
            swap = torch.rand(codes.shape, generator=generator) < perturbed
            codes = torch.where(swap.to(device), other.to(device), codes)
        pixels = vqgan.decode_indices(codes)
    return ((pixels.float() + 1) / 2).clamp(0, 1)


def crowd(sampler: SceneSampler, seed: int) -> Scene:
    """A picture full of unrelated objects: several times the looks at sprites for its pixels."""
    rng = random.Random(f"{sampler.split}/crowd/{seed}")
    squares = list(rng.choice(CROWDS))
    concepts = rng.choices(sampler.ids, sampler.weights, k=len(squares))
    objects: list[SceneObject] = []
    for concept, (x, y, side) in zip(concepts, squares, strict=True):
        paints = sampler.by_id[concept].colours and rng.random() < 0.4
        box = (x / GRID, y / GRID, (x + side) / GRID, (y + side) / GRID)
        if rng.random() < sampler.jitter:
            box = jitter_box(box, rng)
        # Each thing in a style of its own: more looks for as many pixels.
        style = rng.choice(styles_for([concept], None, paints))
        colour = rng.choice(COLOURS) if paints else None
        objects += sampler.dress([concept], [colour], [box], style, None, rng)
    background = "white" if rng.random() < 0.5 else rng.choice((*COLOURS, *PLACES))
    return Scene("group", tuple(objects), None, background, False, None, seed)


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
        options = {"weights": rare, "jitter": config["jitter"], "held_out": True,
                   "kinds": config["kinds"]}
        self.sampler = cast(SceneSampler, world.sampler("judge", **options))
        self.classes = {c.id: i for i, c in enumerate(world.concepts)}
        self.size_px = config["model"]["image_px"]
        self.pool_sampler = cast(SceneSampler, world.sampler("judge-reconstructed", **options))
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
            scenes = self._scenes(self.pool_sampler, range(start, min(start + 16, wanted)))
            pictures = self.world.render(scenes, 256)
            perturbed = self.config["perturbed"] if start % 32 else 0.0
            pictures = reconstruct(vqgan, pictures, perturbed, generator)
            parts.append((prepare(pictures, self.size_px) * 255).round().byte())
            if start % 256 == 0:
                print(f"reconstructions {start} of {wanted}", flush=True)
        pool = torch.cat(parts)
        torch.save(pool, path)
        return pool

    def _scenes(self, sampler: SceneSampler, numbers: Iterable[int]) -> list[Scene]:
        """Scenes of these numbers: crowds, or as sampled but mostly without their medium."""
        share = self.config["crowds"]
        scenes = [crowd(sampler, n) if random.Random(f"crowd/{n}").random() < share
                  else sampler.sample(n) for n in numbers]
        plain = 1 - self.config["media"]
        return [replace(s, medium=None) if random.Random(f"media/{s.seed}").random() < plain else s
                for s in scenes]

    def batch(self, i: int) -> tuple[Tensor, Targets]:
        """Pictures (batch_size, 3, size_px, size_px) float in [0, 1] and their truth."""
        config, size = self.config, self.config["batch_size"]
        rng = random.Random(f"judge/{i}")
        generator = torch.Generator().manual_seed(rng.getrandbits(40))
        from_pool = round(size * config["reconstructed"]) if self.pool is not None else 0
        drawn = size - from_pool
        scenes = self._scenes(self.sampler, range(i * size, i * size + drawn))
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
            scenes += self._scenes(self.pool_sampler, numbers)
            lost += [False] * from_pool
            pictures = torch.cat([pictures, self.pool[numbers].float() / 255])
        return pictures, targets_of(scenes, self.classes, self.world.by_id, lost)
