"""Pictures that DALL·E writes in layers, from the plan to pixels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from pipelines.core.errors import WeightsError
from pipelines.core.events import Event, Preview, Progress, Result
from pipelines.core.settings import EngineSettings
from pipelines.dalle import DalleOptions, Writing, begin, write_block
from pipelines.dalle_layers import (
    SIZE_PX,
    check_parts,
    draw_written,
    plan_facts,
    shown_codes,
    steps_of,
)
from pipelines.engine import build_cache
from pipelines.models import minilm
from pipelines.models.checkpoints.catalogue import open_catalogue
from pipelines.models.dalle import ImageTransformer, TransformerConfig
from pipelines.models.minilm import SentenceEncoder
from pipelines.models.vqgan import VQGAN, VQGANConfig
from pipelines.pipeline import RunContext
from pipelines.registry import build_registry
from pipelines.world import plans
from pipelines.world.composition import composed
from training.export import export

CONFIG = TransformerConfig(text_vocab_size=40, text_length=8, codebook_size=5, digits=3, layers=6,
                           grid=8, patch=4, dim=32, depth=2, heads=2, code_dim=8, head_dim=32,
                           text_dim=8, sentence_dim=12, plan_length=plans.TOKENS,
                           plan_vocab_size=plans.VOCABULARY_SIZE)
CODES = VQGANConfig(resolution=128, patch_widths=(8, 8, 16), patch_depths=(1, 1, 1), z_channels=8,
                    embed_dim=3, n_embed=125, levels=(5, 5, 5), channels=4)
STEPS = 4  # blocks of a layer


@pytest.fixture(scope="module")
def model() -> ImageTransformer:
    torch.manual_seed(0)
    model = ImageTransformer(CONFIG)
    model.initialise()
    torch.nn.init.constant_(model.plan_head.bias[:1].data, 2.0)  # plans of several lengths
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def vqgan() -> VQGAN:
    torch.manual_seed(1)
    return VQGAN(CODES).eval().requires_grad_(False)


def written(model: ImageTransformer, seeds: Sequence[int], blocks: int | None = None) -> Writing:
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(1, 40, (2, 6), generator=generator)
    states = torch.randn(2, 6, 12, generator=generator)
    writing = begin(model, ids, states, seeds, True)
    for _ in range(steps_of(model, writing.plans) if blocks is None else blocks):
        write_block(model, writing, DalleOptions(temperature=1.0, top_k=0))
    return writing


def drawn(model: ImageTransformer, vqgan: VQGAN, writing: Writing) -> torch.Tensor:
    """In [0, 1]."""
    return (draw_written(model, vqgan, writing.plans, writing.blocks) + 1) / 2


def things_of(writing: Writing) -> list[int]:
    return plans.spots_of(writing.plans)[1].sum(1).tolist()


def test_a_picture_takes_the_steps_of_its_layers(model: ImageTransformer) -> None:
    writing = written(model, [1, 2, 3], 0)
    assert len(set(things_of(writing))) > 1, "pictures with more layers and with fewer"
    spots = plans.spots_of(writing.plans)
    layers = (1 + spots.there.sum(1) + spots.drafted.sum(1)).tolist()
    assert max(layers) > 1 + max(things_of(writing)), "some are drafted"
    assert steps_of(model, writing.plans) == STEPS * max(layers)


def test_what_is_drawn_are_the_layers_put_together(model: ImageTransformer, vqgan: VQGAN) -> None:
    writing = written(model, [1, 2, 3])
    pictures = drawn(model, vqgan, writing)
    assert pictures.shape == (3, 3, SIZE_PX, SIZE_PX)
    codes = model.to_grid(torch.stack(writing.blocks, 1))
    spots = plans.spots_of(writing.plans)
    drafts = 0
    for k, slots in enumerate(plans.slots_of(writing.plans).tolist()):
        layers = ((vqgan.decode_indices(codes[k]) + 1) / 2).clamp(0, 1)
        count = things_of(writing)[k]
        # Of what has a draft and is finished, the finished one.
        last = [max(place for place, slot in enumerate(slots) if slot % plans.LAYERS == n
                    and slot >= 0) for n in range(1 + count)]
        drafts += int(spots.drafted[k].sum())
        ground, *things = layers[last]
        torch.testing.assert_close(pictures[k], composed(ground, things, spots.cells[k], SIZE_PX))
    assert drafts


def test_what_is_not_finished_is_as_its_draft(model: ImageTransformer) -> None:
    writing = written(model, range(12), 0)
    k = plans.slots_of(writing.plans)[:, 2].tolist().index(1 + plans.LAYERS)
    tokens = writing.plans[k : k + 1]
    blocks = [torch.full((1, model.block_codes), number % 5) for number in range(3 * STEPS)]
    draft = shown_codes(model, tokens, blocks[: 2 * STEPS])
    assert draft[1][0].flatten(1).all(1).tolist() == [True, True, False, False, False, False]
    begun, written_too = shown_codes(model, tokens, blocks[: 2 * STEPS + 2])
    finished, _ = shown_codes(model, tokens, blocks)
    assert torch.equal(written_too, draft[1])
    assert torch.equal(begun[0, 1, :4], finished[0, 1, :4]), "the upper half is finished"
    assert torch.equal(begun[0, 1, 4:], draft[0][0, 1, 4:]), "the lower is the draft's"
    assert not torch.equal(finished[0, 1], draft[0][0, 1])


def test_a_picture_does_not_depend_on_those_beside_it(model: ImageTransformer,
                                                      vqgan: VQGAN) -> None:
    together = drawn(model, vqgan, written(model, [1, 2, 3]))
    for k, seed in enumerate([1, 2, 3]):
        alone = drawn(model, vqgan, written(model, [seed]))
        torch.testing.assert_close(alone[0], together[k], atol=1e-4, rtol=1e-4)


def test_what_is_not_written_yet_is_grey_or_not_there(model: ImageTransformer,
                                                      vqgan: VQGAN) -> None:
    first = drawn(model, vqgan, written(model, [1], 1))[0]
    assert (first[:, :120, 136:] == 0.5).all()
    assert (first[:, 136:] == 0.5).all()
    assert not (first[:, :120, :120] == 0.5).any()
    ground = drawn(model, vqgan, written(model, [1], STEPS))[0]
    begun = drawn(model, vqgan, written(model, [1], STEPS + 2))[0]
    writing = written(model, [1], 0)
    column, row, side, _ = plans.spots_of(writing.plans)[0][0, 0].tolist()
    changed = (begun != ground).any(0).nonzero()
    assert len(changed)
    cell = SIZE_PX // 16
    assert changed[:, 0].min() >= row * cell
    assert changed[:, 0].max() < row * cell + side * cell / 2 + 2, "its upper half alone"
    assert changed[:, 1].min() >= column * cell
    assert changed[:, 1].max() < (column + side) * cell


def test_codes_that_nothing_spells_are_drawn_as_the_last_one(vqgan: VQGAN) -> None:
    config = replace(CONFIG, codebook_size=6)
    torch.manual_seed(3)
    model = ImageTransformer(config)
    model.initialise()
    assert torch.isfinite(drawn(model.eval(), vqgan, written(model, [4]))).all()


CATALOGUE = """[[models]]
id = "mine/layers"
title = "VQGAN of layers"
family = "features"
licence = "Apache-2.0"
source = "a test"
path = "{folder}/layers"
files = [{{name = "config.json"}}, {{name = "model.safetensors"}}]

[[models]]
id = "mine/dalle"
title = "DALL·E in layers"
family = "dalle"
licence = "Apache-2.0"
source = "a test"
path = "{folder}/dalle"
parts = {{text = "embedded/minilm", vqgan = "mine/layers"}}
files = [{{name = "config.json"}}, {{name = "model.safetensors"}}]
"""


def test_a_transformer_that_writes_layers_draws_with_its_own_vqgan(vqgan: VQGAN,
                                                                   tmp_path: Path) -> None:
    torch.manual_seed(5)
    config = {**asdict(CONFIG), "text_vocab_size": 30522, "text_length": 40, "sentence_dim": 384}
    model = ImageTransformer(TransformerConfig(**config))
    model.initialise()
    export(model, "dalle", "dalle", config, "A test.", tmp_path, int8=True)
    export(vqgan, "layers", "vqgan", asdict(CODES), "A test.", tmp_path)
    (tmp_path / "catalogue.toml").write_text(CATALOGUE.format(folder=tmp_path))
    settings = EngineSettings(data_dir=tmp_path, catalogue=tmp_path / "catalogue.toml")
    catalogue = open_catalogue(settings.data_dir, settings.catalogue)
    cache, registry = build_cache(settings, catalogue), build_registry(catalogue)

    def run(seed: int, count: int) -> list[Event]:
        request = registry.check({"pipeline": "dalle", "prompt": "a red apple", "seed": seed,
                                  "num_images": count, "options": {"model": "mine/dalle"}})
        return list(registry.get("dalle").run(request, RunContext(cache, torch.device("cpu"))))

    try:
        events = run(3, 3)
        result = events[-1]
        assert isinstance(result, Result)
        candidates = {candidate.seed: candidate for candidate in result.candidates}
        planned = [sum(1 + thing["drafted"] for thing in candidate.metadata["plan"]["things"])
                   for candidate in candidates.values()]
        steps = [event.total for event in events if isinstance(event, Progress) and event.total]
        assert set(steps) == {STEPS * (1 + max(planned))}
        assert {event.images.shape for event in events if isinstance(event, Preview)} == {
            (3, SIZE_PX, SIZE_PX, 3)}
        assert json.loads(json.dumps(dict(candidates[3].metadata))) == candidates[3].metadata
        alone = run(4, 1)[-1]
        assert isinstance(alone, Result)
        (again,) = alone.candidates
        assert again.metadata == candidates[4].metadata
        assert np.abs(again.image.astype(int) - candidates[4].image).max() <= 1
        assert not np.array_equal(candidates[3].image, candidates[4].image)
    finally:
        cache.close()


@pytest.mark.parametrize(("parts", "missing"), [
    ({}, "text"), ({"text": False}, "text"), ({"text": True}, "vqgan"),
    ({"text": True, "vqgan": 3}, "vqgan"), ({"text": True, "vqgan": 256}, "vqgan")])
def test_a_transformer_without_its_parts_is_refused(parts: dict[str, Any], missing: str) -> None:
    model = ImageTransformer(replace(CONFIG, sentence_dim=384))
    if "text" in parts:
        module = minilm.build({"hidden_size": 384 if parts["text"] else 64, "vocab_size": 8,
                               "num_hidden_layers": 1, "num_attention_heads": 2,
                               "intermediate_size": 8, "max_position_embeddings": 8})
        model.text = SentenceEncoder(module, Tokenizer(WordLevel({"[UNK]": 0})))
    if (wrong := parts.get("vqgan")) is not None:
        model.vqgan = VQGAN(replace(CODES, channels=3) if wrong == 3
                            else replace(CODES, resolution=wrong))
    with pytest.raises(WeightsError, match=f"The model mine/dalle needs the part '{missing}'"):
        check_parts(model, "mine/dalle")
    model.text = SentenceEncoder(minilm.build({
        "hidden_size": 384, "vocab_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 8, "max_position_embeddings": 8}),
        Tokenizer(WordLevel({"[UNK]": 0})))
    model.vqgan = VQGAN(CODES)
    check_parts(model, "mine/dalle")


def test_facts_of_a_plan_are_what_it_says() -> None:
    spots = (plans.Spot(2, 5, 7, True), plans.Spot(9, 0, 4, False, drafted=True))
    tokens = torch.tensor([plans.to_tokens(plans.Plan("fluent", "beach", spots[:count]))
                           for count in (1, 2)])
    one, two = plan_facts(tokens)
    assert one == {"style": "fluent", "background": "beach", "things": [
        {"column": 2, "row": 5, "side": 7, "mirrored": True, "drafted": False}]}
    assert two["things"][1] == {"column": 9, "row": 0, "side": 4, "mirrored": False,
                                "drafted": True}
