"""The matrix over a training: what was kept of it, at any temperature, without a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from pipelines.core.errors import InvalidRequest
from pipelines.inside.contrast import contrast_of
from pipelines.inside.replay import REPLAY_DIR, replayed, replayed_pairs

MOST_BYTES = 300_000


def test_eight_moments_from_the_start_on() -> None:
    pairs = replayed_pairs()
    moments = [replayed(number) for number in range(1, 9)]
    assert [each.step for each in moments] == list(pairs.steps) == sorted(set(pairs.steps))
    assert moments[0].step == moments[0].pictures_seen == 0
    for each in moments:
        assert each.pictures_seen == each.step * pairs.batch_size
        assert each.contrast.similarities.shape == (12, 12)
        assert np.abs(each.contrast.similarities).max() <= 1
    assert len(pairs.texts) == len(set(pairs.texts)) == 12
    for path in pairs.paths:
        with Image.open(path) as picture:
            assert picture.size == (96, 96)
    assert sum(path.stat().st_size for path in REPLAY_DIR.iterdir()) < MOST_BYTES


def test_it_guesses_first_and_tells_colours_and_some_things_apart_in_the_end() -> None:
    first, last = replayed(1).contrast, replayed(8).contrast
    assert first.temperature == pytest.approx(0.07, abs=1e-3)  # where the training began
    assert first.loss == pytest.approx(np.log(12), abs=0.5)
    assert last.loss < first.loss / 2
    assert sum(last.right) > 3 * sum(first.right)
    apples_and_cars = last.over_pictures[:4, :4].diagonal()
    assert apples_and_cars.min() > 0.8
    assert replayed(8).training_loss < replayed(1).training_loss / 2


@pytest.mark.parametrize("temperature", [None, 0.5])
def test_a_moment_is_the_loss_of_its_matrix(temperature: float | None) -> None:
    found = replayed(5, temperature).contrast
    used = found.trained if temperature is None else temperature
    logits, own = torch.tensor(found.similarities).double() / used, torch.arange(12)
    assert found.temperature == used
    assert found.loss_of_texts == pytest.approx(float(F.cross_entropy(logits, own)), rel=1e-5)
    assert found.loss_of_pictures == pytest.approx(float(F.cross_entropy(logits.t(), own)),
                                                   rel=1e-5)
    same = contrast_of(found.similarities, used, found.trained)
    np.testing.assert_array_equal(found.over_texts, same.over_texts)


@pytest.mark.parametrize(("moment", "temperature", "says"), [
    (0, None, "The moment must be a whole number between 1 and 8, not 0."),
    (9, None, "The moment must be"), ("x", None, "The moment must be"),
    (True, None, "The moment must be"), (1.5, None, "The moment must be"),
    (1, 0, "The temperature must be from 0.005 to 1.0."), (1, "x", "The temperature must be"),
    (1, float("nan"), "The temperature must be")])
def test_other_moments_and_temperatures_are_refused(moment: Any, temperature: Any,
                                                    says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        replayed(moment, temperature)
