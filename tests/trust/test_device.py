"""Cases 22, 23, 25, 26 and 35: the device, and those who share it."""

from __future__ import annotations

import hashlib
import os
import resource
import sys
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from gradio_client.exceptions import AppError
from PIL import Image

from easel.guard.visitors import HEADER, new_token
from pipelines.batching import Drawn
from pipelines.core.events import Event, Progress
from pipelines.core.request import CheckedRequest
from pipelines.pipeline import RunContext
from pipelines.unclip.pipeline import UnclipPipeline
from tests.served import App
from tests.small_models import small_cache
from tests.test_app import LONG, generate, start_long
from tests.trust.conftest import Refusal
from tests.watched_sketch import WatchedOptions, WatchedSketch

QUEUE, USERS = 20, 50


class Hungry(WatchedSketch):
    """Has no room for more than two pictures at once, in torch's own words for main memory."""

    def draw(self, request: CheckedRequest[WatchedOptions], context: RunContext,
             models: Sequence[Any], seeds: tuple[int, ...]) -> Generator[Event, None, Drawn]:
        if len(seeds) > 2:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: "
                               "can't allocate memory: you tried to allocate 9999999999999 bytes.")
        if request.options.blur == "none":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return (yield from super().draw(request, context, models, seeds))


class Large(WatchedSketch):
    """Takes a gigabyte of main memory a picture, or far more than any machine has."""

    def draw(self, request: CheckedRequest[WatchedOptions], context: RunContext,
             models: Sequence[Any], seeds: tuple[int, ...]) -> Generator[Event, None, Drawn]:
        each = 2**50 if request.options.blur == "none" else 2**30
        held = torch.empty(len(seeds), each, dtype=torch.uint8)  # of which nothing is written to
        drawn = yield from super().draw(request, context, models, seeds)
        del held
        return drawn


class Gated(WatchedSketch):
    """Each of its steps lasts until the test lets it go on.

    Attributes:
        begun: steps that were begun, of all runs.
        most_at_once: how many steps there were at once at most, of all generators of this kind.
    """

    now, most_at_once = 0, 0

    def __init__(self, name: str, title: str) -> None:
        super().__init__(name, title)
        self.gate, self.begun = threading.Semaphore(0), 0

    def draw(self, request: CheckedRequest[WatchedOptions], context: RunContext,
             models: Sequence[Any], seeds: tuple[int, ...]) -> Generator[Event, None, Drawn]:
        images = np.zeros((len(seeds), 8, 8, 3), np.uint8)
        steps, step = request.options.steps, 0
        for step in range(1, steps + 1):
            Gated.now += 1
            Gated.most_at_once = max(Gated.most_at_once, Gated.now)
            self.begun += 1
            assert self.gate.acquire(timeout=120), "the test never let the step go on"
            Gated.now -= 1
            yield Progress(step, steps, context.elapsed_s())
            if context.cancelled():
                break
        return Drawn(images, seeds, step, steps)

    def wait_for_step(self, number: int) -> None:
        """Wait until a step has begun, which lasts until the gate is opened."""
        end = time.monotonic() + 60
        while self.begun < number:
            assert time.monotonic() < end, "the step never began"
            time.sleep(0.01)


@pytest.fixture(scope="module")
def shared() -> Iterator[App]:
    """A page whose queue is as long as an operator's."""
    sketch = WatchedSketch()
    app = App([sketch, Hungry("hungry", "Hungry"), Large("large", "Large"),
               Gated("first", "First"), Gated("second", "Second"), UnclipPipeline()],
              small_cache(), queue_size=QUEUE)
    app.sketch = sketch
    yield app
    app.close()


@contextmanager
def main_memory(more_bytes: int) -> Iterator[None]:
    """Let the system give this process, the server's, so much more memory and then none."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    now_bytes = pages * os.sysconf("SC_PAGE_SIZE")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now_bytes + more_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_case_22_half_a_batch_is_tried_where_memory_is_full(shared: App) -> None:
    client = shared.client()
    files, details = generate(client, pipelines=["hungry"], num_images=4, seed=0)
    assert len(files) == 4
    assert {picture["seed"] for picture in details["pictures"]} == {0, 1, 2, 3}


def test_case_22_what_is_too_much_is_said_and_the_next_job_works(shared: App, refusal: Refusal,
                                                                 ) -> None:
    client = shared.client()
    with pytest.raises(AppError, match="no memory left for") as caught:
        generate(client, pipelines=["hungry"], num_images=1, options={"hungry": {"blur": "none"}})
    assert "\n" not in str(caught.value)
    shared.wait_until_idle()
    assert len(generate(client, pipelines=["hungry"], num_images=1)[0]) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="memory is not bounded so elsewhere")
def test_case_22_idle_models_leave_and_half_is_drawn_where_the_system_has_no_more(shared: App,
                                                                                 ) -> None:
    """Torch asks the system in earnest, which refuses; two pictures at once are what it has."""
    client = shared.client()
    unclip = {"pipelines": ["unclip"], "num_images": 1, "seed": 5,
              "options": {"unclip": {"decoder_steps": 2, "prior_steps": 2}}}
    before = pixels(generate(client, **unclip)[0])
    shared.wait_until_idle()
    evicted = sum(model.evictions for model in shared.cache.stats().models)
    with main_memory(int(3.5 * 2**30)):
        job = client.submit("a dog", ["large"], 4, 0, {"large": {"steps": 3}}, None,
                            api_name="/generate")
        files, details = job.result(timeout=120)
        said = {panel["message"] for _, told in job.outputs() for panel in told["panels"]}
        assert len(files) == 4
        assert {picture["seed"] for picture in details["pictures"]} == {0, 1, 2, 3}
        assert any("drawing at most 2 at a time" in each for each in said), said
        assert sum(model.evictions for model in shared.cache.stats().models) > evicted
        with pytest.raises(AppError, match="no memory left for"):
            generate(client, pipelines=["large"], num_images=1, options={"large": {"blur": "none"}})
        shared.wait_until_idle()
        assert len(generate(client, pipelines=["large"], num_images=1)[0]) == 1
        assert pixels(generate(client, **unclip)[0]) == before, "models come back"


def test_case_23_stop_in_the_middle_of_a_step_ends_with_it(shared: App) -> None:
    """The step that runs is the last one, and the next job begins behind it, not beside it."""
    first, second = (shared.playground.registry.get(name) for name in ("first", "second"))
    assert isinstance(first, Gated)
    assert isinstance(second, Gated)
    client, other = shared.client(), shared.client()
    long = {"steps": 2000}
    stopped = client.submit("a dog", ["first"], 1, 0, {"first": long}, None, api_name="/generate")
    first.gate.release(2)
    first.wait_for_step(3)
    waits = other.submit("a cat", ["second"], 1, 0, {"second": {"steps": 1}}, None,
                         api_name="/generate")
    end = time.monotonic() + 60
    while shared.backend.queue() != (1, 1):
        assert time.monotonic() < end, "the second job never came"
        time.sleep(0.01)
    assert client.predict(api_name="/stop") == 1
    assert (first.begun, second.begun) == (3, 0)
    first.gate.release(2000)  # nothing but Stop is in the way of the rest
    second.gate.release(1)
    _, details = stopped.result(timeout=60)
    assert (details["panels"][0]["phase"], details["panels"][0]["step"]) == ("stopped", 3)
    assert len(details["pictures"]) == 1, "what there was by then is kept"
    assert len(waits.result(timeout=60)[0]) == 1
    assert (first.begun, second.begun, Gated.most_at_once) == (3, 1, 1)
    shared.wait_until_idle()


def test_case_23_stop_ends_within_a_step_and_nothing_overlaps(shared: App) -> None:
    client, other = shared.client(), shared.client()
    shared.sketch.most_running = 0  # the panes of a comparison do take turns
    job = start_long(client)
    done = next(d["panels"][0]["step"] for _, d in reversed(job.outputs()))
    assert client.predict(api_name="/stop") == 1
    after = generate(other, num_images=1)[0]
    _, details = job.result(timeout=60)
    assert details["panels"][0]["phase"] == "stopped"
    assert done <= details["panels"][0]["step"] < LONG["steps"] / 2  # by a page's own counting
    assert len(after) == 1
    assert shared.sketch.most_running == 1
    shared.wait_until_idle()


def test_case_25_two_windows_of_one_visitor_do_not_cross(shared: App, refusal: Refusal) -> None:
    token = {HEADER: new_token()}
    first, second = shared.client(**token), shared.client(**token)
    job = start_long(first)
    assert second.predict(api_name="/stop") == 0, "of the other window"
    assert shared.sketch.running == 1
    assert first.predict(api_name="/stop") == 1
    job.result(timeout=60)
    panes = [{"pipeline": "sketch", "options": {"steps": 1}}] * 2
    _, compared = first.predict("a cat", panes, 1, None, None, api_name="/compare")
    assert "no longer there" in refusal(second, "/vote", compared["comparison"], 0)
    assert first.predict(compared["comparison"], 0, api_name="/vote") == {"choice": 0}
    assert second.predict(api_name="/history_list") == first.predict(api_name="/history_list"), (
        "the history is the visitor's, in whichever window")


def test_case_14_who_knows_the_name_of_a_session_is_not_its_visitor(shared: App) -> None:
    """It stands in addresses, which servers write down; neither visitor nor nobody stops by it."""
    client = shared.client(**{HEADER: new_token()})
    job = start_long(client)
    for headers in ({HEADER: new_token()}, {}):
        answer = httpx.post(f"{shared.url}gradio_api/run/stop", headers=headers, timeout=60,
                            json={"data": [], "session_hash": client.session_hash})
        assert answer.json()["data"] == [0], answer.text
    assert shared.sketch.running == 1
    assert client.predict(api_name="/stop") == 1
    job.result(timeout=60)
    shared.wait_until_idle()


def test_case_26_fifty_users_and_a_queue_of_twenty(shared: App) -> None:
    """One runs, twenty wait and all of these draw; the others are told that the queue is full."""
    client = shared.client()
    running = start_long(client)
    data = ["a dog", ["sketch"], 1, 0, {"sketch": {"steps": 1, "pause_s": 0}}, None, None, False,
            None]

    def ask(number: int) -> str:
        with httpx.Client(base_url=f"{shared.url}gradio_api/call/", timeout=120) as web:
            event = web.post("generate", json={"data": data}).json()["event_id"]
            return web.get(f"generate/{event}").text

    with ThreadPoolExecutor(USERS - 1) as users:
        answers = [users.submit(ask, number) for number in range(USERS - 1)]
        end = time.monotonic() + 120
        while sum(answer.done() for answer in answers) < USERS - 1 - QUEUE:
            assert time.monotonic() < end, "not all of those without a place were told"
            time.sleep(0.05)
        assert shared.backend.queue() == (1, QUEUE)
        told = [answer.result() for answer in answers if answer.done()]
        assert all("queue is full" in text for text in told)
        assert client.predict(api_name="/stop") == 1
        drawn = [text for text in (answer.result() for answer in answers)
                 if "queue is full" not in text]
    running.result(timeout=60)
    assert len(drawn) == QUEUE
    assert all("event: complete" in text for text in drawn)
    shared.wait_until_idle()


@pytest.mark.slow
def test_hundreds_of_jobs_of_one_keep_nobody_out(shared: App) -> None:
    """One visitor gets their share, many visitors of one address that address's; each of the others
    is told in a sentence, and who comes from elsewhere is drawn for."""
    line, most = shared.backend.jobs.line, 4
    endless = {"steps": 2000, "pause_s": 2.0}

    def flood(tokens: Sequence[str], address: str) -> list[str]:
        """What 300 askers were told before the first of them had a picture."""
        told: list[str] = []

        def ask(number: int) -> None:
            headers = {HEADER: tokens[number % len(tokens)], "x-forwarded-for": address}
            data = ["a dog", ["sketch"], 1, 0, {"sketch": endless}, None, None, False, None]
            with httpx.Client(base_url=f"{shared.url}gradio_api/call/", headers=headers,
                              timeout=300) as web:
                event = web.post("generate", json={"data": data}).json()["event_id"]
                with web.stream("GET", f"generate/{event}") as lines:
                    for each in lines.iter_lines():
                        if "most" in each or "queue is full" in each:
                            told.append(each)
                            return
                        if over.is_set():
                            return

        over = threading.Event()
        with ThreadPoolExecutor(40) as askers:
            asked = [askers.submit(ask, number) for number in range(300)]
            try:
                end = time.monotonic() + 240
                while len(told) + len(line.in_order()) < 300:
                    assert time.monotonic() < end, (len(told), len(line.in_order()))
                    time.sleep(0.05)
                found = list(told)
                assert httpx.get(f"{shared.url}healthz").json()["status"] == "ok"
                return [*found, f"{len(line.in_order())} in line"]
            finally:
                over.set()
                for job_id in list(line.jobs):
                    shared.backend.cancel(job_id)
                for each in asked:
                    each.result(timeout=120)
                shared.wait_until_idle()

    line.max_per_owner = most
    try:
        *told, there = flood([new_token()], "203.0.113.9")
        assert there == f"{most} in line"
        assert all("jobs of yours" in each for each in told)
        *told, there = flood([new_token() for _ in range(300)], "203.0.113.9")
        assert there == f"{(QUEUE + 1) * 3 // 4} in line"
        assert all("jobs from your address" in each for each in told)
        client = shared.client(**{"x-forwarded-for": "198.51.100.7"})
        assert len(generate(client, pipelines=["sketch"], num_images=1)[0]) == 1
    finally:
        line.max_per_owner = None


def pixels(files: Sequence[str]) -> list[str]:
    return sorted(hashlib.sha256(np.asarray(Image.open(file)).tobytes()).hexdigest()
                  for file in files)


def test_case_35_the_same_seed_draws_the_same_pictures_whatever_came_before(shared: App) -> None:
    client = shared.client()
    options = {"unclip": {"decoder_steps": 2, "prior_steps": 2}}

    def draw(number: int = 2, seed: int = 5) -> list[str]:
        return pixels(generate(client, pipelines=["unclip"], num_images=number, seed=seed,
                               options=options)[0])

    first = draw()
    assert draw() == first
    generate(client, pipelines=["sketch", "hungry"], num_images=2, seed=9)
    assert draw() == first, "after other jobs"
    shared.wait_until_idle()
    shared.cache.evict_idle()
    generate(client, pipelines=["sketch"], num_images=1)
    assert draw() == first, "after its models were loaded anew"
    assert set(draw(1, 6)) < set(first), "alone, as among others"
