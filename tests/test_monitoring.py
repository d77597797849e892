"""What those who watch a server see: health, figures, and a log that names the job."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, cast

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from easel.serving.backend import LocalBackend
from easel.serving.logs import configure_logging
from easel.ui.health_routes import health_routes
from pipelines.core.errors import EaselError
from tests.asking import compare, stream
from tests.noise import linear_cache, noise_registry
from tests.noise_backend import request, start, until


@pytest.fixture
def backend() -> Iterator[LocalBackend]:
    made = LocalBackend(noise_registry(), linear_cache(), max_waiting=4)
    yield made
    made.close()


def figures(client: TestClient) -> dict[tuple[str, str], float]:
    """Samples by name and by the values of their labels."""
    text = client.get("/metrics").text
    return {(sample.name, " ".join(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(text) for sample in family.samples}


def test_figures_say_what_ran(backend: LocalBackend) -> None:
    client = TestClient(Starlette(routes=health_routes(backend)))
    list(stream(backend, request(steps=2)))
    list(compare(backend, [request(steps=2), request(fault="error")]))
    running = start(backend, "running", steps=10_000, step_s=0.01)
    waiting = stream(backend, request(), "waiting")
    next(waiting)
    found = figures(client)
    assert found["easel_jobs_total", "noise done"] == 2
    assert found["easel_jobs_total", "noise failed"] == 1
    assert found["easel_job_device_seconds_count", "noise"] == 3
    assert found["easel_job_device_seconds_sum", "noise"] > 0
    assert found["easel_job_wait_seconds_count", ""] == 3
    assert found["easel_queue_jobs", "running"] == 1
    assert found["easel_queue_jobs", "waiting"] == 1
    assert found["easel_model_bytes", ""] == 256
    assert found["easel_model_misses_total", ""] == 1
    health = client.get("/healthz")
    assert health.status_code == 200
    assert health.json() == {"status": "ok", "running": 1, "waiting": 1, "device": "cpu"}
    backend.cancel("waiting")
    with suppress(EaselError):
        list(waiting)
    running.close()
    # Counted by the device's thread, after the job has left the queue.
    until(lambda: figures(client).get(("easel_jobs_total", "noise stopped"), 0) >= 1)
    assert backend.queue() == (0, 0)


def test_two_backends_count_apart(backend: LocalBackend) -> None:
    other = LocalBackend(noise_registry(), linear_cache())
    list(stream(other, request(steps=1)))
    assert b'kind="noise"' in other.metrics.render()
    assert b'kind="noise"' not in backend.metrics.render()
    other.close()


def test_figures_can_be_kept_and_a_closing_server_says_so(backend: LocalBackend) -> None:
    client = TestClient(Starlette(routes=health_routes(backend, metrics=False)))
    assert client.get("/metrics").status_code == 404
    backend.close()
    health = client.get("/healthz")
    assert health.status_code == 503
    assert health.json()["status"] == "closing"


class Faraway:
    """A backend that asks a cluster, which may not answer."""

    def __init__(self, answers: threading.Event) -> None:
        self.asked, self.answers = threading.Event(), answers

    def is_open(self) -> bool:
        return True

    def queue(self) -> tuple[int, int]:
        self.asked.set()
        self.answers.wait()
        raise EaselError("The cluster does not answer.")

    device = figures = queue


def test_a_cluster_that_does_not_answer_is_told_and_holds_up_nobody() -> None:
    backend = Faraway(threading.Event())
    routes = [*health_routes(cast(Any, backend)), Route("/", lambda _: PlainTextResponse("here"))]
    with TestClient(Starlette(routes=routes)) as client, ThreadPoolExecutor() as pool:
        health, metrics = pool.submit(client.get, "/healthz"), pool.submit(client.get, "/metrics")
        try:
            backend.asked.wait()
            assert pool.submit(client.get, "/").result(60).text == "here"
            assert not health.done()
        finally:
            backend.answers.set()
        assert health.result().status_code == metrics.result().status_code == 503
        assert health.result().json() == {"status": "no cluster",
                                          "error": "The cluster does not answer."}
        assert metrics.result().text == "The cluster does not answer.\n"


@pytest.fixture
def log() -> io.StringIO:
    """The process's log as JSON."""
    stream = io.StringIO()
    configure_logging("INFO", "json", stream)
    return stream


def test_every_line_of_a_job_names_it(backend: LocalBackend, log: io.StringIO) -> None:
    with suppress(EaselError):
        list(compare(backend, [request(fault="error"), request(steps=2)], ["job-a", "job-b"]))
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    failed = next(line for line in lines if line["level"] == "error")
    assert failed["job_id"] == "job-a"
    assert failed["kind"] == "noise"
    assert "KeyError" in failed["exception"]
    ended = {line["job_id"]: line["event"] for line in lines if "on the device" in line["event"]}
    assert set(ended) == {"job-a", "job-b"}
    assert ended["job-b"].startswith("noise done after ")
    assert all(line["timestamp"] and line["logger"] for line in lines)
    assert structlog.contextvars.get_contextvars() == {}


def test_text_is_for_people(log: io.StringIO) -> None:
    stream = io.StringIO()
    configure_logging("WARNING", "text", stream)
    logging.getLogger("easel.test").info("not told")
    logging.getLogger("easel.test").warning("a %s", "sentence")
    assert "not told" not in stream.getvalue()
    assert "a sentence" in stream.getvalue()
    assert "easel.test" in stream.getvalue()
