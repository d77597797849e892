"""What each door costs: the same picture by Python and through every interface, in ms.

The generator draws nothing worth waiting for, so that what is left is checking, queueing, keeping
and sending a picture of 256 px. All run in turn, round after round, so that a busy moment falls on
all of them.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import torch
from gradio_client import Client as GradioClient

from benchmarks.instant import NAME, PROMPT, instant_registry
from benchmarks.roofline import machine
from benchmarks.served import served
from easel.guard.visitors import HEADER, new_token
from pipelines.core.events import Result
from pipelines.core.metadata import png_of
from pipelines.core.settings import ROOT
from pipelines.engine import Engine

ROUNDS, WARM_UP = 30, 3
NAMES = {"python": "Python", "backend": "the queue and the history alone",
         "gradio": "the page's endpoints (`gradio_client`)", "openai": "OpenAI's images API",
         "a1111": "A1111's API", "mcp": "MCP",
         "command": "the command line, a process for each"}


def doors_figures(rounds: int = ROUNDS, warm_up: int = WARM_UP) -> dict[str, Any]:
    """Milliseconds of a picture by each door.

    Args:
        rounds: pictures by each.
        warm_up: pictures by each before those.

    Returns:
        "machine", and by door the medians "median_ms" of a caller's clock, "cpu_ms" of the process,
        in which caller and server both are, and of those that it starts, and "over_python_ms" and
        "cpu_over_python_ms", what they are more than Python's. On a busy machine those of the
        process are the true ones.
    """
    with _calls() as calls:
        clock: dict[str, list[float]] = {name: [] for name in calls}
        cpu: dict[str, list[float]] = {name: [] for name in calls}
        for turn in range(rounds + warm_up):
            for name, call in calls.items():
                started_s, spent_s = time.perf_counter(), _spent_s()
                call()
                if turn >= warm_up:
                    clock[name].append(1000 * (time.perf_counter() - started_s))
                    cpu[name].append(1000 * (_spent_s() - spent_s))
    medians = {name: (statistics.median(clock[name]), statistics.median(cpu[name]))
               for name in clock}
    base_ms, base_cpu_ms = medians["python"]
    return {"machine": machine(torch.device("cpu")), "rounds": rounds, "doors": {
        name: {"median_ms": clock_ms, "over_python_ms": clock_ms - base_ms,
               "cpu_ms": cpu_ms, "cpu_over_python_ms": cpu_ms - base_cpu_ms}
        for name, (clock_ms, cpu_ms) in medians.items()}}


@contextmanager
def _calls() -> Iterator[dict[str, Callable[[], object]]]:
    """How a picture is asked for by each door of a server of its own."""
    registry = instant_registry()
    with served(registry) as server, ExitStack() as stack:
        url, backend = server.url, server.backend
        token = new_token()
        web = stack.enter_context(httpx.Client(base_url=url, timeout=300, headers={HEADER: token}))
        gradio = GradioClient(url, verbose=False, headers={HEADER: token},
                              httpx_kwargs={"timeout": 300})
        by_mcp = stack.enter_context(_mcp_calls(f"{url.rstrip('/')}/mcp"))
        fields = {"pipeline": NAME, "prompt": PROMPT, "num_images": 1, "seed": 7}
        engine = Engine(registry, server.cache)

        def by_python() -> object:
            return _files(engine.run(registry.check(fields)))

        def by_backend() -> object:
            *_, result = backend.stream(registry.check(fields), owner="a" * 40)
            assert isinstance(result, Result)
            return _files(result)

        yield {
            "python": by_python, "backend": by_backend,
            "gradio": lambda: gradio.predict(PROMPT, [NAME], 1, 7, api_name="/generate"),
            "openai": lambda: _drawn(web.post("v1/images/generations", json={
                "prompt": PROMPT, "model": NAME, "seed": 7})),
            "a1111": lambda: _drawn(web.post("sdapi/v1/txt2img", json={
                "prompt": PROMPT, "seed": 7})),
            "mcp": by_mcp,
            "command": lambda: _by_command(server.folder)}


@contextmanager
def _mcp_calls(address: str) -> Iterator[Callable[[], object]]:
    """A call by a client whose connection stays open, in a thread with a loop of its own."""
    from mcp.client.client import Client

    loop = asyncio.new_event_loop()
    opened: Future[Client] = Future()
    ended = asyncio.Event()

    async def hold() -> None:
        async with Client(address, read_timeout_seconds=300) as client:
            opened.set_result(client)
            await ended.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(hold()), daemon=True)
    thread.start()
    client = opened.result(300)
    try:
        yield lambda: asyncio.run_coroutine_threadsafe(client.call_tool(
            "generate", {"prompt": PROMPT, "seed": 7}), loop).result(300)
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(60)
        loop.close()


def _by_command(folder: Path) -> None:
    """A process as a person starts it, which ends when the picture lies in a folder."""
    subprocess.run(
        [sys.executable, "-m", "benchmarks.instant", PROMPT, "--pipeline", NAME,
         "--num-images", "1", "--seed", "7", "--out", str(folder / "out"), "--json"],
        cwd=ROOT, check=True, capture_output=True, timeout=300,
        env={**os.environ, "EASEL_DATA_DIR": str(folder / "command"), "EASEL_DEVICE": "cpu"})


def _spent_s() -> float:
    """Seconds of a core that this process took, and those that it started and that have ended."""
    took = os.times()
    return time.process_time() + took.children_user + took.children_system


def _files(result: Result) -> list[bytes]:
    return [png_of(result, candidate) for candidate in result.candidates]


def _drawn(answer: httpx.Response) -> Any:
    answer.raise_for_status()
    return answer.json()


def doors_table(results: Mapping[str, Any]) -> str:
    """The doors, one row each, as Markdown."""
    rows = [f"| {NAMES.get(name, name)} | {row['cpu_ms']:.1f} | {row['cpu_over_python_ms']:+.1f} | "
            f"{row['median_ms']:.1f} | {row['over_python_ms']:+.1f} |"
            for name, row in results["doors"].items()]
    return "\n".join(["| one picture by | ms of a core | over Python | ms by the clock | "
                      "over Python |", "| --- | --- | --- | --- | --- |", *rows])
