"""Measure what a CLIP's cosines mean: ``python -m training.calibrate`` (four on one core).

``training.train_ranker`` calls ``calibrate_exported`` whenever it exports; call it by hand where
the world has changed and the weights have not.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.calibration import LIMIT, Calibration, write_calibration
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.checkpoints.loading import Verifier, fingerprint_of, load_model
from pipelines.world.hard_negatives import hard_negative
from training.data import World

SPLIT = "calibration"
PAIRS, BATCH = 1500, 50
SIDE_PX, SHIFT_PX = 256, 2  # about a hundredth of a side
TIED = 75  # percent of shifts that change less


@torch.no_grad()
def calibrate(clip: Any, world: World, pairs: int = PAIRS) -> Calibration:
    """Compare scenes that no training saw with their captions and with near misses of them.

    Args:
        clip: the CLIP, with the interface of ``pipelines.models.clip.ClipModel``.
        world: draws and captions the scenes.
        pairs: how many scenes.
    """
    sampler, rng = world.sampler(SPLIT, held_out=True), random.Random(0)
    true, missed, shifts = [], [], []
    for start in range(0, pairs, BATCH):
        scenes = [sampler.sample(n) for n in range(start, min(pairs, start + BATCH))]
        pixels = world.render(scenes, SIDE_PX)
        pictures, moved = (_encode(clip, p) for p in (
            pixels, pixels.roll((SHIFT_PX, SHIFT_PX), (2, 3))))
        said = clip.encode_text([world.caption(scene, 1, "en") for scene in scenes])
        wrong = clip.encode_text([world.caption(hard_negative(scene, rng, world.by_id), 1, "en")
                                  for scene in scenes])
        true.append((pictures * said).sum(1))
        missed.append((pictures * wrong).sum(1))
        shifts.append(((moved * said).sum(1) - true[-1]).abs())
    cosines, near, change = (torch.cat(parts).float().cpu().numpy()
                             for parts in (true, missed, shifts))
    scale = tuple(round(float(value), 5) for value in np.percentile(near, range(100)))
    return Calibration(scale, round(float(np.percentile(change, TIED)), 5),
                       round(float((cosines > scale[LIMIT]).mean()), 4), pairs)


def _encode(clip: Any, pixels: Tensor) -> Tensor:
    size = (clip.image_size, clip.image_size)
    return clip.encode_image(F.interpolate(pixels, size, mode="bicubic", align_corners=False,
                                           antialias=True).clamp(0, 1))


def calibrate_exported(clip: Any, world: World, folder: Path, sha256: str,
                       pairs: int = PAIRS) -> Calibration:
    """Calibrate a CLIP and write it to the folder of its weights.

    Args:
        clip: see ``calibrate``.
        world: draws the scenes.
        folder: of the weights.
        sha256: of the weights and those of their parts, see ``fingerprint_of``.
        pairs: how many scenes.
    """
    found = calibrate(clip, world, pairs)
    write_calibration(found, folder, sha256)
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Measure what a CLIP's cosines mean.")
    parser.add_argument("model", nargs="?", default=RANKER, help="id of an embedded CLIP")
    catalogue = Catalogue.load()
    entry = catalogue.get(parser.parse_args().model)
    if entry.family != "clip":
        raise SystemExit(f"{entry.id} is no CLIP.")
    clip: Any = load_model(catalogue, entry)
    found = calibrate_exported(clip, World(), catalogue.folder(entry),
                               fingerprint_of(catalogue, entry, Verifier()))
    print(f"{entry.id}: {LIMIT} % of near misses score under {found.near_misses[LIMIT]:.3f}, as do "
          f"{1 - found.true_pairs:.0%} of true captions; a tie is under {found.tie:.3f}")


if __name__ == "__main__":
    main()
