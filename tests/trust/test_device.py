"""Cases 22, 23, 25, 26, 34 and 35: the device, and those who share it."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from gradio_client.exceptions import AppError
from PIL import Image

from easel.guard.visitors import HEADER, new_token
from pipelines.batching import Drawn
from pipelines.core.events import Event
from pipelines.core.request import CheckedRequest
from pipelines.pipeline import RunContext
from pipelines.unclip.pipeline import UnclipPipeline
from tests.served import App
from tests.small_models import small_cache
from tests.test_app import LONG, generate, start_long
from tests.trust.conftest import Refusal
from tests.trust.test_pictures import resident_mb
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


@pytest.fixture(scope="module")
def shared() -> Iterator[App]:
    """A page whose queue is as long as an operator's."""
    sketch = WatchedSketch()
    app = App([sketch, Hungry("hungry", "Hungry"), UnclipPipeline()], small_cache(),
              queue_size=QUEUE)
    app.sketch = sketch
    yield app
    app.close()


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


def test_case_23_stop_ends_within_a_step_and_nothing_overlaps(shared: App) -> None:
    client, other = shared.client(), shared.client()
    shared.sketch.most_running = 0  # the panes of a comparison do take turns
    job = start_long(client)
    done = next(d["panels"][0]["step"] for _, d in reversed(job.outputs()))
    assert client.predict(api_name="/stop") == 1
    after = generate(other, num_images=1)[0]
    _, details = job.result(timeout=60)
    assert details["panels"][0]["phase"] == "stopped"
    assert done <= details["panels"][0]["step"] < LONG["steps"] / 2
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


@pytest.mark.slow
def test_case_34_five_hundred_jobs_leave_nothing_behind(shared: App) -> None:
    """Memory, threads, open files, and files in the cache; the first hundred are for what settles.
    """
    data = ["a dog", ["sketch"], 1, 0, {"sketch": {"steps": 1, "pause_s": 0}}, None, None, False,
            None]

    def draw(count: int) -> None:
        def one(number: int) -> None:
            with httpx.Client(base_url=f"{shared.url}gradio_api/call/", timeout=120) as web:
                event = web.post("generate", json={"data": data}).json()["event_id"]
                assert "event: complete" in web.get(f"generate/{event}").text

        with ThreadPoolExecutor(4) as users:
            list(users.map(one, range(count)))
        shared.wait_until_idle()

    def parts() -> set[Path]:
        return {path for path in Path(os.environ["GRADIO_TEMP_DIR"]).glob("tmp*")
                if path.is_file() and path.stat().st_size}

    draw(100)
    parts_before = parts()
    before = resident_mb(), threading.active_count(), len(os.listdir("/proc/self/fd"))
    draw(400)
    after = resident_mb(), threading.active_count(), len(os.listdir("/proc/self/fd"))
    assert after[0] - before[0] < 60
    assert after[1] - before[1] < 30
    assert after[2] - before[2] < 30
    assert parts() <= parts_before


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
