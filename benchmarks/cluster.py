"""A cluster on this machine: what it adds to a run, how it recovers, and what overtaking brings.

Ray, the desk, the runners and the way between them are those that ship; what they draw is a sketch
whose steps and whose models take a time that is known, so that what is above it is the cluster's.
"""

from __future__ import annotations

import os
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from benchmarks.roofline import machine
from easel.serving.backend import LocalBackend
from easel.serving.interface import Backend
from easel.serving.ray.connect import join_cluster
from easel.serving.ray.node import end_node, start_node
from easel.settings import Settings
from pipelines.core.events import Preview, Progress, Result
from pipelines.models.cache.cache import ModelCache
from pipelines.registry import Registry
from tests.asking import stream
from tests.sketch import SketchPipeline

if TYPE_CHECKING:
    from easel.serving.ray.backend import RayBackend

MODELS, ROOM, LOAD_S = ("a", "b", "c", "d"), 2, 1.0  # how many fit into a runner, and a load
STEPS, STEP_S = 10, 0.05
USERS, USER_S = 50, 0.4  # who ask at once, and the seconds of each run
RUNS, QUESTIONS, EVENTS, THREADS = 20, 500, 2000, 8
WAIT_S = 120.0


class SlowLoader:
    """Loads nothing, in a second."""

    def load(self, model_id: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """A layer."""
        time.sleep(LOAD_S)
        return nn.Linear(1, 1, bias=False).requires_grad_(False)

    def size_bytes(self, model_id: str, dtype: torch.dtype) -> int:
        """Those of the layer."""
        return 4

    def title(self, model_id: str) -> str:
        """The id."""
        return model_id

    def fingerprint(self, model_id: str) -> str | None:
        """None: there is no file."""
        return None


def _registry() -> Registry:
    found = Registry()
    found.register(SketchPipeline())
    for name in MODELS:
        kind = type(f"Sketch{name}", (SketchPipeline,), {"name": f"sketch-{name}",
                                                         "models": (name,)})
        found.register(kind())
    return found


def backend() -> LocalBackend:
    """The backend of a runner: four kinds of sketches, of which it holds the models of two."""
    return LocalBackend(_registry(), ModelCache(SlowLoader(), "cpu", budget_bytes=4 * ROOM))


def _sketch(steps: int = STEPS, pause_s: float = STEP_S, pipeline: str = "sketch",
            ) -> dict[str, Any]:
    return {"pipeline": pipeline, "prompt": "a red apple", "num_images": 1, "seed": 5,
            "options": {"steps": steps, "pause_s": pause_s}}


def _until(holds: Callable[[], bool]) -> None:
    end_s = time.monotonic() + WAIT_S
    while not holds():
        if time.monotonic() > end_s:
            raise TimeoutError("it did not come true")
        time.sleep(0.01)


@contextmanager
def _front(settings: Settings, app: str, runners: int, overtaking: bool) -> Iterator[RayBackend]:
    """A front end before runners of an application of its own."""
    from easel.serving.ray.backend import RayBackend
    from easel.serving.ray.deploy import deploy, terms_of
    from easel.serving.ray.desk_actor import start_desk
    from easel.serving.ray.link import Link
    from easel.serving.ray.matching import LOOKED_AT

    made = settings.model_copy(update={"ray_app": app, "runners": runners, "queue_size": 100,
                                       "user_jobs": 100})
    start_desk(app, terms_of(made), LOOKED_AT if overtaking else 1)
    deploy(made, backend, longest_run_s=60.0)
    front = RayBackend(_registry(), Link(app))
    try:
        _until(lambda: len(front.link.facts().runners) == runners)
        yield front
        front.close()
    finally:
        from ray import serve  # pyright: ignore[reportMissingImports]

        serve.delete(app)


def _runs_s(backends: Sequence[Backend]) -> list[float]:
    """Median seconds of a run of which half a second is steps, on each of some backends in turn."""
    taken: list[list[float]] = [[] for _ in backends]
    for _ in range(RUNS):
        for backend, seconds in zip(backends, taken, strict=True):
            start_s = time.perf_counter()
            for _event in stream(backend, _sketch()):
                pass
            seconds.append(time.perf_counter() - start_s)
    return [statistics.median(each) for each in taken]


def _processor_s(pid: int) -> float:
    """Seconds of the processor that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime


def _rates(front: RayBackend) -> dict[str, float]:
    """Questions that the desk answers, and what they take of its processor; events of a runner."""
    def ask(_: int) -> None:
        front.link.ask("has_room", "", "")

    start_s = time.perf_counter()
    for number in range(QUESTIONS):
        ask(number)
    one_s, desk = time.perf_counter() - start_s, front.link.facts().pid
    with ThreadPoolExecutor(THREADS) as pool:
        start_s, had_s = time.perf_counter(), _processor_s(desk)
        list(pool.map(ask, range(4 * QUESTIONS)))
        all_s, had_s = time.perf_counter() - start_s, _processor_s(desk) - had_s
    start_s = time.perf_counter()
    events = sum(isinstance(each, Progress) for each in stream(front, _sketch(EVENTS, 0.0)))
    return {"question_ms": 1000 * one_s / QUESTIONS, "questions_a_second": 4 * QUESTIONS / all_s,
            "desk_processor_s": had_s / (4 * QUESTIONS),
            "events_a_second": events / (time.perf_counter() - start_s)}


class _Reader(threading.Thread):
    """Reads a long run; knows when the runner that it is on drew last."""

    def __init__(self, front: RayBackend, name: str) -> None:
        super().__init__(daemon=True)
        self.shown_s: list[float] = []
        self.name_of_job, self.result = name, False
        self._events = stream(front, _sketch(100), name)
        self.start()

    def run(self) -> None:
        for event in self._events:
            if isinstance(event, Preview):
                self.shown_s.append(time.perf_counter())
            self.result = self.result or isinstance(event, Result)


def _recovery(front: RayBackend) -> dict[str, float]:
    """Seconds until what was killed is made good."""
    reader = _Reader(front, "killed")
    _until(lambda: bool(reader.shown_s))
    pid = next(each.report.pid for each in front.link.facts().runners if each.job_ids)
    before = {each.report.runner for each in front.link.facts().runners}
    os.kill(pid, signal.SIGKILL)
    killed_s, seen = time.perf_counter(), len(reader.shown_s)
    _until(lambda: len(reader.shown_s) > seen + 1)
    again_s = reader.shown_s[seen + 1] - killed_s
    _until(lambda: len({each.report.runner for each in front.link.facts().runners} - before) == 1)
    all_s = time.perf_counter() - killed_s
    reader.join(WAIT_S)
    readers = [_Reader(front, f"read-{number}") for number in range(4)]
    _until(lambda: sum(bool(each.shown_s) for each in readers) == 2)
    desk = front.link.facts().pid
    os.kill(desk, signal.SIGKILL)
    killed_s = time.perf_counter()
    _until(lambda: front.link.facts().pid != desk)
    desk_s = time.perf_counter() - killed_s
    _until(lambda: front.queue() == (2, 2))
    known_s = time.perf_counter() - killed_s
    for each in readers:
        each.join(WAIT_S)
    return {"runner_drawn_again_s": again_s, "runner_replaced_s": all_s, "desk_answers_s": desk_s,
            "desk_knows_all_s": known_s,
            "lost": float(sum(not each.result for each in [reader, *readers]))}


def _mix(front: RayBackend) -> dict[str, float]:
    """Seconds of many runs at once, of four kinds in a random order, and how many loads they took.
    """
    chance = Random(1)
    kinds = [f"sketch-{name}" for name in MODELS]
    order = [chance.choice(kinds) for _ in range(USERS)]

    def draw(number: int) -> bool:
        return any(isinstance(each, Result) for each in stream(
            front, _sketch(8, USER_S / 8, order[number]), f"user-{number}", f"owner-{number}"))

    before = _loads(front)
    with ThreadPoolExecutor(USERS) as pool:
        start_s = time.perf_counter()
        drawn = sum(pool.map(draw, range(USERS)))
        taken_s = time.perf_counter() - start_s
    time.sleep(1.5)  # a runner reports its cache once a second
    return {"seconds": taken_s, "loads": _loads(front) - before, "drawn": drawn,
            "runs_a_minute": 60 * drawn / taken_s}


def _loads(front: RayBackend) -> int:
    return sum(each.report.holding.misses for each in front.link.facts().runners)


def cluster_figures() -> dict[str, Any]:
    """Start a cluster on this machine, measure it, and end it."""
    local = backend()
    found: dict[str, Any] = {"machine": machine(torch.device("cpu"))}
    with tempfile.TemporaryDirectory() as folder:
        settings, home = Settings(data_dir=Path(folder), backend="ray"), Path(folder) / "cluster"
        start_s = time.perf_counter()
        start_node(home, "127.0.0.1", cpus=8)
        try:
            join_cluster(settings)
            found["node_s"] = time.perf_counter() - start_s
            found["mixes"] = []
            for runners in (2, 1):
                for overtaking in (True, False):
                    start_s = time.perf_counter()
                    with _front(settings, f"bench-{runners}-{overtaking}", runners,
                                overtaking) as front:
                        found.setdefault("runners_s", time.perf_counter() - start_s)
                        if "ray_run_s" not in found:
                            found["local_run_s"], found["ray_run_s"] = _runs_s([local, front])
                            found |= _rates(front)
                        found["mixes"].append({"runners": runners, "overtaking": overtaking,
                                               **_mix(front)})
                        if len(found["mixes"]) == 1:
                            found["recovery"] = _recovery(front)
        finally:
            import ray  # pyright: ignore[reportMissingImports]

            ray.shutdown()
            end_node(home)
            local.close()
    found["overhead_s"] = found["ray_run_s"] - found["local_run_s"]
    found["workload"] = {"steps": STEPS, "step_s": STEP_S, "threads": THREADS, "users": USERS,
                         "user_s": USER_S, "models": len(MODELS), "room": ROOM, "load_s": LOAD_S}
    return found
