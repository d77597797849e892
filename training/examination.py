"""What a ranker is asked while it learns: unseen scenes, near misses by kind, and plain colours.

``python -m training.examination`` asks the one that ships, some minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.checkpoints.loading import load_model
from pipelines.models.feature_maps import FeatureMaps
from pipelines.models.locked_clip import LockedClip
from pipelines.world.hard_negatives import named_hard_negative
from pipelines.world.scenes import COLOURS, Scene, SceneObject
from training.data import World
from training.feature_store import RENDER_PX, FeatureStore, squeezed
from training.ranker_data import Words

Say = Callable[[list[str]], Tensor]
EVALUATED = 500  # unseen scenes
PART = 50  # pictures at once
# Things by themselves on white, each in every colour that shows on it.
COLOURED = ("car", "apple", "chair", "bird", "bus", "balloon")
SHOWN = tuple(colour for colour in COLOURS if colour != "white")
COLOURED_STYLE, COLOURED_BOX = "noto", (0.125, 0.125, 0.875, 0.875)


def coloured_scene(number: int) -> Scene:
    """Scene ``number`` of those of ``COLOURED`` things, ten of the same thing after each other."""
    concept, colour = divmod(number, len(SHOWN))
    thing = SceneObject(COLOURED[concept], COLOURED_STYLE, SHOWN[colour], None, COLOURED_BOX)
    return Scene("single", (thing,), None, "white", False, None, 0)


class Questions:
    """Captions of unseen scenes, near misses of them, and plain colours.

    Args:
        world: draws the scenes.
        count: how many scenes, beside those of coloured things.
        misses: near misses of each.
    """

    def __init__(self, world: World, count: int = EVALUATED, misses: int = 1) -> None:
        sampler, rng = world.sampler("eval-clip", held_out=True), random.Random(5)
        self.scenes = [sampler.sample(n) for n in range(count)]
        self.true = [world.caption(scene, 1, "en") for scene in self.scenes]
        self.missed: list[tuple[str, int, str]] = []  # kind, scene, caption
        for _ in range(misses):
            for number, scene in enumerate(self.scenes):
                kind, wrong = named_hard_negative(scene, rng, world.by_id)
                self.missed.append((kind, number, world.caption(wrong, 1, "en")))
        self.coloured = [coloured_scene(n) for n in range(len(COLOURED) * len(SHOWN))]
        self.asked = [f"a {colour} {world.by_id[concept].name}" for concept in COLOURED
                      for colour in SHOWN]

    def answered(self, pictures: Tensor, coloured: Tensor, say: Say) -> dict[str, Any]:
        """Shares, in [0, 1].

        Args:
            pictures: (N, D), embeddings of the scenes.
            coloured: (60, D), of those of coloured things.
            say: texts to embeddings.

        Returns:
            ``hard_pairs``: of near misses that fit their picture less than its caption does;
            ``top1_of_100``: of pictures that prefer their caption to 99 others;
            ``text_to_picture``: of captions that prefer their picture to all others; ``colours``:
            of colours of which the right one of the ten pictures of a thing comes first;
            ``kinds``: of each kind of near miss how many of how many were told.
        """
        right, wrong = say(self.true), say([text for _, _, text in self.missed])
        rows = torch.tensor([number for _, number, _ in self.missed])
        above = ((pictures[rows] * right[rows]).sum(1) > (pictures[rows] * wrong).sum(1)).tolist()
        hits = []
        for start in range(0, len(self.true), 100):
            part = slice(start, start + 100)
            best = (pictures[part] @ right[part].t()).argmax(1) + start
            hits += [self.true[b] == self.true[start + i] for i, b in enumerate(best.tolist())]
        best = (right @ pictures.t()).argmax(1)
        found = [self.true[b] == text for b, text in zip(best.tolist(), self.true, strict=True)]
        kinds: defaultdict[str, list[bool]] = defaultdict(list)
        for (kind, _, _), one in zip(self.missed, above, strict=True):
            kinds[kind].append(one)
        return {"hard_pairs": sum(above) / len(above), "top1_of_100": sum(hits) / len(hits),
                "text_to_picture": sum(found) / len(found),
                "colours": right_colours(coloured, say(self.asked)),
                "kinds": {kind: f"{sum(ones)}/{len(ones)}"
                          for kind, ones in sorted(kinds.items())}}


class Examination:
    """What towers that are trained are asked; the pictures are looked at once.

    Args:
        world: draws the scenes.
        folder: where their maps are kept.
        side_px: of the pictures.
        count: how many, beside those of coloured things.
    """

    def __init__(self, world: World, folder: Path, side_px: int, count: int = EVALUATED) -> None:
        self.questions = Questions(world, count)
        scenes, coloured = self.questions.scenes, self.questions.coloured
        self.store = FeatureStore(folder, scenes.__getitem__, world, side_px, {}, 5)
        self.store.fill(len(scenes))
        self.coloured = FeatureStore(folder.with_name(f"{folder.name}-colours"),
                                     coloured.__getitem__, world, side_px, {}, 5)
        self.coloured.fill(len(coloured))

    @torch.no_grad()
    def __call__(self, clip: LockedClip, words: Words) -> dict[str, Any]:
        """See ``Questions.answered``."""
        def say(texts: list[str]) -> Tensor:
            ids = words.ids(texts)
            return clip.say(words[ids], ids > 0)

        def look(store: FeatureStore, count: int) -> Tensor:
            return torch.cat([clip.look(FeatureMaps(*(
                x.float() for x in store.maps(range(i, min(i + PART, count))))))
                for i in range(0, count, PART)])

        return self.questions.answered(look(self.store, len(self.questions.scenes)),
                                       look(self.coloured, len(self.questions.coloured)), say)


@torch.no_grad()
def examine(clip: Any, world: World, questions: Questions) -> dict[str, Any]:
    """Ask a whole CLIP, with the interface of ``pipelines.models.clip.ClipModel``."""
    def look(scenes: list[Scene]) -> Tensor:
        return torch.cat([clip.encode_image(squeezed(world.render(scenes[i:i + PART], RENDER_PX),
                                                     clip.image_size))
                          for i in range(0, len(scenes), PART)])

    def say(texts: list[str]) -> Tensor:
        return torch.cat([clip.encode_text(texts[i:i + PART])
                          for i in range(0, len(texts), PART)])

    return questions.answered(look(questions.scenes), look(questions.coloured), say)


def right_colours(pictures: Tensor, texts: Tensor) -> float:
    """Share of texts whose picture comes first among those of the same thing.

    Args:
        pictures: (60, D), in the order of ``coloured_scene``.
        texts: (60, D), likewise.
    """
    shape = (len(COLOURED), len(SHOWN), -1)
    cosines = texts.view(shape) @ pictures.view(shape).transpose(1, 2)  # (thing, text, picture)
    return float((cosines.argmax(2) == torch.arange(len(SHOWN))).float().mean())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Ask a CLIP what a ranker is asked.")
    parser.add_argument("model", nargs="?", default=RANKER, help="id of an embedded CLIP")
    parser.add_argument("--misses", type=int, default=1, help="near misses of each scene")
    arguments, catalogue, world = parser.parse_args(), Catalogue.load(), World()
    clip = load_model(catalogue, catalogue.get(arguments.model))
    print(json.dumps(examine(clip, world, Questions(world, misses=arguments.misses)), indent=1))


if __name__ == "__main__":
    main()
