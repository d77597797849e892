"""DALL·E's trainer: it learns a batch by heart, and a whole run makes weights that draw."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pipelines.models.dalle import PAD_ID, ImageTransformer, TransformerConfig, build
from pipelines.models.vqgan import VQGAN, VQGANConfig
from pipelines.world import plans
from tests.plan_tokens import from_tokens
from training import train_dalle
from training.dalle_batches import Batch, Batches
from training.data import World
from training.export import export, load_exported
from training.layer_codes import LayerCodeStore
from training.loop import Loop
from training.train_dalle import losses

CODES = VQGANConfig(resolution=128, patch_widths=(8, 8, 16), patch_depths=(1, 1, 1), z_channels=8,
                    embed_dim=3, n_embed=125, levels=(5, 5, 5), channels=4)
MODEL = {"text_vocab_size": 30522, "text_length": 40, "text_dim": 8, "sentence_dim": 384,
         "plan_length": plans.TOKENS, "plan_vocab_size": plans.VOCABULARY_SIZE,
         "codebook_size": 125, "digits": 1, "layers": plans.LAYERS, "grid": 8, "patch": 4,
         "dim": 64, "depth": 2, "heads": 2, "code_dim": 16, "head_dim": 32}
RUN: dict[str, Any] = {
    "name": "dalle-test", "export_as": "dalle-test", "vqgan": "none", "split": "train-test",
    "seed": 3, "minutes": 1e-4, "batch_size": 4, "lr": 3e-3, "muon_lr": 0.02, "warmup_steps": 1,
    "ema_decay": 0.5, "threads": 1, "mixed_precision": "no", "caption_dropout": 0.25,
    "plan_weight": 0.1, "fresh_every": 1, "chunk": 8, "newest": 8,
    "coloured": 0.5, "in_medium": 0.25, "kinds": {"single": 0.5, "group": 0.5}, "int8": True,
    "model": MODEL}


@pytest.fixture(scope="module")
def vqgan() -> VQGAN:
    torch.manual_seed(0)
    return VQGAN(CODES).eval().requires_grad_(False)


def test_a_batch_is_learnt_by_heart(vqgan: VQGAN, tmp_path: Path) -> None:
    torch.manual_seed(0)
    world = World()
    store = LayerCodeStore(tmp_path, vqgan, world, "train-test", 8, kinds=RUN["kinds"])
    batches = Batches(RUN, world, store, train_dalle.load_encoder(torch.device("cpu")))
    batch = batches.draw(batches.plan(0))
    assert batch.ids.shape == batch.states.shape[:2]
    assert batch.states.shape[2] == 384
    rows = batches.plan(0)
    assert len(rows) == 4
    assert batch.codes.shape == (4, max(row.layers for row in rows), 8, 8)
    for codes, row in zip(batch.codes, rows, strict=True):
        scene = store.sampler.sample(row.number)
        assert int((codes[:, 0, 0] != plans.NONE).sum()) == row.layers
        assert len(row.plan) == plans.TOKENS
        spots = plans.plan_of(scene).spots
        assert from_tokens(row.plan).spots == tuple(spots[k] for k in row.order)
    assert torch.equal(batch.slots, plans.slots_of(batch.plan))
    model = ImageTransformer(TransformerConfig(**MODEL))
    model.initialise()
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    seen = []
    for _ in range(60):
        of_codes, of_plan = losses(model, batch.logits(model), batch)
        optimizer.zero_grad()
        (of_codes + 0.2 * of_plan).backward()
        optimizer.step()
        seen.append((float(of_codes.detach()), float(of_plan.detach())))
    assert seen[-1][0] < 0.5 * seen[0][0], seen
    assert seen[-1][1] < 0.2 * seen[0][1], seen


def test_layers_stand_in_the_order_in_which_the_caption_names_them(vqgan: VQGAN,
                                                                   tmp_path: Path) -> None:
    config = RUN | {"batch_size": 24, "chunk": 24, "fresh_every": 100, "caption_dropout": 0.0}
    world = World()
    store = LayerCodeStore(tmp_path, vqgan, world, "train-test", 24,
                           kinds={"pair": 0.5, "relation": 0.5})
    batches = Batches(config, world, store, train_dalle.load_encoder(torch.device("cpu")))
    rows = batches.plan(0)
    batch = batches.draw(rows)
    moved = compared = 0
    for codes, slots, (number, text, _, order, _) in zip(batch.codes, batch.slots.tolist(), rows,
                                                         strict=True):
        scene = store.sampler.sample(number)
        for n, thing in enumerate(order, 1):
            last = slots.index(n + plans.LAYERS if n + plans.LAYERS in slots else n)
            assert torch.equal(codes[last], store.codes([number])[0, 2 + 2 * thing])
        moved += order == (1, 0)
        assert order != (1, 0) or scene.relation not in ("with", "on top of")
        first, second = (world.by_id[scene.objects[k].concept].name for k in order)
        if first in text and second in text:
            compared += 1
            assert text.index(first) <= text.index(second), text
    assert compared
    assert moved


def test_batches_that_are_sorted_together_hold_the_same_scenes(vqgan: VQGAN,
                                                               tmp_path: Path) -> None:
    config = RUN | {"batch_size": 8, "fresh_every": 1000, "chunk": 64}
    world = World()
    store = LayerCodeStore(tmp_path, vqgan, world, "train-test", 64, kinds=RUN["kinds"])
    encoder = train_dalle.load_encoder(torch.device("cpu"))
    plain = Batches(config, world, store, encoder)
    together = Batches(config | {"sorted_over": 4}, world, store, encoder)

    def rows(batches: Batches, steps: range) -> list[Any]:
        return [row for step in steps for row in batches.plan(step)]

    assert sorted(rows(together, range(4, 8))) == sorted(rows(plain, range(4, 8)))
    assert rows(together, range(4, 8)) == rows(Batches(config | {"sorted_over": 4}, world, store,
                                                       encoder), range(4, 8)), "a run resumes"

    def padding(batches: Batches) -> int:
        lengths = [[len(text.split()) + sum(token != PAD_ID for token in tokens)
                    for _, text, tokens, *_ in batches.plan(step)]
                   for step in range(8)]
        return sum(max(row) * len(row) - sum(row) for row in lengths)

    assert padding(together) < 0.6 * padding(plain)


def test_batches_for_a_compiled_network_have_few_lengths(vqgan: VQGAN, tmp_path: Path) -> None:
    config = RUN | {"batch_size": 8, "fresh_every": 1000, "chunk": 64, "sorted_over": 8,
                    "compile": True, "lengths": [[16, 10, 3], [40, 22, 11]]}
    world = World()
    store = LayerCodeStore(tmp_path, vqgan, world, "train-test", 64, kinds=RUN["kinds"])
    batches = Batches(config, world, store, train_dalle.load_encoder(torch.device("cpu")))
    seen = []
    for step in range(8):
        rows = batches.plan(step)
        ids, states, tokens, codes, slots = batches.draw(rows)
        assert ids.shape == states.shape[:2]
        assert codes.shape[:2] == slots.shape
        assert [int((row != PAD_ID).sum()) for row in ids] == [
            min(40, batches._length(text)) for _, text, *_ in rows], "no word is cut"
        assert [row[row != PAD_ID].tolist() for row in tokens] == [
            [token for token in row.plan if token != PAD_ID] for row in rows]
        seen.append((ids.shape[1], tokens.shape[1], codes.shape[1]))
        assert (slots >= 0).sum(1).tolist() == [row.layers for row in rows], "no layer is cut"
        assert ((codes == plans.NONE).all((2, 3)) == (slots == plans.NONE)).all()
    assert set(seen) == {(16, 10, 3), (40, 22, 11)}
    fitting = sum(batches._length(text) <= 16 and sum(t != PAD_ID for t in row) <= 10 and layers < 4
                  for step in range(8) for _, text, row, _, layers in batches.plan(step))
    assert seen.count((16, 10, 3)) == fitting // 8


def test_layers_that_a_picture_has_not_are_not_learnt() -> None:
    torch.manual_seed(2)
    model = ImageTransformer(TransformerConfig(**MODEL))
    model.initialise()
    two = Batch(torch.tensor([[5, 6]]), torch.randn(1, 2, 384), torch.ones(1, 6).long(),
                torch.randint(0, 125, (1, 2, 8, 8)), torch.tensor([[0, 1]]))
    five = two.shaped(2, 6, 5)
    assert five.slots.tolist() == [[0, 1, plans.NONE, plans.NONE, plans.NONE]]
    torch.testing.assert_close(losses(model, five.logits(model), five)[0],
                               losses(model, two.logits(model), two)[0])


def test_a_run_begins_with_what_fits_of_other_weights(tmp_path: Path) -> None:
    torch.manual_seed(3)
    small = ImageTransformer(TransformerConfig(**MODEL | {"layers": 0}))
    small.initialise()
    export(small, "small", "dalle", {}, "A test.", tmp_path, int8=True)
    model = ImageTransformer(TransformerConfig(**MODEL | {"patch": 2}))
    model.initialise()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train_dalle.begin_from(model, tmp_path / "small")
    taken = small.state_dict()
    for name, tensor in model.state_dict().items():
        fits = name in taken and taken[name].shape == tensor.shape
        torch.testing.assert_close(tensor, taken[name] if fits else before[name], atol=2e-3,
                                   rtol=0.02)
    assert not torch.equal(model.plan_head.weight, before["plan_head.weight"])
    assert torch.equal(model.head_in.weight, before["head_in.weight"]), "of another shape"


def test_a_run_begins_with_weights_that_knew_no_drafts(tmp_path: Path) -> None:
    torch.manual_seed(4)
    model = ImageTransformer(TransformerConfig(**MODEL))
    model.initialise()
    torch.nn.init.normal_(model.layer_position)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    old = {name: torch.randn_like(tensor) for name, tensor in before.items()}
    old["layer_position"] = torch.randn(plans.LAYERS, 64)
    for name in ("plan_embedding.weight", "plan_head.weight", "plan_head.bias"):
        old[name] = old[name][:-2].clone()
    save_file(old, tmp_path / "model.safetensors")
    train_dalle.begin_from(model, tmp_path)
    own = model.state_dict()
    assert torch.equal(own["layer_position"], old["layer_position"].repeat(2, 1))
    for name in ("plan_embedding.weight", "plan_head.weight", "plan_head.bias"):
        assert torch.equal(own[name][:-2], old[name])
        assert torch.equal(own[name][-2:], before[name][-2:])
    assert torch.equal(own["block_in.weight"], old["block_in.weight"])


def test_the_end_of_a_plan_counts_once(vqgan: VQGAN) -> None:
    torch.manual_seed(1)
    model = ImageTransformer(TransformerConfig(**MODEL))
    model.initialise()
    ids, states = torch.tensor([[5, 6]]), torch.randn(1, 2, 384)
    plan = torch.tensor([plans.to_tokens(plans.Plan("fluent", "white",
                                                    (plans.Spot(2, 5, 7, True),)))])
    batch = Batch(ids, states, plan, torch.randint(0, 125, (1, 2, 8, 8)), plans.slots_of(plan))
    whole = losses(model, batch.logits(model), batch)[1]
    short = batch._replace(plan=plan[:, :6])
    torch.testing.assert_close(losses(model, short.logits(model), short)[1], whole)
    logits = batch.logits(model).plan
    assert logits is not None
    wanted = torch.tensor([*plan[0, :6].tolist(), PAD_ID])
    torch.testing.assert_close(torch.nn.functional.cross_entropy(logits[0, :7], wanted), whole)


def test_a_compiled_run_is_traced_before_a_thread_draws(vqgan: VQGAN, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that draws while the network is traced had both wait for each other for ever."""
    seen: list[tuple[int, int, int]] = []

    class Drawn(Exception):
        """As far as this goes."""

    def compiled(model: ImageTransformer, config: dict[str, Any]) -> Any:
        def forward(*given: Any) -> Any:
            ids, codes, states, plan, slots = given
            assert ids.shape == states.shape[:2]
            assert codes.shape[:2] == slots.shape
            seen.append((ids.shape[1], plan.shape[1], codes.shape[1]))
            return model(*given)
        return forward

    def prefetched(*_: Any) -> Any:
        assert all(p.grad is None for p in models[0].parameters())
        raise Drawn

    models: list[ImageTransformer] = []
    initialise = ImageTransformer.initialise
    monkeypatch.setattr(ImageTransformer, "initialise",
                        lambda model: (models.append(model), initialise(model))[1])
    monkeypatch.setattr(train_dalle, "load_vqgan", lambda name: vqgan)
    monkeypatch.setattr(train_dalle, "RUNS_DIR", tmp_path / "runs")
    monkeypatch.setattr(train_dalle, "Loop", partial(Loop, runs_dir=tmp_path / "runs"))
    monkeypatch.setattr(train_dalle, "compiled", compiled)
    monkeypatch.setattr(train_dalle, "prefetched", prefetched)
    with pytest.raises(Drawn):
        train_dalle.train(RUN | {"compile": True, "lengths": [[12, 6, 2], [40, 22, 11]]})
    assert seen == [(12, 6, 2), (40, 22, 11)]


def test_a_run_ends_with_weights_that_draw(vqgan: VQGAN, tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "weights"
    monkeypatch.setattr(train_dalle, "WEIGHTS_DIR", weights)
    monkeypatch.setattr(train_dalle, "load_vqgan", lambda name: vqgan)
    monkeypatch.setattr(train_dalle, "RUNS_DIR", tmp_path / "runs")
    monkeypatch.setattr(train_dalle, "Loop", partial(Loop, runs_dir=tmp_path / "runs"))
    monkeypatch.setattr(train_dalle, "export", partial(export, folder=weights))
    monkeypatch.setattr(train_dalle, "SAMPLE_PROMPTS", train_dalle.SAMPLE_PROMPTS[:2])
    monkeypatch.setattr(train_dalle, "evaluate", partial(train_dalle.evaluate, count=32))
    assert 0 < train_dalle.train(RUN) < 10
    assert (tmp_path / "runs" / "dalle-test" / "samples.png").exists()
    config = json.loads((weights / "dalle-test" / "config.json").read_text())["config"]
    model = build(config).eval()
    load_exported(model, weights / "dalle-test" / "model.safetensors")
    encoder = train_dalle.load_encoder(torch.device("cpu"))
    first, again = (train_dalle.draw(model, vqgan, encoder, ["a red apple"], seed)
                    for seed in (1, 1))
    assert first.shape == (1, 3, 256, 256)
    assert torch.equal(first, again)
    assert not torch.equal(first, train_dalle.draw(model, vqgan, encoder, ["a red apple"], 2))
    goes_on = RUN | {"name": "again", "from_shipped": True, "lr": 0.0, "muon_lr": 0.0,
                     "weight_decay": 0.0}
    train_dalle.train(goes_on)
    again = build(config).eval()
    load_exported(again, weights / "dalle-test" / "model.safetensors")
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, atol=2e-3, rtol=0.02)
