"""The page comes at once: no part of it is seen jumping aside for one that was fetched later."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import gradio
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from tests.served import App
from tests.test_browser import DESKTOP, PATIENCE_MS, PHONE, app, browser, pytestmark

__all__ = ["app", "browser", "pytestmark"]
TABLET = (1024, 768)
MAX_SHIFT = 0.05  # Google's "good" is 0.1
# From the first moment on; shifts within half a second of a press or a key are answers to it.
WATCH = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const { value, hadRecentInput, sources } of list.getEntries()) {
    if (!hadRecentInput) shifts.push([value, sources.map((s) => s.node?.outerHTML?.slice(0, 90))]);
  }
}).observe({ type: "layout-shift", buffered: true });"""
# Two frames after the fonts are there, what has moved has been counted.
DRAWN = """() => document.fonts.ready.then(() => new Promise((done) => requestAnimationFrame(
  () => requestAnimationFrame(() => setTimeout(done, 100)))))"""


def script_of(kind: str) -> str:
    """The file that Gradio's page fetches for a kind of parts once it meets one."""
    assets = Path(gradio.__file__).parent / "templates" / "frontend" / "assets"
    core = next(assets.glob("core-*.js")).read_text("utf-8")
    found = re.search(rf"[{{,]{kind}:\{{(?:[^{{}}]|\{{[^{{}}]*\}})*?component:\(\)=>\w+\(\(\)=>"
                      r"import\(`\./([\w-]+\.js)`", core)
    assert found, kind
    return found.group(1)


@pytest.fixture
def window(browser: Browser) -> Iterator[BrowserContext]:
    """One that has nothing of the page yet: what it fetches last can be chosen."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    context.add_init_script(WATCH)
    yield context
    context.close()


@pytest.mark.parametrize("size", [PHONE, TABLET, DESKTOP])
@pytest.mark.parametrize("kind", ["row", "checkbox"])
def test_nothing_jumps_while_a_page_loads(app: App, window: BrowserContext, kind: str,
                                          size: tuple[int, int]) -> None:
    page = window.new_page()
    page.set_viewport_size({"width": size[0], "height": size[1]})
    held: list[Route] = []
    page.route(f"**/{script_of(kind)}", lambda route: held.append(route))
    page.goto(app.url)
    while not held:
        page.wait_for_timeout(20)
    page.wait_for_timeout(500)  # all others come
    held[0].continue_()
    expect(page.locator("#generate")).to_be_enabled()
    expect(page.locator("#stage img").first).to_be_visible()
    assert_still(page)


def assert_still(page: Page) -> None:
    """What has moved so far is less than anybody minds."""
    page.evaluate(DRAWN)
    shifts = page.evaluate("shifts")
    assert sum(value for value, _ in shifts) < MAX_SHIFT, shifts


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_why_a_press_was_refused_is_seen_from_where_it_was_pressed(
        app: App, window: BrowserContext, size: tuple[int, int]) -> None:
    page = window.new_page()
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.goto(app.url)
    expect(page.locator("#generate")).to_be_enabled()
    for box in page.locator("#generators input[type=checkbox]").all():
        box.uncheck()
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    expect(page.locator("#colophon")).to_be_in_viewport()
    page.locator("#generate").evaluate("(button) => button.click()")  # as another part's would
    expect(page.locator("#generate-alert [role=alert]")).to_be_in_viewport()
