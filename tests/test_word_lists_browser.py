"""One's own lists of words on the page: kept, used in a grid, downloaded, deleted, taken over."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from easel.words import strings
from tests.served import App
from tests.test_browser import CONTRASTS, DESKTOP, PHONE, app, browser, open_page, pytestmark
from tests.test_browser_compare import open_tab
from tests.test_widths_browser import OVERHANGS

__all__ = ["app", "browser", "open_page", "pytestmark"]


def unfold(page: Page) -> None:
    open_tab(page, strings.TAB_COMPARE)
    page.locator("#sweep > button").click()
    page.locator("#words-own > button").click()
    expect(page.locator("#words-text textarea")).to_be_visible()


def choose(page: Page, label: str) -> None:
    page.locator("#words-chosen input").blur()
    page.locator("#words-chosen input").click()
    page.locator("#words-chosen").get_by_role("option", name=label).click()


def test_own_lists_are_kept_used_downloaded_deleted_and_taken_over(
        open_page, app: App, tmp_path: Path) -> None:
    page, other = open_page(DESKTOP), open_page(DESKTOP)
    for each in (page, other):
        unfold(each)
    said, name = page.locator("#words-said"), page.locator("#words-name").get_by_role("textbox")
    text = page.locator("#words-text textarea")
    name.fill("mood")
    page.locator("#words-save").click()
    expect(said).to_contain_text("holds no words")
    text.fill("quiet\n# remark\nquiet")
    page.locator("#words-save").click()
    expect(said).to_have_text("__mood__ is kept. Words: 1.")

    prompt = page.locator("#compare-prompt textarea")
    prompt.fill("a ")
    prompt.press_sequentially("__mo")
    page.locator("#compare-note [data-complete]").get_by_text("__mood__").click()
    expect(prompt).to_have_value("a __mood__ ")
    prompt.fill("a __mood__ cat")
    page.locator("#sweep-values-across input, #sweep-values-across textarea").fill("1,2")
    page.locator("#sweep-run").click()
    expect(page.locator("#sweep-stage .tile.done")).to_have_count(2)
    expect(page.locator("#sweep-stage .tile.done img").first).to_have_attribute(
        "alt", "a quiet cat")
    other.locator("#compare-prompt textarea").fill("a __mood__ cat")
    other.locator("#sweep-run").click()
    expect(other.locator("#sweep")).to_contain_text("There is no wildcard called __mood__")

    with page.expect_download() as saved:
        page.locator("#words-export a").click()
    file = tmp_path / "wildcards.toml"
    saved.value.save_as(file)
    assert tomllib.loads(file.read_text()) == {"mood": ["quiet"]}

    name.fill("fruit")
    text.fill("uva")
    page.locator("#words-save").click()
    expect(said).to_have_text("__fruit__ is kept. Words: 1.")
    choose(page, "__mood__ (1)")
    expect(text).to_have_value("quiet")
    expect(name).to_have_value("mood")
    text.fill("calm\nquiet")
    page.locator("#words-chosen input").focus()
    page.keyboard.press("Tab")  # the list is left, and nothing was chosen
    expect(page.locator("#words-chosen").get_by_role("option")).to_have_count(0)
    page.locator("#words-save").click()
    expect(said).to_have_text("__mood__ is kept. Words: 2.")
    page.locator("#words-delete").click()
    expect(said).to_have_text("mood is deleted.")
    expect(text).to_have_value("")
    page.locator("#words-delete").click()
    expect(said).to_have_text("Choose a list first.")

    with other.expect_file_chooser() as chooser:
        other.locator("#words-import").click()
    chooser.value.set_files(file)
    expect(other.locator("#words-said")).to_have_text("Lists taken over: 1.")
    choose(other, "__mood__ (1)")
    expect(other.locator("#words-text textarea")).to_have_value("quiet")
    app.wait_until_idle()


@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "dark"), (PHONE, "light")])
def test_the_fold_fits(open_page, size: tuple[int, int], scheme: str) -> None:
    page = open_page(size, scheme)
    unfold(page)
    expect(page.locator("#words-export")).to_contain_text(strings.PRESETS_EXPORT)
    assert page.evaluate(OVERHANGS) == []
    assert page.evaluate(CONTRASTS) == {}
