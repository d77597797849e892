"""One job on the device at a time, whatever happens to those who read along."""

from __future__ import annotations

import gc
import itertools
import logging
import pickle
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from easel.serving.backend import LocalBackend
from easel.serving.line import REMEMBERED
from pipelines.core.errors import Busy, Cancelled, EaselError, InvalidRequest, OutOfMemory
from pipelines.core.events import Candidate, Event, Progress, Result
from pipelines.core.request import CheckedRequest
from pipelines.models.checkpoints.ids import RANKER
from pipelines.pipeline import RunContext
from pipelines.registry import Registry
from tests.asking import compare, stream
from tests.noise import NoisePipeline
from tests.noise_backend import backend, pipeline, request, result_of, start, until
from tests.small_models import small_cache

__all__ = ["backend", "pipeline"]


def test_events_arrive_in_order_and_can_be_pickled(backend: LocalBackend) -> None:
    events = list(stream(backend, request(steps=4)))
    steps = [e.step for e in events if isinstance(e, Progress) and e.step]
    assert steps == [1, 2, 3, 4]
    assert [e.losses["loss"] for e in events if isinstance(e, Progress) and e.losses] == [
        1, 1 / 2, 1 / 3, 1 / 4]
    result = pickle.loads(pickle.dumps(result_of(events)))
    assert [c.seed for c in result.candidates] == [5, 6]


def test_result_says_what_it_takes_to_draw_it_again(backend: LocalBackend) -> None:
    events = list(stream(backend, {**request(), "seed": None}, "a-job"))
    metadata = result_of(events).metadata
    seed = metadata["run_seed"]
    assert metadata["job_id"] == "a-job"
    assert metadata["weights"] == {"linear/8": f"{8:064x}"}
    assert metadata["options"]["steps"] == 3
    again = result_of(list(stream(backend, {**request(), "seed": seed})))
    for ours, theirs in zip(result_of(events).candidates, again.candidates, strict=True):
        assert np.array_equal(ours.image, theirs.image)
    alone = result_of(list(stream(backend, {**request(), "seed": seed + 1, "num_images": 1})))
    assert np.array_equal(alone.candidates[0].image, again.candidates[1].image)


def test_invalid_requests_never_queue(backend: LocalBackend) -> None:
    running = start(backend, "running", steps=10_000, step_s=0.01)
    for wrong in ({**request(), "prompt": " "}, request(steps=float("nan")),
                  {**request(), "pipeline": "none"}, {**request(), "prompt": "forbidden"}):
        asked = time.monotonic()
        with pytest.raises(InvalidRequest):
            stream(backend, wrong)
        assert time.monotonic() - asked < 5
    running.close()


def test_two_jobs_never_overlap(backend: LocalBackend, pipeline: NoisePipeline) -> None:
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(lambda: list(stream(backend, request(steps=5, step_s=0.01))))
                for _ in range(3)]
        for job in jobs:
            result_of(job.result(30))
    spans = sorted(pipeline.spans)
    assert len(spans) == 15
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def test_no_overlap_right_after_a_cancel(backend: LocalBackend, pipeline: NoisePipeline) -> None:
    with pipeline.held():
        running = start(backend, "first", steps=1000, step_s=0.2)
        assert backend.cancel("first")
        running.close()
    result_of(list(stream(backend, request(steps=2, step_s=0.05))))
    spans = sorted(pipeline.spans)
    assert len(spans) <= 4, "the first step, the one that was under way, and two of the other"
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def test_stop_ends_within_a_step(backend: LocalBackend, pipeline: NoisePipeline) -> None:
    with pipeline.held():
        running = start(backend, "job", steps=1000, step_s=0.1)
        assert backend.cancel("job")
    with pytest.raises(Cancelled, match=r"^The job was stopped\.$"):
        list(running)
    assert len(pipeline.spans) <= 2, "the first step and the one that was under way"
    assert pipeline.closed == 1
    assert not backend.cancel("job")


def test_stop_keeps_what_the_pipeline_kept(backend: LocalBackend) -> None:
    running = start(backend, "job", steps=1000, step_s=0.02, keep=True)
    backend.cancel("job")
    result = result_of(list(running))
    assert result.metadata["stopped"] is True
    assert len(result.candidates) == 2


class Stubborn(NoisePipeline):
    """Never asks whether it should stop."""

    name = "stubborn"

    def run(self, request: CheckedRequest[Any], context: RunContext) -> Iterator[Event]:
        """Steps without end."""
        try:
            for step in itertools.count():
                time.sleep(0.01)
                yield Progress(step, 0)
        finally:
            self.closed += 1


def test_a_pipeline_that_never_asks_is_stopped_too(backend: LocalBackend) -> None:
    stubborn = Stubborn()
    backend.registry.register(stubborn)
    events = stream(backend, {**request(), "pipeline": "stubborn"}, "job")
    next(events)
    backend.cancel("job")
    with pytest.raises(Cancelled):
        list(events)
    until(lambda: stubborn.closed == 1)


def test_stop_is_remembered_until_the_job_comes(backend: LocalBackend, pipeline: NoisePipeline,
                                                ) -> None:
    """A press of Stop may be here before the job that it is for."""
    assert not backend.cancel("early")
    with pytest.raises(Cancelled, match="before it began"):
        list(stream(backend, request(), "early"))
    ends = {e.index: e.event for e in compare(backend, [request(steps=2)] * 2, ["early", "late"])}
    assert isinstance(ends[0], Cancelled)
    assert isinstance(ends[1], Result)
    assert len(pipeline.spans) == 2, "those of the other job alone"
    for number in range(REMEMBERED):
        backend.cancel(f"other {number}")
    result_of(list(stream(backend, request(), "early")))


def test_a_waiting_job_can_be_stopped(backend: LocalBackend, pipeline: NoisePipeline) -> None:
    running = start(backend, "running", steps=10_000, step_s=0.01)
    waiting = stream(backend, request(), "waiting")
    first = next(waiting)
    assert isinstance(first, Progress)
    assert first.message == "Waiting: 1 ahead."
    assert 0 < first.elapsed_s < 20
    assert backend.cancel("waiting")
    with pytest.raises(Cancelled, match="before it began"):
        next(waiting)
    assert not backend.cancel("waiting")
    running.close()
    result_of(list(stream(backend, request())))
    assert pipeline.closed == 2


def test_a_full_queue_says_so_and_empties(backend: LocalBackend) -> None:
    running = start(backend, "running", steps=10_000, step_s=0.01)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(lambda: list(stream(backend, request()))) for _ in range(2)]
        until(lambda: sum(backend.queue()) == 3)
        with pytest.raises(Busy, match=r"^The queue is full, 2 jobs are waiting: try again"):
            next(stream(backend, request()))
        running.close()
        for job in waiting:
            result_of(job.result(20))
    result_of(list(stream(backend, request())))


def test_features_wait_their_turn(pipeline: NoisePipeline) -> None:
    registry = Registry()
    registry.register(pipeline)
    backend = LocalBackend(registry, small_cache(), max_waiting=1)
    pictures = [np.full((8, 8, 3), grey, np.uint8) for grey in (0, 128, 255)]
    running = start(backend, "running", steps=10_000, step_s=0.01)
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(backend.embed, RANKER, pictures, ["a cat", "snow"])
        until(lambda: sum(backend.queue()) == 2)
        with pytest.raises(Busy, match="queue is full"):
            backend.embed(RANKER, pictures)
        assert not looking.done(), "a run has the device"
        running.close()
        found = looking.result(20)
    assert (len(found.images), len(found.texts)) == (3, 2)
    backend.close()


def test_fifty_users_and_a_queue_of_two(backend: LocalBackend) -> None:
    together = threading.Barrier(50)

    def ask() -> bool:
        together.wait()
        try:
            return bool(result_of(list(stream(backend, request(step_s=0.1)))))
        except Busy:
            return False

    with ThreadPoolExecutor(50) as pool:
        outcomes = [future.result(60) for future in [pool.submit(ask) for _ in range(50)]]
    assert 3 <= sum(outcomes) < 50


@pytest.mark.parametrize("fault", ["error", "silence"])
def test_unexpected_errors_become_a_sentence(
        backend: LocalBackend, fault: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "easel.serving.scheduler"), \
            pytest.raises(EaselError) as caught:
        list(stream(backend, request(fault=fault), "job-7"))
    assert str(caught.value) == ("Something went wrong inside Easel; the server's log has the "
                                 "details under job job-7.")
    assert "secret" not in str(caught.value)
    assert "Traceback" in caplog.text
    result_of(list(stream(backend, request())))


def test_out_of_memory_evicts_and_the_next_job_works(backend: LocalBackend) -> None:
    with backend.cache.lease("idle/100"):
        pass
    with pytest.raises(OutOfMemory, match="fewer or smaller pictures"):
        list(stream(backend, request(fault="memory")))
    assert backend.cache.stats().used_bytes == 0
    result_of(list(stream(backend, request())))


class Weighty(NoisePipeline):
    """Fails with a tensor in its frame."""

    name = "weighty"
    tensor: weakref.ref[torch.Tensor]

    def run(self, request: CheckedRequest[Any], context: RunContext) -> Iterator[Event]:
        """Allocate, then fail inside the handling of another error."""
        held = torch.zeros(1000)
        self.tensor = weakref.ref(held)
        yield Progress()
        try:
            raise KeyError(held)
        except KeyError:
            raise EaselError("It did not work.")  # noqa: B904


def test_an_error_keeps_no_tensor_alive(backend: LocalBackend) -> None:
    weighty = Weighty()
    backend.registry.register(weighty)
    with pytest.raises(EaselError, match="It did not work") as caught:
        list(stream(backend, {**request(), "pipeline": "weighty"}))
    gc.collect()
    assert weighty.tensor() is None
    assert caught.value is not None


def test_a_job_id_is_used_once_at_a_time(backend: LocalBackend) -> None:
    running = start(backend, "job", steps=10_000, step_s=0.01)
    with pytest.raises(InvalidRequest, match="on its way already"):
        next(stream(backend, request(), "job"))
    running.close()
    until(lambda: backend.jobs.find("job") is None)
    result_of(list(stream(backend, request(), "job")))


def test_candidates_share_no_state_between_jobs(backend: LocalBackend) -> None:
    alone = result_of(list(stream(backend, request(contrast=0.5))))
    list(stream(backend, {**request(contrast=2.0), "seed": 9}))
    again = result_of(list(stream(backend, request(contrast=0.5))))
    assert all(np.array_equal(a.image, b.image)
               for a, b in zip(alone.candidates, again.candidates, strict=True))
    assert isinstance(again.candidates[0], Candidate)
