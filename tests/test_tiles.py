"""Tiles, bars, alerts and facts: made in one place, with every text from outside inert."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from easel.ui.parts.facts import facts_of
from easel.ui.parts.panel import Card, Panel
from easel.ui.parts.tiles import (
    alert,
    bar,
    drawn_image,
    facts_list,
    gauge,
    image,
    origin_mark,
    picture_frame,
    progress_bar,
    status_line,
    tile,
)
from pipelines.core.events import Progress
from tests.watched_sketch import WatchedSketch

UI = Path(__file__).resolve().parent.parent / "easel" / "ui"
EVIL = "<img src=x onerror=alert(1)>"


def test_texts_from_outside_are_inert() -> None:
    for html in (alert(EVIL), image(EVIL, EVIL), origin_mark(EVIL, EVIL),
                 facts_list([(EVIL, EVIL)]), bar(1, 2, EVIL),
                 status_line(Panel("sketch", "Sketch", "a cat", 1), EVIL)):
        assert EVIL not in html
        assert "&lt;img" in html


def test_a_tile_frames_what_has_no_frame_of_its_own() -> None:
    html = tile("<img>", "a", "done")
    assert html.startswith('<figure class="tile done"><div class="frame"><img></div>')
    assert html.endswith("<figcaption>a</figcaption></figure>")
    assert tile("<button></button>").count("frame") == 0


def test_a_picture_says_its_size() -> None:
    """So that nothing is shown larger than twice its pixels, however often it is drawn again."""
    assert '--width:6px;--height:4px' in drawn_image(np.zeros((4, 6, 3), np.uint8), "a cat")
    card = Card(Path("a.png"), "a cat", "Sketch", 1, None, None, (), size_px=(64, 32))
    assert '--width:64px;--height:32px' in picture_frame(card, 1)
    assert "--width" not in image("a.png", "a cat")


def test_a_bar_says_its_figures_only_where_there_are_some() -> None:
    panel = Panel("sketch", "Sketch", "a cat", 1)
    assert progress_bar(panel) == '<div class="bar"></div>', "who waits has done nothing yet"
    panel.show_progress(Progress(0, 0, 0.1, "Loading."))
    assert "moving" in progress_bar(panel)
    panel.show_progress(Progress(1, 4, 0.2))
    assert 'aria-valuenow="1"' in progress_bar(panel)
    assert 'style="width:25.0%"' in progress_bar(panel)
    assert progress_bar(panel, hidden=True) == bar(0, 0, moving=True)
    panel.fail("No.")
    assert "rest" in progress_bar(panel)


def test_a_gauge_says_its_share_and_its_words() -> None:
    html = gauge("Memory", 0.25, "1 of 4 GB")
    assert 'aria-valuenow="25" aria-valuetext="1 of 4 GB"' in html
    assert '<div class="bar"><span style="width:25.0%"></span></div>' in html


def test_a_run_that_failed_is_an_alert() -> None:
    panel = Panel("sketch", "Sketch", "a cat", 1)
    assert 'aria-live="off"' in status_line(panel, "Waiting.")
    panel.finish([], 1.0, stopped=True)
    assert 'aria-live="polite"' in status_line(panel, "Stopped.")
    panel.fail("No.")
    assert status_line(panel, "No.") == '<p class="status" role="alert">No.</p>'


def test_facts_are_told_alike_wherever_a_picture_comes_from() -> None:
    sketch = WatchedSketch()
    facts = {"pipeline": "sketch", "seed": 7, "scores": {"clip": 0.5, "probability": 0.25},
             "guide_score": 0.9, "width_px": 64, "height_px": 32, "elapsed_s": 1.25,
             "stopped": True, "options": {"gone": True, "steps": 3, "empty": ""},
             "weights": {"embedded/x": "f" * 64, "embedded/y": None}}
    steps = next(row for row in facts_of(facts, sketch) if row[1] == "3")[0]
    assert steps != "steps", "options are called what the page calls them"
    assert list(facts_of(facts, sketch)) == [
        ("Generator", "Sketch"), ("Seed", "7"), ("CLIP score", "0.5000 (cosine similarity)"),
        ("Probability", "25.0 % among the pictures of this run"),
        ("Guide’s score", "0.9000, by the CLIP that guided it: not comparable"),
        ("Size", "64 × 32 px"), ("Run", "1.2 s, stopped early"), (steps, "3"), ("gone", "yes"),
        ("Weights", "embedded/x ffffffffffff, embedded/y")]
    auto = {"options": {"precision": "auto"}, "computed_in": "bfloat16"}
    assert ("precision", "bfloat16") in facts_of(auto, None), "what it became"
    assert ("precision", "auto") in facts_of({"options": {"precision": "auto"}}, None)
    assert list(facts_of({"pipeline": "retired"}, None)) == [("Generator", "retired")]


@pytest.mark.parametrize("markup", [
    '<figure class="tile', 'class="alert"', 'role="alert"', 'class="bar"', 'class="bar ',
    'role="progressbar"', 'class="gauge"', 'role="meter"'])
def test_nobody_else_writes_tiles_bars_gauges_or_alerts(markup: str) -> None:
    """A second way to write one is how five of each came about."""
    writers = {path.relative_to(UI).as_posix() for path in UI.rglob("*.py")
               if markup in path.read_text(encoding="utf-8")}
    assert writers <= {"parts/tiles.py"}
