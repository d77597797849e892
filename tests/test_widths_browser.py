"""Every tab at the three widths that the page is made for, light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect

from easel.words import strings
from tests.served import App
from tests.test_browser import CONTRASTS, DESKTOP, PHONE, app, browser, open_page, pytestmark

__all__ = ["app", "browser", "open_page", "pytestmark"]
TABLET = (1024, 768)
TABS = {strings.TAB_GENERATE: "#generate", strings.TAB_COMPARE: "#compare-run",
        strings.TAB_RERANK: "#rerank-run", strings.TAB_LAB: "#lab-classify",
        strings.TAB_INSIDE: "#lab-inside-score",
        strings.TAB_HISTORY: "#search-kept", strings.TAB_MODELS: ".wish"}
# What hangs over the page's right edge, and buttons that hang over their own row's.
OVERHANGS = """() => {
  const edge = document.documentElement.clientWidth;
  const right = (e) => e.getBoundingClientRect().right;
  const seen = [...document.querySelectorAll(".gradio-container *")]
    // Gradio measures the names of tabs in a row that nobody sees.
    .filter((e) => e.checkVisibility()
      && !e.closest(".wide, .matrix-scroll, .sweep, .offstage, .visually-hidden")
      && e.getBoundingClientRect().width > 0);
  const over = seen.filter((e) => right(e) > edge + 1);
  const out = seen.filter((e) => e.matches(".row > button")
    && right(e) > right(e.parentElement) + 1);
  return [...over, ...out].map((e) => e.outerHTML.slice(0, 120));
}"""
# The channel of each cell of a table that is brightest, 0 to 255.
BRIGHTNESS = """(cells) => cells.map((cell) => {
  const canvas = Object.assign(document.createElement("canvas"), {width: 1, height: 1});
  const context = canvas.getContext("2d");
  context.fillStyle = getComputedStyle(cell).backgroundColor;
  context.fillRect(0, 0, 1, 1);
  return Math.max(...context.getImageData(0, 0, 1, 1).data.slice(0, 3));
})"""


@pytest.mark.parametrize(("size", "scheme"), [
    (DESKTOP, "light"), (TABLET, "light"), (TABLET, "dark"), (PHONE, "dark")])
def test_no_tab_hangs_over_the_edge(open_page, size: tuple[int, int], scheme: str) -> None:
    page = open_page(size, scheme)
    for name, shown in TABS.items():
        page.get_by_role("tab", name=name, exact=True).click()
        expect(page.locator(shown).first).to_be_visible()
        assert page.evaluate(OVERHANGS) == [], name
    assert page.evaluate(CONTRASTS) == {}


def test_a_comparison_fits_where_it_is_shown(app: App, open_page) -> None:
    page = open_page(TABLET)
    page.get_by_role("tab", name=strings.TAB_COMPARE, exact=True).click()
    for _ in range(2):
        page.get_by_text(strings.ADD_PANE).click()
    page.locator("#compare-run").click()
    expect(page.locator("#vote-0")).to_be_visible()
    for width, height in (TABLET, PHONE):
        page.set_viewport_size({"width": width, "height": height})
        assert page.evaluate(OVERHANGS) == []
    app.wait_until_idle()


@pytest.mark.weights("clip-ranker")
def test_the_heat_map_is_dark_in_the_dark(open_page, tmp_path: Path) -> None:
    page = open_page(TABLET, "dark")
    for colour in ("red", "blue"):
        Image.new("RGB", (64, 64), colour).save(tmp_path / f"{colour}.png")
    page.get_by_role("tab", name=strings.TAB_RERANK, exact=True).click()
    page.locator("#rerank-files input[type=file]").set_input_files(
        [tmp_path / "red.png", tmp_path / "blue.png"])
    page.locator("#rerank-prompts textarea").fill("red\nblue")
    expect(page.locator("#rerank-files")).to_contain_text("blue")
    page.locator("#rerank-run").click()
    page.get_by_role("radio", name=strings.RANK_HEAT).check()
    expect(page.locator("table.heat tbody td:visible")).to_have_count(4)
    cells = page.locator("table.heat tbody td").evaluate_all(BRIGHTNESS)
    assert max(cells) < 200
    assert len(set(cells)) > 1
    assert page.evaluate(CONTRASTS.replace("#desk *", "#rerank-desk .heat *")) == {}
