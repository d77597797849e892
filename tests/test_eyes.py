"""The judge against eyes: the coefficient, the sheets, and labels that belong to their pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.eyes import (
    EYES_DIR,
    LABELS,
    PICTURES,
    SIDE_PX,
    agreement,
    asked,
    best_by,
    eyes_table,
    fits,
    kappa,
    right_above_wrong,
    tiles,
    write_tiles,
)
from benchmarks.tasks import TASKS
from tests.small_models import SmallLoader


def test_kappa_is_agreement_beyond_chance() -> None:
    # The example of the literature: 20 yes, 15 no, 5 and 10 apart, of 50.
    one = [True] * 25 + [False] * 25
    two = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    assert kappa(one, two) == pytest.approx(0.4)
    assert kappa(one, one) == 1
    assert kappa(one, [not x for x in one]) == -1
    assert kappa(one, [True] * 50) == 0, "who passes everything agrees by chance alone"
    assert kappa([True] * 4, [True] * 4) == 1


def test_agreement_counts_both_kinds_of_error() -> None:
    found = agreement([True, True, False, False], [True, False, True, True])
    assert (found["passed_though_wrong"], found["refused_though_right"]) == (2, 1)
    assert found["agreement"] == 0.25
    assert (found["right_by_eyes"], found["right_by_judge"]) == (0.5, 0.75)
    table = eyes_table({"dalle": found | {"right_above_wrong": 0.625}, "judge": "x"})
    assert "| dalle | 4 | 0.50 | 0.75 | 0.25 |" in table
    assert table.endswith("| 2 | 1 | 0.62 |")


def test_one_picture_of_several_is_right_by_chance_by_choice_or_where_any_is() -> None:
    right = [True, False, False, False, False, True]
    found = best_by(right, [0.1, 0.3, 0.2, 0.1, 0.4, 0.2], 2)
    assert found == {"of": 2, "random": pytest.approx(1 / 3), "clip": 0.0,
                     "oracle": pytest.approx(2 / 3)}
    assert best_by(right, [0.3, 0.1, 0.2, 0.1, 0.2, 0.4], 2)["clip"] == pytest.approx(2 / 3)
    table = eyes_table({"dalle": agreement(right, right) | {"right_above_wrong": 1.0,
                                                            "best": found}})
    assert table.endswith("| dalle | 2 | 0.33 | 0.00 | 0.67 |")


def test_a_ranker_agrees_as_often_as_it_puts_right_pictures_above_wrong_ones() -> None:
    assert right_above_wrong([True, False, True], [0.3, 0.1, 0.2]) == 1
    assert right_above_wrong([True, False, True], [0.3, 0.2, 0.1]) == 0.5
    assert right_above_wrong([True, False], [0.1, 0.2]) == 0
    assert right_above_wrong([True, False], [0.2, 0.2]) == 0.5


def test_fits_are_of_each_picture_with_its_own_prompt() -> None:
    ranker = SmallLoader().load("embedded/clip-ranker", torch.device("cpu"), torch.float32)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    prompts = ["a dog", "two cats", "a red car"]
    found = fits(ranker, pictures, prompts)  # type: ignore[arg-type]
    assert len(set(found)) == 3
    for n in range(3):
        alone = fits(ranker, pictures[n:n + 1], prompts[n:n + 1])  # type: ignore[arg-type]
        assert alone == pytest.approx(found[n:n + 1], abs=1e-5)


def test_a_sheet_gives_back_its_pictures(tmp_path: Path) -> None:
    shades = [np.full((SIDE_PX, SIDE_PX, 3), 20 * n, np.uint8) for n in range(10)]
    write_tiles(shades, tmp_path / "new" / "a.webp")
    found = tiles(tmp_path / "new" / "a.webp", 10)
    assert found.shape == (10, SIDE_PX, SIDE_PX, 3)
    assert np.abs(found.astype(int) - np.stack(shades)).max() < 8


def test_every_picture_has_its_label() -> None:
    prompts = asked()
    assert len(prompts) == PICTURES
    assert {prompt.task for prompt in prompts} == set(TASKS)
    labels = json.loads((EYES_DIR / LABELS).read_text())
    assert set(labels) == {"dalle", "unclip", "vqgan_clip"}
    for name, said in labels.items():
        count = len(said["right"])
        assert 30 <= count <= PICTURES * said.get("of", 1), name
        assert set(said["right"]) == {0, 1}
        assert said["weights_sha256"]
        found = tiles(EYES_DIR / f"{name}.webp", count)
        assert found.shape[0] == count
        assert all(picture.std() > 3 for picture in found), "an empty field was not drawn"
