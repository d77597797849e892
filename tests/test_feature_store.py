"""Maps of scenes on disk, and what becomes of pictures before they are looked at."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipelines.models.feature_maps import feature_maps
from pipelines.world.scenes import Scene
from tests.conftest import say_amx
from training.data import World
from training.degrade import blobbed, half_drawn, lose_identity, smeared, soften
from training.feature_store import (
    FATES,
    READABLE,
    FeatureStore,
    load_features,
    squeezed,
    through_codes,
)
from training.train_dalle import load_vqgan

SHARES = {"degraded": 0.3, "blobbed": 0.2, "smeared": 0.2}


@pytest.fixture
def scenes() -> list[Scene]:
    sampler = World().sampler("test-store", kinds={"pair": 1.0})
    return [sampler.sample(n) for n in range(12)]


def store_in(folder: Path, scenes: list[Scene], shares: dict[str, float] = SHARES) -> FeatureStore:
    return FeatureStore(folder, scenes.__getitem__, World(), 64, shares, 3)


@pytest.mark.weights("efficientnet-lite0")
def test_a_store_holds_what_the_classifier_sees_of_each_picture(
        tmp_path: Path, scenes: list[Scene], monkeypatch: pytest.MonkeyPatch) -> None:
    say_amx(monkeypatch, False)  # in float32, so that what is kept is that but for its rounding
    store = store_in(tmp_path, scenes)
    assert store.count == 0
    store.fill(12)
    assert store.count == 12
    wanted = feature_maps(load_features(), store.pictures(range(12)))
    for kept, seen in zip(store.maps([7, 2]), wanted, strict=True):
        torch.testing.assert_close(kept.float(), seen[[7, 2]], atol=2e-2, rtol=2e-2)


@pytest.mark.weights("efficientnet-lite0")
def test_an_interrupted_store_goes_on_and_is_seen_by_others(tmp_path: Path,
                                                            scenes: list[Scene]) -> None:
    other = store_in(tmp_path, scenes)
    store = store_in(tmp_path, scenes)
    store.fill(4)
    assert other.count == 0
    other.refresh()
    assert other.count == 4
    before = [x.clone() for x in other.maps(range(4))]
    with (tmp_path / "fine.f16").open("ab") as file:
        file.write(b"half a row")
    again = store_in(tmp_path, scenes)
    assert again.count == 4
    again.fill(6)
    assert again.count == 6
    assert all(torch.equal(x, y) for x, y in zip(again.maps(range(4)), before, strict=True))
    assert (tmp_path / "fine.f16").stat().st_size % 6 == 0, "nothing is left of the half row"


def test_fates_have_their_shares_and_follow_from_the_number(tmp_path: Path,
                                                            scenes: list[Scene]) -> None:
    store = store_in(tmp_path, scenes)
    fates = [store.fate(n) for n in range(3000)]
    for name, share in (SHARES | {"plain": 0.3}).items():
        assert fates.count(FATES.index(name)) / 3000 == pytest.approx(share, abs=0.03)
    assert fates == [store_in(tmp_path, scenes).fate(n) for n in range(3000)]
    assert all(0 < len(store.spoilt(n)) <= 2 for n in range(12))
    assert FATES.index("degraded") < READABLE <= FATES.index("blobbed")
    # Without a VQGAN nothing is decoded.
    assert set(map(store_in(tmp_path, scenes, {"reconstructed": 1.0}).fate, range(9))) == {0}


def test_only_what_is_blobbed_changes(generator: torch.Generator) -> None:
    pictures = torch.rand(2, 3, 64, 64, generator=generator)
    found = blobbed(pictures, [[(0.0, 0.0, 0.4, 0.4)], []], generator)
    torch.testing.assert_close(found[1], pictures[1])
    torch.testing.assert_close(found[0, :, 36:, 36:], pictures[0, :, 36:, 36:])
    assert (found[0, :, :20, :20] - pictures[0, :, :20, :20]).abs().mean() > 0.1


def test_spoilt_pictures_keep_their_colours_and_lose_their_edges(scenes: list[Scene]) -> None:
    pictures = World().render(scenes, 64)
    generator = torch.Generator().manual_seed(0)

    def edges(x: torch.Tensor) -> float:
        return float((x[..., 1:] - x[..., :-1]).abs().mean())

    for spoil in (lambda x: smeared(x, generator), lose_identity):
        found = spoil(pictures)
        assert found.shape == pictures.shape
        assert 0 <= float(found.min()) <= float(found.max()) <= 1
        assert edges(found) < 0.8 * edges(pictures)
        assert (found.mean((2, 3)) - pictures.mean((2, 3))).abs().mean() < 0.1
    faint = half_drawn(pictures, generator)
    assert (faint - pictures).abs().mean() > 0.02
    assert (soften(pictures, generator) - pictures).abs().mean() < 0.06


@pytest.mark.weights("vqgan")
def test_pictures_go_through_the_codes_at_their_own_size(scenes: list[Scene]) -> None:
    pictures = squeezed(World().render(scenes[:2], 256), 96)
    assert pictures.shape == (2, 3, 96, 96)
    assert squeezed(pictures, 96) is pictures
    found = through_codes(load_vqgan(), pictures)
    assert found.shape == pictures.shape
    assert 0 < (found - pictures).abs().mean() < 0.1
