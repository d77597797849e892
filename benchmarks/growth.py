"""``growth``: what more of everything costs: candidates, visitors at once, kept pictures.

What is compared was timed in the same run, turn by turn, so that a busy moment falls on all of it;
what is told are medians over the turns.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import torch

from benchmarks.history import history_figures
from benchmarks.roofline import machine
from easel.serving.backend import LocalBackend
from easel.serving.best_of import stream_best
from easel.serving.interface import Backend

PROMPT = "a photo of a red apple and a blue car"
GENERATORS = ("dalle", "unclip")
COUNTS, FEW, MANY, MOST_TIMES = (1, 2, 4, 8, 16, 32), 4, 32, 4.0
VISITORS, LEAST_SHARE = 16, 0.9
PICTURES = (10_000, 100_000, 1_000_000)
TURNS, REPEATS = 3, 15
PARTS = ("candidates", "visitors", "history")


def growth_figures(backend: LocalBackend, turns: int = TURNS, counts: Sequence[int] = COUNTS,
                   visitors: int = VISITORS, pictures: Sequence[int] = PICTURES,
                   only: Sequence[str] = PARTS) -> dict[str, Any]:
    """Measure all of it, or some parts.

    Args:
        backend: whose queue takes all visitors at once.
        turns: of every comparison.
        counts: candidates of a prompt; the generators are the backend's.
        visitors: who ask at once.
        pictures: sizes of histories.
        only: which parts.

    Returns:
        "machine", "candidates" and "visitors" by generator, "history", a row a size, and "loads",
        of the machine before and after each part: how many processes ran or waited to.
    """
    names = [name for name in backend.registry.names() if name in GENERATORS]
    parts: dict[str, Callable[[], Any]] = {
        "candidates": lambda: {name: candidate_figures(backend, name, turns, counts)
                               for name in names},
        "visitors": lambda: {name: visitor_figures(backend, name, turns, visitors)
                             for name in names},
        "history": lambda: [history_figures(each, repeats=REPEATS) for each in pictures]}
    found: dict[str, Any] = {"machine": machine(torch.device("cpu")), "cores": os.cpu_count(),
                             "turns": turns, "repeats": REPEATS, "loads": {}}
    for part in only:
        before = os.getloadavg()[0]
        found[part] = parts[part]()
        found["loads"][part] = [before, os.getloadavg()[0]]
    return found


def drawn_s(backend: Backend, name: str, count: int, seed: int, owner: str = "") -> float:
    """Seconds until candidates of the prompt are drawn and ranked, as the page draws them.

    Args:
        backend: where.
        name: of the generator, with its options as they are.
        count: of the candidates; more than a run may have are several runs.
        seed: of the run.
        owner: who asks.
    """
    request = backend.registry.check({"pipeline": name, "prompt": PROMPT, "num_images": 1,
                                      "seed": seed})
    start = time.perf_counter()
    with closing(stream_best(backend, request, count, owner=owner)) as events:
        for _ in events:
            pass
    return time.perf_counter() - start


def candidate_figures(backend: Backend, name: str, turns: int, counts: Sequence[int],
                      ) -> dict[str, Any]:
    """Seconds by the number of candidates, and how many times those of the few the most take."""
    drawn_s(backend, name, min(counts), 0)
    taken = [{count: drawn_s(backend, name, count, turn) for count in counts}
             for turn in range(turns)]
    few, many = (FEW, MANY) if {FEW, MANY} <= set(counts) else (min(counts), max(counts))
    times = [each[many] / each[few] for each in taken]
    return {"seconds": {str(count): statistics.median(each[count] for each in taken)
                        for count in counts},
            "few": few, "many": many, "times": statistics.median(times),
            "times_of_turns": times, "most_times": MOST_TIMES}


def visitor_figures(backend: Backend, name: str, turns: int, visitors: int) -> dict[str, Any]:
    """Pictures a minute of one visitor who asks for one after the other, and of many at once."""
    drawn_s(backend, name, 1, 0)
    alone, together = list[float](), list[float]()
    for _ in range(turns):
        start = time.perf_counter()
        for number in range(visitors):
            drawn_s(backend, name, 1, number, "one")
        middle = time.perf_counter()
        with ThreadPoolExecutor(visitors) as pool:
            list(pool.map(lambda number: drawn_s(backend, name, 1, number, f"visitor {number}"),
                          range(visitors)))
        alone.append(middle - start)
        together.append(time.perf_counter() - middle)
    shares = [one / all_ for one, all_ in zip(alone, together, strict=True)]
    return {"visitors": visitors, "share": statistics.median(shares), "share_of_turns": shares,
            "least_share": LEAST_SHARE,
            "one_a_minute": 60 * visitors / statistics.median(alone),
            "all_a_minute": 60 * visitors / statistics.median(together)}
