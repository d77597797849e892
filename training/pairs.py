"""Batches of pictures and captions for a CLIP, with hard negatives and pictures of nothing.

Every caption brings hard negatives (attributes swapped, relation reversed, count changed, ...).
Some pictures are degraded but keep their caption, some are decoded from VQGAN codes, some fit no
caption at all.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.models.checkpoints.vocabulary import load_vocabulary
from pipelines.world.hard_negatives import hard_negative, other_medium
from pipelines.world.scenes import Scene
from training.data import World
from training.degrade import degrade, meaningless, scrambled

Plan = tuple[int, list[Scene], list[int], Tensor]
Batch = tuple[Tensor, Tensor, Tensor]


class Bank:
    """Pictures decoded from VQGAN codes with their scenes, drawn once by ``training.make_bank``.

    Args:
        path: the file of ``training.make_bank``; a missing file is an empty bank.
    """

    def __init__(self, path: Path) -> None:
        self.pictures = self.broken = torch.zeros(0, 3, 128, 128, dtype=torch.uint8)
        self.seeds: list[int] = []
        if path.exists():
            state = torch.load(path, weights_only=True)
            self.pictures, self.broken, self.seeds = (
                state["pictures"],
                state["broken"],
                state["seeds"],
            )


class Pairs:
    """Makes training batches: pictures, text ids, and which texts are true of which picture."""

    def __init__(self, config: dict[str, Any], world: World, bank: Bank) -> None:
        self.config, self.world, self.bank = config, world, bank
        named = ("kinds", "coloured", "in_medium", "weights")
        self.sampler = world.sampler(config["split"], jitter=config["jitter"],
                                     **{name: config[name] for name in named if name in config})
        self.bank_sampler = world.sampler("train-bank", jitter=0.25)
        self.vocabulary = load_vocabulary()
        self.size_px = config["model"]["vision_cfg"]["image_size"]

    def plan(self, step: int) -> Plan:
        """Of batch ``step`` a seed, scenes to draw, numbers of pictures of the bank, and ids."""
        config, count = self.config, self.config["batch_size"]
        rng = random.Random(f"{config['seed']}/{step}")
        reused = rng.sample(
            range(len(self.bank.seeds)),
            min(len(self.bank.seeds), round(count * config["reconstructed"])),
        )
        scenes = [self.sampler.sample(step * count + k) for k in range(count - len(reused))]
        all_scenes = scenes + [self.bank_sampler.sample(self.bank.seeds[i]) for i in reused]
        ids = self.vocabulary(self._texts(all_scenes, rng), context_length=32)
        return config["seed"] * 1_000_003 + step, scenes, reused, ids

    def draw(self, plan: Plan) -> Batch:
        """The batch of a plan: pictures (B + U, 3, s, s) in [0, 1], ids (B + K B, 32), labels.

        The K hard negatives of each caption follow all captions.
        """
        seed, scenes, reused, ids = plan
        count, device = len(scenes) + len(reused), self.world.device
        generator = self.world.generator(seed)
        pictures = self.world.render(scenes, self.size_px)
        chosen = torch.rand(len(pictures), generator=generator, device=device)
        touched = chosen < self.config["degraded"]
        if touched.any():
            pictures[touched] = degrade(pictures[touched], generator)
        if reused:
            seen_before = self._sized(self.bank.pictures[reused].to(device))
            pictures = torch.cat([pictures, seen_before])
        extra = round(count * self.config["uncaptioned"])
        if extra:
            pictures = torch.cat([pictures, self._uncaptioned(pictures, extra, generator)])
        return pictures, ids, labels_of(ids, count, extra, self.config.get("group", count))

    def batch(self, step: int) -> Batch:
        """Batch ``step``."""
        return self.draw(self.plan(step))

    def _sized(self, pictures: Tensor) -> Tensor:
        """Pictures of the bank (N, 3, 128, 128) uint8 at the size that the CLIP sees, in [0, 1]."""
        size = (self.size_px, self.size_px)
        pictures = pictures.float() / 255
        return F.interpolate(pictures, size, mode="bilinear", antialias=True).clamp(0, 1)

    def _uncaptioned(self, pictures: Tensor, count: int, generator: torch.Generator) -> Tensor:
        third = count // 3
        parts = [
            meaningless(count - 2 * third, self.size_px, generator),
            scrambled(pictures[:third], generator),
        ]
        broken = self.bank.broken
        if len(broken):
            picks = torch.randint(len(broken), (third,), generator=generator,
                                  device=generator.device)
            parts.append(self._sized(broken[picks.cpu()].to(generator.device)))
        else:
            parts.append(scrambled(pictures[-third:] if third else pictures[:0], generator, 8))
        return torch.cat(parts)

    def _texts(self, scenes: list[Scene], rng: random.Random) -> list[str]:
        captions = []
        negatives: list[list[str]] = [[] for _ in range(self.config.get("negatives", 1))]
        other_media = self.config.get("other_media", 0.0)
        for scene in scenes:
            language = "pt" if rng.random() < 0.12 else "en"
            salt = rng.randrange(1 << 30)
            captions.append(self.world.caption(scene, salt, language))
            for group in negatives:
                if scene.medium is not None and other_media and rng.random() < other_media:
                    wrong = other_medium(scene, rng)
                else:
                    wrong = hard_negative(scene, rng, self.world.by_id)
                group.append(self.world.caption(wrong, salt + rng.randint(0, 1), language))
        return captions + [text for group in negatives for text in group]


def labels_of(ids: Tensor, count: int, extra: int, group: int) -> Tensor:
    """Which texts are true of which pictures.

    Pictures are compared with the captions of their own group only: of a thousand scenes many have
    captions that are true of each other. So are captions which say the same in the same words.

    Args:
        ids: (T, L) int64: ``count`` captions, and after them as many hard negatives, once or more.
        count: pictures with a caption.
        extra: pictures after them without one.
        group: pictures of a group; it divides ``count``.

    Returns:
        (count + extra, T) float32: 1 where a text is true, -1 where it is not, 0 where that is not
        asked.
    """
    weights = torch.randint(1 << 40, (ids.shape[1],), generator=torch.Generator().manual_seed(0))
    keys, place = (ids * weights).sum(1), torch.arange(len(ids)) % count // group
    own = torch.arange(count)
    labels = torch.full((count + extra, len(ids)), -1.0)
    unasked = (place[None] != place[:count, None]) | (keys[None] == keys[:count, None])
    labels[:count].masked_fill_(unasked, 0.0)
    labels[own, own] = 1.0
    return labels
