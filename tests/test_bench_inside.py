"""What measures Inside asks for every view that has an endpoint, and tells of each."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.inside import MOST_S, inside_table


def test_every_view_is_measured(repository: Path) -> None:
    page = (repository / "docs" / "inside.md").read_text("utf-8")
    documented = set(re.findall(r"`/(inside_\w+)`", page))
    assert documented == MOST_S.keys()


def test_what_takes_longer_than_it_should_is_named() -> None:
    views = {name: {"median_s": 1.5, "least_s": 0.5, "most_s": 2.0, "wanted_s": most}
             for name, most in MOST_S.items()}
    text = inside_table({"machine": {"cpu": "A CPU"}, "views": views})
    late = text.rpartition("Longer than wanted: ")[2]
    assert "`/inside_score`" in late
    assert "`/inside_stream`" not in late
    assert "`/inside_loop`" not in late
    assert text.count("| 1.50 |") == len(MOST_S)
