"""How well the CLIPs of the lab classify and retrieve pictures of the world that nobody saw.

Scenes come from splits of their own, which no training draws from, held-out combinations
included. Classification is that of ``pipelines.zero_shot``: every concept of the world is a label.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision"
(2021), section 3.1 (zero-shot classification) and appendix E.1 (retrieval).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from pipelines.models.cache.cache import ModelCache
from pipelines.models.clip import ClipModel
from pipelines.models.clip_features import embed_images, embed_texts
from pipelines.world.captions import caption
from pipelines.world.scenes import MEDIA, Scene, SceneSampler, styles_for
from pipelines.zero_shot import DEFAULT_TEMPLATE, class_features, class_texts, classify
from training.data import World

SPLIT = "bench-lab"
PLAIN = "none"  # no stated medium
RENDER_PX = 256
BATCH_SIZE = 32
TEMPLATES = {
    "one_template": (DEFAULT_TEMPLATE,),
    "four_templates": (DEFAULT_TEMPLATE, "a photo of a {}", "a drawing of a {}", "a {}"),
}


def concept_scenes(world: World, medium: str) -> list[Scene]:
    """One scene of every concept by itself, in a medium, or in none for ``PLAIN``."""
    scenes = []
    for concept in world.concepts:
        sampler = SceneSampler([concept], f"{SPLIT}/{concept.id}/{medium}", kinds={"single": 1.0},
                               held_out=True)
        scene = sampler.sample(0)
        thing = scene.objects[0]
        if medium != PLAIN:
            painted = thing.colour not in (None, concept.native_colour)
            style = styles_for([concept.id], medium, painted)[0]
            thing = replace(thing, style=style, look="", variant=0)
        if medium == "bw":
            thing = replace(thing, colour=None)
        scenes.append(replace(scene, objects=(thing,),
                              medium=None if medium == PLAIN else medium))
    return scenes


def render_uint8(world: World, scenes: Sequence[Scene], side_px: int) -> list[np.ndarray]:
    """Scenes drawn at ``RENDER_PX`` and squeezed: (side_px, side_px, 3) uint8 RGB each."""
    found: list[np.ndarray] = []
    for start in range(0, len(scenes), BATCH_SIZE):
        pixels: Tensor = world.render(scenes[start:start + BATCH_SIZE], RENDER_PX)
        pixels = F.interpolate(pixels, (side_px, side_px), mode="bicubic", align_corners=False,
                               antialias=True).clamp(0, 1)
        found += list((pixels * 255).round().byte().permute(0, 2, 3, 1).numpy())
    return found


def top_shares(probabilities: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Shares of pictures whose label is the likeliest one, and among the five likeliest.

    Args:
        probabilities: (N, L).
        truth: (N,) indices of labels.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
    hits = order == truth[:, None]
    return {"top1": float(hits[:, 0].mean()), "top5": float(hits.any(1).mean())}


def zero_shot_figures(clip: ClipModel, world: World, media: Sequence[str] = (PLAIN, *MEDIA),
                      ) -> dict[str, Any]:
    """Top-1 and top-5 over all concepts, per medium and over all media together."""
    labels = [concept.name for concept in world.concepts]
    directions = {name: class_features(embed_texts(clip, class_texts(labels, templates)),
                                       len(labels)) for name, templates in TEMPLATES.items()}
    truth = np.arange(len(labels))
    shares: dict[str, dict[str, np.ndarray]] = {name: {} for name in TEMPLATES}
    for medium in media:
        pictures = render_uint8(world, concept_scenes(world, medium), clip.image_size)
        features = embed_images(clip, pictures)
        for name, direction in directions.items():
            found = classify(features, direction, labels, clip.logit_scale)
            shares[name][medium] = found.probabilities
    figures: dict[str, Any] = {"labels": len(labels), "pictures": len(labels) * len(media)}
    for name, by_medium in shares.items():
        every = np.concatenate(list(by_medium.values()))
        figures[name] = top_shares(every, np.tile(truth, len(media))) | {
            "media": {medium: top_shares(found, truth) for medium, found in by_medium.items()}}
    return figures


def recalls(similarities: np.ndarray, texts: Sequence[str]) -> dict[str, float]:
    """R@1 and R@5 in both directions; two scenes with one caption answer for each other.

    Args:
        similarities: (N, N) of texts (rows) and pictures (columns), pair by pair.
        texts: N captions.
    """
    number = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    same = np.array([number[text] for text in texts])
    found = {}
    for name, scores in (("text_to_picture", similarities), ("picture_to_text", similarities.T)):
        order = np.argsort(-scores, axis=1, kind="stable")[:, :5]
        hits = same[order] == same[:, None]
        found[f"{name}_r1"] = float(hits[:, 0].mean())
        found[f"{name}_r5"] = float(hits.any(1).mean())
    return found


def retrieval_figures(clip: ClipModel, world: World, scenes: int = 1000) -> dict[str, Any]:
    """R@1 and R@5 of captions and pictures of unseen scenes among themselves."""
    sampler = world.sampler(f"{SPLIT}/retrieval", held_out=True)
    drawn = [sampler.sample(n) for n in range(scenes)]
    texts = [caption(s, world.by_id, random.Random(f"{SPLIT}/{s.seed}")) for s in drawn]
    pictures = embed_images(clip, render_uint8(world, drawn, clip.image_size))
    return {"scenes": scenes, **recalls(embed_texts(clip, texts) @ pictures.T, texts)}


def lab_figures(cache: ModelCache, scenes: int = 1000) -> dict[str, Any]:
    """What ``lab.json`` holds: both embedded CLIPs with the fingerprints of their weights."""
    world, figures = World(), {}
    for name in ("ranker", "guide"):
        model_id = f"embedded/clip-{name}"
        with cache.lease(model_id) as clip:
            figures[name] = {
                "weights": cache.fingerprints([model_id])[model_id],
                "zero_shot": rounded(zero_shot_figures(clip, world)),
                "retrieval": rounded(retrieval_figures(clip, world, scenes))}
        print(lab_table({name: figures[name]}), flush=True)
    return figures


def rounded(value: Any) -> Any:
    """Four decimals for every float."""
    if isinstance(value, float):
        return round(value, 4)
    return {k: rounded(v) for k, v in value.items()} if isinstance(value, dict) else value


def lab_table(figures: Mapping[str, Any]) -> str:
    """The figures as Markdown: a column a CLIP, with the shares in percent."""
    first = next(iter(figures.values()))
    labels, scenes = first["zero_shot"]["labels"], first["retrieval"]["scenes"]
    lines = [f"| top-1 / top-5 in percent, {labels} labels | {' | '.join(figures)} |",
             f"| --- |{' --- |' * len(figures)}"]

    def row(title: str, pairs: Iterable[tuple[float, float]]) -> None:
        cells = " | ".join(f"{100 * one:.1f} / {100 * five:.1f}" for one, five in pairs)
        lines.append(f"| {title} | {cells} |")

    for kind, said in (("one_template", "one template"), ("four_templates", "four averaged")):
        row(f"all media, {said}", ((f["zero_shot"][kind]["top1"], f["zero_shot"][kind]["top5"])
                                   for f in figures.values()))
    for medium in first["zero_shot"]["one_template"]["media"]:
        shares = [f["zero_shot"]["one_template"]["media"][medium] for f in figures.values()]
        row("no medium" if medium == PLAIN else medium, ((s["top1"], s["top5"]) for s in shares))
    for way in ("text_to_picture", "picture_to_text"):
        row(f"{way.replace('_', ' ')} among {scenes:,} scenes, R@1 / R@5",
            ((f["retrieval"][f"{way}_r1"], f["retrieval"][f"{way}_r5"])
             for f in figures.values()))
    return "\n".join(lines)
