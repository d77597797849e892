"""What axe-core and Chromium say of the page: nothing serious on any tab, nothing that jumps.

``tests/data/axe`` is the npm package axe-core 4.14.1, as published, with its licences.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from easel.words import strings
from tests.test_browser import CHROMIUM, DESKTOP, PHONE, app, browser, open_page
from tests.test_widths_browser import OPEN_FOLDS, SETTLED, TABS

__all__ = ["app", "browser", "open_page"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
AXE = Path(__file__).parent / "data" / "axe" / "axe.min.js"
SERIOUS = """async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
  .filter((found) => ["serious", "critical"].includes(found.impact))
  .map((found) => `${found.id}: ${found.nodes.slice(0, 3).map((n) => n.html.slice(0, 200))}`)"""
# Shifts within half a second of a press or a key are answers to it, as Chromium counts them.
WATCH = """() => {
  window.shifts = [];
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      if (!entry.hadRecentInput) window.shifts.push([entry.value, entry.sources.map(
          (source) => source.node?.outerHTML?.slice(0, 120))]);
    }
  }).observe({ type: "layout-shift" });
}"""
MAX_SHIFT = 0.05


def faults(page: Page) -> list[str]:
    """What axe finds on what is seen now."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text("utf-8"))
    return page.evaluate(SERIOUS)


@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_nothing_is_serious_and_nothing_jumps(open_page, size: tuple[int, int], scheme: str,
                                              ) -> None:
    page = open_page(size, scheme)
    expect(page.locator("#stage img").first).to_have_js_property("complete", True)
    page.evaluate(WATCH)
    page.locator("#generate").click()
    expect(page.locator(".panel.ranking .tile.done")).to_have_count(8)
    expect(page.locator("#generate")).to_be_enabled()
    shifts = page.evaluate("window.shifts")
    assert sum(value for value, _ in shifts) < MAX_SHIFT, shifts
    found = {"results": faults(page)}
    page.locator("#stage button.frame:visible").first.click()
    expect(page.locator("dialog[open] img")).to_be_visible()
    found["large picture"] = faults(page)
    page.keyboard.press("Escape")
    for tab, shown in TABS.items():
        page.get_by_role("tab", name=tab, exact=True).click()
        expect(page.locator(shown).first).to_be_visible()
        page.evaluate(OPEN_FOLDS)
        page.wait_for_function(SETTLED)
        found[tab] = faults(page)
    page.get_by_role("tab", name=strings.TAB_LAB, exact=True).click()
    page.get_by_role("tab", name=strings.LAB_MATRIX, exact=True).click()
    page.wait_for_function(SETTLED)
    found[strings.LAB_MATRIX] = faults(page)
    page.goto(f"{page.url.partition('?')[0]}?tab=inside.contrast")  # has a list of files
    expect(page.locator("#inside tr.file:visible")).not_to_have_count(0)
    expect(page.locator("#inside .upload [role=group]:visible")).to_have_count(1)
    found[strings.CONTRAST] = faults(page)
    bad = [f"{place}: {each}" for place, said in found.items() for each in said]
    assert not bad, "\n".join(bad)
