"""``history.json``: the questions are answered from what was filled in."""

from __future__ import annotations

from benchmarks.history import history_figures
from benchmarks.report import history_line


def test_a_history_is_asked_what_the_page_asks() -> None:
    found = history_figures(pictures=100)
    assert found["database"] == "sqlite"
    assert found["upgrade_s"] > 0
    assert {"first page", "last page", "text", "text: two letters",
            "one picture"} <= found["questions"].keys()
    assert all(0 < each["median_ms"] <= each["worst_ms"] for each in found["questions"].values())
    said = history_line({"sqlite": found})
    assert said.startswith("Among 100 kept pictures in SQLite the first page takes ")
