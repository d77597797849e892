"""The ranker's trainer: its batches, that it learns one by heart, and that a run makes weights."""

from __future__ import annotations

import hashlib
import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.calibration import FILE, read_calibration
from pipelines.models.checkpoints.formats import loader
from pipelines.models.checkpoints.loading import joint_sha256
from pipelines.models.clip_pair import ClipPair
from pipelines.models.locked_clip import LockedClip, build
from pipelines.world.scenes import COLOURS, Scene, SceneObject
from tests.test_locked_clip import SMALL
from tests.test_trainers import RUN, entry
from training import ranker_data, train_ranker
from training.data import World
from training.export import WEIGHTS_DIR, export
from training.feature_store import FeatureStore
from training.loop import Loop
from training.ranker_data import IGNORE, RankerData, Words, cells_of, labels_of
from training.train_dalle import load_encoder
from training.train_ranker import SCALES, Trained, hard_share, in_halves, loss_of, pair_loss
from training.twins import Twins

RANKER_RUN: dict[str, Any] = RUN | {
    "name": "ranker-test", "export_as": "ranker-new", "split": "train-test", "threads": 1,
    "batch_size": 6, "negatives": 2,
    "other_media": 0.5, "other_colours": 0.3, "word_noise": 0.2,
    "cells_weight": 1.0, "cells_first": 0,
    "evaluate_every": 100, "scenes": 12, "least_scenes": 8, "examined": 8,
    "calibrated": 4,
    "sampler": {"in_medium": 0.5},
    "fates": {"smeared": 0.3}, "model": SMALL | {"word_width": 384}}


def test_a_caption_is_true_of_its_own_picture_if_that_can_be_read() -> None:
    ids = torch.tensor([[1, 2], [1, 3], [1, 2], [4, 0], [1, 2]])
    labels = labels_of(ids, torch.tensor([True, True, True, False]))
    assert labels.tolist() == [[1, -1, 0, -1, 0], [-1, 1, -1, -1, -1], [0, -1, 1, -1, 0],
                               [-1, -1, -1, -1, -1]]


def test_cells_say_what_stands_on_top_and_what_is_empty() -> None:
    def thing(concept: str, x: float, side: float, colour: str | None = None) -> SceneObject:
        return SceneObject(concept, "noto", colour, None, (x, 0.0, x + side, side))

    world = World()
    classes = {c.id: i for i, c in enumerate(world.concepts)}
    scene = Scene("pair", (thing("car", 0.0, 0.75, "blue"), thing("apple", 0.25, 0.25, "red")),
                  None, "white", False, None, 0)
    cells = cells_of([None, scene], 8, classes, world, random.Random(0))
    assert set(cells.rows.tolist()) == {1}, "where nothing stands where it stood, nothing is asked"
    said = {(y, x): (concept, colour) for _, y, x, concept, colour
            in torch.stack(list(cells), 1).tolist()}
    assert said[3, 3] == (classes["car"], COLOURS.index("blue") + 1)
    apple = [cell for cell, (concept, _) in said.items() if concept == classes["apple"]]
    assert apple
    assert all(y < 2 and 2 <= x < 4 for y, x in apple)
    assert said[apple[0]][1] == 0, "an apple is red by itself"
    assert all(colour == IGNORE and (y >= 6 or x >= 6) for (y, x), (concept, colour)
               in said.items() if concept == len(classes))
    grey = Scene("single", (thing("car", 0.0, 1.0, "blue"),), None, "white", False, "bw", 0)
    assert set(cells_of([grey], 8, classes, world, random.Random(0)).colours.tolist()) == {IGNORE}


def test_the_pair_loss_is_least_at_the_truth() -> None:
    labels = torch.tensor([[1.0, -1, -1, 0], [-1, 1, -1, -1], [-1, -1, -1, -1]])
    scale, bias = torch.tensor(10.0), torch.tensor(-5.0)
    right = torch.where(labels == 1, 1.0, -1.0)
    least = pair_loss(right, labels, scale, bias)
    assert least < 0.2
    for wrong in (-right, right.roll(1, 0), torch.ones_like(right)):
        assert pair_loss(wrong, labels, scale, bias) > least + 1
    unasked = right.clone()
    unasked[0, 3] = 1.0
    torch.testing.assert_close(pair_loss(unasked, labels, scale, bias), least)
    assert torch.isfinite(pair_loss(right, labels.clamp(max=0), scale, bias))


def test_short_texts_are_read_without_the_room_of_the_longest(generator: torch.Generator) -> None:
    clip = build(SMALL).eval()
    words = torch.randn(5, 6, 16, generator=generator)
    own = torch.arange(6) < torch.tensor([6, 1, 3, 2, 5])[:, None]
    with torch.no_grad():
        torch.testing.assert_close(in_halves(clip.relate_words, words, own, 6),
                                   clip.relate_words(words, own), atol=1e-5, rtol=1e-5)


def test_a_hard_caption_counts_where_all_its_negatives_are_beaten() -> None:
    labels = labels_of(torch.arange(6)[:, None], torch.tensor([True, True]))
    cosines = torch.tensor([[0.9, 0.0, 0.1, 0.99, 0.2, 0.99], [0.99, 0.5, 0.99, 0.1, 0.99, 0.6]])
    assert hard_share(cosines, labels) == 0.5
    assert hard_share(cosines, labels_of(torch.arange(6)[:, None],
                                         torch.tensor([True, False]))) == 1


@pytest.mark.weights("efficientnet-lite0", "minilm")
def test_hard_negatives_stand_in_the_order_of_their_captions(tmp_path: Path,
                                                             monkeypatch: pytest.MonkeyPatch,
                                                             ) -> None:
    """As ``hard_share`` takes them: once negatives of others were compared, which are easy."""
    world = World()
    store = FeatureStore(tmp_path, world.sampler("train-test").sample, world, 96, {}, 5)
    store.fill(8)
    words = Words(load_encoder(torch.device("cpu")), 20)
    # A negative is the caption itself here, so that each must equal the one that it belongs to.
    monkeypatch.setattr(ranker_data, "hard_negative", lambda scene, rng, by_id: scene)
    monkeypatch.setattr(ranker_data, "other_medium", lambda scene, rng: scene)
    monkeypatch.setattr(ranker_data, "other_colour", lambda scene, rng, by_id: scene)
    monkeypatch.setattr(world, "caption", lambda scene, salt, language: (
        " ".join(thing.concept for thing in scene.objects)))
    ids = RankerData(RANKER_RUN, world, store, words).batch(0).ids
    captions, *rounds = ids.split(RANKER_RUN["batch_size"])
    assert len(rounds) == RANKER_RUN["negatives"]
    assert len(captions.unique(dim=0)) > 1
    assert all(torch.equal(negatives, captions) for negatives in rounds)


@pytest.mark.weights("efficientnet-lite0", "minilm")
def test_twins_are_in_one_batch_and_told_in_the_same_words(tmp_path: Path) -> None:
    world, words = World(), Words(load_encoder(torch.device("cpu")), 20)
    sampler = world.sampler("train-test-twins", coloured=1.0, kinds={"single": 1.0})
    store = FeatureStore(tmp_path, Twins(sampler, world.by_id), world, 96, {}, 5)
    store.fill(16)
    config = RANKER_RUN | {"twins": True, "batch_size": 8}
    scenes = [store.scene_of(n) for n in range(16)]
    found = 0
    for step in range(4):
        batch = RankerData(config, world, store, words).batch(step)
        kept = [next(n for n in range(16) if torch.equal(coarse, store.maps([n]).coarse[0]))
                for coarse in batch.maps.coarse]
        for row in range(0, 8, 2):
            assert kept[row + 1] == kept[row] + 1
            one, other = (scenes[n] for n in kept[row:row + 2])
            assert batch.labels[row, row + 1] == batch.labels[row + 1, row] == -1
            if one.seed == other.seed and one.objects[0].colour != other.objects[0].colour:
                found += 1
                differing = batch.ids[row] != batch.ids[row + 1]
                assert 1 <= differing.sum() <= 3, "the colour, and an article that goes with it"
    assert found > 0


@pytest.mark.weights("efficientnet-lite0")
def test_it_learns_one_batch_by_heart(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = RANKER_RUN | {"batch_size": 8, "fates": {"smeared": 0.25},
                           "model": SMALL | {"image_size": 96}}
    world = World()
    sampler = world.sampler("train-test", kinds={"single": 1.0})
    store = FeatureStore(tmp_path, sampler.sample, world, 96, config["fates"], 5)
    store.fill(8)
    words = Words(load_encoder(torch.device("cpu")), 20)
    batch = RankerData(config, world, store, words).batch(0)
    readable = batch.labels[:, :8].diagonal() == 1
    assert 0 < readable.sum() < 8
    clip = build(SMALL | {"image_size": 96, "word_width": 384, "most_words": 20})
    clip.gather.measure(store.maps(range(8)))
    model = Trained(clip, len(world.concepts), 32)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    told: dict[str, torch.Tensor] = {}
    for _ in range(120):
        loss, told = loss_of(model, batch, words[batch.ids], 1.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert told["hard"] == 1
    assert told["named"] > 0.9
    with torch.no_grad():
        seen = model.read(batch.maps, batch.cells)[0]
        cosines = model.compare(seen, words[batch.ids], batch.ids > 0)
    own = cosines[:, :8].diagonal()
    assert own[readable].min() > own[~readable].max(), "a smear shows nothing"


@pytest.mark.weights("efficientnet-lite0", "minilm", "vqgan", "clip-guide")
@pytest.mark.parametrize("share", [0.0, 0.6])
def test_a_run_ends_with_weights_that_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                           share: float) -> None:
    run = RANKER_RUN | {"beside": "embedded/clip-guide", "beside_share": share, "fitted": 4}
    monkeypatch.setattr(train_ranker, "export", partial(export, folder=tmp_path / "weights"))
    monkeypatch.setattr(train_ranker, "Loop", partial(Loop, runs_dir=tmp_path / "runs"))
    monkeypatch.setattr(train_ranker, "RUNS_DIR", tmp_path / "runs")
    monkeypatch.setattr(ranker_data, "RUNS_DIR", tmp_path / "runs")
    assert train_ranker.train(run | {"maps_only": True}) == {}
    figures = train_ranker.train(run)
    assert set(figures) == {"hard_pairs", "top1_of_100", "text_to_picture", "colours", "kinds"}
    folder = tmp_path / "weights" / "ranker-new"
    assert "of 12 scenes" in (folder / "README.md").read_text()
    parts = ["efficientnet-lite0", "minilm", *(["clip-guide"] if share else [])]
    digest = joint_sha256([
        hashlib.sha256((each / "model.safetensors").read_bytes()).hexdigest()
        for each in (folder, *(WEIGHTS_DIR / part for part in parts))])
    scale = read_calibration(folder / FILE, digest)
    assert scale is not None
    assert scale.pairs == 4
    loaded = loader("embedded")(folder, entry("clip"))
    assert isinstance(loaded, LockedClip)
    assert isinstance(loaded, ClipPair) == (share > 0)
    if share:
        assert loaded.beside_share == share  # type: ignore[union-attr]
        assert round(loaded.logit_scale) in SCALES
    saved = torch.load(tmp_path / "runs" / "ranker-test" / "checkpoint.pt", weights_only=True)
    for name, tensor in loaded.state_dict().items():
        if share and name == "log_scale":
            continue  # fitted to the mean of both
        assert torch.allclose(tensor.float(), saved["ema"][f"clip.{name}"].float(), rtol=1e-3,
                              atol=1e-3), name
