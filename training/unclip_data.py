"""Scenes with the CLIP's image embeddings, for the prior and the decoder."""

from __future__ import annotations

import hashlib
import json
import random
from typing import Any, cast

import torch
from open_clip import CLIP
from torch import Tensor

from pipelines.models.checkpoints.vocabulary import load_vocabulary
from pipelines.models.clip import ClipModel, build, image_size
from pipelines.models.vqgan import VQGAN
from training.codes import CodeStore, Supply, rows_of, save_whole
from training.data import World
from training.export import WEIGHTS_DIR, load_exported
from training.loop import RUNS_DIR, fast_autocast

FOLDER = "clip-guide"


def load_clip() -> tuple[ClipModel, str]:
    """The embedded CLIP, frozen, in float32, and the SHA-256 of its weights."""
    folder = WEIGHTS_DIR / FOLDER
    config = json.loads((folder / "config.json").read_text())["config"]
    module = cast(CLIP, build(config))
    path = folder / "model.safetensors"
    load_exported(module, path)
    fingerprint = hashlib.sha256(path.read_bytes()).hexdigest()
    clip = ClipModel(module, load_vocabulary(), image_size(config), config["mean"], config["std"])
    return cast(ClipModel, clip.eval().requires_grad_(False)), fingerprint


class EmbeddedScenes:
    """A growing store of scenes: their codes, and their pictures' embeddings by the CLIP.

    Args:
        config: a trainer's, with ``split``, ``chunk``, ``kinds``, ``coloured``,
            ``newest``, ``fresh_every``, ``batch_size`` and ``seed``.
        world: draws the scenes.
        vqgan: makes the codes.
        clip: makes the embeddings.
        fingerprint: of the CLIP, so that embeddings of two CLIPs are never mixed.
    """

    def __init__(self, config: dict[str, Any], world: World, vqgan: VQGAN, clip: ClipModel,
                 fingerprint: str) -> None:
        self.config, self.world, self.clip = config, world, clip
        self.store = CodeStore(RUNS_DIR / "codes", vqgan, world, config["split"], config["chunk"],
                               kinds=config["kinds"], coloured=config["coloured"])
        self.folder = self.store.folder / f"embeds-{fingerprint[:12]}"
        self.folder.mkdir(exist_ok=True)
        self._embeds: list[Tensor] = []
        if not len(self.store):
            self.store.grow()
        self._embed_shards()
        self.supply = Supply(len(self), config["chunk"], config["fresh_every"])

    def __len__(self) -> int:
        return len(self._embeds) * self.store.chunk

    def grow(self) -> None:
        """Draw, encode and embed the next chunk."""
        self.store.grow()
        self._embed_shards()

    def _embed_shards(self) -> None:
        for number in range(len(self._embeds), len(self.store.shards)):
            path = self.folder / f"{number:05d}.pt"
            if not path.exists():
                self._write_embeds(number)
            self._embeds.append(torch.load(path, weights_only=True))

    def write(self, number: int) -> None:
        """Draw, encode, embed and keep the scenes of a shard, see ``CodeStore.write``."""
        self.store.write(number)
        self._write_embeds(number)

    def _write_embeds(self, number: int) -> None:
        save_whole(self._embed(number), self.folder / f"{number:05d}.pt")

    @torch.no_grad()
    def _embed(self, number: int) -> Tensor:
        """Embeddings (chunk, D) float32 of the scenes of a shard."""
        first = number * self.store.chunk
        scenes = [self.store.sampler.sample(i) for i in range(first, first + self.store.chunk)]
        device = self.clip.device
        parts, size = [], 64 if device.type == "cpu" else 1024
        for start in range(0, len(scenes), size):
            pixels = self.world.render(scenes[start : start + size], self.clip.image_size)
            with fast_autocast(device):
                parts.append(self.clip.encode_image(pixels.to(device)).float().cpu())
        return torch.cat(parts)

    def chosen(self, step: int) -> tuple[list[int], random.Random]:
        """Numbers of the scenes of batch ``step``, half of them new ones; and its randomness."""
        config = self.config
        known = self.supply.known(step)
        rng = random.Random(f"{config['seed']}/{step}")
        newest = max(0, known - config["newest"])
        return [rng.randrange(newest if k % 2 else 0, known)
                for k in range(config["batch_size"])], rng

    def reach(self, last: int) -> None:
        """Grow until there is a scene of this number."""
        while len(self) <= last:
            self.grow()

    def captions(self, rows: list[int], rng: random.Random) -> list[str]:
        """A new paraphrase of each scene."""
        scenes = [self.store.sampler.sample(i) for i in rows]
        return [self.world.caption(scene, rng.randrange(1 << 30)) for scene in scenes]

    def embeds(self, rows: list[int]) -> Tensor:
        """Unit-length image embeddings (N, D) of the scenes with these numbers."""
        return rows_of(self._embeds, self.store.chunk, rows)

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (D,) of the image embeddings that are there."""
        known = torch.cat(self._embeds).float()
        return known.mean(0), known.std(0).clamp_min(1e-4)


def flow_times(count: int, config: dict[str, Any], generator: torch.Generator) -> Tensor:
    """Times (count,) in (0, 1), logit-normal.

    Source: Esser et al., "Scaling Rectified Flow Transformers" (2024), section 3.1.
    """
    normal = torch.randn(count, generator=generator)
    return torch.sigmoid(normal * config["time_std"] + config["time_mean"])


def flow_loss(predicted: Tensor, clean: Tensor, t: Tensor, least_time: float) -> Tensor:
    """Squared error of the velocity that a prediction of x_0 implies, scalar.

    Args:
        predicted: (B, …), x_0 as predicted.
        clean: (B, …), x_0.
        t: (B,) in (0, 1].
        least_time: below it the weight 1 / t² grows no more.
    """
    error = (predicted.float() - clean).pow(2).flatten(1).mean(1)
    return (error / t.clamp_min(least_time).pow(2)).mean()
