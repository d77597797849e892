"""The cell tower: where it begins, that cells are told apart, and that padding tells nothing."""

from __future__ import annotations

from typing import cast

import pytest
import torch
import torch.nn.functional as F

from pipelines.models.checkpoints.vocabulary import load_vocabulary
from pipelines.models.clip import build
from pipelines.models.clip_cells import CellCLIP
from tests.small_models import clip_config

CAPTIONS = ["a red apple", "two dogs on the grass", "a cat"]


def config() -> dict:
    plain = clip_config(32)
    vision = plain["vision_cfg"] | {"pool_type": "tok", "attentional_pool": True,
                                    "attn_pooler_queries": 1, "attn_pooler_heads": 16}
    text = plain["text_cfg"] | {"layers": 2}
    return plain | {"vision_cfg": vision, "text_cfg": text}


def with_cells() -> CellCLIP:
    torch.manual_seed(0)
    return cast(CellCLIP, build(config() | {"cells": {"width": 24, "heads": 2, "layers": 2}}))


def unlike_the_start(clip: CellCLIP) -> CellCLIP:
    torch.nn.init.normal_(clip.cells.change.weight, std=0.2)
    return clip


@pytest.fixture(scope="module")
def ids() -> torch.Tensor:
    return load_vocabulary()(CAPTIONS, context_length=32)


@torch.no_grad()
def test_an_untrained_tower_leaves_captions_as_they_are(ids: torch.Tensor) -> None:
    clip, plain = with_cells(), build(config())
    plain.load_state_dict({k: v for k, v in clip.state_dict().items() if k[:6] != "cells."})
    expected = plain.encode_text(ids, normalize=True)
    assert torch.allclose(clip.encode_text(ids, normalize=True), expected, atol=1e-6)
    assert not torch.allclose(unlike_the_start(clip).encode_text(ids, normalize=True), expected,
                              atol=1e-2)


@torch.no_grad()
def test_a_cell_is_refined_alone_as_among_the_others(ids: torch.Tensor) -> None:
    clip = unlike_the_start(with_cells())
    cells, states, padded = clip.read(ids)
    chosen = torch.tensor([[3, 15], [0, 7], [8, 2]])
    together = clip.cells(cells, states, padded)
    alone = clip.cells(cells, states, padded, chosen)
    expected = torch.stack([row[picks] for row, picks in zip(together, chosen, strict=True)])
    assert torch.allclose(alone, expected, atol=1e-5)
    assert not torch.allclose(alone[:, 0] - cells[:, 0], alone[:, 1] - cells[:, 1], atol=1e-2)


@torch.no_grad()
def test_padding_tells_a_cell_nothing(ids: torch.Tensor) -> None:
    clip = unlike_the_start(with_cells())
    cells, states, padded = clip.read(ids)
    expected = clip.cells(cells, states, padded)
    assert torch.equal(padded, ids == 0)
    other = torch.where(padded[..., None], torch.randn_like(states), states)
    assert torch.allclose(clip.cells(cells, other, padded), expected, atol=1e-6)
    other = torch.where(padded[..., None], states, states + torch.randn_like(states))
    assert not torch.allclose(clip.cells(cells, other, padded), expected, atol=1e-2)


def test_one_thing_is_learned_for_every_place() -> None:
    """A cell's caption says what it shows, wherever it is: what no pooled state can share."""
    clip = with_cells()
    clip.requires_grad_(False).cells.requires_grad_(True)
    torch.manual_seed(1)
    looks = F.normalize(torch.randn(2, 2), dim=-1)
    ids = load_vocabulary()(["apple", "dog"], context_length=32)
    cells, states, padded = (x.detach() for x in clip.read(ids))
    optimizer = torch.optim.AdamW(clip.cells.parameters(), 3e-3)
    places = torch.arange(0, 16, 2)  # the even ones only
    chosen = places.expand(2, -1)
    target = looks[:, None].expand(-1, 8, -1)
    for _ in range(300):
        loss = F.mse_loss(clip.cells(cells, states, padded, chosen), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        refined = clip.cells(cells, states, padded)[:, 1::2]
    nearest = torch.cdist(refined, looks.expand(2, -1, -1)).argmin(-1)
    assert nearest.float().mean(1).tolist() == pytest.approx([0, 1], abs=0.2)
