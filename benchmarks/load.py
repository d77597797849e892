"""Many visitors of one server at once: how long they wait, and whether anything grows or is lost.

The server is ``python app.py`` in a process of its own with its settings as they ship. Visitors
have an address of the loopback range and a token each, ask for one small picture after the other,
and ask again a little later where they are told that the queue is full. Jobs and time are bounded.
The cache folder grows by a file a job: its picture, kept for a day for the pages that show it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import torch

from benchmarks.roofline import machine
from easel.guard.visitors import HEADER, new_token

ROOT = Path(__file__).parents[1]
OPTIONS = {"unclip": {"prior_steps": 1, "decoder_steps": 1, "decoder_guidance_scale": 1.0,
                      "prior_guidance_scale": 1.0}}
WORDS = ("apple", "car", "cat", "dog", "house", "tree", "boat", "chair", "guitar", "cake")
SAMPLE_S, AGAIN_S, END_S = 2.0, 2.0, 300.0
FULL = "queue is full"
WARM_SHARE = 0.2  # of the jobs, after which memory should be what it is to be
MEASURES = {"rss_mb": "resident memory, MB", "threads": "threads",
            "descriptors": "file descriptors", "temporary": "files in the cache folder"}


@dataclass
class Load:
    """What the visitors saw so far."""

    jobs: int
    waits_s: list[float] = field(default_factory=list)
    pictures: dict[str, list[str]] = field(default_factory=dict)
    told_full: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    samples: list[dict[str, float]] = field(default_factory=list)
    begun: int = 0

    @property
    def done(self) -> int:
        """Jobs that ended, one way or the other."""
        return len(self.waits_s) + sum(self.errors.values())


async def _visit(load: Load, url: str, number: int) -> None:
    """One visitor, until all jobs have been begun by somebody."""
    chance, token = random.Random(number), new_token()
    transport = httpx.AsyncHTTPTransport(local_address=f"127.0.0.{2 + number % 250}")
    async with httpx.AsyncClient(base_url=url, transport=transport, timeout=900,
                                 headers={HEADER: token}) as client:
        while load.begun < load.jobs:
            load.begun += 1
            prompt = f"a {chance.choice(WORDS)} next to a {chance.choice(WORDS)}"
            start_s = time.monotonic()
            try:
                while (said := await _ask(client, prompt)) == FULL:
                    load.told_full += 1
                    await asyncio.sleep(AGAIN_S * (0.5 + chance.random()))
            except (httpx.HTTPError, ValueError, KeyError) as error:
                said = {"error": f"{type(error).__name__}: {error}"[:100]}
            if isinstance(said, str):
                load.waits_s.append(time.monotonic() - start_s)
                load.pictures.setdefault(token, []).append(said)
            else:
                load.errors[said["error"]] += 1


async def _ask(client: httpx.AsyncClient, prompt: str) -> str | dict[str, str]:
    """Id of the picture that a job drew; ``FULL``; or what went wrong."""
    data = [prompt, ["unclip"], 1, 0, OPTIONS, None, None, False, None, None, None]
    answer = await client.post("gradio_api/call/generate", json={"data": data})
    answer.raise_for_status()
    event = ""
    path = f"gradio_api/call/generate/{answer.json()['event_id']}"
    async with client.stream("GET", path) as lines:
        async for line in lines.aiter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                event = value
            elif name == "data" and event == "complete":
                return json.loads(value)[1]["pictures"][0]["id"]
            elif name == "data" and event == "error":
                return FULL if FULL in value else {"error": value[:100]}
    return {"error": "the stream ended without a word"}


def _sample(pid: int, cache: Path) -> dict[str, float]:
    """What a process holds now."""
    status = dict(line.split(":", 1) for line in
                  Path(f"/proc/{pid}/status").read_text().splitlines())
    return {"rss_mb": int(status["VmRSS"].split()[0]) / 1024, "threads": int(status["Threads"]),
            "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
            "temporary": sum(path.is_file() for path in cache.rglob("*"))}


async def _watch(load: Load, pid: int, cache: Path, end_s: float) -> None:
    """Take samples until all jobs have ended or the time is over."""
    start_s = time.monotonic()
    while True:
        load.samples.append({"s": round(time.monotonic() - start_s, 1), "jobs": load.done,
                             **_sample(pid, cache)})
        if load.done >= load.jobs or time.monotonic() > end_s:
            return
        await asyncio.sleep(SAMPLE_S)


async def _all(load: Load, url: str, visitors: int, pid: int, cache: Path, minutes: float) -> None:
    tasks = [asyncio.create_task(_visit(load, url, number)) for number in range(visitors)]
    await _watch(load, pid, cache, time.monotonic() + 60 * minutes)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _kept(load: Load, url: str) -> int:
    """How many of the pictures that visitors were told of are in their histories."""
    found = 0
    async with httpx.AsyncClient(base_url=url, timeout=300) as client:
        for token, names in load.pictures.items():
            for name in names:
                answer = await client.get(f"history/{name}/picture", headers={HEADER: token})
                found += answer.status_code == 200 and answer.content.startswith(b"\x89PNG")
    return found


def _started(data: Path) -> tuple[subprocess.Popen[str], str]:
    """A server, and its address once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    more = {"PORT": str(port), "DATA_DIR": str(data), "DEVICE": "cpu", "LOG_LEVEL": "WARNING"}
    process = subprocess.Popen(
        [sys.executable, "app.py"], cwd=ROOT, text=True, stdout=subprocess.PIPE,
        env={**os.environ, **{f"EASEL_{name}": value for name, value in more.items()}})
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Easel is at"):
            return process, f"http://127.0.0.1:{port}/"
    raise RuntimeError("the server did not start")


def load_figures(jobs: int, visitors: int, minutes: float) -> dict[str, Any]:
    """Load a server of its own.

    Args:
        jobs: how many pictures are asked for in all.
        visitors: who ask for them.
        minutes: after which it ends, whatever is still to be drawn.
    """
    load = Load(jobs)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        process, url = _started(data)
        try:
            start_s = time.monotonic()
            asyncio.run(_all(load, url, visitors, process.pid, data / "cache", minutes))
            taken_s = time.monotonic() - start_s
            kept = asyncio.run(_kept(load, url))
            process.terminate()
            code = process.wait(END_S)
        finally:
            process.kill()
    waits = sorted(load.waits_s) or [0.0]
    return {
        "machine": machine(torch.device("cpu")), "visitors": visitors, "jobs": jobs,
        "drawn": len(load.waits_s), "seconds": round(taken_s, 1),
        "per_minute": round(60 * len(load.waits_s) / taken_s, 1),
        "wait_p50_s": round(statistics.median(waits), 1),
        "wait_p95_s": round(waits[min(len(waits) - 1, int(0.95 * len(waits)))], 1),
        "told_full": load.told_full, "errors": dict(load.errors),
        "lost": len(load.waits_s) - kept, "exit_code": code,
        "growth": growth(load.samples), "samples": thinned(load.samples)}


def growth(samples: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """By how much each measure's median is larger in the last fifth of the jobs than in the second.
    """
    most = samples[-1]["jobs"]

    def median(name: str, first: float, last: float) -> float:
        within = [each[name] for each in samples if first * most <= each["jobs"] <= last * most]
        return statistics.median(within or [samples[-1][name]])

    early, late = (WARM_SHARE, 2 * WARM_SHARE), (1 - WARM_SHARE, 1.0)
    return {name: round(median(name, *late) - median(name, *early), 1) for name in MEASURES}


def thinned(samples: Sequence[Mapping[str, float]], most: int = 120) -> list[Mapping[str, float]]:
    """Some of the samples, evenly, the first and the last among them."""
    if len(samples) <= most:
        return list(samples)
    return [samples[round(n * (len(samples) - 1) / (most - 1))] for n in range(most)]
