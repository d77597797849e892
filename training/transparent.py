"""Scenes as layers with transparency: the ground, and each thing alone at one size.

Within its scene a thing has other codes before each ground, at each place and in each size, and a
transformer has to learn it once for each. Here every thing is drawn alone, always as large as its
layer and the same way round; where it stands, how large, and whether mirrored, the plan says, and
``pipelines.world.composition`` puts the layers together. What one thing looks like in one style,
colour and medium is then always the same codes. One that is painted or in a medium has a draft, as
it is in its own colours.

Source: Zhang and Agrawala, "Transparent Image Layer Diffusion using Latent Transparency" (2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.world.media import OPERATIONS
from pipelines.world.plans import is_drafted
from pipelines.world.scenes import Scene, SceneObject
from training.data import World

LAYER_PX = 128
_CANVAS_PX = 256  # what media are defined at; a layer is then half of it, as things mostly are
_NONE = Scene("single", (), None, "white", False, None, 0)
# A thing and the medium that it is drawn in; or a scene without things.
Layer = tuple[SceneObject, str | None] | Scene


def layers_of(scene: Scene) -> list[Layer]:
    """The ground of a scene and its things; equal ones are equal."""
    ground = replace(scene, objects=(), kind="single", relation=None, say_background=False)
    return [ground, *((bare(thing), scene.medium) for thing in scene.objects)]


def draft_of(thing: SceneObject, medium: str | None) -> Layer | None:
    """What a thing of a scene in a medium looks like in its own colours, where it does not."""
    return (replace(bare(thing), colour=None), None) if is_drafted(thing, medium) else None


def bare(thing: SceneObject) -> SceneObject:
    """A thing without what makes no difference to its layer."""
    return replace(thing, box=(0.0, 0.0, 1.0, 1.0), flip=False, size=None, say_tone=False)


@torch.no_grad()
def draw_layers(world: World, layers: Sequence[Layer]) -> Tensor:
    """Layers (N, 4, 128, 128) float32 in [0, 1]: premultiplied RGB, and how far each pixel covers
    what is behind it."""
    found: list[Tensor] = [torch.empty(0)] * len(layers)
    grounds = {n: layer for n, layer in enumerate(layers) if isinstance(layer, Scene)}
    things = {n: layer for n, layer in enumerate(layers) if not isinstance(layer, Scene)}
    for changed in (False, True):
        scenes = {n: each for n, each in grounds.items() if (each.medium in OPERATIONS) == changed}
        alone = {n: each for n, each in things.items() if (each[1] in OPERATIONS) == changed}
        drawn = [*(_grounds(world, [*scenes.values()], changed) if scenes else ()),
                 *(_things(world, [*alone.values()], changed) if alone else ())]
        for number, picture in zip([*scenes, *alone], drawn, strict=True):
            found[number] = picture
    return torch.stack(found)


def _grounds(world: World, scenes: Sequence[Scene], changed: bool) -> Tensor:
    pixels = world.render(scenes, _CANVAS_PX if changed else LAYER_PX)
    if changed:
        pixels = F.interpolate(pixels, (LAYER_PX, LAYER_PX), mode="bilinear", antialias=True,
                               align_corners=False)
    return torch.cat([pixels, torch.ones_like(pixels[:, :1])], 1)


def _things(world: World, things: Sequence[tuple[SceneObject, str | None]],
            changed: bool) -> Tensor:
    box = (0.25, 0.25, 0.75, 0.75) if changed else (0.0, 0.0, 1.0, 1.0)
    side = _CANVAS_PX if changed else LAYER_PX
    scenes = [replace(_NONE, objects=(replace(thing, box=box),), medium=medium)
              for thing, medium in things]
    on_white, matte = world.render(scenes, side), world.renderer.mattes(scenes, side)
    media = sorted({scene.medium for scene in scenes}, key=str)
    bare_white = world.render([replace(_NONE, medium=medium) for medium in media], side)
    white = bare_white[[media.index(scene.medium) for scene in scenes]]
    colours = (on_white - (1 - matte) * white).clamp(0, 1)
    pixels = torch.cat([torch.minimum(colours, matte), matte], 1)
    edge = (side - LAYER_PX) // 2
    return pixels[..., edge : edge + LAYER_PX, edge : edge + LAYER_PX]
