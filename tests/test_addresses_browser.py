"""Addresses that open a tab, a lesson or a prompt, and pages that are loaded again or closed."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from easel.ui.parts.live import ARRIVAL_S, GRACE_S
from easel.words import strings
from tests.served import App
from tests.test_browser import CHROMIUM, DESKTOP, PATIENCE_MS, app, browser, open_page
from tests.test_browser_compare import open_tab, set_option
from tests.windows import Windows

__all__ = ["app", "browser", "open_page"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
ZOOM = "document.querySelector('.main.app').currentCSSZoom"


@pytest.fixture
def window(windows: Windows, app: App) -> Iterator[BrowserContext]:
    """A visitor whose pages may be torn down as they stream, of which Gradio complains in the
    console; ``open_page`` would not have that. However long a reload takes here, its run is kept
    for it."""
    app.playground.live.arrival_s = 120
    context = windows.new_window()
    context.set_default_timeout(PATIENCE_MS)
    yield context
    app.playground.live.grace_s = 0.1  # nothing goes on into the next test
    windows.take_back(context, [app.url])
    app.wait_until_idle(30)
    app.playground.live.grace_s, app.playground.live.arrival_s = GRACE_S, ARRIVAL_S


def visit(window: BrowserContext, app: App) -> Page:
    page = window.new_page()
    page.goto(app.url)
    page.wait_for_selector("#generate:not(:disabled)")
    return page


def test_an_address_brings_a_prompt_a_lesson_and_a_tab(app, open_page) -> None:
    page = open_page(DESKTOP)
    page.goto(f"{app.url}?prompt=two%00+dogs&lesson=clip")
    prompt = page.locator("#prompt textarea")
    expect(prompt).to_have_value("two dogs")
    expect(page.locator('[data-lesson="clip"] p').first).to_be_in_viewport()
    prompt.fill("a cat & a dog")
    page.locator("[data-link]").click()
    expect(page).to_have_url(re.compile(r"\?prompt=a\+cat\+%26\+a\+dog$"))
    shown = page.locator("#address")
    expect(shown.locator("img")).to_have_js_property("complete", True)
    assert shown.locator("img").evaluate("image => image.naturalWidth") > 0
    expect(shown.locator("p").first).to_have_text(page.url)
    expect(shown.locator(".hint")).to_be_visible()  # of this machine alone
    page.keyboard.press("Escape")
    expect(shown).to_be_hidden()

    # Enter generates, unless this browser was told otherwise.
    expect(page.locator(".keys .by-ctrl")).to_be_hidden()
    page.locator('[data-enter="ctrl"]').click()
    page.goto(f"{app.url}?prompt=two+dogs")
    expect(page.locator(".keys .by-ctrl")).to_be_visible()
    expect(prompt).to_have_value("two dogs")
    prompt.press("End")
    prompt.press("Enter")
    expect(prompt).to_have_value("two dogs\n")
    prompt.press("Control+Enter")
    expect(page.locator(".panel.ranking .tile.done")).to_have_count(8)
    expect(page.locator("#generate")).to_be_enabled()

    page.locator("[data-present]").click()
    expect(page.locator("#ask")).to_be_hidden()
    expect(page.locator(".panel.ranking .rank.best")).to_be_visible()
    assert page.evaluate(ZOOM) == 1.5
    page.set_viewport_size({"width": 1024, "height": 768})  # a projector shows all tabs
    expect(page.locator("#tabs > .tab-wrapper [role=tab]:visible")).to_have_count(7)
    page.locator("[data-present]").click()
    expect(page.locator("#ask")).to_be_visible()

    page.goto(f"{app.url}?tab=lab.matrix&present")
    expect(page.get_by_role("tab", name=strings.LAB_MATRIX)).to_have_attribute(
        "aria-selected", "true")
    assert page.evaluate(ZOOM) == 1.5
    page.locator("[data-link]").click()
    expect(page).to_have_url(re.compile(r"\?tab=lab\.matrix&present=$"))


def test_an_address_carries_the_settings_that_are_not_default(app, open_page) -> None:
    page = open_page(DESKTOP)
    prompt, link = page.locator("#prompt textarea"), page.locator("[data-link]")
    prompt.fill("two dogs")
    page.locator("#choose-etching input").uncheck()
    page.locator("#count-sketch input").fill("2")
    page.locator("#count-sketch input").blur()
    page.locator("#settings .label-wrap").first.click()
    page.locator("#seed textarea, #seed input").fill("31")
    page.locator("#best-of input").fill("4")
    steps = page.locator('#option-forms [data-pipeline="sketch"] [data-option=steps]')
    steps.fill("9")
    steps.blur()
    expect(page.locator("#option-values textarea")).to_have_value(re.compile('"steps":9'))
    link.click()
    expect(page).to_have_url(re.compile(
        r"\?prompt=two\+dogs&generators=sketch\*2&seed=31&best=4&sketch\.steps=9$"))
    expect(page.locator("#address img")).to_have_js_property("complete", True)
    assert page.locator("#address img").evaluate("image => image.naturalWidth") > 0
    address = page.url

    other = open_page(DESKTOP)
    other.goto(address)
    note = other.locator("#filled-note")
    expect(note).to_have_text("From the address: Sketch × 2, seed 31, Best of 4, Sketch: Steps.")
    expect(other.locator("#prompt textarea")).to_have_value("two dogs")
    expect(other.locator("#choose-etching input")).not_to_be_checked()
    expect(other.locator("#choose-sketch input")).to_be_checked()
    expect(other.locator("#count-sketch input")).to_have_value("2")
    other.locator("#settings .label-wrap").first.click()
    expect(other.locator("#seed textarea, #seed input")).to_have_value("31")
    expect(other.locator("#best-of input")).to_have_value("4")
    taken = other.locator('#option-forms [data-pipeline="sketch"] [data-option=steps]')
    expect(taken).to_have_value("9")
    expect(other.locator("#generate")).to_be_enabled()
    expect(other.locator("#stop")).to_be_disabled()
    expect(other.locator("#stage .panel.ranking")).to_have_count(0)
    other.locator("[data-link]").click()  # and it is written again as it was read
    expect(other.locator("#address")).to_be_visible()
    assert other.url == address
    other.reload()
    expect(note).to_have_text("From the address: Sketch × 2, seed 31, Best of 4, Sketch: Steps.")
    expect(other.locator("#count-sketch input")).to_have_value("2")


def test_an_address_tells_what_it_cannot_set(app, open_page) -> None:
    page = open_page(DESKTOP)
    page.goto(f"{app.url}?sketch.steps=0&nobody.steps=3&seed=x&best=2&<b>=1")
    expect(page.locator("#filled-note")).to_have_text(
        "From the address: Best of 2. Not known here, and so left out: nobody.steps, <b>. "
        "Left as it was: Steps must be a whole number between 1 and 2000, not 0. "
        "Left as it was: Seed must be a whole number between 0 and 4294967295, not x.")
    expect(page.locator("#filled-note b")).to_have_count(0)
    page.locator("#prompt textarea").fill("a very long prompt " * 200)
    page.locator("[data-link]").click()
    expect(page.locator("#address .hint").filter(has_text="Left out")).to_have_text(
        "Left out, because the address would be too long: prompt.")
    expect(page).to_have_url(re.compile(r"\?best=2$"))


def test_an_address_outweighs_the_run_that_its_window_had(window: BrowserContext, app: App,
                                                          ) -> None:
    page = visit(window, app)
    page.locator("#prompt textarea").fill("a purple whale")
    page.locator("#choose-etching input").uncheck()
    page.locator("#count-sketch input").fill("3")
    page.locator("#generate").click()
    expect(page.locator("#stage .tile.done")).to_have_count(3)
    page.goto(f"{app.url}?prompt=two+dogs&generators=sketch*2")
    expect(page.locator("#stage .tile.done")).to_have_count(3)
    expect(page.locator("#filled-note")).to_have_text("From the address: Sketch × 2.")
    expect(page.locator("#prompt textarea")).to_have_value("two dogs")
    expect(page.locator("#count-sketch input")).to_have_value("2")
    page.goto(f"{app.url}?lesson=4")
    expect(page.locator("#lesson-4 h3")).to_be_in_viewport()
    page.wait_for_timeout(1500)  # for what the server knows of the last run, which must not win
    expect(page.locator("#lesson-4 h3")).to_be_in_viewport()


def test_a_reload_finds_the_running_comparison(window: BrowserContext, app: App) -> None:
    page = visit(window, app)
    open_tab(page, strings.TAB_COMPARE)
    page.locator("#compare-prompt textarea").fill("a green bus")
    page.locator('.pane-form[data-pane="1"] [data-field=pipeline]').select_option("sketch")
    for pane in (0, 1):
        set_option(page, pane, "steps", "2000")
    page.locator("#compare-run").click()
    panes = page.locator(".pane")
    for pane in (0, 1):
        expect(panes.nth(pane).locator("img")).to_have_attribute(
            "src", re.compile("^data:image/jpeg"))
    twin = visit(window, app)  # the same visitor's second tab, which may still be loading
    page.bring_to_front()  # a tab in the background draws nothing for as long as it pleases
    page.reload()
    expect(page.locator("#compare-prompt textarea")).to_have_value("a green bus")
    for pane in (0, 1):  # in view, so the tab is open, and moving
        expect(panes.nth(pane).locator("img")).to_be_visible()
        expect(panes.nth(pane).locator("img")).to_have_attribute(
            "src", re.compile("^data:image/jpeg"))
    before = panes.nth(0).locator(".status").text_content() or ""
    assert before.startswith("Step")
    expect(panes.nth(0).locator(".status")).not_to_have_text(before)
    expect(page.locator("#compare-run")).to_be_disabled()
    for pane in (0, 1):  # nobody asked for a seed, and so the next one is new again
        expect(page.locator(f'.pane-form[data-pane="{pane}"] [data-field=seed]')).to_have_value("")
    expect(page.locator('.pane-form[data-pane="0"] fieldset:not([hidden]) [data-option=steps]')
           ).to_have_value("2000")
    twin.bring_to_front()
    open_tab(twin, strings.TAB_COMPARE)
    expect(twin.locator(".pane")).to_have_count(0)
    page.bring_to_front()
    page.get_by_role("button", name="Stop A").click()
    expect(panes.nth(0).locator(".status")).to_contain_text("the best so far is kept")
    page.locator("#compare-stop").click()
    expect(page.locator("#compare-run")).to_be_enabled()
    page.reload()  # over, but not yet voted on
    page.locator("#vote-tie").click()
    expect(page.locator("#outcome")).to_have_text(strings.NO_CHOICE["tie"])
    page.reload()
    expect(page.locator("#outcome")).to_have_text(strings.NO_CHOICE["tie"])
    expect(page.locator("#vote-tie")).to_have_count(0)
    open_tab(page, strings.TAB_GENERATE)
    page.reload()  # nobody is thrown back to what is over, but it is where it was
    expect(page.locator("#generate")).to_be_enabled()
    page.wait_for_timeout(2000)
    expect(page.locator("#generate")).to_be_visible()
    open_tab(page, strings.TAB_COMPARE)
    expect(page.locator("#outcome")).to_have_text(strings.NO_CHOICE["tie"])


def test_a_reload_finds_a_grid_with_its_form(window: BrowserContext, app: App) -> None:
    page = visit(window, app)
    open_tab(page, strings.TAB_COMPARE)
    page.locator("#compare-prompt textarea").fill("a {red|blue} cat")
    page.locator("#sweep .label-wrap").click()
    values = page.locator("#sweep-values-across textarea, #sweep-values-across input")
    values.fill("7..8")
    page.locator("#sweep-run").click()
    done = page.locator("#sweep-stage .tile.done")
    expect(done).to_have_count(4)
    page.reload()
    expect(done).to_have_count(4)
    expect(values).to_have_value("7..8")
    expect(page.locator("#compare-prompt textarea")).to_have_value("a {red|blue} cat")


def test_a_reload_finds_the_run_of_generate_as_it_was_asked_for(window: BrowserContext, app: App,
                                                               ) -> None:
    page = visit(window, app)
    page.locator("#prompt textarea").fill("a purple whale")
    page.locator("#choose-etching input").uncheck()
    page.locator("#count-sketch input").fill("2")
    page.locator("#settings .label-wrap").first.click()
    page.get_by_label("Steps").first.fill("2000")
    page.locator("#seed textarea, #seed input").fill("31")
    page.locator("#generate").click()
    making = page.locator('#stage img[src^="data:image/jpeg"]')
    expect(making).to_have_count(2)
    page.reload()
    expect(making).to_have_count(2)
    expect(page.locator("#prompt textarea")).to_have_value("a purple whale")
    expect(page.locator("#choose-etching input")).not_to_be_checked()
    expect(page.locator("#count-sketch input")).to_have_value("2")
    expect(page.locator("#generate")).to_be_disabled()
    page.keyboard.press("Escape")
    expect(page.locator("#stage .tile.done")).to_have_count(2)
    expect(page.locator("#stage .seed").first).to_have_text(re.compile("seed 3[12]"))
    expect(page.locator("#generate")).to_be_enabled()


def test_a_closed_tab_ends_its_comparison_when_nobody_comes_back(window: BrowserContext, app: App,
                                                                 ) -> None:
    app.playground.live.grace_s = 0.5
    page = visit(window, app)
    open_tab(page, strings.TAB_COMPARE)
    set_option(page, 0, "steps", "2000")
    page.locator("#compare-run").click()
    expect(page.locator(".pane").nth(0).locator("img")).to_have_attribute(
        "src", re.compile("^data:image/jpeg"))
    page.close()
    app.wait_until_idle(30)
