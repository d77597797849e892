"""Cases 24 and 25 in Chromium: a tab that is closed, and two tabs of one visitor."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from pydantic import Field

from easel.words import strings
from tests.served import App
from tests.test_browser import CHROMIUM, PATIENCE_MS, browser
from tests.trust.test_pictures import resident_mb
from tests.watched_sketch import WatchedOptions, WatchedSketch
from tests.windows import Windows

__all__ = ["browser"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


class PatientOptions(WatchedOptions):
    """A run that lasts until it is stopped, and that a busy browser can follow."""

    steps: int = Field(2000, ge=1, le=2000, title="Steps", description="How often it is refined.")
    pause_s: float = Field(0.2, ge=0.0, le=2.0, title="Pause", description="Seconds a step.")


class PatientSketch(WatchedSketch):
    Options = PatientOptions


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    sketch, etching = PatientSketch(), WatchedSketch("etching", "Etching")
    served = App([sketch, etching], queue_size=9)
    served.sketch, served.etching = sketch, etching
    yield served
    served.close()


@pytest.fixture
def window(windows: Windows, app: App) -> Iterator[BrowserContext]:
    """A browser of its own, a visitor, that stays open whatever becomes of its tabs."""
    made = windows.new_window()
    made.set_default_timeout(PATIENCE_MS)
    yield made
    windows.take_back(made, [app.url])


def open_tab(window: BrowserContext, app: App, *counts: tuple[str, int]) -> Page:
    page = window.new_page()
    page.goto(app.url)
    page.wait_for_selector("#generate:not(:disabled)")
    for name, count in counts:
        page.locator(f"#count-{name} input").fill(str(count))
    return page


def draw(page: Page, prompt: str, generator: str) -> None:
    for name in ("sketch", "etching"):
        page.locator(f"#choose-{name} input").set_checked(name == generator)
    page.locator("#prompt textarea").fill(prompt)
    page.locator("#generate").click()


def until(holds: Callable[[], object], otherwise: str, within_s: float = 90) -> None:
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, otherwise
        time.sleep(0.05)


def test_case_24_a_closed_tab_ends_its_job_and_gives_its_memory_back(
        window: BrowserContext, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """The browser stays, and the visitor may open the page again: nothing of the tab is held."""
    live, rests = app.playground.live, list[weakref.ref[Any]]()
    monkeypatch.setattr(live, "grace_s", 0.5)  # for whoever comes back
    earlier = set(live._windows)
    other = open_tab(window, app)
    until(lambda: set(live._windows) - earlier, "the other tab has not said its name")
    # What tests before this one left for whoever comes back.
    before, windows, runs = list(live._live), set(live._windows), dict(app.playground.runs._runs)

    def ours() -> list[Any]:
        return [each for each in live._live if each not in before]

    def open_and_close() -> None:
        page = open_tab(window, app, ("sketch", 4))
        finished = app.sketch.finished
        draw(page, "a red cat", "sketch")
        expect(page.locator("#stage .panel.running img").first).to_be_visible()
        assert app.sketch.running == 1
        (shown,) = ours()
        rests.append(weakref.ref(shown))
        owner, kept = shown.run.visitor, app.history.page(shown.run.visitor).total
        del shown
        page.close()
        until(lambda: app.sketch.finished > finished and app.backend.queue() == (0, 0),
              "the job goes on")
        until(lambda: not ours(), "the run is still there")
        until(lambda: app.history.page(owner).total == kept + 4, "what there was is not kept")

    for _ in range(2):
        open_and_close()
    before_mb = resident_mb()
    for _ in range(4):
        open_and_close()
    until(lambda: gc.collect() >= 0 and not any(rest() for rest in rests), "a run is still held")
    assert resident_mb() - before_mb < 30
    assert set(live._windows) <= windows, "of the other tab, and of those before"
    assert app.playground.runs._runs.keys() <= runs.keys()
    expect(other.locator("#generate")).to_be_enabled()
    app.wait_until_idle()


def test_case_25_two_tabs_of_a_browser_share_the_history_and_nothing_else(
        window: BrowserContext, app: App) -> None:
    one = open_tab(window, app, ("sketch", 1))
    draw(one, "a red cat", "sketch")
    expect(one.locator("#stage .panel.running img").first).to_be_visible()
    two = open_tab(window, app, ("etching", 2))
    expect(two.locator("#prompt textarea")).to_have_value(strings.FIRST_PROMPT)
    expect(two.locator("#count-sketch input")).to_have_value("4")
    expect(two.locator("#choose-sketch input")).to_be_checked()
    expect(two.locator("#stage .panel.running, #stage .tile.done")).to_have_count(0)
    expect(two.locator("#stop")).to_be_disabled()
    draw(two, "a blue owl", "etching")
    until(lambda: app.backend.queue() == (1, 1), "the second tab's run never came")
    two.locator("#stop").click()
    expect(two.locator("#generate")).to_be_enabled()
    assert app.sketch.running == 1, "that of the other tab"
    expect(one.locator("#stop")).to_be_enabled()
    expect(one.locator("#generate")).to_be_hidden()
    draw(two, "a blue owl", "etching")
    until(lambda: app.backend.queue() == (1, 1), "the second tab's run never came")
    one.locator("#stop").click()
    expect(one.locator("#generate")).to_be_enabled()
    expect(two.locator("#stage .tile.done").first).to_be_visible()
    expect(two.locator("#generate")).to_be_enabled()
    for page, prompt in ((one, "a red cat"), (two, "a blue owl")):
        expect(page.locator("#prompt textarea")).to_have_value(prompt)
        shown = page.locator("#stage .tile.done img")
        assert {shown.nth(number).get_attribute("alt") for number in range(shown.count())} == {
            prompt}
    for page, sketches, etchings in ((one, "1", "4"), (two, "4", "2")):
        expect(page.locator("#count-sketch input")).to_have_value(sketches)
        expect(page.locator("#count-etching input")).to_have_value(etchings)
    expect(one.locator("#choose-etching input")).not_to_be_checked()
    expect(two.locator("#choose-sketch input")).not_to_be_checked()
    two.reload()
    expect(two.locator("#prompt textarea")).to_have_value("a blue owl")
    expect(two.locator("#stage .tile.done img").first).to_have_attribute("alt", "a blue owl")
    prompts = [sorted(kept.prompt for kept in app.history.page(owner).pictures)
               for owner in app.history.owners()]
    assert ["a blue owl", "a blue owl", "a red cat"] in prompts, "of one visitor"
    tiles = []
    for page in (one, two):
        page.get_by_role("tab", name=strings.TAB_HISTORY, exact=True).click()
        expect(page.locator("#kept .tile").first).to_be_visible()
        tiles.append(page.locator("#kept .tile").count())
    assert tiles[0] == tiles[1] > 1, "of both tabs' pictures"
    app.wait_until_idle()
