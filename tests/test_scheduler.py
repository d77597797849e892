"""Several runs of one comparison on one device: in turn, fairly, and each on its own."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from easel.history.records import LOCAL
from easel.serving.backend import LocalBackend
from easel.serving.jobs import Group, Job, Requester, RunEvent, Usage
from easel.serving.line import RuntimeEstimator
from pipelines.core.errors import Busy, Cancelled, EaselError, InvalidRequest
from pipelines.core.events import Candidate, Event, Preview, Progress, Result
from pipelines.core.request import CheckedRequest
from pipelines.dalle import DallePipeline
from pipelines.models.cache.cache import ModelCache
from pipelines.pipeline import Pipeline, RunContext
from pipelines.registry import Registry
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from tests.asking import compare, stream
from tests.noise import LinearLoader, NoisePipeline, linear_cache
from tests.noise_backend import request, start, until
from tests.small_models import small_cache


class Weighing(NoisePipeline):
    """Leases a model of its own, and holds as much memory as its prompt says."""

    models = ("linear/200",)

    def __init__(self, name: str = "weighing", model: str = "linear/200") -> None:
        super().__init__()
        self.name, self.models = name, (model,)

    def run(self, request: CheckedRequest[Any], context: RunContext) -> Iterator[Event]:
        """Two steps that hold the memory."""
        with context.lease(self.models[0]):
            held = np.ones(int(request.prompt) * 2**20, np.uint8)
            yield Progress(1, 2)
            image = np.full((8, 8, 3), held[0], np.uint8)
            yield Progress(2, 2)
        yield Result((Candidate(image, 0, 0),), context.elapsed_s())


def backend_of(*pipelines: Pipeline, **options: Any) -> LocalBackend:
    registry = Registry()
    for pipeline in pipelines:
        registry.register(pipeline)
    return LocalBackend(registry, options.pop("cache", None) or linear_cache(), **options)


@pytest.fixture
def noise() -> NoisePipeline:
    return NoisePipeline()


@pytest.fixture
def backend(noise: NoisePipeline) -> Iterator[LocalBackend]:
    made = backend_of(noise, Weighing(), max_waiting=1)
    yield made
    made.close()


def last(events: Sequence[RunEvent]) -> dict[int, RunEvent]:
    """The event that each run ended with."""
    ends = [e for e in events if isinstance(e.event, Result | EaselError)]
    assert len({e.index for e in ends}) == len(ends), "a run ends once"
    return {e.index: e for e in ends}


def pictures(event: RunEvent) -> np.ndarray:
    assert isinstance(event.event, Result), event.event
    candidates = sorted(event.event.candidates, key=lambda c: c.index)
    return np.stack([candidate.image for candidate in candidates])


class Clock:
    """Time that passes where somebody sleeps, and nowhere else."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """By which the device's seconds are counted, so that a busy machine takes none."""
    made = Clock()
    monkeypatch.setattr("easel.serving.usage.time", made)
    monkeypatch.setattr("tests.noise.time", made)
    return made


@pytest.mark.usefixtures("clock")
def test_runs_take_turns_and_draw_what_they_draw_alone(backend: LocalBackend) -> None:
    asked = [request(steps=40, step_s=0.001),
             {**request(steps=40, step_s=0.001, contrast=2.0), "seed": 9}]
    events = list(compare(backend, asked))
    order = [e.index for e in events if isinstance(e.event, Progress) and e.event.step]
    begun = max(order.index(0), order.index(1))
    assert set(order[begun + 1:begun + 9]) == {0, 1}, "once both have begun, both go on"
    ends = last(events)
    for index, fields in enumerate(asked):
        alone = next(e for e in stream(backend, fields) if isinstance(e, Result))
        assert np.array_equal(pictures(ends[index]),
                              pictures(RunEvent(0, alone, Usage())))


def test_the_embedded_pipelines_in_turn_draw_what_they_draw_alone() -> None:
    backend = backend_of(DallePipeline(), VQGANCLIPPipeline(), cache=small_cache())
    asked = [
        {"pipeline": "dalle", "prompt": "two cats", "num_images": 2, "seed": 3},
        {"pipeline": "vqgan_clip", "prompt": "two cats", "num_images": 1, "seed": 3,
         "options": {"iterations": 3, "num_cutouts": 2, "precision": "float32"}},
        {"pipeline": "dalle", "prompt": "snow", "num_images": 1, "seed": 8,
         "options": {"temperature": 0.9}}]
    events = list(compare(backend, asked))
    ends = last(events)
    first_end = next(i for i, e in enumerate(events) if isinstance(e.event, Result))
    # Steps as well: a preview that was not read gives way to a newer one, maybe after that end.
    assert {e.index for e in events[:first_end]
            if isinstance(e.event, Progress | Preview) and e.event.step} == {0, 1, 2}
    for index, fields in enumerate(asked):
        alone = next(e for e in stream(backend, fields) if isinstance(e, Result))
        assert np.array_equal(pictures(ends[index]), pictures(RunEvent(0, alone, Usage())))
    backend.close()


@pytest.mark.usefixtures("clock")
def test_shares_are_of_seconds_and_not_of_steps(backend: LocalBackend) -> None:
    """A run of long steps and one of short ones get about the same of the device."""
    asked = [request(steps=10_000, step_s=0.03), request(steps=10_000, step_s=0.001)]
    seen: list[RunEvent] = []
    with closing(compare(backend, asked)) as events:
        for event in events:
            seen.append(event)
            if event.usage.device_s > 0.5:
                break
    steps = [sum(isinstance(e.event, Progress) and e.index == i for e in seen) for i in (0, 1)]
    used = [max(e.usage.device_s for e in seen if e.index == i) for i in (0, 1)]
    assert steps[1] > 20 * steps[0]
    assert abs(used[0] - used[1]) < 0.05


def test_one_is_stopped_and_the_others_go_on(backend: LocalBackend) -> None:
    asked = [request(steps=10_000, step_s=0.005, keep=True), request(steps=20, step_s=0.005),
             request(steps=10_000, step_s=0.005)]
    seen, stopped = [], False
    for event in compare(backend, asked, ["a", "b", "c"]):
        seen.append(event)
        if not stopped and isinstance(event.event, Preview):
            stopped = backend.cancel("a") and backend.cancel("c")
    ends = last(seen)
    assert isinstance(ends[2].event, Cancelled)
    kept, whole = ends[0].event, ends[1].event
    assert isinstance(kept, Result)
    assert isinstance(whole, Result)
    assert kept.metadata["stopped"] is True
    assert "stopped" not in whole.metadata
    assert backend.queue() == (0, 0)


def test_a_waiting_run_of_a_comparison_can_be_stopped(backend: LocalBackend,
                                                      noise: NoisePipeline) -> None:
    events = compare(backend, [request(steps=3), request(steps=30)], ["a", "b"], together=1)
    with noise.held():
        seen = [next(event for event in events if isinstance(event.event, Preview))]
        assert seen[0].index == 0
        assert backend.cancel("b")
    seen += events
    assert isinstance(last(seen)[1].event, Cancelled)
    assert isinstance(last(seen)[0].event, Result)


def test_every_run_gets_the_same_seconds_and_keeps_its_best(backend: LocalBackend) -> None:
    asked = [request(steps=10_000, step_s=step_s, keep=True) for step_s in (0.02, 0.005)]
    asked.append(request(steps=2))
    ends = last(list(compare(backend, asked, budget_s=0.3)))
    for index in (0, 1):
        end = ends[index]
        assert isinstance(end.event, Result)
        assert end.event.candidates
        assert end.event.metadata["time_budget_s"] == 0.3
        assert end.event.metadata["stopped"] is True
        assert end.event.metadata["device_s"] >= 0.3
        assert end.usage.device_s < 2
    quick = ends[2].event
    assert isinstance(quick, Result)
    assert "stopped" not in quick.metadata


def test_a_failing_run_takes_no_other_down(backend: LocalBackend) -> None:
    ends = last(list(compare(backend, [request(fault="error"), request(fault="memory"),
                                       request(steps=5)])))
    assert "inside Easel" in str(ends[0].event)
    assert "out of memory" in str(ends[1].event)
    assert isinstance(ends[2].event, Result)


def test_nothing_runs_if_one_request_is_wrong(backend: LocalBackend,
                                              noise: NoisePipeline) -> None:
    with pytest.raises(InvalidRequest, match="Steps must be"):
        list(compare(backend, [request(), request(steps=0)]))
    with pytest.raises(InvalidRequest, match="nothing to compare"):
        list(compare(backend, []))
    with pytest.raises(InvalidRequest, match="one name"):
        list(compare(backend, [request()] * 2, ["same", "same"]))
    assert noise.spans == []


def test_a_reader_that_leaves_ends_all_runs(backend: LocalBackend, noise: NoisePipeline) -> None:
    events = compare(backend, [request(steps=10_000, step_s=0.005)] * 3)
    for event in events:
        if isinstance(event.event, Preview):
            break
    events.close()
    until(lambda: not backend.jobs.line.jobs and not backend.jobs.line.groups)
    assert noise.closed == 3
    assert backend.cache.stats().models[0].leases == 0


def test_models_that_do_not_fit_together_are_used_one_after_the_other() -> None:
    one, two = Weighing("one", "linear/200"), Weighing("two", "linear/201")
    backend = backend_of(one, two, cache=linear_cache(200_000))
    asked = [{"pipeline": name, "prompt": "1", "num_images": 1} for name in ("one", "two")]
    events = list(compare(backend, asked))
    assert all(isinstance(end.event, Result) for end in last(events).values())
    firsts = [e.index for e in events if isinstance(e.event, Progress) and e.event.step]
    assert firsts == [0, 0, 1, 1]
    assert backend.cache.stats().evictions == 1
    backend.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not say how much was used")
def test_memory_is_that_of_the_run_alone(backend: LocalBackend) -> None:
    asked = [{"pipeline": "weighing", "prompt": megabytes, "num_images": 1}
             for megabytes in ("32", "1", "96")]
    ends, used, megabytes = dict[int, RunEvent](), list[int | None](), list[float]()
    for _ in range(5):
        # What the last threads of other tests give back while this runs is taken off, so it may
        # run again. What was freed before, as here, is still resident and must not hide anything.
        gc.collect()
        freed = np.ones(200 * 2**20, np.uint8).reshape(-1, 2**16).copy()
        pieces = [row.copy() for row in freed]  # small enough to stay with the process once free
        del freed, pieces
        ends = last(list(compare(backend, asked)))
        used = [ends[i].usage.peak_memory_bytes for i in range(3)]
        assert all(peak is not None for peak in used)
        megabytes = [(peak or 0) / 2**20 for peak in used]
        if megabytes == pytest.approx([32, 1, 96], abs=12):
            break
    assert megabytes == pytest.approx([32, 1, 96], abs=12)
    end = ends[2].event
    assert isinstance(end, Result)
    assert end.metadata["peak_memory_bytes"] == used[2]


def test_loading_a_model_is_nobodys_device_time(noise: NoisePipeline) -> None:
    class Slow(LinearLoader):
        def load(self, model_id: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
            time.sleep(0.6)
            return super().load(model_id, device, dtype)

    backend = backend_of(noise, cache=ModelCache(Slow(), "cpu"))
    end = last(list(compare(backend, [request(steps=2)])))[0]
    assert end.usage.device_s < 0.5
    backend.close()


def test_one_users_jobs_are_limited(noise: NoisePipeline) -> None:
    backend = backend_of(noise, max_per_owner=1)
    running = stream(backend, request(steps=10_000, step_s=0.01), "mine", "me")
    next(running)
    with pytest.raises(Busy, match=r"^1 jobs? of yours"):
        next(stream(backend, request(), "again", "me"))
    until(lambda: backend.cancel("mine"))
    other = stream(backend, request(), "theirs", "them")
    assert isinstance(list(other)[-1], Result)
    running.close()
    backend.close()


def test_an_address_leaves_room_for_others_however_many_visitors_it_is(noise: NoisePipeline,
                                                                      ) -> None:
    backend = backend_of(noise, max_waiting=7, max_per_owner=2)
    requester = Requester("me", "203.0.113.9")
    backend.requester = lambda: requester
    streams = []
    for number in range(6):
        requester = Requester(f"visitor {number}", "203.0.113.9")
        streams.append(stream(backend, request(steps=10_000, step_s=0.01), f"job {number}"))
        next(streams[-1])
    requester = Requester("one more", "203.0.113.9")
    with pytest.raises(Busy, match="6 jobs from your address"):
        next(stream(backend, request()))
    requester = Requester("from elsewhere", "203.0.113.10")
    streams.append(stream(backend, request(), "other"))
    next(streams[-1])
    for running in streams:
        running.close()
    backend.close()


def test_every_job_counts_for_who_asks(noise: NoisePipeline) -> None:
    """Rankings and searches too, which no history is kept of."""
    backend = backend_of(noise, max_per_owner=1)
    running = stream(backend, request(steps=10_000, step_s=0.01), "mine", "me")
    next(running)
    backend.requester = lambda: Requester("me")
    for work in (lambda: backend.embed("linear/8", texts=["a cat"]),
                 lambda: backend.embed("linear/8", [np.zeros((8, 8, 3), np.uint8)])):
        with pytest.raises(Busy, match="of yours"):
            work()
    running.close()
    backend.close()


def test_a_visitors_job_ends_after_the_most_device_seconds(noise: NoisePipeline) -> None:
    backend = backend_of(noise, max_job_s=0.05)
    backend.requester = lambda: Requester("me")
    events = list(stream(backend, request(steps=10_000, step_s=0.01, keep=True), owner="me"))
    end = events[-1]
    assert isinstance(end, Result)
    assert "time_budget_s" not in end.metadata, "as stopped by hand"
    assert end.metadata["time_limit_s"] == 0.05, "but not by a hand, which it would be told"
    with pytest.raises(InvalidRequest, match=r"ended after 0\.05 s on the device, the most"):
        list(stream(backend, request(steps=10_000, step_s=0.01), owner="me"))
    backend.requester = Requester
    whole = list(stream(backend, request(steps=20, step_s=0.01, keep=True), owner=LOCAL))
    steps = [e.step for e in whole if isinstance(e, Progress)]
    assert max(steps) == 20, "the command line has no limit"
    backend.close()


def test_a_comparison_is_one_place_in_the_queue(backend: LocalBackend) -> None:
    running = start(backend, "running", steps=10_000, step_s=0.01)
    events = compare(backend, [request(), request()], ["a", "b"])
    first = next(events).event
    assert isinstance(first, Progress)
    assert first.message == "Waiting: 1 ahead."
    with pytest.raises(Busy, match="1 job is waiting"):
        next(stream(backend, request()))
    running.close()
    assert len(last(list(events))) == 2


def finished(kind: str, device_s: float) -> Job:
    return Job("done", lambda job: iter(()), kind, finished=True, usage=Usage(device_s))  # type: ignore[arg-type,return-value]


def test_the_wait_is_the_sum_of_what_is_ahead() -> None:
    runtimes = RuntimeEstimator()
    runtimes.observe(finished("noise", 4.0))
    runtimes.observe(finished("noise", 2.0))

    def job(**fields: Any) -> Job:
        return Job("job", lambda job: iter(()), "noise", **fields)  # type: ignore[arg-type,return-value]

    running = job(started=True, usage=Usage(1.0), progress=Progress(10, 30))
    assert runtimes.expected_s(job()) == 3.0
    assert runtimes.expected_s(running) == pytest.approx(2.0)
    assert runtimes.expected_s(job(budget_s=1.5)) == 1.5
    ahead = [Group((running,)), Group((job(), job(budget_s=1.5)))]
    assert runtimes.wait_s(ahead) == pytest.approx(6.5)
    assert runtimes.wait_s(ahead, devices=2) == pytest.approx(2.0), "the first to be free"
    assert runtimes.wait_s([*ahead, Group((job(),))], devices=2) == pytest.approx(4.5)
    assert runtimes.wait_s(ahead, devices=3) == 0.0
    assert runtimes.wait_s([*ahead, Group((Job("x", lambda job: iter(()), "new"),))]) is None  # type: ignore[arg-type,return-value]


def test_who_waits_is_told_how_long(backend: LocalBackend) -> None:
    list(stream(backend, request(steps=2)))
    running = start(backend, "running", steps=10_000, step_s=0.01)
    waiting = stream(backend, request(), "waiting")
    first = next(waiting)
    assert isinstance(first, Progress)
    assert first.message.startswith("Waiting: 1 ahead, about ")
    running.close()
    waiting.close()
