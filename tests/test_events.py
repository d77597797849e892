"""Events cross process borders whole, and refuse what a page could not show."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from pipelines.core.errors import Cancelled, EaselError, InvalidImage, InvalidRequest
from pipelines.core.events import Candidate, Preview, Progress, Result

PICTURE = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)


def test_events_survive_pickling() -> None:
    result = Result((Candidate(PICTURE, 7, 0, {"clip": 0.25}, {"a": 1}),), 1.5, {"stopped": True})
    again = pickle.loads(pickle.dumps(result))
    assert np.array_equal(again.candidates[0].image, PICTURE)
    assert again.candidates[0].scores == {"clip": 0.25}
    assert again.metadata == {"stopped": True}
    progress = Progress(3, 10, 0.5, "drawing", {"loss": 0.1})
    assert pickle.loads(pickle.dumps(progress)) == progress


@pytest.mark.parametrize(("image", "error"), [
    (PICTURE.astype(np.float32), TypeError), (PICTURE[..., 0], ValueError),
    (PICTURE.tolist(), TypeError), (PICTURE[..., :2], ValueError),
])
def test_candidate_refuses_other_arrays(image: np.ndarray, error: type[Exception]) -> None:
    with pytest.raises(error):
        Candidate(image, 0, 0)


def test_preview_needs_a_seed_for_each_picture() -> None:
    with pytest.raises(ValueError, match="2 pictures came with 1 seeds"):
        Preview(0, np.stack([PICTURE, PICTURE]), (1,))


def test_events_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Progress().step = 1  # pyright: ignore[reportAttributeAccessIssue]


def test_errors_keep_their_field_through_pickling() -> None:
    again = pickle.loads(pickle.dumps(InvalidImage("Not a picture.", field="init_image")))
    assert isinstance(again, InvalidRequest)
    assert isinstance(again, EaselError)
    assert (str(again), again.field) == ("Not a picture.", "init_image")
    assert str(pickle.loads(pickle.dumps(Cancelled()))) == "The job was stopped."
