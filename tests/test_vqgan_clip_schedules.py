"""Schedules of VQGAN+CLIP: steps that drop, patience that ends, weights that decay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pipelines.core.errors import InvalidRequest
from pipelines.core.events import Progress
from pipelines.saved_run import SavedRun
from pipelines.vqgan_clip.descent import Descent, parse_drops
from pipelines.vqgan_clip.starts import start_parameters
from pipelines.vqgan_clip.terms import Terms
from pipelines.vqgan_clip.vqgan_drawer import VQGANDrawer
from tests.paused_server import FEW, ME, Server, cache, curve_of, result_of, same, server
from tests.small_models import small_cache
from tests.test_vqgan_clip import image_of

__all__ = ["cache", "server"]


@pytest.mark.parametrize(("text", "drops"), [
    ("", ()), ("75", (0.75,)), (" 50, 75.5 %", (0.5, 0.755)), ("1,99", (0.01, 0.99))])
def test_drops_are_read(text: str, drops: tuple[float, ...]) -> None:
    assert parse_drops(text) == pytest.approx(drops)


@pytest.mark.parametrize("text", ["0", "100", "-5", "50;75", "a", "50,", "nan", "1e1", "٥٠",
                                  ",".join(["10"] * 9)])
def test_what_is_no_drop_is_said_in_a_sentence(server: Server, text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^Step size drops are up to 8 numbers of per cent "
                                             r"between 0 and 100, such as 50, 75, not .*\.$"):
        server.drawn(options=FEW | {"drops": text})


def test_steps_are_a_tenth_as_long_after_each_drop() -> None:
    with small_cache().lease("embedded/vqgan") as vqgan:
        drawer = VQGANDrawer(vqgan)
        start = start_parameters(drawer, "noise", None, (32, 32),
                                 [torch.Generator().manual_seed(0)])
        descent = Descent(start, drawer, "adam", 0.2, "constant", 0.0, (0.5, 0.75))
        rates = []
        for step in range(1, 9):
            descent.begin_step(step, 8)
            rates.append(descent.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.2] * 4 + [0.02] * 2 + [0.002] * 2)


def test_terms_decay_in_a_straight_line_and_are_gone() -> None:
    latents, start = torch.full((1, 2, 3, 3), 2.0), torch.full((1, 2, 3, 3), 1.0)
    pixels = torch.zeros(1, 3, 8, 8)
    terms = Terms(init_weight=3.0, init_decay=0.5, mse_weight=0.5, mse_decay=0.8)

    def at(done: float) -> float:
        return float(terms.added(torch.zeros(1), latents, start, pixels, done))

    assert at(0.0) == pytest.approx(3.0 + 2.0)
    assert at(0.25) == pytest.approx(1.5 + 2.0 * 0.6875)
    assert at(0.5) == pytest.approx(2.0 * 0.375)
    assert at(0.9) == 0.0
    kept = Terms(init_weight=3.0)
    assert float(kept.added(torch.zeros(1), latents, start, pixels, 0.9)) == pytest.approx(3.0)


def test_regularisation_holds_the_latents_small(server: Server) -> None:
    def largest(**options: Any) -> float:
        run_id = server.paused_at(4, options=FEW | {"init": "noise", "optimiser": "adam",
                                                    "schedule": "constant"} | options)
        tensors = SavedRun.decode(server.file().read_bytes()).tensors
        server.runs.delete(ME, run_id)
        return float((tensors["start"] + tensors["change"]).square().mean())

    assert largest(mse_weight=100.0, mse_decay=0.0) < largest()


# Adam's steps of nothing but noise on the cutouts: no picture stays the best for long.
RESTLESS = FEW | {"iterations": 30, "num_cutouts": 2, "augmentations": "strong", "noise": 0.5,
                  "init": "noise", "step_size": 2.0, "optimiser": "sgd", "patience": 3}


def test_a_run_ends_where_it_becomes_no_better(server: Server) -> None:
    events = server.drawn(options=RESTLESS)
    result = result_of(events)
    best = result.candidates[0].metadata["best_step"]
    last = result.metadata["ended_at_step"]
    assert last == best + 3 < 30
    assert "stopped" not in result.metadata
    assert [step for step, _ in curve_of(events)] == list(range(1, last + 1))
    told = [(e.step, e.total) for e in events if isinstance(e, Progress) and e.total]
    assert told[-1] == (last, last)
    losses = [loss for _, loss in curve_of(events)]
    assert min(losses) == losses[best - 1]
    endless = server.drawn(options=RESTLESS | {"patience": 0})
    assert curve_of(endless)[:last] == curve_of(events)
    assert "ended_at_step" not in result_of(endless).metadata


def test_a_candidate_that_ends_does_not_wait_for_others(server: Server) -> None:
    together = {c.seed: c for c in result_of(server.drawn(num_images=4, options=RESTLESS)
                                             ).candidates}
    assert len({c.metadata["best_step"] for c in together.values()}) > 1
    for seed, candidate in together.items():
        alone = server.drawn(seed=seed, options=RESTLESS)
        assert np.array_equal(image_of(alone), candidate.image)
        assert result_of(alone).candidates[0].metadata == candidate.metadata


def test_a_pause_counts_as_no_patience(server: Server) -> None:
    options = RESTLESS | {"drops": "5, 20", "mse_weight": 1.0, "init_weight": 0.0}
    whole = server.drawn(options=options)
    last = result_of(whole).metadata["ended_at_step"]
    for pause in (last - 1, last):
        events = server.resume(server.paused_at(pause, options=options))
        assert same(events, whole)
        assert result_of(events).metadata["ended_at_step"] == last


def test_another_prompt_is_given_patience_anew(server: Server) -> None:
    last = result_of(server.drawn(options=RESTLESS)).metadata["ended_at_step"]
    events = server.resume(server.paused_at(last - 1, options=RESTLESS), prompt="a blue car")
    assert result_of(events).metadata.get("ended_at_step", 30) >= last - 1 + 3
