"""The path in headless Chromium: opened by an address, followed, read, and put on paper."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from easel.ui.inside.path import PLACES
from easel.words import strings
from easel.words.language import PORTUGUESE, speaking
from tests.inside_page import IN_TAB
from tests.served import App
from tests.test_browser import DESKTOP, PATIENCE_MS, PHONE, app, browser, open_page, pytestmark
from tests.test_widths_browser import OVERHANGS, TABLET

__all__ = ["app", "browser", "open_page", "pytestmark"]


def lesson(page: Page, number: int):
    return page.locator(f"#lesson-{number}")


def test_an_address_opens_a_lesson_which_leads_to_its_view(open_page, app: App) -> None:
    page = open_page(DESKTOP)
    page.goto(f"{app.url}?lesson=4")
    expect(lesson(page, 4).locator("h3")).to_be_in_viewport()
    expect(page.locator("#inside-picture")).to_be_hidden()
    expect(page.locator("#path li")).to_have_count(len(PLACES))
    seen = lesson(page, 4).locator("details p")
    expect(seen).to_be_hidden()
    lesson(page, 4).locator("summary").click()
    expect(seen).to_be_visible()
    page.locator("[data-link]").click()
    expect(page).to_have_url(re.compile(r"\?tab=inside\.path$"))

    lesson(page, 4).locator("[data-go]").first.click()
    expect(page.locator("#lab-inside-codes")).to_be_visible()
    expect(page.locator("#inside-picture")).to_be_visible()
    page.goto(f"{app.url}?lesson=2")
    expect(lesson(page, 2).locator("h3")).to_be_in_viewport()
    lesson(page, 2).locator("[data-go]").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#lab-labels")).to_be_visible()


def test_a_lesson_leads_to_a_view_on_a_phone_too(open_page, app: App) -> None:
    page = open_page(PHONE)
    page.goto(f"{app.url}?lesson=7")
    expect(lesson(page, 7).locator("h3")).to_be_in_viewport()
    lesson(page, 7).locator("[data-go]").first.click()
    expect(page.locator("#lab-inside-prior")).to_be_visible()
    page.locator("[data-link]").click()
    expect(page).to_have_url(re.compile(r"\?tab=inside\.prior$"))


def test_on_paper_are_the_lessons_alone_with_what_one_sees(open_page, app: App) -> None:
    page = open_page(DESKTOP)
    page.goto(f"{app.url}?lesson=1")
    expect(lesson(page, 1).locator("h3")).to_be_in_viewport()
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for number in range(1, len(PLACES) + 1):
        expect(lesson(page, number).locator("details p")).to_be_visible()
    for gone in ("#masthead", "#inside .lab-parts > .tab-wrapper", "#path [data-print]"):
        expect(page.locator(gone)).to_be_hidden()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    expect(page.locator("#masthead")).to_be_visible()
    expect(lesson(page, 1).locator("details p")).to_be_hidden()


@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (TABLET, "dark"),
                                              (PHONE, "light"), (PHONE, "dark")])
def test_the_lessons_fit(open_page, app: App, size: tuple[int, int], scheme: str) -> None:
    page = open_page(size, scheme)
    page.goto(f"{app.url}?lesson=8")
    expect(lesson(page, 8).locator("h3")).to_be_in_viewport()
    assert page.evaluate(OVERHANGS) == []
    assert page.evaluate(IN_TAB) == {}


def test_they_are_in_the_language_of_the_browser(browser, app: App) -> None:
    context = browser.new_context(locale="pt-BR")
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"{app.url}?lesson=7")
    with speaking(PORTUGUESE):
        expect(lesson(page, 7).locator("h3")).to_have_text(strings.PATH_LESSONS[6][0])
    context.close()
