"""A cluster of two runners: the same pictures everywhere, and what is killed loses nothing."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from easel.cli.main import main
from easel.serving.backend import LocalBackend
from easel.serving.ray.messages import OTHER_EASEL
from easel.serving.ray.trip import LOST_TWICE
from pipelines.core.errors import Cancelled, EaselError
from pipelines.core.events import Event, Preview, Progress, Result
from tests.asking import stream
from tests.clusters import LONG, LONG_RUN, MODELS, RUN, SKETCH, Cluster, cluster, needs_ray
from tests.conftest import REPOSITORY
from tests.paused_server import FIELDS, registry
from tests.small_models import small_cache

if TYPE_CHECKING:
    from easel.serving.ray.backend import RayBackend

pytestmark = needs_ray
WAIT_S = 300.0
ME = "me"
USERS = 50


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster"), runners=2, spare=2, user_jobs=100,
                 queue_size=100) as made:
        yield made


@pytest.fixture
def front(small: Cluster) -> Iterator[RayBackend]:
    """A front end, before runners that are free, of which one may still be on its way."""
    made = small.front()
    until(lambda: bool(made.link.facts().runners) and made.queue() == (0, 0))
    yield made
    made.close()


@pytest.fixture
def both(front: RayBackend) -> RayBackend:
    """A front end, before two runners that are free."""
    until(lambda: len(front.link.facts().runners) == 2)
    return front


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)


def digests(events: list[Event]) -> list[str]:
    """SHA-256 of the pictures, in their order."""
    assert isinstance(events[-1], Result)
    return [sha256(candidate.image.tobytes()).hexdigest() for candidate in events[-1].candidates]


class Reader(threading.Thread):
    """Reads a run to its end, on a thread of its own."""

    def __init__(self, front: RayBackend, fields: dict[str, Any], job_id: str, owner: str = "",
                 ) -> None:
        super().__init__(daemon=True)
        self.events: list[Event] = []
        self.error: EaselError | None = None
        self._run = stream(front, fields, job_id, owner)
        self.job_id = job_id
        self.start()

    def run(self) -> None:
        try:
            for event in self._run:
                self.events.append(event)
        except EaselError as error:
            self.error = error

    def drawn(self) -> list[str]:
        """Its pictures, once it has ended."""
        self.join(WAIT_S)
        assert not self.is_alive()
        assert self.error is None
        return digests(self.events)

    def draws(self) -> bool:
        """Whether a step was taken."""
        assert self.is_alive() or self.events, self.error
        return any(isinstance(event, Preview) for event in list(self.events))


def runner_of(front: RayBackend, job_id: str) -> tuple[str, int]:
    """Name and process of the runner that has a job."""
    found: list[tuple[str, int]] = []

    def has_one() -> bool:
        found[:] = [(each.report.runner, each.report.pid) for each in front.link.facts().runners
                    if job_id in each.job_ids]
        return bool(found)

    until(has_one)
    return found[0]


def test_a_seed_draws_the_same_picture_here_and_on_every_runner(both: RayBackend) -> None:
    local = LocalBackend(registry(), small_cache())
    wanted = [digests(list(stream(local, fields))) for fields in (SKETCH, FIELDS)]
    local.close()
    long = [Reader(both, LONG, f"long-{number}") for number in range(2)]
    until(lambda: all(each.draws() for each in long))
    assert len({runner_of(both, each.job_id)[0] for each in long}) == 2
    blocking = []
    for reader in long:
        name, _ = runner_of(both, reader.job_id)
        both.cancel(reader.job_id)
        reader.drawn()
        found = [Reader(both, fields, f"{reader.job_id}-{number}")
                 for number, fields in enumerate((SKETCH, FIELDS))]
        assert [each.drawn() for each in found] == wanted
        blocking.append(Reader(both, LONG, f"{reader.job_id}-again"))
        until(blocking[-1].draws)
        assert runner_of(both, blocking[-1].job_id)[0] == name, "the only one that was free"
    for reader in blocking:
        both.cancel(reader.job_id)
        reader.drawn()
    until(lambda: both.queue() == (0, 0))


def test_a_run_whose_runner_is_killed_is_drawn_by_another_once(both: RayBackend) -> None:
    fields = {**SKETCH, "options": {"steps": 60, "pause_s": 0.05}}
    wanted = digests(list(stream(both, fields)))
    before = both.link.facts().counts.get("again", 0)
    reader = Reader(both, fields, "killed")
    until(reader.draws)
    name, pid = runner_of(both, "killed")
    os.kill(pid, signal.SIGKILL)
    assert reader.drawn() == wanted
    assert sum(isinstance(event, Result) for event in reader.events) == 1
    assert both.link.facts().counts["again"] == before + 1
    assert name not in {each.report.runner for each in both.link.facts().runners}


def test_a_second_loss_is_one_sentence(both: RayBackend) -> None:
    reader = Reader(both, LONG, "lost")
    first = runner_of(both, "lost")
    until(reader.draws)
    os.kill(first[1], signal.SIGKILL)
    pids: list[int] = []

    def another_has_it() -> bool:
        pids[:] = [each.report.pid for each in both.link.facts().runners
                   if each.job_ids == ("lost",) and each.report.runner != first[0]]
        return bool(pids)

    until(another_has_it)
    # What it has not begun would not be lost with it, but be another's.
    seen = len(reader.events)
    until(lambda: len(reader.events) > seen)
    os.kill(pids[0], signal.SIGKILL)
    reader.join(WAIT_S)
    assert str(reader.error) == LOST_TWICE
    assert len(digests(list(stream(both, SKETCH)))) == 2, "the next one is drawn"


def test_a_run_that_is_kept_goes_on_elsewhere_to_the_same_picture(
        both: RayBackend, small: Cluster) -> None:
    wanted = digests(list(stream(both, RUN, "whole", ME)))
    reader = Reader(both, RUN, "kept", ME)
    until(lambda: reader.draws() and small.has_kept())
    os.kill(runner_of(both, "kept")[1], signal.SIGKILL)
    assert reader.drawn() == wanted
    resumed = [event for event in reader.events if isinstance(event, Progress) and event.earlier]
    assert len(resumed) == 1
    steps = [event.step for event in reader.events if isinstance(event, Progress) and event.losses]
    after = steps[steps.index(max(steps, key=lambda step: (step < steps[0], step))):]
    assert steps.count(1) == 1, "it did not begin anew"
    assert after
    until(lambda: not any(small.paused.glob("*/*.safetensors")))


def test_a_desk_that_is_killed_under_load_loses_nothing(front: RayBackend) -> None:
    fields = {**SKETCH, "options": {"steps": 10, "pause_s": 0.05}}
    wanted = digests(list(stream(front, fields)))
    readers = [Reader(front, fields, f"under-load-{number}", f"owner-{number % 5}")
               for number in range(20)]
    until(lambda: any(not each.is_alive() for each in readers))
    pid = front.link.facts().pid
    os.kill(pid, signal.SIGKILL)
    assert all(each.drawn() == wanted for each in readers)
    assert front.link.facts().pid != pid
    until(lambda: front.queue() == (0, 0))


def test_a_front_end_that_is_killed_frees_its_runner_and_its_run_can_be_continued(
        front: RayBackend, small: Cluster) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.front_process", str(small.settings.data_dir), "theirs"],
        cwd=REPOSITORY, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)})
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "it draws\n"
        assert front.queue() == (1, 0)
    finally:
        process.kill()
        process.wait()
    until(lambda: front.queue() == (0, 0))
    until(lambda: not any(each.report.running for each in front.link.facts().runners))
    assert front.paused is not None
    (run,) = front.paused.of("theirs")
    assert (run.prompt, run.total) == (LONG_RUN["prompt"], 1000)
    events = list(front.resume("theirs", run.run_id, {"iterations": run.step + 2}))
    assert next(event.step for event in events if isinstance(event, Progress) and event.losses) \
        == run.step + 1
    assert len(digests(events)) == 1
    assert front.paused.of("theirs") == []


def crowd(front: RayBackend, tag: str) -> list[Reader]:
    """Many users who ask at once, each for a picture of one of four kinds, in a random order."""
    chance = Random(1)
    return [Reader(front, {**SKETCH, "pipeline": f"sketch-{chance.choice(MODELS)}", "num_images": 1,
                           "options": {"steps": 4, "pause_s": 0.02}}, f"{tag}-{number}",
                   f"{tag}-owner-{number}") for number in range(USERS)]


def test_many_users_share_two_runners_and_load_few_models(both: RayBackend) -> None:
    def loads() -> int:
        return sum(each.report.holding.misses for each in both.link.facts().runners)

    before = loads()
    readers = crowd(both, "many")
    assert all(len(each.drawn()) == 1 for each in readers)
    until(lambda: loads() > before)
    # Whoever draws what comes next would load at two runs of three: a runner holds two of four.
    assert loads() - before <= USERS // 2


def test_many_users_get_their_pictures_while_a_runner_dies(both: RayBackend) -> None:
    before = both.link.facts().counts.get("again", 0)
    readers = crowd(both, "dying")
    until(lambda: sum(not each.is_alive() for each in readers) >= USERS // 5)
    pids = [each.report.pid for each in both.link.facts().runners if each.job_ids]
    os.kill(pids[0], signal.SIGKILL)
    assert all(len(each.drawn()) == 1 for each in readers)
    assert both.link.facts().counts.get("again", 0) - before <= 1
    until(lambda: both.queue() == (0, 0))


def test_every_runner_says_what_models_it_has(both: RayBackend) -> None:
    def all_answer() -> bool:
        names = {each.report.runner for each in both.link.facts().runners}
        try:
            return {each.runner for each in both.link.models()} == names
        except EaselError:  # as long as Serve knows none of them
            return False

    until(all_answer)  # Serve knows a new runner a little later than the desk
    found = both.link.models()
    assert {each.device for each in found} == {"cpu"}
    assert all(each.memory.budget_bytes for each in found)
    assert not any(each.rows or each.refused for each in found), "their models are of no catalogue"


def test_the_command_says_how_many_runners_there_are_and_are_to_be(
        both: RayBackend, small: Cluster, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("EASEL_DATA_DIR", str(small.settings.data_dir))
    assert both.runners() == (2, 2, 2, 2)
    assert main(["cluster", "status"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["0 running, 0 waiting",
                        "Runners: 2; 2 wanted now, 2 at least and 2 at most."]
    assert len(said) == 4


def test_runners_are_replaced_one_by_one_while_they_draw(both: RayBackend, small: Cluster) -> None:
    fields = {**SKETCH, "options": {"steps": 10, "pause_s": 0.05}}
    wanted = digests(list(stream(both, fields)))
    before = {each.report.runner for each in both.link.facts().runners}
    over = threading.Event()
    drawn: list[list[str]] = []

    def draw() -> None:
        while not over.is_set():
            drawn.append(digests(list(stream(both, fields))))

    threads = [threading.Thread(target=draw) for _ in range(3)]
    for thread in threads:
        thread.start()
    small.deploy(version="2")
    until(lambda: len(found := {each.report.runner for each in both.link.facts().runners}) == 2
          and not found & before)
    enough = len(drawn) + 3
    until(lambda: len(drawn) >= enough)
    over.set()
    for thread in threads:
        thread.join(WAIT_S)
    assert all(each == wanted for each in drawn)


def test_a_pause_reaches_a_run_on_any_runner(front: RayBackend) -> None:
    reader = Reader(front, {**RUN, "options": {**RUN["options"], "iterations": 1000}}, "pausing",
                    ME)
    until(reader.draws)
    assert front.pause("pausing")
    reader.join(WAIT_S)
    assert isinstance(reader.error, Cancelled)
    assert front.paused is not None
    (run,) = front.paused.of(ME)
    assert run.step >= 1
    front.paused.delete(ME, run.run_id)


def test_there_are_more_runners_for_a_line_and_fewer_after_it_but_none_goes_that_draws(
        small: Cluster) -> None:
    with small.beside(runners=1, max_runners=2, runner_wait=1, runner_idle=1) as growing:
        growing.deploy()
        front = growing.front()
        first = Reader(front, LONG, "first")
        until(first.draws)
        old, _ = runner_of(front, "first")
        second = Reader(front, LONG, "second")
        until(second.draws)
        new, _ = runner_of(front, "second")
        assert new != old
        assert front.runners() == (2, 2, 1, 2)
        assert front.cancel("first")
        first.drawn()
        until(lambda: front.runners().wanted == 1)
        until(lambda: stopping(growing) == 1)
        # Serve takes the newest away, and that is the one that draws.
        seen = len(second.events)
        until(lambda: len(second.events) > seen + 2)
        assert front.cancel("second")
        assert second.drawn()
        until(lambda: [each.report.runner for each in front.link.facts().runners] == [old])
        assert front.link.facts().counts.get("again", 0) == 0, "nothing was lost"
        assert len(digests(list(stream(front, SKETCH)))) == 2
        front.close()


def stopping(made: Cluster) -> int:
    """How many runners are about to end."""
    from ray import serve

    deployments = serve.status().applications[made.settings.ray_app].deployments
    return sum(number for each in deployments.values()
               for state, number in each.replica_states.items() if state == "STOPPING")


def test_a_runner_of_other_code_than_the_desk_is_refused_in_a_sentence(
        small: Cluster, tmp_path: Path) -> None:
    """As where the machines of a cluster on Kubernetes have several images."""
    for package in ("easel", "pipelines"):
        shutil.copytree(REPOSITORY / package, tmp_path / package)
    with (tmp_path / "easel" / "settings.py").open("a") as file:
        file.write("\n# Another version.\n")
    with small.beside(runners=1) as other:
        other.begin_desk(str(tmp_path))
        with pytest.raises(EaselError) as caught:
            other.deploy()
    assert str(caught.value) == "The runners do not start: " + str(
        EaselError(OTHER_EASEL, socket.gethostname()))
