"""Small CLIPs and picture files for the lab's tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from easel.serving.backend import LocalBackend
from pipelines.models.cache.cache import ModelCache
from pipelines.registry import Registry
from tests.small_models import SmallLoader

CLIP = "embedded/clip-ranker"


class Retrained(SmallLoader):
    """Small models whose weights depend on a name, which is their fingerprint too."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def load(self, model_id: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(sum(map(ord, self.name + model_id)))
            model = self._build(model_id.removeprefix("embedded/"))
        return model.to(device, dtype).requires_grad_(False).eval()

    def fingerprint(self, model_id: str) -> str | None:
        return self.name


def lab_backend(name: str = "a" * 64) -> LocalBackend:
    """A backend without generators whose CLIPs are small."""
    return LocalBackend(Registry(), ModelCache(Retrained(name), "cpu"))


def write_pictures(folder: Path, count: int, start: int = 0, side_px: int = 40) -> list[Path]:
    """Pictures of blocks of random colours, each unlike the others."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for n in range(start, start + count):
        blocks = np.random.default_rng(n).integers(0, 256, (4, 4, 3), np.uint8)
        path = folder / f"picture-{n:03}.png"
        Image.fromarray(blocks).resize((side_px, side_px), Image.Resampling.NEAREST).save(path)
        paths.append(path)
    return paths
