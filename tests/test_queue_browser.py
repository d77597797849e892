"""The queue on the page: what waits is listed, cancelled and found again, and an end is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from pydantic import Field

from easel.words import strings
from tests.served import App
from tests.test_browser import CHROMIUM, PATIENCE_MS, browser
from tests.watched_sketch import WatchedOptions, WatchedSketch
from tests.windows import Windows

__all__ = ["browser"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
# What the page says to whoever is elsewhere, and how it finds out.
ELSEWHERE = """
document.hasFocus = () => false;
window.told = [];
const Real = window.Notification;
window.Notification = class extends Real {
  constructor(title, options) { super(title, options); window.told.push([title, options.body]); }
};
"""
KNOWN = "Object.values(JSON.parse(sessionStorage['easel-runs'] ?? '{{}}')).includes('{}')"


class PatientOptions(WatchedOptions):
    """A run that lasts until it is stopped, and that a busy browser can follow."""

    steps: int = Field(1000, ge=1, le=2000, title="Steps", description="How often it is refined.")
    pause_s: float = Field(0.5, ge=0.0, le=2.0, title="Pause", description="Seconds a step.")


class PatientSketch(WatchedSketch):
    Options = PatientOptions


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App([PatientSketch()], queue_size=9)
    yield served
    served.close()


@pytest.fixture
def new_window(windows: Windows, app: App) -> Iterator[Callable[..., BrowserContext]]:
    """Opens a browser of its own: another visitor."""
    lent: list[BrowserContext] = []

    def new() -> BrowserContext:
        lent.append(windows.new_window())
        lent[-1].set_default_timeout(PATIENCE_MS)
        return lent[-1]

    yield new
    for window in lent:
        windows.take_back(window, [app.url])


def visit(window: BrowserContext, app: App) -> Page:
    page = window.new_page()
    page.goto(app.url)
    page.wait_for_selector("#generate:not(:disabled)")
    page.locator("#count-sketch input").fill("1")
    return page


def draw(page: Page, prompt: str) -> None:
    page.locator("#prompt textarea").fill(prompt)
    page.locator("#prompt textarea").press("Enter")


def test_runs_wait_in_a_list_and_a_reload_keeps_it(
        new_window: Callable[..., BrowserContext], app: App) -> None:
    page = visit(new_window(), app)
    draw(page, "a red cat")
    expect(page.locator("#queue-add")).to_be_visible()
    expect(page.locator("#generate")).to_be_hidden()
    expect(page.locator("#queue .queue")).to_be_hidden()
    draw(page, "a blue dog")
    rows = page.locator("#queue li")
    expect(rows).to_have_count(2)
    page.locator("#prompt textarea").fill("a green owl")
    page.locator("#queue-add").click()
    expect(rows).to_have_count(3)
    expect(rows.locator("> span")).to_have_text(["a red cat", "a blue dog", "a green owl"])
    expect(rows.locator("b")).to_have_text(["1", "2", "3"])
    expect(rows.nth(1).locator(".bar span")).to_have_attribute("style", "width: 0px;")
    page.reload()
    expect(rows.locator("> span")).to_have_text(["a red cat", "a blue dog", "a green owl"])
    rows.nth(1).get_by_role("button").click()
    expect(rows.locator("> span")).to_have_text(["a red cat", "a green owl"])
    # Stop ends what runs; the next one begins, and what was drawn stays below it.
    expect(page.locator("#stop")).to_be_enabled()
    page.keyboard.press("Escape")
    expect(page.locator("#stage .earlier .tile.done img")).to_have_attribute("alt", "a red cat")
    expect(page.locator("#queue .queue")).to_be_hidden()
    expect(page.locator("#stage .panel.running")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#generate")).to_be_enabled()
    expect(page.locator("#stage .tile.done img").first).to_have_attribute("alt", "a green owl")


def test_grids_wait_one_behind_the_other(new_window: Callable[..., BrowserContext], app: App,
                                         ) -> None:
    page = visit(new_window(), app)
    page.get_by_role("tab", name=strings.TAB_COMPARE, exact=True).click()
    prompt = page.locator("#compare-prompt textarea")
    prompt.fill("a red cat")
    page.locator("#sweep .label-wrap").click()
    page.locator("#sweep-values-across textarea, #sweep-values-across input").fill("7")
    page.locator("#sweep-run").click()
    expect(page.locator('#sweep-stage img[src^="data:image/jpeg"]')).to_have_count(1)
    expect(page.locator("#sweep-run")).to_be_hidden()
    prompt.fill("a {blue|green} dog")
    page.locator("#sweep-add").click()
    rows = page.locator("#queue li")
    expect(rows.locator("> span")).to_have_text(["a red cat", "a {blue|green} dog"])
    page.locator("#sweep-stop").click()
    expect(page.locator("#sweep-stage .earlier .tile.done")).to_have_count(1)
    expect(page.locator('#sweep-stage img[src^="data:image/jpeg"]')).to_have_count(1)
    page.locator("#sweep-stop").click()
    expect(page.locator("#sweep-run")).to_be_visible()
    expect(page.locator("#sweep-add")).to_be_hidden()
    expect(page.locator("#sweep-stage .earlier .tile.done img")).to_have_attribute(
        "alt", "a red cat")


def test_another_visitor_sees_a_place_but_no_prompt(
        new_window: Callable[..., BrowserContext], app: App) -> None:
    page = visit(new_window(), app)
    draw(page, "a secret cat")
    expect(page.locator("#stop")).to_be_enabled()
    expect(page.locator('#stage img[src^="data:image/jpeg"]')).to_have_count(1)
    guest = visit(new_window(), app)
    draw(guest, "my own dog")
    rows = guest.locator("#queue li")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("somebody’s")
    expect(rows.first.get_by_role("button")).to_have_count(0)
    expect(rows.nth(1)).to_contain_text("my own dog")
    assert "secret" not in guest.content()
    # A run that waits: where it stands, and a bar in which nothing moves.
    expect(guest.locator("#stage .status")).to_contain_text("Waiting: 1 ahead")
    expect(guest.locator("#stage .bar")).to_have_count(1)
    expect(guest.locator("#stage .bar.moving")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(guest.locator('#stage img[src^="data:image/jpeg"]')).to_have_count(1)
    guest.keyboard.press("Escape")
    expect(guest.locator("#generate")).to_be_enabled()


def test_an_end_is_told_to_whoever_asked_for_it_in_their_language(
        browser: Browser, app: App) -> None:
    window = browser.new_context(locale="pt-BR", permissions=["notifications"])
    window.set_default_timeout(PATIENCE_MS)
    window.add_init_script(ELSEWHERE)
    page = visit(window, app)
    expect(page.locator("#notify")).not_to_be_checked()
    draw(page, "um gato")
    expect(page.locator('#stage img[src^="data:image/jpeg"]')).to_have_count(1)
    page.wait_for_function(KNOWN.format("um gato"))
    page.keyboard.press("Escape")
    expect(page.locator("#stage .tile.done img")).to_have_attribute("alt", "um gato")
    page.wait_for_function("Object.keys(JSON.parse(sessionStorage['easel-runs'])).length === 0")
    assert page.evaluate("window.told") == [], "nobody asked for it"
    page.locator("#notify").check()
    page.reload()
    expect(page.locator("#notify")).to_be_checked()
    # A reload puts the last run and its prompt back: not after this one was typed.
    expect(page.locator("#stage .tile.done img")).to_have_attribute("alt", "um gato")
    draw(page, "um cachorro")
    page.wait_for_function(KNOWN.format("um cachorro"))
    page.keyboard.press("Escape")
    page.wait_for_function("window.told.length === 1")
    assert page.evaluate("window.told") == [["Uma execução terminou", "um cachorro"]]


def test_a_browser_that_refuses_is_said_so_and_the_switch_stays_off(
        new_window: Callable[..., BrowserContext], app: App) -> None:
    page = visit(new_window(), app)  # without the permission, headless Chromium denies it
    page.locator("#notify").click()
    expect(page.locator("[data-notify]")).to_contain_text("does not let Easel notify you")
    expect(page.locator("#notify")).not_to_be_checked()
    assert strings.NOTIFY in page.locator("#queue").inner_text()
