"""Batches for the ranker: maps of kept scenes, each time with new captions and hard negatives."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pipelines.models.feature_maps import MIDDLE_STRIDE, FeatureMaps
from pipelines.models.locked_clip import words_of
from pipelines.models.minilm import SentenceEncoder
from pipelines.world.hard_negatives import (
    COLOURLESS_MEDIA,
    hard_negative,
    other_colour,
    other_medium,
)
from pipelines.world.scenes import COLOURS, Scene
from training.data import PORTUGUESE_SHARE, World
from training.feature_store import IN_PLACE, READABLE, FeatureStore
from training.loop import RUNS_DIR
from training.train_dalle import load_vqgan
from training.twins import Twins

IGNORE = -100
HEART = 0.6  # of a thing's box, the part whose cells are asked what they show
EMPTY_CELLS = 12  # of a picture, which are asked as well


def kept_maps(config: dict[str, Any], world: World) -> FeatureStore:
    """The maps of a run's scenes, as many as there are by now.

    Args:
        config: with ``name``, ``split``, ``sampler``, ``seed``, ``fates``, the model's
            ``image_size`` and perhaps ``twins``.
        world: draws them.
    """
    sampler = world.sampler(config["split"], **config["sampler"])
    scene_of = Twins(sampler, world.by_id) if config.get("twins") else sampler.sample
    return FeatureStore(RUNS_DIR / f"{config['name']}-features", scene_of, world,
                        config["model"]["image_size"], config["fates"], config["seed"],
                        load_vqgan())


class Words:
    """MiniLM's embeddings of words, each computed once.

    Args:
        encoder: MiniLM.
        most: words of a text that are read.
    """

    def __init__(self, encoder: SentenceEncoder, most: int) -> None:
        self.encoder, self.most = encoder, most
        self.rows: dict[str, int] = {}
        self.vectors = torch.zeros(0, encoder.width)

    @torch.no_grad()
    def ids(self, texts: Sequence[str]) -> Tensor:
        """Numbers of the words of texts, (N, T) int64; 0 where there is none."""
        said = [words_of(text, self.most) for text in texts]
        new = [word for word in dict.fromkeys(w for words in said for w in words)
               if word not in self.rows]
        for start in range(0, len(new), 64):
            part = new[start:start + 64]
            self.rows |= {word: len(self.vectors) + n for n, word in enumerate(part)}
            self.vectors = torch.cat([self.vectors, self.encoder(part).float()])
        rows = [torch.tensor([self.rows[word] + 1 for word in words]) for words in said]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True)

    def __getitem__(self, ids: Tensor) -> Tensor:
        """The embeddings (N, T, D) of numbers; those of no word are of no matter."""
        return self.vectors[(ids - 1).clamp_min(0)]


class Cells(NamedTuple):
    """What single cells of the pictures of a batch show: (n,) int64 each.

    Attributes:
        rows, ys, xs: which cells.
        concepts: class of what stands there; the one after the last for nothing.
        colours: 0 for the colour that it has by itself, or its stated one's number from 1 on;
            ``IGNORE`` where nobody can tell.
    """

    rows: Tensor
    ys: Tensor
    xs: Tensor
    concepts: Tensor
    colours: Tensor


class Batch(NamedTuple):
    """One batch of B pictures and T texts.

    Attributes:
        maps: of the pictures.
        ids: (T, L) numbers of words, 0 for none: B captions, then a hard negative of each of
            them, once or more.
        labels: (B, T) float32: 1 where a text is true of a picture, -1 where not, 0 unasked.
        cells: what some cells show.
    """

    maps: FeatureMaps
    ids: Tensor
    labels: Tensor
    cells: Cells

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(FeatureMaps(*(x.to(device) for x in self.maps)), self.ids.to(device),
                     self.labels.to(device), Cells(*(x.to(device) for x in self.cells)))


def labels_of(ids: Tensor, readable: Tensor) -> Tensor:
    """Which texts are true of which pictures.

    A caption is true of its own picture, if that can be read; texts of the same words as that one
    are not asked of it.

    Args:
        ids: (T, L) int64: B captions, then any others.
        readable: (B,) bool.

    Returns:
        (B, T) float32, see ``Batch``.
    """
    count = len(readable)
    same = (ids[:count, None] == ids[None]).all(-1)  # (B, T)
    labels = torch.where(same & readable[:, None], 0.0, -1.0)
    own = torch.arange(count)
    labels[own, own] = torch.where(readable, 1.0, -1.0)
    return labels


def cells_of(scenes: Sequence[Scene | None], side: int, classes: dict[str, int], world: World,
             rng: random.Random) -> Cells:
    """What cells show, by where the things stand.

    Args:
        scenes: of each row, or None where nothing stands where it stood.
        side: cells in a row of a picture.
        classes: class by concept id.
        world: knows the colours that things have by themselves.
        rng: chooses the empty cells.
    """
    at = (torch.arange(side) + 0.5) / side
    found: list[tuple[int, int, int, int, int]] = []
    for row, scene in enumerate(scenes):
        if scene is None:
            continue
        covered, shown = torch.zeros(side, side, dtype=torch.bool), {}
        for thing in scene.objects:
            x0, y0, x1, y1 = thing.box
            inside = ((at > x0) & (at < x1))[None] & ((at > y0) & (at < y1))[:, None]
            covered |= inside
            # What is laid over hides what is below.
            shown = {cell: said for cell, said in shown.items() if not inside[cell]}
            cut_x, cut_y = (x1 - x0) * (1 - HEART) / 2, (y1 - y0) * (1 - HEART) / 2
            heart = (((at > x0 + cut_x) & (at < x1 - cut_x))[None]
                     & ((at > y0 + cut_y) & (at < y1 - cut_y))[:, None])
            native = world.by_id[thing.concept].native_colour
            painted = thing.colour is not None and thing.colour != native
            colour = COLOURS.index(thing.colour) + 1 if painted and thing.colour else 0
            colour = IGNORE if scene.medium in COLOURLESS_MEDIA else colour
            shown |= {(y, x): (classes[thing.concept], colour)
                      for y, x in heart.nonzero().tolist()}
        found += [(row, y, x, *said) for (y, x), said in shown.items()]
        empty = (~covered).nonzero().tolist()
        found += [(row, y, x, len(classes), IGNORE)
                  for y, x in rng.sample(empty, min(EMPTY_CELLS, len(empty)))]
    columns = torch.tensor(found, dtype=torch.long).view(-1, 5).unbind(1)
    return Cells(*columns)


class RankerData:
    """Makes batches; batch ``i`` of as many kept scenes is always the same.

    Args:
        config: as in ``training/configs/clip_ranker.toml``.
        world: says what scenes show.
        store: the scenes' maps.
        words: reads captions.
    """

    def __init__(self, config: dict[str, Any], world: World, store: FeatureStore,
                 words: Words) -> None:
        self.config, self.world, self.store, self.words = config, world, store, words
        self.classes = {c.id: i for i, c in enumerate(world.concepts)}
        self.side = config["model"]["image_size"] // MIDDLE_STRIDE

    def batch(self, step: int, captions: bool = True) -> Batch:
        """Batch ``step``; without captions it has no texts."""
        rng = random.Random(f"{self.config['seed']}/{step}")
        numbers = self._numbers(rng)
        scenes = [self.store.scene_of(n) for n in numbers]
        ids, labels = torch.zeros(0, 1, dtype=torch.long), torch.zeros(len(scenes), 0)
        if captions:
            ids = self.words.ids(self._texts(scenes, rng))
            labels = labels_of(ids, torch.tensor([self.store.fate(n) < READABLE for n in numbers]))
        in_place = [scene if self.store.fate(number) < IN_PLACE else None
                    for number, scene in zip(numbers, scenes, strict=True)]
        return Batch(self.store.maps(numbers), ids, labels,
                     cells_of(in_place, self.side, self.classes, self.world, rng))

    def _numbers(self, rng: random.Random) -> list[int]:
        """Of the scenes of a batch, which stand in the store in twos where they have twins."""
        wanted = min(self.config["batch_size"], self.store.count)
        if not self.config.get("twins"):
            return rng.sample(range(self.store.count), wanted)
        firsts = rng.sample(range(self.store.count // 2), wanted // 2)
        return [number for first in firsts for number in (2 * first, 2 * first + 1)]

    def _texts(self, scenes: Sequence[Scene], rng: random.Random) -> list[str]:
        captions: list[str] = []
        rounds: list[list[str]] = [[] for _ in range(self.config["negatives"])]
        language, salt = "en", 0
        for row, scene in enumerate(scenes):
            # Twins are told in the same words where the grammar allows it, as hard negatives are,
            # so that only what differs tells.
            if row % 2 == 0 or not self.config.get("twins"):
                language = "pt" if rng.random() < PORTUGUESE_SHARE else "en"
                salt = rng.randrange(1 << 30)
            captions.append(self.world.caption(scene, salt, language))
            for negatives in rounds:
                negatives.append(self.world.caption(self._wrong(scene, rng),
                                                    salt + rng.randint(0, 1), language))
        return captions + [text for negatives in rounds for text in negatives]

    def _wrong(self, scene: Scene, rng: random.Random) -> Scene:
        if scene.medium is not None and rng.random() < self.config["other_media"]:
            return other_medium(scene, rng)
        wrong = None
        if rng.random() < self.config["other_colours"]:
            wrong = other_colour(scene, rng, self.world.by_id)
        return wrong or hard_negative(scene, rng, self.world.by_id)
