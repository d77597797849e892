"""Learn what the world looks like: ``python -m training.fit_familiarity`` (minutes on one core).

Scenes of the world as it is now are looked at by EfficientNet-Lite0 and kept by their features; run
it again whenever the world changes. The threshold is set on scenes that are not kept.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.loading import load_model
from pipelines.models.efficientnet import IMAGE_SIZE, EfficientNet
from pipelines.models.familiarity import Familiarity
from training.data import World
from training.export import export

SPLIT = "familiarity"
KEPT, ASKED, BATCH = 640, 240, 16
REFUSED = 0.02  # share of unseen scenes that may be taken for something else


@torch.no_grad()
def scene_features(image: EfficientNet, world: World, split: str, count: int) -> Tensor:
    """The classifier's features (count, 1280) of scenes of a split."""
    sampler, parts = world.sampler(split, held_out=True), []
    for start in range(0, count, BATCH):
        scenes = [sampler.sample(n) for n in range(start, min(count, start + BATCH))]
        pixels = F.interpolate(world.render(scenes, 256), (IMAGE_SIZE, IMAGE_SIZE), mode="bicubic",
                               align_corners=False, antialias=True).clamp(0, 1)
        parts.append(image.features(pixels))
    return torch.cat(parts)


def threshold(nearness: Tensor) -> float:
    """The nearness that all but ``REFUSED`` of unseen scenes reach, to three digits."""
    return round(float(torch.quantile(nearness, REFUSED)), 3)


@torch.no_grad()
def main() -> None:
    """Write the model where the product loads it."""
    catalogue = Catalogue.load()
    image = load_model(catalogue, catalogue.get("embedded/efficientnet-lite0"))
    assert isinstance(image, EfficientNet)
    world = World()
    model = Familiarity(KEPT, 0.0)
    kept = scene_features(image, world, f"{SPLIT}/kept", KEPT)
    model.known.data = F.normalize(kept, dim=-1)
    least = threshold(model.nearness(scene_features(image, world, f"{SPLIT}/asked", ASKED)))
    export(model, "familiarity", "familiarity", {"scenes": KEPT, "least": least}, f"""
# What the world looks like

Features of {KEPT} scenes of `pipelines/world`, by EfficientNet-Lite0. A picture whose nearest of
them has a cosine under {least} is unlike anything that the CLIPs trained on that world have seen.

- Command: `python -m training.fit_familiarity`; to be run again when the world changes
- Threshold: {REFUSED:.0%} of {ASKED} scenes that are not kept lie under it; what photographs do is
  in `benchmarks/results/photographs.json`
- Licence: Apache-2.0; the art is listed in `assets/world/NOTICE.md`
""", int8=True)


if __name__ == "__main__":
    main()
