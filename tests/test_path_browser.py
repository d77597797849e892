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
    seen = lesson(page, 4).locator("> details > p").first
    expect(seen).to_be_hidden()
    lesson(page, 4).locator("> details > summary").first.click()
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


def test_who_is_new_is_led_to_the_lessons(open_page, app: App) -> None:
    page = open_page(PHONE)
    page.goto(f"{app.url}?tab=inside")
    link = page.locator("#inside-new a")
    expect(link).to_be_in_viewport()
    link.click()
    expect(lesson(page, 1).locator("h3")).to_be_in_viewport()
    expect(link).to_be_hidden()
    page.locator("#inside .lab-parts button[role=tab]", has_text=strings.SCORE).click()
    expect(link).to_be_visible()
    page.goto(f"{app.url}?lesson=4")
    lesson(page, 4).locator("[data-go]").first.click()
    expect(page.locator("#lab-inside-codes")).to_be_visible()
    expect(page.locator(".following")).to_be_visible()
    expect(link).to_be_hidden()


def test_a_lesson_leads_to_a_view_on_a_phone_too(open_page, app: App) -> None:
    page = open_page(PHONE)
    page.goto(f"{app.url}?lesson=7")
    expect(lesson(page, 7).locator("h3")).to_be_in_viewport()
    lesson(page, 7).locator("[data-go]").first.click()
    expect(page.locator("#lab-inside-prior")).to_be_visible()
    page.locator("[data-link]").click()
    expect(page).to_have_url(re.compile(r"\?tab=inside\.prior$"))


@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_a_lesson_stays_in_a_strip_where_one_works(open_page, app: App, size: tuple[int, int],
                                                   scheme: str) -> None:
    page = open_page(size, scheme)
    page.goto(f"{app.url}?lesson=4")
    expect(lesson(page, 4).locator("h3")).to_be_in_viewport()
    strip = page.locator(".following")
    expect(strip).to_have_count(0)
    lesson(page, 4).locator("[data-go]").first.click()
    expect(page.locator("#lab-inside-codes")).to_be_visible()
    title, _, do, further, see, *_ = strings.PATH_LESSONS[3]
    expect(strip.locator("b")).to_have_text(f"Lesson 4: {title}")
    for summary, text in ((strings.PATH_DO, do), (strings.PATH_SEE, see),
                          (strings.PATH_FURTHER, further)):
        fold = strip.locator("> details").filter(has=page.locator(
            ":scope > summary", has_text=summary))
        said = fold.locator("> p")
        expect(said).to_be_hidden()
        fold.locator("> summary").focus()
        page.keyboard.press("Enter")
        expect(said).to_contain_text(text.split(" “")[0])
        expect(said).to_be_visible()
    assert page.evaluate(OVERHANGS) == []
    strip.locator("[data-go='inside.mix']").click()
    expect(page.locator("#lab-inside-mix")).to_be_visible()
    expect(strip).to_be_visible()
    strip.get_by_text(strings.PATH_BACK).focus()
    page.keyboard.press("Enter")
    expect(lesson(page, 4)).to_be_focused()
    expect(lesson(page, 4).locator("h3")).to_be_in_viewport()
    expect(strip).to_be_hidden()
    page.locator("#inside .lab-parts button[role=tab]", has_text=strings.CODES).click()
    strip.get_by_text(strings.PATH_NEXT.format(5)).click()
    expect(lesson(page, 5)).to_be_focused()
    expect(lesson(page, 5).locator("h3")).to_be_in_viewport()
    lesson(page, 5).locator("[data-go]").first.click()
    expect(strip).to_have_count(1)
    expect(strip.locator("b")).to_contain_text("Lesson 5")
    page.locator("#inside .lab-parts button[role=tab]", has_text=strings.PATH).click()
    expect(lesson(page, 5)).to_be_focused()
    page.locator("#inside .lab-parts button[role=tab]", has_text=strings.LOOP).click()
    strip.locator("[data-leave]").click()
    expect(strip).to_have_count(0)


def test_the_strip_stays_in_sight_and_what_is_written_lies_under_nothing(open_page, app: App,
                                                                         ) -> None:
    page = open_page(DESKTOP)
    page.goto(f"{app.url}?lesson=1")
    expect(lesson(page, 1).locator("h3")).to_be_in_viewport()
    lesson(page, 1).locator("[data-go]").first.click()
    expect(page.locator("#lab-inside-contrast")).to_be_visible()
    page.set_viewport_size({"width": 1024, "height": 700})
    strip, buttons = page.locator(".following"), page.locator("#inside-contrast-texts >> xpath=./"
                                                              "ancestor::*[contains(@class, "
                                                              "'lab-ask')]").locator(".lab-buttons")
    page.mouse.wheel(0, 4000)
    page.wait_for_function("() => scrollY > 100")
    expect(strip.locator("b")).to_be_in_viewport()
    expect(strip.get_by_text(strings.PATH_NEXT.format(2))).to_be_in_viewport()
    position = "each => getComputedStyle(each).position"
    assert buttons.evaluate(position) == "sticky"
    page.locator("#inside-contrast-texts textarea").focus()
    assert buttons.evaluate(position) == "static"
    field, button = (each.bounding_box() for each in (
        page.locator("#inside-contrast-texts textarea"), buttons))
    assert field
    assert button
    assert field["y"] + field["height"] <= button["y"]
    page.set_viewport_size({"width": 1024, "height": 500})
    assert strip.evaluate(position) == "static"


def test_a_name_leads_to_its_explanation(open_page, app: App) -> None:
    page = open_page(DESKTOP)
    page.goto(f"{app.url}?lesson=1")
    expect(lesson(page, 1).locator("h3")).to_be_in_viewport()
    # By keys: the page may still be scrolling to the lesson under the pointer.
    page.locator("#path .meanings summary").focus()
    page.keyboard.press("Enter")
    page.locator("#path [data-explains=clip]").focus()
    page.keyboard.press("Enter")
    told = page.locator("[data-lesson=clip] p").first
    expect(told).to_be_visible()
    expect(told).to_be_in_viewport()


def test_on_paper_are_the_lessons_alone_with_what_one_sees(open_page, app: App) -> None:
    page = open_page(DESKTOP)
    page.goto(f"{app.url}?lesson=1")
    expect(lesson(page, 1).locator("h3")).to_be_in_viewport()
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for number in range(1, len(PLACES) + 1):
        for said in lesson(page, number).locator("details p").all():
            expect(said).to_be_visible()
    for gone in ("#masthead", "#inside .lab-parts > .tab-wrapper", "#path [data-print]"):
        expect(page.locator(gone)).to_be_hidden()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    expect(page.locator("#masthead")).to_be_visible()
    expect(lesson(page, 1).locator("details p").first).to_be_hidden()


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
