"""What every backend does, wherever it runs: one set of cases for all kinds of them."""

from __future__ import annotations

import inspect
import pickle
import secrets
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from easel.serving.backend import LocalBackend
from easel.serving.interface import Backend
from easel.serving.jobs import Found, Requester
from easel.serving.line import CLOSING, NOT_BEGUN, SUSPENDED
from pipelines.core.errors import Busy, Cancelled, EaselError, InvalidRequest, Paused
from pipelines.core.events import Event, Preview, Progress, Result
from pipelines.inside.score import WhyScore
from pipelines.models.checkpoints.ids import RANKER
from pipelines.unclip.walk import Walk
from tests.asking import compare, stream
from tests.clusters import Cluster, cluster, needs_ray
from tests.paused_server import FIELDS, cache, open_runs, registry
from tests.test_walk import FEW

__all__ = ["cache"]
ME = "me"
SKETCH: dict[str, Any] = {"pipeline": "sketch", "prompt": "a red apple", "num_images": 2, "seed": 5,
                          "options": {"steps": 3, "pause_s": 0.0}}
LONG = {**SKETCH, "options": {"steps": 2000, "pause_s": 0.1}}  # longer than any case takes
WAIT_S = 300.0


@pytest.fixture(scope="module")
def small_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster"), runners=1, queue_size=2,
                 user_jobs=2) as made:
        yield made


# Each kind has room for two waiting jobs, and for two of one owner.
@pytest.fixture(params=["local", pytest.param("ray", marks=needs_ray)])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    if request.param == "ray":
        made: Backend = request.getfixturevalue("small_cluster").front()
    else:
        made = LocalBackend(registry(), request.getfixturevalue("cache"), max_waiting=2,
                            max_per_owner=2, paused=open_runs(tmp_path / "paused"))
    yield made
    made.close()


def running(backend: Backend, job_id: str, owner: str = "", **fields: Any) -> Generator[Event]:
    """A long job that has begun to draw."""
    events = stream(backend, {**LONG, **fields}, job_id, owner)
    for event in events:
        if isinstance(event, Preview):
            return events
    raise AssertionError("no step was taken")


def names(count: int) -> list[str]:
    """Names for jobs, which nothing that outlives a test has heard of."""
    return [secrets.token_hex(8) for _ in range(count)]


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


def result_of(events: list[Any]) -> Result:
    assert isinstance(events[-1], Result)
    assert not any(isinstance(event, Result) for event in events[:-1])
    return events[-1]


def figures(backend: Backend) -> dict[tuple[str, str], float]:
    """Figures by name and labels."""
    return {(sample.name, " ".join(sample.labels[name] for name in sorted(sample.labels))):
            sample.value for family in text_string_to_metric_families(backend.figures().decode())
            for sample in family.samples if "le" not in sample.labels}


def test_it_has_all_that_the_interface_names(backend: Backend) -> None:
    names = {name for name in {**vars(Backend), **Backend.__annotations__}
             if not name.startswith("_")}
    assert {"stream", "resume", "figures", "queue", "models", "paused", "registry"} <= names
    for name in names:
        assert hasattr(backend, name), name
        asked = getattr(Backend, name, None)
        if inspect.isfunction(asked):
            # One calls all of them alike: the same arguments by name, place and default.
            wanted = inspect.signature(asked).parameters.values()
            given = inspect.signature(getattr(type(backend), name)).parameters.values()
            assert [(p.name, p.kind, p.default) for p in given] == \
                [(p.name, p.kind, p.default) for p in wanted], name


def test_a_run_is_told_step_by_step_and_ends_with_its_pictures(backend: Backend) -> None:
    events = list(stream(backend, SKETCH, "a-job"))
    assert [e.step for e in events if isinstance(e, Progress) and e.losses] == [1, 2, 3]
    result = result_of(events)
    assert [c.seed for c in sorted(result.candidates, key=lambda c: c.index)] == [5, 6]
    assert result.metadata["job_id"] == "a-job"
    assert (result.metadata["prompt"], result.metadata["run_seed"]) == ("a red apple", 5)
    assert result.metadata["device_s"] >= 0
    again = result_of(list(stream(backend, SKETCH)))
    for one, other in zip(result.candidates, again.candidates, strict=True):
        assert np.array_equal(one.image, other.image)
    for event in events:
        copy = pickle.loads(pickle.dumps(event))
        assert type(copy) is type(event)


def test_what_goes_wrong_is_one_sentence_that_can_be_handed_on(backend: Backend) -> None:
    with pytest.raises(EaselError) as caught:
        list(stream(backend, {**SKETCH, "options": {"steps": 3, "fail": True}}, "broken"))
    assert str(caught.value) == ("Something went wrong inside Easel; the server's log has the "
                                 "details under job broken.")
    assert caught.value.sentence.values == ("broken",)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert result_of(list(stream(backend, SKETCH))), "the next one runs"


def test_a_name_is_taken_while_its_job_runs(backend: Backend) -> None:
    (one,) = names(1)
    events = running(backend, one)
    with pytest.raises(InvalidRequest, match="is on its way already"):
        list(stream(backend, SKETCH, one))
    events.close()


def test_stop_keeps_what_is_drawn(backend: Backend) -> None:
    (one,) = names(1)
    events = running(backend, one)
    assert backend.cancel(one)
    result = result_of(list(events))
    assert result.metadata["stopped"] is True
    assert len(result.candidates) == 2
    until(lambda: backend.queue() == (0, 0))


def test_a_stop_that_comes_first_is_remembered(backend: Backend) -> None:
    assert not backend.cancel("later")
    with pytest.raises(Cancelled) as caught:
        list(stream(backend, SKETCH, "later"))
    assert str(caught.value) == NOT_BEGUN


def test_who_waits_is_counted_told_and_can_be_stopped(backend: Backend) -> None:
    one, two = names(2)
    events = running(backend, one)
    waiting = stream(backend, SKETCH, two)
    progress = next(waiting)
    assert isinstance(progress, Progress)
    assert progress.message.startswith("Waiting: 1 ahead")
    assert backend.queue() == (1, 1)
    assert backend.cancel(two)
    with pytest.raises(Cancelled, match=r"^The job was stopped before it began\.$"):
        list(waiting)
    until(lambda: backend.queue() == (1, 0))
    events.close()
    until(lambda: backend.queue() == (0, 0))


def test_a_reader_that_goes_away_frees_the_device(backend: Backend) -> None:
    (one,) = names(1)
    running(backend, one).close()
    assert result_of(list(stream(backend, SKETCH)))
    until(lambda: backend.queue() == (0, 0))


def test_a_full_queue_and_too_many_of_one_are_refused(backend: Backend) -> None:
    one, two, three, four, five = names(5)
    mine = [running(backend, one, ME), stream(backend, SKETCH, two, ME)]
    next(mine[1])
    with pytest.raises(Busy, match="2 jobs of yours are on their way"):
        list(stream(backend, SKETCH, three, ME))
    other = stream(backend, SKETCH, four, "you")
    next(other)
    with pytest.raises(Busy, match="The queue is full, 2 jobs are waiting"):
        list(stream(backend, SKETCH, five))
    for events in (*mine, other):
        events.close()
    until(lambda: backend.queue() == (0, 0))


def test_who_asks_counts_where_no_owner_is_named(backend: Backend) -> None:
    one, two, three, four = names(4)
    backend.requester = lambda: Requester("anna")
    events = [running(backend, one), stream(backend, SKETCH, two)]
    next(events[1])
    with pytest.raises(Busy, match="2 jobs of yours"):
        list(stream(backend, SKETCH, three))
    backend.requester = Requester
    assert isinstance(next(stream(backend, SKETCH, four)), Progress)
    for each in events:
        each.close()


def test_several_runs_share_a_place(backend: Backend) -> None:
    events = list(compare(backend, [SKETCH, {**SKETCH, "seed": 9}], ["a", "b"], together=2))
    ends = {each.index: each.event for each in events if isinstance(each.event, Result)}
    assert [ends[index].metadata["job_id"] for index in (0, 1)] == ["a", "b"]
    assert all(pickle.loads(pickle.dumps(each)).index == each.index for each in events)
    broken = {**SKETCH, "options": {"steps": 3, "fail": True}}
    last = [each for each in compare(backend, [broken, SKETCH])
            if isinstance(each.event, Result | EaselError)]
    assert {each.index: type(each.event) for each in last} == {0: EaselError, 1: Result}
    with pytest.raises(InvalidRequest, match="There is nothing to compare"):
        list(backend.compare([]))
    with pytest.raises(InvalidRequest, match="have one name"):
        list(compare(backend, [SKETCH, SKETCH], ["a", "a"]))


def test_a_run_is_paused_and_goes_on_by_its_name(backend: Backend) -> None:
    assert backend.paused is not None
    whole = result_of(list(stream(backend, FIELDS, owner=ME)))
    with pytest.raises(Paused) as caught:
        list(stream(backend, FIELDS, owner=ME, pause_after=2))
    paused = pickle.loads(pickle.dumps(caught.value))
    assert (paused.step, paused.total) == (2, 5)
    assert [run.run_id for run in backend.paused.of(ME)] == [paused.run_id]
    plan = backend.paused.plan(ME, paused.run_id, backend.registry)
    assert (plan.prompt, plan.pipeline) == (FIELDS["prompt"], FIELDS["pipeline"])
    events = list(backend.resume(ME, paused.run_id, job_id="on"))
    assert next(e for e in events if isinstance(e, Progress) and e.earlier is not None)
    result = result_of(events)
    assert result.metadata["job_id"] == "on"
    assert np.array_equal(result.candidates[0].image, whole.candidates[0].image)
    assert backend.paused.of(ME) == []
    with pytest.raises(EaselError, match="There is no such paused run"):
        list(backend.resume(ME, paused.run_id))


def test_a_run_is_paused_when_somebody_asks_for_it(backend: Backend) -> None:
    other, one = names(2)
    assert not backend.pause("nothing")
    before = running(backend, other)
    events = stream(backend, FIELDS, one, ME)
    next(events)  # it waits, so that the pause is asked for in time
    assert backend.pause(one)
    with pytest.raises(InvalidRequest, match="This run cannot be paused"):
        backend.pause(other)
    before.close()
    with pytest.raises(Paused) as caught:
        list(events)
    assert caught.value.step == 1
    assert result_of(list(backend.resume(ME, caught.value.run_id, {"seed": 8}, True)))
    assert result_of(list(backend.resume(ME, caught.value.run_id)))


def test_pictures_and_texts_become_features(backend: Backend) -> None:
    images = [np.full((32, 32, 3), 40 * n, np.uint8) for n in range(2)]
    found = backend.embed(RANKER, images, ["a red apple"])
    assert (found.images.shape[0], found.texts.shape[0]) == (2, 1)
    assert found.images.shape[1] == found.texts.shape[1]
    assert np.allclose(np.linalg.norm(found.images, axis=1), 1, atol=1e-3)
    assert backend.unlike_the_world(images).shape == (2,)
    backend.cancel("never")
    with pytest.raises(Cancelled):
        backend.embed(RANKER, images, job_id="never")


def test_models_are_asked_what_they_do_inside(backend: Backend) -> None:
    found = backend.inside(WhyScore(np.full((32, 32, 3), 40, np.uint8), "a red apple"))
    assert (found.model_id, found.cells.shape) == (RANKER, (8, 8))
    assert [word.text for word in found.words] == ["a", "red", "apple"]
    backend.cancel("never asked")
    with pytest.raises(Cancelled):
        backend.inside(WhyScore(np.zeros((8, 8, 3), np.uint8), "a cat"), "never asked")


def test_a_walk_ends_with_its_frames(backend: Backend) -> None:
    events = list(backend.walk(Walk.checked("a cat", "a cow", 3, 7, FEW), "walk", ME))
    assert any(isinstance(event, Progress) and event.step for event in events[:-1])
    assert isinstance(events[-1], Found)
    frames = cast("np.ndarray", events[-1].value)
    assert (len(frames), frames.dtype) == (3, np.uint8)


def test_one_visitor_alone_may_draw_while_the_others_are_stopped(backend: Backend) -> None:
    events = running(backend, "theirs", "them")
    waiting = stream(backend, SKETCH, "mine", ME)
    next(waiting)
    backend.suspend(ME)
    assert backend.is_suspended()
    assert result_of(list(events)).metadata["stopped"] is True
    assert "stopped" not in result_of(list(waiting)).metadata
    assert not backend.has_room("them")
    assert backend.has_room(ME)
    with pytest.raises(Busy) as caught:
        list(stream(backend, SKETCH, owner="them"))
    assert str(caught.value) == SUSPENDED
    assert result_of(list(stream(backend, SKETCH))), "nobody's work goes on"
    backend.unsuspend()
    assert not backend.is_suspended()
    assert result_of(list(stream(backend, SKETCH, owner="them")))


def test_figures_queue_and_models_are_told(backend: Backend) -> None:
    list(stream(backend, SKETCH))
    list(compare(backend, [SKETCH, {**SKETCH, "options": {"steps": 3, "fail": True}}]))
    until(lambda: figures(backend)["easel_job_wait_seconds_count", ""] == 3)
    found = figures(backend)
    assert found["easel_jobs_total", "sketch done"] == 2
    assert found["easel_job_device_seconds_count", "sketch"] == 3
    assert (found["easel_queue_jobs", "running"], found["easel_queue_jobs", "waiting"]) == (0, 0)
    assert backend.device() == "cpu"
    assert backend.models() is None, "these models are of no catalogue"
    if (runners := backend.runners()) is None:  # it draws itself
        assert "easel_runners" not in {name for name, _ in found}
    else:
        assert runners == (1, 1, 1, 1)
        assert [found["easel_runners", state] for state in runners._fields] == [1, 1, 1, 1]


def test_a_backend_that_closes_says_so_and_loses_nothing(backend: Backend) -> None:
    one, two = names(2)
    events = running(backend, one)
    waiting = stream(backend, SKETCH, two)
    next(waiting)
    assert backend.is_open()
    backend.close()
    assert not backend.is_open()
    assert result_of(list(events)).metadata["stopped"] is True
    for late in (waiting, stream(backend, SKETCH)):
        with pytest.raises(Busy) as caught:
            list(late)
        assert str(caught.value) == CLOSING
    backend.abort_jobs()
    assert backend.queue() == (0, 0)
