"""Train the ranker: ``python -m training.train_ranker``.

The scenes' pictures are looked at by the frozen EfficientNet-Lite0 once and kept
(``training.feature_store``); what is trained are the heads on both towers, by the sigmoid loss over
all pictures and captions of a batch with hard negatives, by the softmax loss over the same, and by
what single cells show, which no caption tells as directly.

Source: Zhai et al., "LiT: Zero-Shot Transfer with Locked-image text Tuning" (2022); Zhai et al.,
"Sigmoid Loss for Language Image Pre-Training" (2023), section 3; Zhong et al., "RegionCLIP" (2022),
for captions of parts of pictures.
"""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.models.feature_maps import FeatureMaps
from pipelines.models.locked_clip import LockedClip, build
from pipelines.world.hard_negatives import hard_negative
from pipelines.world.scenes import COLOURS
from training.calibrate import PAIRS, calibrate_exported
from training.data import World
from training.export import export
from training.feature_store import FeatureStore, load_features
from training.loop import RUNS_DIR, Loop, due, parse_arguments
from training.ranker_data import IGNORE, Batch, Cells, RankerData, Words
from training.train_dalle import load_encoder, load_vqgan

REFRESH_EVERY = 50  # steps, after which maps that came meanwhile are read as well
EVALUATED = 500  # unseen scenes
CARD = """# Embedded CLIP (ranker)

Looks through EfficientNet-Lite0 and reads through MiniLM, both as they were trained on photographs
and sentences (`embedded/efficientnet-lite0`, `embedded/minilm`); the heads on them were trained on
scenes of `pipelines/world`, in nine styles drawn evenly, and know nothing else.

- Command: `python -m training.train_ranker`
- Pairs seen: {pairs} of {scenes} scenes, each time with new captions; {minutes:.0f} minutes on
  {device}
- Right caption of 2 hard ones: {hard_pairs:.3f}; of 100 random ones: {top1_of_100:.3f};
  of {count} pictures the right one for a caption: {text_to_picture:.3f} ({count} unseen scenes)
- Licence: Apache-2.0; the art it was trained on is listed in `assets/world/NOTICE.md`
"""


class Trained(nn.Module):
    """What is trained: the CLIP, and heads that read single cells and are left out afterwards."""

    def __init__(self, clip: LockedClip, concepts: int, cell_width: int) -> None:
        super().__init__()
        self.clip = clip
        self.concept = nn.Linear(cell_width, concepts + 1)
        self.colour = nn.Linear(cell_width, len(COLOURS) + 1)

    def read(self, maps: FeatureMaps, cells: Cells) -> tuple[Tensor, Tensor, Tensor]:
        """The cells of pictures, and of those that are asked the logits of concepts (n, C + 1) and
        of colours (n, 12)."""
        seen = self.clip.read_cells(maps)
        asked = seen[cells.rows, cells.ys, cells.xs]
        return seen, self.concept(asked).float(), self.colour(asked).float()

    def compare(self, seen: Tensor, words: Tensor, own: Tensor) -> Tensor:
        """Cosines (B, T) of pictures, by their cells, and texts."""
        pictures = F.normalize(self.clip.relate_cells(seen).float(), dim=-1)
        texts = F.normalize(in_halves(self.clip, words, own).float(), dim=-1)
        return pictures @ texts.t()


def in_halves(clip: LockedClip, words: Tensor, own: Tensor) -> Tensor:
    """As ``clip.relate_words``, the shorter half of the texts without the room of the longest."""
    order = own.sum(1).argsort()
    parts = []
    for half in order.tensor_split(2):
        longest = int(own[half].sum(1).max()) if len(half) else 0
        parts.append(clip.relate_words(words[half, :longest], own[half, :longest]))
    return torch.cat(parts)[order.argsort()]


def pair_loss(cosines: Tensor, labels: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Sigmoid and softmax losses of pictures and texts, per picture.

    Args:
        cosines: (B, T).
        labels: (B, T), see ``training.ranker_data.Batch``.
        scale, bias: of the logits.
    """
    logits = cosines * scale
    asked = labels != 0
    sigmoid = -(F.logsigmoid(labels * (logits + bias)) * asked).sum() / len(labels)
    positive = (labels == 1).nonzero(as_tuple=True)
    if not len(positive[0]):
        return sigmoid
    masked = logits.masked_fill(~asked, float("-inf"))
    of_pictures = masked.log_softmax(1)[positive].mean()
    of_texts = masked.log_softmax(0)[positive].mean()
    return sigmoid - (of_pictures + of_texts) / 2


def cells_loss(concepts: Tensor, colours: Tensor, cells: Cells) -> dict[str, Tensor]:
    """The loss of what cells show, and the share of things that are named rightly.

    Args:
        concepts, colours: logits of the cells.
        cells: what they show, at least one.
    """
    loss = F.cross_entropy(concepts, cells.concepts)
    if bool((cells.colours != IGNORE).any()):
        loss = loss + 0.5 * F.cross_entropy(colours, cells.colours, ignore_index=IGNORE)
    things = cells.concepts < concepts.shape[1] - 1
    hits = (concepts.argmax(1) == cells.concepts)[things].float()
    return {"cells": loss, "named": hits.mean()}


def hard_share(cosines: Tensor, labels: Tensor) -> Tensor:
    """Share of captions that fit their picture better than all of their own hard negatives.

    Args:
        cosines, labels: (B, T), of B captions and as many hard negatives, once or more.
    """
    count = len(cosines)
    own = labels[:, :count].diagonal() == 1
    right = cosines[:, :count].diagonal()
    wrong = torch.stack([part.diagonal() for part in cosines[:, count:].split(count, 1)])
    return (right > wrong.amax(0))[own].float().mean()


def loss_of(model: Trained, batch: Batch, words: Tensor, cells_weight: float,
            ) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch, by its cells alone if it has no texts, and what is told of it."""
    seen, concepts, colours = model.read(batch.maps, batch.cells)
    loss, told = seen.new_zeros((), dtype=torch.float32), {}
    if len(concepts):
        told = cells_loss(concepts, colours, batch.cells)
        loss = cells_weight * told["cells"]
    if len(batch.ids):
        cosines = model.compare(seen, words, batch.ids > 0)
        clip = model.clip
        told["pairs"] = pair_loss(cosines, batch.labels, clip.log_scale.exp(), clip.bias)
        loss = loss + told["pairs"]
        told["hard"] = hard_share(cosines.detach(), batch.labels)
    return loss, told


class Examination:
    """Unseen scenes and what is asked of them; their pictures are looked at once.

    Args:
        world: draws them.
        folder: where their maps are kept.
        side_px: of the pictures.
        count: how many.
    """

    def __init__(self, world: World, folder: Path, side_px: int, count: int = EVALUATED) -> None:
        sampler, rng = world.sampler("eval-clip", held_out=True), random.Random(5)
        self.store = FeatureStore(folder, sampler.sample, world, side_px, {}, 5)
        self.store.fill(count)
        scenes = [sampler.sample(n) for n in range(count)]
        self.true = [world.caption(scene, 1, "en") for scene in scenes]
        self.false = [world.caption(hard_negative(scene, rng, world.by_id), 1, "en")
                      for scene in scenes]

    @torch.no_grad()
    def __call__(self, clip: LockedClip, words: Words) -> dict[str, float]:
        """Shares: the right one of 2 hard captions and of 100 others, and of all pictures."""
        count = len(self.true)
        pictures = torch.cat([F.normalize(clip.relate_cells(clip.read_cells(FeatureMaps(*(
            x.float() for x in self.store.maps(range(i, min(i + 50, count))))))), dim=-1)
            for i in range(0, count, 50)])

        def read(texts: list[str]) -> Tensor:
            ids = words.ids(texts)
            return F.normalize(clip.relate_words(words[ids], ids > 0), dim=-1)

        right, wrong = read(self.true), read(self.false)
        own = (pictures * right).sum(1)
        hits = []
        for start in range(0, count, 100):
            part = slice(start, start + 100)
            best = (pictures[part] @ right[part].t()).argmax(1) + start
            hits += [self.true[b] == self.true[start + i] for i, b in enumerate(best.tolist())]
        best = (right @ pictures.t()).argmax(1)
        found = [self.true[b] == text for b, text in zip(best.tolist(), self.true, strict=True)]
        return {"hard_pairs": float((own > (pictures * wrong).sum(1)).float().mean()),
                "top1_of_100": sum(hits) / len(hits),
                "text_to_picture": sum(found) / len(found)}


def train(config: dict[str, Any]) -> dict[str, float]:
    """Run or resume the training and export the averaged weights; returns the figures.

    With ``maps_only`` in the configuration, only the maps are made, as another process may that
    runs beside the training.
    """
    torch.manual_seed(config["seed"])
    world, size_px = World(), config["model"]["image_size"]
    sampler = world.sampler(config["split"], **config["sampler"])
    maps = FeatureStore(RUNS_DIR / f"{config['name']}-features", sampler.sample, world, size_px,
                        config["fates"], config["seed"], load_vqgan())
    if config.get("maps_only"):
        torch.set_num_threads(config["threads"])
        maps.fill(config["scenes"])
        return {}
    maps.fill(config["least_scenes"])
    clip = build(config["model"])
    model = Trained(clip, len(world.concepts), config["model"]["cell_width"])
    clip.gather.measure(maps.maps(range(min(256, maps.count))))
    loop = Loop(config, model)
    words = Words(load_encoder(torch.device("cpu")), clip.most_words)
    examination = Examination(world, RUNS_DIR / "ranker-examination", size_px,
                              config.get("examined", EVALUATED))
    data = RankerData(config, world, maps, words)

    def examined() -> dict[str, float]:
        return examination(copy.deepcopy(loop.ema.clip).cpu().eval(), words)

    for step in loop.steps():
        if due(step, REFRESH_EVERY):
            maps.refresh()
        batch = data.batch(step, step >= config["cells_first"])
        generator = torch.Generator().manual_seed(step)
        said = words[batch.ids]
        strength = config["word_noise"] * torch.rand(*said.shape[:2], 1, generator=generator)
        noise = F.normalize(torch.randn(said.shape, generator=generator), dim=-1)
        said = (said + strength * noise).to(loop.device)
        with loop.accelerator.autocast():
            loss, told = loss_of(model, batch.to(loop.device), said, config["cells_weight"])
        loop.backward(loss)
        loop.scenes += len(batch.labels)
        loop.log(**told)
        if due(step, config["evaluate_every"]):
            print(examined(), flush=True)
    figures = examined()
    card = CARD.format(
        pairs=loop.scenes, scenes=maps.count, minutes=loop.seconds / 60, device=loop.device.type,
        count=len(examination.true), **figures)
    weights = export(loop.ema.clip, config["export_as"], "locked_clip", config["model"], card,
                     int8=config.get("int8", False))
    clip = copy.deepcopy(loop.ema.clip).cpu().eval()
    clip.image, clip.text = load_features(), words.encoder
    # The page says by it how well a picture fits.
    scale = calibrate_exported(clip, world, weights.parent, config.get("calibrated", PAIRS))
    print(f"{config['export_as']}: {figures}, {scale.true_pairs:.3f} of true captions reach the "
          "limit of near misses; weights exported")
    return figures


def main() -> None:
    """Command line."""
    train(parse_arguments("clip_ranker.toml"))


if __name__ == "__main__":
    main()
