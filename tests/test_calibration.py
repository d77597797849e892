"""What cosines mean: the scale, where it comes from, when it does not hold, and what is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from easel.ui.parts.panel import Card
from easel.ui.parts.prompt_note import is_doubted
from easel.ui.parts.verdict import gain, render_verdict, verdict
from pipelines.calibration import (
    FILE,
    LIMIT,
    Calibration,
    calibration_of,
    read_calibration,
    write_calibration,
)
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.checkpoints.loading import Verifier, fingerprint_of
from pipelines.models.checkpoints.vocabulary import load_vocabulary
from pipelines.models.clip import ClipModel
from pipelines.prompt_words import PromptReader
from tests.conftest import WEIGHTS as SHIPPED
from tests.small_models import SmallLoader
from training.calibrate import calibrate, calibrate_exported
from training.data import World

SCALE = Calibration(tuple(n / 100 for n in range(100)), 0.02, 0.8, 1000)


def card(score: float | None, scale: Calibration | None = SCALE, number: int = 0) -> Card:
    return Card(Path(f"{number}.png"), "a cat", "Sketch", number, score, None, (), scale=scale)


def cards(*scores: float) -> list[Card]:
    return [card(score, number=number) for number, score in enumerate(scores)]


def test_percent_counts_the_near_misses_that_score_less() -> None:
    assert [SCALE.percent(x) for x in (-1.0, 0.0, 0.005, 0.501, 0.985, 2.0)] == [0, 0, 0, 50, 98,
                                                                                99]
    assert not SCALE.fits(LIMIT / 100 - 0.005)
    assert SCALE.fits(LIMIT / 100 + 0.005)
    assert SCALE.tied([0.9, 0.89, 0.87, 0.2]) == 2


def test_a_run_says_whether_anything_fits_and_whether_the_order_means_something() -> None:
    assert verdict([]) == ()
    assert verdict([card(0.99, None)]) == (), "nobody measured what this CLIP's scores mean"
    assert verdict([card(None)]) == ()
    assert verdict(cards(0.5, 0.499))[0].startswith("None of these fits well: the best beats "
                                                    "49 %")
    assert len(verdict(cards(0.5, 0.499))) == 1
    # Between the two limits lie right pictures and wrong ones.
    assert verdict(cards(0.515, 0.3)) == (
        "CLIP is sure of none of these: the best beats 51 % of pictures that miss a part of their "
        "prompt, and 90 % is sure. Look for yourself.",)
    assert verdict(cards(LIMIT / 100 - 0.005))[0].startswith("CLIP is sure of none")
    assert verdict(cards(LIMIT / 100 + 0.005))[0].startswith("Best match")
    assert 'class="verdict poor"' in render_verdict(cards(0.6))
    assert "sure of none" in render_verdict(cards(0.6), lambda: True)
    assert verdict(cards(0.98, 0.9)) == (
        "Best match: Sketch, better than 97 % of pictures that miss a part of their prompt.",)
    assert verdict(cards(0.98, 0.975, 0.3))[1] == (
        "The first 2 fit equally well: their order says nothing.")
    assert verdict(cards(0.98, 0.975))[1].startswith("All 2 fit equally well")


def test_pictures_that_look_the_same_are_said_to() -> None:
    def seen(*grey: int) -> list[Card]:
        return [replace(card(0.98, number=number), look=bytes([level]) * 768)
                for number, level in enumerate(grey)]

    assert verdict(seen(100, 102, 101))[1] == (
        "All 3 are nearly the same picture: other words change more than another seed.")
    assert verdict([*seen(100, 101), card(0.3)])[1].startswith("The first 2 are nearly the same")
    assert verdict(seen(100, 101, 110))[1].startswith("All 3 fit equally well")


def test_a_best_match_is_doubted_where_the_prompt_is_not_all_known() -> None:
    reader = PromptReader(load_vocabulary())
    prompts = {"a red apple": False, "um gato preto na neve": False, "": False,
               "a house with a zzyzx": True, "a woman in a red dress": True,
               "un perro azul al lado de una manzana roja": True, "a dog riding a skateboard": True}
    assert {text: is_doubted(reader, text) for text in prompts} == prompts
    assert not is_doubted(None, "zzyzx")
    said = render_verdict(cards(0.98, 0.975), lambda: True)
    assert "CLIP does not know all of this prompt" in said
    assert 'class="verdict poor"' in said
    assert "equally" not in said
    assert "None of these fits well" in render_verdict(cards(0.5), lambda: True)
    assert 'class="verdict"' in render_verdict(cards(0.98))


def test_what_was_left_out_is_told_with_what_that_gained() -> None:
    kept, rejected = cards(0.905, 0.805), cards(0.405, 0.305)
    assert gain(kept, rejected) == ("CLIP left out 2 of 4 pictures. What it kept fits 85 % on "
                                    "average, all of them 60 %.")
    assert gain([card(0.9, None)], [card(0.1, None)]) == "CLIP left out 1 of 2 pictures."


def test_a_calibration_holds_for_its_own_weights_alone(tmp_path: Path) -> None:
    path = write_calibration(SCALE, tmp_path, "a" * 64)
    assert read_calibration(path, "a" * 64) == SCALE
    assert read_calibration(path, "b" * 64) is None
    assert read_calibration(tmp_path / "missing.json", "a" * 64) is None
    for number, wrong in enumerate(("{", "[]", '{"weights_sha256": "a"}')):
        broken = tmp_path / f"{number}.json"
        broken.write_text(wrong)
        assert read_calibration(broken, "a") is None


def test_the_trainers_call_measures_and_writes(tmp_path: Path) -> None:
    clip = SmallLoader().load(RANKER, torch.device("cpu"), torch.float32)
    assert isinstance(clip, ClipModel)
    world = World()
    found = calibrate(clip, world, 6)
    assert found.pairs == 6
    assert list(found.near_misses) == sorted(found.near_misses)
    assert found.tie > 0
    assert calibrate(clip, world, 6) == found, "the same scenes, the same near misses"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.calibrate.calibrate", lambda clip, world, pairs: found)
        calibrate_exported(clip, world, tmp_path, "c" * 64)
    assert read_calibration(tmp_path / FILE, "c" * 64) == found


@pytest.mark.weights("clip-ranker")
def test_the_calibration_that_ships_is_of_the_ranker_that_ships() -> None:
    """Fails where the ranker was trained anew and `python -m training.calibrate` was not run."""
    catalogue = Catalogue.load()
    digest = fingerprint_of(catalogue, catalogue.get(RANKER), Verifier())
    facts = {"options": {"ranker": RANKER}, "weights": {RANKER: digest}}
    scale = calibration_of(facts, "a red apple")
    assert scale is not None
    assert scale.true_pairs > 1 - LIMIT / 100, "true captions reach the limit more often"
    assert np.all(np.diff(scale.near_misses) >= 0)
    assert calibration_of(facts, "a red apple:2 | a worm:-1") is None, "no cosine of one text"
    assert calibration_of({"options": {"ranker": RANKER}, "weights": {}}, "a red apple") is None
    assert calibration_of({**facts, "options": {}}, "a red apple") is None
    stored = json.loads((SHIPPED / "clip-ranker" / FILE).read_text())
    assert stored["weights_sha256"] == digest


def test_pictures_of_another_scale_are_no_tie() -> None:
    first, second = cards(0.98, 0.979)
    assert len(verdict([first, replace(second, scale=None)])) == 1
