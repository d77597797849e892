"""Changes to a paused run: another prompt, weights, more steps, branches, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from pipelines.core.errors import InvalidRequest, Paused
from pipelines.core.events import Progress
from pipelines.saved_run import SavedRun, checked_changes
from tests.paused_server import (
    LIVELY,
    ME,
    Server,
    cache,
    curve_of,
    images_of,
    pausing,
    result_of,
    same,
    server,
)

__all__ = ["cache", "server"]


def test_the_prompt_changes_in_the_middle(server: Server) -> None:
    whole = server.drawn()
    run_id = server.paused_at(2)
    events = server.resume(run_id, prompt="a blue car:2 | a worm:-1")
    change = {"step": 2, "prompt_before": "a red apple", "prompt": "a blue car:2 | a worm:-1"}
    result = result_of(events)
    assert result.metadata["changes"] == [change]
    assert result.metadata["prompt"] == "a blue car:2 | a worm:-1"
    assert curve_of(events)[:2] == curve_of(whole)[:2]
    assert curve_of(events)[2:] != curve_of(whole)[2:]
    (earlier,) = [e.earlier for e in events if isinstance(e, Progress) and e.earlier]
    assert [mark.step for mark in earlier.marks] == [2]
    # Losses of two prompts do not compare: the best is one of the new prompt's.
    assert result.candidates[0].metadata["best_step"] > 2


def test_weights_alone_are_a_change_too(server: Server) -> None:
    whole, run_id = server.drawn(), server.paused_at(2)
    heavier = server.resume(run_id, prompt="a red apple:3")
    assert curve_of(heavier)[2][1] == pytest.approx(3 * curve_of(whole)[2][1])


def test_a_branch_leaves_the_run_as_it_was(server: Server) -> None:
    whole = server.drawn(options=LIVELY)
    run_id = server.paused_at(2, options=LIVELY)
    blue, again = (server.resume(run_id, True, prompt="a blue car", iterations=4)
                   for _ in range(2))
    assert same(blue, again)
    assert not np.array_equal(images_of(blue)[0], images_of(whole)[0])
    assert result_of(blue).metadata["changes"][0]["branch_of"] == run_id
    for other in (server.resume(run_id, True, seed=9), server.resume(run_id, True, noise=0.3)):
        assert curve_of(other)[2] != curve_of(whole)[2]
    with pytest.raises(InvalidRequest, match="A branch needs a change"):
        server.resume(run_id, True)
    assert [run.run_id for run in server.runs.of(ME)] == [run_id]
    assert same(server.resume(run_id), whole)


def test_more_steps_are_taken_than_were_asked_for(server: Server) -> None:
    run_id = server.paused_at(4)
    with pytest.raises(InvalidRequest, match="has taken 4 steps already"):
        server.resume(run_id, iterations=4)
    with pytest.raises(InvalidRequest, match="between 1 and 1000"):
        server.resume(run_id, iterations=10**6)
    before = SavedRun.decode(server.file().read_bytes())
    with pytest.raises(Paused) as caught:
        pausing(server, server.backend.resume(ME, run_id, {"iterations": 40}, job_id="job"))
    assert caught.value.total == 40
    with safe_open(server.file(), framework="pt") as file:
        # The first tenth of 40 steps is coarser than what there was.
        assert file.get_tensor("change").shape == before.tensors["change"].shape
    result = result_of(server.resume(run_id, iterations=caught.value.step + 1))
    assert [change["iterations"] for change in result.metadata["changes"]] == [
        40, caught.value.step + 1]


@pytest.mark.parametrize(("values", "says"), [
    ({"noise": float("nan")}, "Noise must be a number between 0 and 1"),
    ({"noise": True}, "Noise must be"), ({"noise": -1}, "Noise must be"),
    ({"seed": -1}, "Seed must be between"), ({"seed": 2**32}, "Seed must be between"),
    ({"seed": "x"}, "Seed must be a whole number"), ({"seed": float("inf")}, "Seed must be"),
    ({"iterations": 2.5}, "Iterations must be a whole number"),
    ({"iterations": []}, "Iterations must be"), ({"prompt": 7}, "The prompt must be text"),
])
def test_changes_that_make_no_sense(values: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        checked_changes(**values)


def test_a_prompt_from_here_on_is_checked_as_any_other(server: Server) -> None:
    run_id = server.paused_at(1)
    for prompt in ("cat:1000", "cat | | dog", "\0", "x" * 501):
        with pytest.raises(InvalidRequest):
            server.resume(run_id, prompt=prompt)
    assert [run.run_id for run in server.runs.of(ME)] == [run_id]
