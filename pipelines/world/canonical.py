"""Scenes with what their captions leave open as it usually is.

A caption leaves open where a thing stands and in which style it is drawn. The average over all of
that is a blur; where every caption has one picture there is something sharp to learn. Captions of
such scenes therefore name things side by side from left to right (``in_order`` of
``pipelines.world.captions``).
"""

from __future__ import annotations

import random
from dataclasses import replace

from pipelines.world.scenes import MEDIUM_STYLE, STYLE_WEIGHTS, Scene, SceneSampler, place

USUAL_STYLE = max(STYLE_WEIGHTS, key=lambda style: STYLE_WEIGHTS[style])


def usual(scene: Scene) -> Scene:
    """The scene in the usual style and places, on white unless its caption says otherwise."""
    size = scene.objects[0].size
    boxes = place(scene.kind, scene.relation, len(scene.objects), random.Random(0), size)
    style = MEDIUM_STYLE.get(scene.medium or "", USUAL_STYLE)
    objects = tuple(replace(o, style=style, box=box)
                    for o, box in zip(scene.objects, boxes, strict=True))
    background = scene.background if scene.say_background else "white"
    return replace(scene, objects=objects, background=background)


def is_usual(scene: Scene) -> bool:
    """Whether nothing that the caption leaves open is out of the usual."""
    return scene == usual(scene)


class UsualSampler:
    """A share of the scenes of a sampler as is usual, the others as they happen to be.

    Args:
        scenes: what is sampled.
        share: 0 to 1.
    """

    def __init__(self, scenes: SceneSampler, share: float) -> None:
        self.scenes, self.share = scenes, share

    def sample(self, index: int) -> Scene:
        """Scene ``index``; the same one every time."""
        scene = self.scenes.sample(index)
        chosen = random.Random(f"usual/{scene.seed}").random() < self.share
        return usual(scene) if chosen else scene
