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
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.calibration import WEIGHTS
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.loading import Verifier, joint_sha256, load_model
from pipelines.models.clip import ClipModel
from pipelines.models.clip_pair import ClipPair
from pipelines.models.feature_maps import FeatureMaps
from pipelines.models.locked_clip import LockedClip, build
from pipelines.world.scenes import COLOURS
from training.calibrate import PAIRS, calibrate_exported
from training.data import World
from training.examination import EVALUATED, Examination
from training.export import export, load_exported
from training.feature_store import load_features
from training.loop import RUNS_DIR, Loop, compiled, due, parse_arguments
from training.ranker_data import IGNORE, Batch, Cells, RankerData, Words, kept_maps
from training.train_dalle import load_encoder

PARTS = ("embedded/efficientnet-lite0", "embedded/minilm")
ROOM = 8  # words
FITTED = 500  # scenes by which a scale is chosen
SCALES = tuple(float(scale) for scale in range(4, 61))
REFRESH_EVERY = 50  # steps, after which maps that came meanwhile are read as well
CARD = """# Embedded CLIP (ranker)

Looks through EfficientNet-Lite0 and reads through MiniLM, both as they were trained on photographs
and sentences (`embedded/efficientnet-lite0`, `embedded/minilm`); the heads on them were trained on
scenes of `pipelines/world`, in nine styles drawn evenly, and know nothing else.

- Command: `python -m training.train_ranker`
- Pairs seen: {pairs} of {scenes} scenes, each time with new captions; {minutes:.0f} minutes on
  {device}
- Right caption of 2 hard ones: {hard_pairs:.3f}; of 100 random ones: {top1_of_100:.3f};
  of {count} pictures the right one for a caption: {text_to_picture:.3f} ({count} unseen scenes);
  of pictures of a thing in ten colours the right one: {colours:.3f}
- Licence: Apache-2.0; the art it was trained on is listed in `assets/world/NOTICE.md`
"""


class Trained(nn.Module):
    """What is trained: the CLIP, and heads that read single cells and are left out afterwards."""

    def __init__(self, clip: LockedClip, concepts: int, cell_width: int) -> None:
        super().__init__()
        self.clip = clip
        self.concept = nn.Linear(cell_width, concepts + 1)
        self.colour = nn.Linear(cell_width, len(COLOURS) + 1)
        self.use(lambda function: function)

    def use(self, make: Callable[[Callable], Callable]) -> None:
        """Call the parts of the CLIP by what ``make`` makes of them, as one that compiles."""
        clip = self.clip
        self._read, self._relate, self._say = map(
            make, (clip.read_cells, clip.relate_cells, clip.relate_words))

    def read(self, maps: FeatureMaps, cells: Cells) -> tuple[Tensor, Tensor, Tensor]:
        """The cells of pictures, and of those that are asked the logits of concepts (n, C + 1) and
        of colours (n, 12)."""
        seen = self._read(maps)
        asked = seen[cells.rows, cells.ys, cells.xs]
        return seen, self.concept(asked).float(), self.colour(asked).float()

    def compare(self, seen: Tensor, words: Tensor, own: Tensor) -> Tensor:
        """Cosines (B, T) of pictures, by their cells, and texts."""
        pictures = F.normalize(self._relate(seen).float(), dim=-1)
        texts = F.normalize(in_halves(self._say, words, own, self.clip.most_words).float(), dim=-1)
        return pictures @ texts.t()


def in_halves(say: Callable[[Tensor, Tensor], Tensor], words: Tensor, own: Tensor, most: int,
              ) -> Tensor:
    """As ``LockedClip.relate_words``, the shorter half of the texts without the longest's room.

    Lengths are multiples of ``ROOM``, or ``most``, the longest that can be read, so that what is
    compiled is so for few of them.
    """
    missing = room_for(words.shape[1], most) - words.shape[1]
    words, own = F.pad(words, (0, 0, 0, missing)), F.pad(own, (0, missing))
    order = own.sum(1).argsort()
    parts = []
    for half in order.tensor_split(2):
        room = room_for(int(own[half].sum(1).max()) if len(half) else 0, most)
        parts.append(say(words[half, :room], own[half, :room]))
    return torch.cat(parts)[order.argsort()]


def room_for(length: int, most: int) -> int:
    """The next multiple of ``ROOM``, or ``most`` where that is less."""
    return min(most, -(-length // ROOM) * ROOM)


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
    loss, losses = seen.new_zeros((), dtype=torch.float32), {}
    if len(concepts):
        losses = cells_loss(concepts, colours, batch.cells)
        loss = cells_weight * losses["cells"]
    if len(batch.ids):
        cosines = model.compare(seen, words, batch.ids > 0)
        clip = model.clip
        losses["pairs"] = pair_loss(cosines, batch.labels, clip.log_scale.exp(), clip.bias)
        loss = loss + losses["pairs"]
        losses["hard"] = hard_share(cosines.detach(), batch.labels)
    return loss, losses


def train(config: dict[str, Any]) -> dict[str, Any]:
    """Run or resume the training and export the averaged weights; returns the figures.

    With ``maps_only`` in the configuration, only the maps are made, as another process may that
    runs beside the training.
    """
    torch.manual_seed(config["seed"])
    world, size_px = World(), config["model"]["image_size"]
    maps = kept_maps(config, world)
    if config.get("maps_only"):
        torch.set_num_threads(config["threads"])
        maps.fill(config["scenes"])
        return {}
    maps.fill(config["least_scenes"])
    clip = build(config["model"])
    started = config.get("start_from")
    if started:
        load_exported(clip, Path(started) / WEIGHTS)
    model = Trained(clip, len(world.concepts), config["model"]["cell_width"])
    if not started:
        clip.gather.measure(maps.maps(range(min(256, maps.count))))
    loop = Loop(config, model)
    loop.model.use(lambda function: compiled(function, config))
    words = Words(load_encoder(torch.device("cpu")), clip.most_words)
    examination = Examination(world, RUNS_DIR / "ranker-examination", size_px,
                              config.get("examined", EVALUATED))
    data = RankerData(config, world, maps, words)

    def examined() -> dict[str, Any]:
        return examination(copy.deepcopy(loop.ema.clip).cpu().eval(), words)

    for step in loop.steps():
        if due(step, REFRESH_EVERY):
            maps.refresh()
        batch = data.batch(step, step >= config["cells_first"])
        said = noisy(words[batch.ids], config["word_noise"], step).to(loop.device)
        with loop.accelerator.autocast():
            loss, losses = loss_of(model, batch.to(loop.device), said, config["cells_weight"])
        loop.backward(loss)
        loop.scenes += len(batch.labels)
        loop.log(**losses)
        if due(step, config["evaluate_every"]):
            print(examined(), flush=True)
    figures = examined()
    card = CARD.format(
        pairs=loop.scenes, scenes=maps.count, minutes=loop.seconds / 60, device=loop.device.type,
        count=len(examination.questions.true), **figures)
    export_ranker(loop.ema.clip, words, world, config, card)
    print(figures)
    return figures


def noisy(words: Tensor, most: float, seed: int) -> Tensor:
    """Embeddings (N, T, D) of words, each moved anyhow by up to ``most`` of its length, 1."""
    generator = torch.Generator().manual_seed(seed)
    strength = most * torch.rand(*words.shape[:2], 1, generator=generator)
    return words + strength * F.normalize(torch.randn(words.shape, generator=generator), dim=-1)


def export_ranker(averaged: LockedClip, words: Words, world: World, config: dict[str, Any],
                  card: str) -> None:
    """Write averaged towers, with another CLIP beside them where the configuration names one, and
    what cosines mean then, by which the page says how well a picture fits."""
    share, catalogue = config.get("beside_share", 0.0), Catalogue.load()
    parts, described = [*PARTS], dict(config["model"])
    towers = copy.deepcopy(averaged).cpu().eval().requires_grad_(False)
    if share:
        parts.append(config["beside"])
        described |= {"beside_share": share}
    # Another module: what is written is the towers without what they look and read through.
    whole = ClipPair(**described) if share else build(described)
    whole.eval().requires_grad_(False).load_state_dict(towers.state_dict())
    whole.image, whole.text = load_features(), words.encoder
    if isinstance(whole, ClipPair):
        beside = load_model(catalogue, catalogue.get(config["beside"]))
        assert isinstance(beside, ClipModel)
        whole.beside = beside
        scale = math.log(fitted_scale(whole, world, config.get("fitted", FITTED)))
        towers.log_scale.fill_(scale)
    weights = export(towers, config["export_as"], "clip_pair" if share else "locked_clip",
                     described, card, int8=config.get("int8", False))
    files = [weights, *(catalogue.folder(catalogue.get(part)) / WEIGHTS for part in parts)]
    found = calibrate_exported(whole, world, weights.parent,
                               joint_sha256([Verifier().sha256(path) for path in files]),
                               config.get("calibrated", PAIRS))
    print(f"{config['export_as']}: {found.true_pairs:.3f} of true captions reach the limit of near "
          "misses; weights exported")


@torch.no_grad()
def fitted_scale(clip: LockedClip, world: World, count: int) -> float:
    """The factor of cosines by which the softmax over captions is likeliest right.

    Args:
        clip: the whole CLIP.
        world: draws unseen scenes.
        count: how many, in groups of 100 at most.
    """
    sampler, losses = world.sampler("scale", held_out=True), torch.zeros(len(SCALES))
    for start in range(0, count, 100):
        scenes = [sampler.sample(n) for n in range(start, min(start + 100, count))]
        pictures = torch.cat([clip.encode_image(world.render(scenes[i:i + 25], 256))
                              for i in range(0, len(scenes), 25)])
        cosines = pictures @ clip.encode_text([world.caption(s, 1, "en") for s in scenes]).T
        losses += torch.stack([F.cross_entropy(scale * cosines, torch.arange(len(scenes)))
                               for scale in SCALES])
    return SCALES[int(losses.argmin())]


def main() -> None:
    """Command line."""
    train(parse_arguments("clip_ranker.toml"))


if __name__ == "__main__":
    main()
