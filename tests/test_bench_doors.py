"""What measures the doors asks for a picture by every one of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.doors import NAMES, doors_figures, doors_table


def test_every_door_is_measured_and_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    figures = doors_figures(rounds=1, warm_up=0)
    assert list(figures["doors"]) == list(NAMES)
    table = doors_table(figures)
    assert [name for name in NAMES.values() if f"| {name} |" not in table] == []
