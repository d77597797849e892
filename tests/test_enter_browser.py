"""Enter in a field of one line does what the button below it does."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from easel.words import strings
from tests.test_browser import DESKTOP, app, browser, open_page, pytestmark

__all__ = ["app", "browser", "open_page", "pytestmark"]


def open_folds(page: Page, within: str) -> None:
    """All of them in a part of the page."""
    folds = page.locator(f"{within} button.label-wrap")
    for index in range(folds.count()):
        if "open" not in (folds.nth(index).get_attribute("class") or ""):
            folds.nth(index).click()


@pytest.mark.parametrize(("field", "typed"), [
    ("#count-sketch input", "2"), ("#best-of input", "0"), ("#seed input", "7"),
    ('#settings input[type=number][data-option]', "3")])
def test_fields_of_generate_generate(open_page, field: str, typed: str) -> None:
    page = open_page(DESKTOP)
    page.locator("#choose-etching input").uncheck()
    page.locator("#count-sketch input").fill("1")
    open_folds(page, "#more")
    asked = page.locator(field).first
    asked.fill(typed)
    asked.press("Enter")
    shown = page.locator(".panel:not(.ranking) .tile.done")
    expect(shown.first).to_be_visible()
    expect(shown).to_have_count(2 if "count" in field else 1)
    if "seed" in field:
        expect(page.locator("#generate:not(:disabled)")).to_be_visible()
        expect(page.get_by_text("seed 7").first).to_be_attached()


@pytest.mark.parametrize("field", [
    ".pane-form[data-pane='0'] [data-field=num_images]", "#compare-seed input"])
def test_fields_of_compare_compare(open_page, field: str) -> None:
    page = open_page(DESKTOP)
    page.get_by_role("tab", name=strings.TAB_COMPARE, exact=True).click()
    open_folds(page, "#compare-settings")
    page.locator(field).fill("1")
    page.locator(field).press("Enter")
    expect(page.locator("#vote-1")).to_be_visible()


def test_values_of_a_grid_draw_it(open_page) -> None:
    page = open_page(DESKTOP)
    page.get_by_role("tab", name=strings.TAB_COMPARE, exact=True).click()
    open_folds(page, "#sweep")
    values = page.locator("#sweep-values-across input")
    values.fill("1..2")
    values.press("Enter")
    expect(page.locator("#sweep-stage .tile.done")).to_have_count(2)
    expect(page.locator("#vote-1")).to_be_hidden()


def test_a_number_of_rerank_reranks(open_page) -> None:
    page = open_page(DESKTOP)
    page.get_by_role("tab", name=strings.TAB_RERANK, exact=True).click()
    keep = page.locator("#rerank-keep input")
    keep.fill("2")
    keep.press("Enter")
    expect(page.locator("#rerank-stage [role=alert]")).to_be_visible()  # it has no pictures
