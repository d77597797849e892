"""The models one by one: PSNR of the VQGAN, and how well each CLIP tells captions apart.

Scenes come from the split "bench", which no training draws from.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pipelines.models.cache.cache import ModelCache
from pipelines.models.clip import ClipModel
from pipelines.models.vqgan import VQGAN
from pipelines.world.captions import caption
from pipelines.world.hard_negatives import hard_negative
from pipelines.world.scenes import Scene
from training.data import World

SPLIT = "bench"
GROUP = 100  # captions of which one is right
BATCH_SIZE = 25


def psnr_db(output: Tensor, target: Tensor) -> list[float]:
    """Peak signal-to-noise ratio in dB of each picture; both (B, 3, H, W) in [0, 1]."""
    error = (output.float().clamp(0, 1) - target).square().mean((1, 2, 3)).clamp_min(1e-10)
    return (-10 * error.log10()).tolist()


@torch.no_grad()
def vqgan_figures(vqgan: VQGAN, world: World, scenes: int) -> dict[str, float]:
    """PSNR at the size of training on unseen scenes, the mean over pictures, and codes in use."""
    sampler = world.sampler(SPLIT, held_out=True)
    values: list[float] = []
    used: set[int] = set()
    for start in range(0, scenes, 8):
        batch = [sampler.sample(n) for n in range(start, min(start + 8, scenes))]
        target = world.render(batch, vqgan.config.resolution)
        codes = vqgan.encode(target * 2 - 1)
        values += psnr_db((vqgan.decode_indices(codes) + 1) / 2, target)
        used |= set(codes.flatten().tolist())
    return {"psnr_db": round(sum(values) / len(values), 3),
            "codes_used": round(len(used) / vqgan.config.n_embed, 4), "scenes": scenes}


def says(scene: Scene, world: World, salt: str) -> str:
    """An English caption of a scene."""
    return caption(scene, world.by_id, random.Random(f"{SPLIT}/{scene.seed}/{salt}"))


def hard_pairs(clip: ClipModel, pictures: Tensor, scenes: Sequence[Scene], world: World) -> float:
    """Share of pictures that prefer their caption to a nearly right one, in [0, 1]."""
    true = [says(s, world, "true") for s in scenes]
    # The same paraphrase where the grammar allows it, so that only the difference decides.
    false = [says(hard_negative(s, random.Random(f"{SPLIT}/{s.seed}/false"), world.by_id), world,
                  "true") for s in scenes]
    distinct = [i for i in range(len(scenes)) if true[i] != false[i]]
    images = _features(clip, pictures, BATCH_SIZE)[distinct]
    with torch.no_grad():
        right = (images * clip.encode_text([true[i] for i in distinct])).sum(-1)
        wrong = (images * clip.encode_text([false[i] for i in distinct])).sum(-1)
    return float((right > wrong).float().mean())


def top1_of_100(clip: ClipModel, pictures: Tensor, scenes: Sequence[Scene], world: World) -> float:
    """Share of pictures that pick their caption among those of ``GROUP`` scenes, in [0, 1]."""
    texts = [says(s, world, "true") for s in scenes]
    images = _features(clip, pictures, BATCH_SIZE)
    with torch.no_grad():
        features = clip.encode_text(texts)
    hits = []
    for start in range(0, len(texts) - GROUP + 1, GROUP):
        stop = start + GROUP
        best = (images[start:stop] @ features[start:stop].t()).argmax(1).tolist()
        # Two scenes may have one caption; either is the right pick then.
        hits += [texts[start + b] == texts[start + i] for i, b in enumerate(best)]
    return sum(hits) / len(hits)


def clip_figures(clip: ClipModel, world: World, scenes: int) -> dict[str, float]:
    """Both figures of a CLIP on unseen scenes, rendered at its own size from 256 px."""
    sampler = world.sampler(SPLIT, held_out=True)
    drawn = [sampler.sample(n) for n in range(scenes)]
    parts = []
    for start in range(0, scenes, BATCH_SIZE):
        part = world.render(drawn[start : start + BATCH_SIZE], 256)
        parts.append(torch.nn.functional.interpolate(
            part, (clip.image_size, clip.image_size), mode="bicubic", align_corners=False,
            antialias=True).clamp(0, 1))
    pictures = torch.cat(parts)
    return {"hard_pairs": round(hard_pairs(clip, pictures, drawn, world), 4),
            "top1_of_100": round(top1_of_100(clip, pictures, drawn, world), 4), "scenes": scenes}


def model_figures(cache: ModelCache, scenes: int = 500, vqgan_scenes: int = 128) -> dict[str, Any]:
    """What ``models.json`` holds; a multiple of 100 scenes is best."""
    world, figures = World(), {}
    with cache.lease("embedded/vqgan") as vqgan:
        figures["vqgan"] = vqgan_figures(vqgan, world, vqgan_scenes)
    for name in ("ranker", "guide"):
        with cache.lease(f"embedded/clip-{name}") as clip:
            figures[name] = clip_figures(clip, world, scenes)
        print(name, figures[name], flush=True)
    return figures


def _features(model: ClipModel, pixels: Tensor, batch_size: int = 64) -> Tensor:
    """Picture features (N, D) without gradients, computed in batches of ``batch_size``."""
    with torch.no_grad():
        return torch.cat([model.encode_image(part) for part in pixels.split(batch_size)])
