"""Every tab at the three widths that the page is made for, light and dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect

from easel.ui.parts.theme import STYLE
from easel.words import strings
from tests.served import App
from tests.test_browser import CONTRASTS, DESKTOP, PHONE, app, browser, open_page, pytestmark

__all__ = ["app", "browser", "open_page", "pytestmark"]
TABLET = (1024, 768)
TABS = {strings.TAB_GENERATE: "#generate", strings.TAB_COMPARE: "#compare-run",
        strings.TAB_RERANK: "#rerank-run", strings.TAB_LAB: "#lab-classify",
        strings.TAB_INSIDE: "#lab-inside-score",
        strings.TAB_HISTORY: "#search-kept", strings.TAB_MODELS: ".wish"}
OPEN_FOLDS = """() => document.querySelectorAll("button.label-wrap:not(.open)")
    .forEach((fold) => fold.checkVisibility() && fold.click())"""
SETTLED = """() => ![...document.querySelectorAll(".settling")].some((e) => e.checkVisibility())"""
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
# What a finger presses and is less high than it; places in a picture and words in a text apart.
SMALL = """() => [...document.querySelectorAll("button, select, summary, a.chip, [role=tab]")]
  .filter((e) => e.checkVisibility() && !e.closest(".offstage, .cells, .code-map, .map, .tile"))
  .filter((e) => e.getBoundingClientRect().height < 43.5)
  .map((e) => `${Math.round(e.getBoundingClientRect().height)} px: ${e.outerHTML.slice(0, 90)}`)"""
# Texts that nobody reads from a bench away; marks of folds are no text.
TINY = """() => [...document.querySelectorAll(".gradio-container *")]
  .filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()))
  .filter((e) => e.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true })
    && !e.matches(".icon") && !e.closest(".offstage, .sr, .sr-only"))
  .filter((e) => parseFloat(getComputedStyle(e).fontSize) < 13)
  .map((e) => `${getComputedStyle(e).fontSize}: ${e.textContent.trim().slice(0, 60)}`)"""
# Sliders whose knob, ten pixels higher than what it runs on, is cut off by the box around them.
CUT_KNOBS = """() => [...document.querySelectorAll(".block input[type=range]")]
  .filter((e) => e.checkVisibility() && e.closest(".block").getBoundingClientRect().bottom
    < e.getBoundingClientRect().bottom + 5)
  .map((e) => e.ariaLabel)"""
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


def test_everything_is_as_large_as_a_finger_and_as_an_eye_reads(open_page) -> None:
    page = open_page(PHONE)
    small, tiny = {}, {}
    for name, shown in TABS.items():
        page.get_by_role("tab", name=name, exact=True).click()
        expect(page.locator(shown).first).to_be_visible()
        page.evaluate(OPEN_FOLDS)
        page.wait_for_function(SETTLED)
        small[name], tiny[name] = page.evaluate(SMALL), page.evaluate(TINY)
    assert {name: found for name, found in small.items() if found} == {}
    assert {name: found for name, found in tiny.items() if found} == {}


@pytest.mark.parametrize("size", [TABLET, PHONE])
def test_every_tab_is_in_its_row_and_none_behind_a_menu(open_page, size: tuple[int, int]) -> None:
    page = open_page(size)
    page.locator("[data-present]").click()  # half as large again
    for name in (strings.TAB_LAB, strings.TAB_INSIDE):
        page.get_by_role("tab", name=name, exact=True).click()
        parts = page.locator(".lab-parts > .tab-wrapper:visible")
        expect(parts).to_have_count(1)
        for row in (page.locator("#tabs > .tab-wrapper"), parts):
            tabs = row.get_by_role("tab")
            expect(row.locator("button:not([role=tab])")).to_have_count(0)
            edges = tabs.evaluate_all("(all) => all.map((e) => e.getBoundingClientRect().right)")
            assert max(edges) <= size[0]
            assert tabs.count() >= 4


def test_a_phone_cuts_no_knob_off(open_page) -> None:
    page = open_page(PHONE)
    page.get_by_role("tab", name=strings.TAB_INSIDE, exact=True).click()
    found = {}
    for name in (strings.STREAM, strings.COMPLETE, strings.LOOP):
        page.get_by_role("tab", name=name, exact=True).click()
        if name == strings.STREAM:  # whose sliders are folded away
            page.locator("#stream-options .label-wrap").click()
        expect(page.locator(".block input[type=range]:visible")).not_to_have_count(0)
        found[name] = page.evaluate(CUT_KNOBS)
    assert found == {strings.STREAM: [], strings.COMPLETE: [], strings.LOOP: []}


def test_the_marks_among_the_filters_begin_where_the_others_do(open_page) -> None:
    page = open_page(DESKTOP)
    page.get_by_role("tab", name=strings.TAB_HISTORY, exact=True).click()
    page.locator("#history-filters .label-wrap").click()
    page.wait_for_function(SETTLED)
    mark, search = page.locator("#history-marks label").first, page.locator("#search-kept")
    expect(mark).to_be_visible()
    left, edge = (each.evaluate("(e) => e.getBoundingClientRect().left") for each in (mark, search))
    assert abs(left - edge) < 4


@pytest.mark.weights("clip-ranker")
def test_a_list_of_files_says_how_many_and_shows_them(app: App, open_page, tmp_path: Path) -> None:
    page = open_page(TABLET)
    paths = [tmp_path / f"{number}.png" for number in range(9)]
    for path in paths:
        Image.new("RGB", (64, 64), "red").save(path)
    page.get_by_role("tab", name=strings.TAB_RERANK, exact=True).click()
    page.locator("#rerank-files input[type=file]").set_input_files(paths)
    rows, label = page.locator("#rerank-files tr.file"), page.locator("#rerank-files > label")
    expect(label).to_have_attribute("data-count", "9 files")
    expect(rows).to_have_count(9)
    # The thumbnail of what is in sight, and of the rest once it is.
    expect(rows.first).to_have_attribute("style", re.compile("--thumb"))
    expect(rows.last).not_to_have_attribute("style", re.compile("--thumb"))
    rows.last.scroll_into_view_if_needed()
    expect(rows.last).to_have_attribute("style", re.compile("--thumb"))
    expect(page.locator("#rerank-run")).to_be_in_viewport(ratio=1)  # however long the list is
    page.locator("#rerank-files [aria-label=Clear]").click()
    expect(rows).to_have_count(0)
    page.locator("#rerank-files input[type=file]").set_input_files(paths[0])
    expect(rows).to_have_count(1)
    page.get_by_role("button", name="Take away: 0.png").click()  # one alone has its own as well
    expect(rows).to_have_count(0)
    expect(page.locator("#rerank-files input[type=file]")).to_have_count(1)


LONG_NAMES = ("IMG_20260412_a-picture-of-a-holiday-in-the-mountains-version-final-2.png",
              "a rather long name with spaces.png", "x" * 60 + ".png", "short.png")
# Of each file the name as it is seen, and whether any of it, or of what is beside it, is elsewhere.
NAMES_SEEN = """() => [...document.querySelectorAll("#rerank-files tr.file")].map((row) => {
  const list = row.closest(".file-preview-holder").getBoundingClientRect();
  const cells = [...row.cells].map((each) => each.getBoundingClientRect());
  const parts = [...row.querySelectorAll(".stem, .ext")];
  const cut = parts.some((e) => getComputedStyle(e).textOverflow === "ellipsis"
    && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== "inline");
  const [stem, ext] = parts.map((e) => [...e.getClientRects()]);
  const out = [...stem, ...ext].some((r) => r.right > cells[0].right + 1 || r.left < cells[0].left);
  const last = stem.at(-1), gap = ext[0].top < last.bottom - 4 ? ext[0].left - last.right : 0;
  const over = cells.some((cell, i) => cell.right > (cells[i + 1]?.left ?? list.right) + 1);
  return { name: parts.map((e) => e.innerText).join(""), cut, out, over, apart: gap > 1 };
})"""


@pytest.mark.parametrize(("size", "scheme"), [
    (DESKTOP, "dark"), (TABLET, "light"), (PHONE, "dark")])
def test_names_of_files_are_read_whole(open_page, tmp_path: Path, size: tuple[int, int],
                                       scheme: str) -> None:
    page = open_page(size, scheme)
    for name in LONG_NAMES:
        Image.new("RGB", (64, 64), "red").save(tmp_path / name)
    page.get_by_role("tab", name=strings.TAB_RERANK, exact=True).click()
    page.locator("#rerank-files input[type=file]").set_input_files(
        [tmp_path / name for name in LONG_NAMES])
    expect(page.locator("#rerank-files tr.file[data-thumb]")).to_have_count(len(LONG_NAMES))
    assert page.evaluate(NAMES_SEEN) == [
        {"name": name, "cut": False, "out": False, "over": False, "apart": False}
        for name in LONG_NAMES]


def test_no_line_ends_within_the_name_of_a_model(open_page) -> None:
    page = open_page(PHONE)
    page.get_by_role("tab", name=strings.TAB_MODELS, exact=True).click()
    expect(page.locator(".wish").first).to_be_visible()
    page.evaluate(OPEN_FOLDS)
    expect(page.locator("table.models")).to_be_visible()
    assert {"SigLIP 2", "CLIP ViT-B/32", "DALL·E mini"} <= set(
        page.locator(".wish .name").all_text_contents())
    assert page.locator("table.models .name").count() > 10
    for width in (*range(320, 440, 8), 390, 1024):
        page.set_viewport_size({"width": width, "height": 844})
        broken = page.locator(".name:visible").evaluate_all(
            "(all) => all.filter((e) => e.getClientRects().length > 1).map((e) => e.textContent)")
        assert broken == [], width
        assert page.evaluate("document.documentElement.scrollWidth") <= width


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


def test_every_animation_of_the_style_sheet_is_there(open_page) -> None:
    """A browser leaves out keyframes that stand inside of a rule, and says nothing."""
    named = set(re.findall(r"[{;] *animation: ([a-z-]+)", STYLE.read_text("utf-8"))) - {"none"}
    assert len(named) >= 2
    there = open_page(DESKTOP).evaluate("""() => [...document.styleSheets].flatMap(
        (sheet) => [...sheet.cssRules]).filter((rule) => rule instanceof CSSKeyframesRule).map(
        (rule) => rule.name)""")
    assert named <= set(there)
