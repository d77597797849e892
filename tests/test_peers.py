"""The comparison with others: medians and ratios, and that both sides do the same work."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import open_clip
import pytest
import torch

from benchmarks.peers import peers, peers_dalle, peers_turns
from benchmarks.peers.peer_loops import PlainLoop, plain_ranking
from benchmarks.step import step_table
from pipelines.models.fast_linear import has_int8
from pipelines.models.machine_rates import Rates
from pipelines.models.min_dalle import CodeDecoder, MinDalleConfig
from pipelines.models.vqgan import VQGAN, VQGANConfig
from pipelines.rerank import rank
from tests.test_open_clip_checkpoints import SMALL

RATES = Rates({"float32": 1e9, "bfloat16": 2e9}, copy_bytes=1e6)


def turns_of(*seconds: float) -> peers_turns.Side:
    rest: Iterator[float] = iter(seconds)
    return lambda: next(rest)


def test_medians_ratios_and_the_bound() -> None:
    found = peers_turns.compared(turns_of(1, 2, 9), turns_of(4, 3, 3), turns_of(12, 11, 90), 3,
                           peers_turns.Work(1e9, 1e6, torch.bfloat16), RATES, "rank_256")
    assert (found["ours_s"], found["ours_float32_s"], found["peer_s"]) == (2, 3, 12)
    assert (found["ratio_as_shipped"], found["ratio_same_dtype"]) == (6, 4)
    assert found["bound_s"] == 1, "the copy takes longer than the products"
    assert found["fraction_of_bound"] == 0.5


def small_clip() -> open_clip.CLIP:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = open_clip.CLIP(**SMALL).eval().requires_grad_(False)
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def test_both_rankings_give_the_same_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = small_clip()
    ours = peers.shipped_clip(clip, torch.float32)
    ours.image_size = 32
    images = list(np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8))
    preprocess = open_clip.image_transform(32, is_train=False)
    theirs = plain_ranking(images, clip, preprocess, ours.encode_text([peers.PROMPT]))
    assert theirs.std() > 1e-3
    assert rank(images, [peers.PROMPT], ours)[0]["similarities"] == pytest.approx(
        theirs.tolist(), abs=1e-4)


def test_the_plain_loop_moves_its_latents() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        # Sixteen pixels a code, as the public one has them, and so as few codes to attend to.
        vqgan = VQGAN(VQGANConfig(resolution=32, ch=32, ch_mult=(1, 1, 1, 1, 1), num_res_blocks=1,
                                  attn_resolutions=(), z_channels=8, embed_dim=8, n_embed=16))
        target = torch.nn.functional.normalize(torch.randn(1, SMALL["embed_dim"]), dim=-1)
        plain = PlainLoop(vqgan.eval().requires_grad_(False), small_clip(), target, 32, 3)
        before = plain.z.detach().clone()
        assert 0 < plain.step() < 5
    assert not torch.equal(plain.z, before)


@pytest.fixture
def decoder(monkeypatch: pytest.MonkeyPatch) -> CodeDecoder:
    """A small one with random weights."""
    config = MinDalleConfig(64, 2**14 + 1, 64, 96, 2)
    monkeypatch.setattr(peers_dalle, "MINI", config)
    decoder = CodeDecoder(config).requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        for parameter in decoder.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    return decoder


def test_a_step_of_the_decoder_and_its_bytes(decoder: CodeDecoder) -> None:
    step = peers_dalle.DecoderStep(decoder, 3)
    assert step().shape == (3,)
    assert step.cache.length == peers_dalle.PLACE + 1
    one, nine = (peers_dalle._step_bytes(decoder, images) for images in (1, 9))
    layers = 2 * (64 * 64 * 6 + 64 * 96 * 3 + 2 * (64 * 5 + 96))  # matrices and norms
    weights = 4 * (layers + 2 * 2 * 64 + 64 * (2**14 + 1))
    keys = 4 * 2 * 2 * 64  # bytes of one code of one row
    assert one == weights + keys * (2 * (peers_dalle.PLACE + 1) + 2 * peers_dalle.TEXT_TOKENS)
    assert nine - one == keys * 16 * (peers_dalle.PLACE + 1)


@pytest.mark.skipif(not has_int8(), reason="needs a CPU with the integer product")
def test_the_shipped_decoder_scores_nearly_the_same(decoder: CodeDecoder) -> None:
    shipped, dtype = peers_dalle.shipped_decoder(decoder)
    assert dtype == torch.int8
    with torch.random.fork_rng(devices=[]):
        found = peers_dalle.deviation(decoder, shipped)
        assert peers_dalle.deviation(decoder, decoder) == {"logits_error": 0, "top1_agreement": 1}
    assert 0 < found["logits_error"] < 0.05
    assert 0.8 < found["top1_agreement"] <= 1


def test_figures_of_what_is_not_compared_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "measure_rates", lambda device, clock: RATES)
    monkeypatch.setattr(peers, "COMPARISONS", {
        "one": lambda rates, turns: {"one": {"turns": turns}}, "two": lambda rates: {"two": {}}})
    kept: list[dict] = []
    threads = torch.get_num_threads()
    try:
        found = peers.peers(2, ("one",), {"two": {"ours_s": 1}}, kept.append)
    finally:
        torch.set_num_threads(threads)
    assert (found["one"], found["two"]) == ({"turns": 2}, {"ours_s": 1})
    assert len(kept) == 1


def test_a_step_of_the_public_sizes_draws_and_is_told() -> None:
    """As ``benchmarks step`` takes it, in small: with all cutouts at once and in groups."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        # Sixteen pixels a code, as the public one has them, and so as few codes to attend to.
        vqgan = VQGAN(VQGANConfig(resolution=32, ch=32, ch_mult=(1, 1, 1, 1, 1), num_res_blocks=1,
                                  attn_resolutions=(), z_channels=8, embed_dim=8, n_embed=16))
    own = peers.shipped_vqgan(vqgan.eval().requires_grad_(False), torch.float32)
    guide = peers.shipped_clip(small_clip(), torch.float32)
    guide.image_size = 32
    moved = []
    for at_once in (peers.NUM_CUTOUTS, 8):
        optimisation = peers.shipped_optimisation(own, guide, at_once)
        optimisation.step(1, 100, lambda: False)
        change = optimisation.descent.change.grad
        assert change is not None
        moved.append(change.clone())
    torch.testing.assert_close(*moved, rtol=1e-3, atol=1e-3 * float(moved[0].abs().max()))
    row = {"dtype": "float32", "cutouts_at_once": 8, "seconds": 2.54, "peak_bytes": 3.1e9,
           "weight_bytes": 0.91e9}
    told = step_table({"machine": {"cpu": "A CPU", "threads": 2}, "steps": [row]})
    assert "| float32, 8 at once | 2.5 | 3.10 GB | 0.91 GB |" in told
