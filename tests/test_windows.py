"""A window that was lent before is as new, but for the files that a server lets browsers keep."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from easel.guard.visitors import COOKIE
from tests.served import App
from tests.test_browser import CHROMIUM, DESKTOP, PATIENCE_MS, PHONE, browser
from tests.windows import Windows

__all__ = ["browser"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
# Bytes that came over the network for the page's scripts.
FETCHED = """() => performance.getEntriesByType("resource").filter((e) => e.name.endsWith(".js"))
  .reduce((sum, e) => sum + e.transferSize, 0)"""


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App()
    yield served
    served.close()


def visit(page: Page, app: App) -> str:
    """Open the page; who its visitor is."""
    page.set_default_timeout(PATIENCE_MS)
    page.goto(app.url)
    page.wait_for_selector("#generate:not(:disabled)")
    return next(each.get("value", "") for each in page.context.cookies()
                if each.get("name") == COOKIE)


def test_nothing_is_left_of_whoever_had_it(app: App, windows: Windows) -> None:
    page = windows.new_page(DESKTOP, "light")
    window, visitor = page.context, visit(page, app)
    assert page.evaluate(FETCHED) > 0
    page.evaluate("localStorage['easel-enter'] = 'ctrl'; sessionStorage['easel-tab'] = 'lab'")
    window.new_page().goto(app.url)
    windows.take_back(window, [app.url])
    (empty,) = window.pages
    assert empty.url == "about:blank"
    again = windows.new_page(PHONE, "dark")
    assert again.context is window
    assert visit(again, app) != visitor
    assert again.evaluate("[innerWidth, matchMedia('(prefers-color-scheme: dark)').matches]") == [
        PHONE[0], True]
    assert again.evaluate("localStorage['easel-enter'] ?? sessionStorage['easel-tab']") is None
    assert again.evaluate(FETCHED) < 10_000, "what the server gives for once"
    other = windows.new_page(DESKTOP, "light")
    assert other.context is not window
    assert windows.new_window("pt-BR") not in (window, other.context)
    again.clock.set_fixed_time(0)
    windows.take_back(window, [app.url])
    assert windows.new_window() is not window, "whose time stood still"
    windows.take_back(other.context, [])
    assert windows.new_window("pt-BR") is not other.context
    assert windows.new_window() is other.context
