"""``growth.json``: candidates, visitors and histories are measured, told and drawn."""

from __future__ import annotations

from contextlib import closing
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks.growth import candidate_figures, growth_figures, visitor_figures
from benchmarks.growth_report import growth_plot, growth_table
from benchmarks.history import history_figures
from benchmarks.instant import NAME, instant_registry
from easel.serving.backend import LocalBackend
from pipelines.core.settings import EngineSettings
from pipelines.engine import build_cache


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    """Of a generator that draws at once."""
    with closing(LocalBackend(instant_registry(), build_cache(EngineSettings()))) as backend:
        found = growth_figures(backend, pictures=(100, 200))
        assert found["candidates"] == found["visitors"] == {}, "none of the generators is there"
        found["candidates"] = {NAME: candidate_figures(backend, NAME, 2, (1, 4, 32))}
        found["visitors"] = {NAME: visitor_figures(backend, NAME, 2, 16)}
        assert growth_figures(backend, only=["visitors"])["loads"].keys() == {"visitors"}
    return found


def test_what_grows_is_measured(figures: dict[str, Any]) -> None:
    drawn, asked = figures["candidates"][NAME], figures["visitors"][NAME]
    assert list(drawn["seconds"]) == ["1", "4", "32"]
    assert (drawn["few"], drawn["many"], len(drawn["times_of_turns"])) == (4, 32, 2)
    assert min(drawn["times_of_turns"]) <= drawn["times"] <= max(drawn["times_of_turns"])
    assert asked["visitors"] == 16
    assert min(asked["share_of_turns"]) <= asked["share"] <= max(asked["share_of_turns"])
    assert [each["pictures"] for each in figures["history"]] == [100, 200]


def test_what_is_not_met_is_told(figures: dict[str, Any]) -> None:
    told = deepcopy(figures)
    told["candidates"][NAME]["times"], told["visitors"][NAME]["share"] = 4.0, 0.9
    for name in told["history"][-1]["questions"]:
        told["history"][-1]["questions"][name]["median_ms"] = 49.0
    assert "not met" not in growth_table(told)
    told["candidates"][NAME]["times"], told["visitors"][NAME]["share"] = 4.1, 0.89
    told["history"][-1]["questions"]["first page"]["median_ms"] = 50.0
    table = growth_table(told)
    assert "| 32 as 4: 4.1 | ≤ 4: **not met** |" in table
    assert "| 0.89 | ≥ 0.9: **not met** |" in table
    assert table.count("**not met**") == 3
    assert "](results/growth.png)" in table


def test_the_curves_are_a_picture(figures: dict[str, Any], tmp_path: Path) -> None:
    growth_plot(figures, tmp_path / "growth.png")
    with Image.open(tmp_path / "growth.png") as picture:
        assert (picture.format, picture.size) == ("PNG", (1300, 400))
        assert len(set(picture.convert("L").get_flattened_data())) > 10


def test_a_history_is_asked_as_often_as_wanted() -> None:
    assert history_figures(100, repeats=1)["questions"]["text"]["median_ms"] > 0
