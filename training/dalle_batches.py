"""Batches of DALL·E's trainer: captions read, plans, and the codes of layers.

Those that are drawn together share their scenes by length, so that little of a batch is padding.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.models.dalle import PAD_ID
from pipelines.models.dalle_state import Logits
from pipelines.models.minilm import SentenceEncoder
from pipelines.world.plans import plan_of, to_tokens
from pipelines.world.scenes import Scene
from training.codes import CodeStore, Supply
from training.data import World
from training.layer_codes import in_stream
from training.loop import fast_autocast


@torch.no_grad()
def read(encoder: SentenceEncoder, texts: list[str], most: int) -> tuple[Tensor, Tensor]:
    """Ids (B, T) and states (B, T, width) of captions, T a multiple of 8 and at most ``most``."""
    with fast_autocast(encoder.device):
        ids, states = encoder.read(texts, most)
    missing = min(most, -(-ids.shape[1] // 8) * 8) - ids.shape[1]
    return F.pad(ids, (0, missing)), F.pad(states.float(), (0, 0, 0, missing))


def padded(rows: Tensor, length: int, value: int = 0) -> Tensor:
    """Rows (B, L, …) cut or padded to a length."""
    behind = [0, 0] * (rows.ndim - 2)
    return F.pad(rows, (*behind, 0, length - rows.shape[1]), value=value)


class Row(NamedTuple):
    """What a batch has of one scene.

    Attributes:
        number: of the scene in its store.
        caption: of it.
        plan: its tokens.
        order: in which the caption names the scene's things.
        layers: how many it has, drafts among them.
    """

    number: int
    caption: str
    plan: list[int]
    order: tuple[int, ...]
    layers: int


class Batch(NamedTuple):
    """What a step trains on.

    Attributes:
        ids, states: (B, T) and (B, T, width) of captions.
        plan: (B, P) int64.
        codes: (B, L, grid, grid) int64, below 0 where a picture has no such layer.
        slots: (B, L) int64, see ``ImageTransformer.forward``.
    """

    ids: Tensor
    states: Tensor
    plan: Tensor
    codes: Tensor
    slots: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(*(each.to(device) for each in self))

    def logits(self, forward: Callable[..., Logits]) -> Logits:
        """What a network, compiled or not, makes of it."""
        return forward(self.ids, self.codes.clamp_min(0), self.states, self.plan, self.slots)

    def shaped(self, text: int, things: int, layers: int) -> Batch:
        """Cut or padded to tokens of text, tokens of plan and layers."""
        return Batch(padded(self.ids, text), padded(self.states, text), padded(self.plan, things),
                     padded(self.codes, layers, -1), padded(self.slots, layers, -1))


def as_named(scene: Scene, order: Sequence[int]) -> Scene:
    """The scene, whose objects stand in the order in which a caption names them."""
    return replace(scene, objects=tuple(scene.objects[k] for k in order))


class Batches:
    """Makes training batches of captions, plans and codes from a growing store.

    Args:
        config: the run's.
        world: draws and describes scenes.
        store: their codes.
        encoder: reads captions.
    """

    def __init__(self, config: dict[str, Any], world: World, store: CodeStore,
                 encoder: SentenceEncoder) -> None:
        self.config, self.world, self.store = config, world, store
        self.encoder = encoder
        self.supply = Supply(len(store), config["chunk"], config["fresh_every"])
        self._sorted: tuple[int, list[list[Row]]] = -1, []

    def plan(self, step: int) -> list[Row]:
        """The rows of batch ``step``.

        So many batches as ``sorted_over`` says are drawn at once and share their scenes by the
        length of caption and plan: little of a batch is padding then.
        """
        lengths = self.config["lengths"] if self.config.get("compile") else []

        def size(row: Row) -> tuple[int, int]:
            have = (self._length(row.caption), sum(id != PAD_ID for id in row.plan), row.layers)
            fits = [all(map(int.__le__, have, most)) for most in lengths]
            return fits.index(True) if True in fits else len(fits), sum(have[:2])

        together = self.config.get("sorted_over", 1)
        group = step // together
        if self._sorted[0] != group:
            rows = [row for k in range(together) for row in self._rows(group * together + k)]
            rows.sort(key=size)
            count = self.config["batch_size"]
            batches = [rows[i : i + count] for i in range(0, len(rows), count)]
            random.Random(f"{self.config['seed']}/{group}/order").shuffle(batches)
            self._sorted = group, batches
        return self._sorted[1][step % together]

    def _rows(self, step: int) -> list[Row]:
        rng = random.Random(f"{self.config['seed']}/{step}")
        count, known = self.config["batch_size"], self.supply.known(step)
        # Half of each batch from the newest scenes, so that each is seen soon and then again.
        newest = max(0, known - self.config["newest"])
        chosen = [rng.randrange(newest if k % 2 else 0, known) for k in range(count)]
        rows: list[Row] = []
        for i in chosen:
            scene = self.store.sampler.sample(i)
            dropped = rng.random() < self.config["caption_dropout"]
            caption = self.world.captioned(scene, rng.randrange(1 << 30))
            plan = plan_of(as_named(scene, caption.order))
            layers = 1 + len(plan.spots) + sum(spot.drafted for spot in plan.spots)
            rows.append(Row(i, "" if dropped else caption.text, to_tokens(plan), caption.order,
                            layers))
        return rows

    def draw(self, rows: list[Row]) -> Batch:
        """What rows say and show, without what is padding in all; or where the network is compiled,
        which it is anew for each length, of the first of ``lengths`` that they fit."""
        chosen = [row.number for row in rows]
        while len(self.store) <= max(chosen):
            self.store.grow()
        ids, states = read(self.encoder, [row.caption for row in rows],
                           self.config["model"]["text_length"])
        plan = torch.tensor([row.plan for row in rows])
        plan = plan[:, : int((plan != PAD_ID).sum(1).max())]
        codes, slots = in_stream(self.store.codes(chosen), [row.order for row in rows])
        batch = Batch(ids, states, plan, codes, slots)
        if self.config.get("compile"):
            return batch.shaped(*next(
                most for most in self.config["lengths"] if not ids[:, most[0]:].any()
                and most[1] >= plan.shape[1] and most[2] >= slots.shape[1]))
        return batch

    def _length(self, text: str) -> int:
        return len(self.encoder.tokenizer.encode(text).ids)
