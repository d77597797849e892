"""The visitors of ``benchmarks.load`` on a server of the tests, and what their figures become."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.load import MEASURES, Load, _all, _kept, growth, thinned
from benchmarks.load_report import load_plot, load_table
from benchmarks.trust_report import fuzz_table, kills_line
from tests.served import App


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="what a process holds is in /proc")
def test_visitors_get_their_pictures_and_find_them_again(app: App, cache_folder: Path) -> None:
    load = Load(jobs=5)
    asyncio.run(_all(load, app.url, 3, os.getpid(), cache_folder, minutes=5))
    assert (load.done, len(load.waits_s), dict(load.errors)) == (5, 5, {})
    assert len(load.pictures) > 1, "several visitors"
    assert asyncio.run(_kept(load, app.url)) == 5
    load.pictures["a" * 43] = ["b" * 32]
    assert asyncio.run(_kept(load, app.url)) == 5, "what nobody kept is not counted"
    assert [sample["jobs"] for sample in load.samples][-1] == 5
    assert load.samples[0].keys() == {"s", "jobs", *MEASURES}


def samples(rss_mb: list[float]) -> list[dict[str, float]]:
    return [{"s": n, "jobs": n, "threads": 5, "descriptors": 9, "temporary": n, "rss_mb": value}
            for n, value in enumerate(rss_mb)]


def test_what_grows_is_seen() -> None:
    flat = samples([500, *[900] * 99])  # loading the models counts for nothing
    assert growth(flat) == {"rss_mb": 0, "threads": 0, "descriptors": 0, "temporary": 60}
    leaking = samples([900 + n for n in range(101)])
    assert growth(leaking)["rss_mb"] == 60
    assert len(thinned(leaking, 7)) == 7
    assert thinned(leaking, 7)[-1] == leaking[-1]
    assert thinned(flat[:3]) == flat[:3]


def test_figures_are_shown() -> None:
    found: dict[str, Any] = {
        "machine": {"cpu": "a CPU"}, "visitors": 50, "jobs": 500, "drawn": 499, "per_minute": 12.0,
        "wait_p50_s": 3.0, "wait_p95_s": 9.0, "told_full": 1200, "errors": {"late": 1}, "lost": 0,
        "samples": samples([1, 2]), "growth": dict.fromkeys(MEASURES, 0)}
    shown = load_table(found)
    for words in ("499 of 500", "3.0 s, 9.0 s", "1,200 times", "| errors | 1 |", "load.svg"):
        assert words in shown
    assert load_plot(found).count("<polyline") == len(MEASURES)
    kills = kills_line({"kills": 3, "kinds": {"index": 1, "votes": 2}, "in_the_middle": 2,
                        "faults": ["a"]})
    assert kills.startswith("3 processes were killed while they wrote (1 of index, 2 of votes)")
    assert "1 times" in kills
    table = fuzz_table({"sweeps": {"inputs": 12_000, "seconds": 90, "broken": []},
                        "a1111": {"inputs": 5, "seconds": 60, "broken": ["crash-1"]}})
    assert table.splitlines()[2:] == ["| a1111 | 5 | 1.0 | crash-1 |",
                                      "| sweeps | 12,000 | 1.5 | nothing |"]
