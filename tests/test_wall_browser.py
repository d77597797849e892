"""The wall in a room: two pupils draw and vote, the teacher pins, hides and stops."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from easel.words import strings
from tests.served import App
from tests.test_axe_browser import faults
from tests.test_browser import CHROMIUM, DESKTOP, PATIENCE_MS, PHONE, browser

__all__ = ["browser"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
AFAR = {"x-forwarded-for": "203.0.113.9"}  # not at Easel's own machine
OVERHANGS = """() => [...document.querySelectorAll("body *")]
  .filter((e) => e.checkVisibility()
    && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map((e) => e.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App(classroom=True, models_password="wren", queue_size=9)
    yield served
    served.close()


@pytest.fixture
def enter(browser: Browser, app: App) -> Iterator[Callable[..., Page]]:
    """A page in a browser of its own: somebody else's."""
    windows: list[BrowserContext] = []

    def new(path: str = "", **how: Any) -> Page:
        windows.append(browser.new_context(**how))
        windows[-1].set_default_timeout(PATIENCE_MS)
        page = windows[-1].new_page()
        page.goto(app.url + path)
        return page

    yield new
    app.backend.unsuspend()
    for window in windows:
        window.close()


def draw(page: Page, prompt: str) -> None:
    for name in ("sketch", "etching"):
        page.locator(f"#count-{name} input").fill("1")
    page.locator("#choose-etching input").uncheck()
    page.locator("#prompt textarea").fill(prompt)
    page.locator("#generate").click()


def tile(page: Page, prompt: str) -> Any:
    return page.locator("figure", has=page.get_by_text(prompt, exact=True))


ROWS = """() => [...document.querySelectorAll("figure .acts")].map((row) => [...row.children]
  .filter((each) => each.checkVisibility())
  .map((each) => Math.round(each.getBoundingClientRect().bottom)))"""


@pytest.mark.parametrize("locale", ["en-US", "pt-BR"])
def test_buttons_that_belong_together_share_a_row(enter: Callable[..., Page], locale: str) -> None:
    draw(enter("", locale=locale), "a cat of many votes")
    wall = enter("wall", locale=locale)
    shown = tile(wall, "a cat of many votes").first
    shown.locator(".hand").click()
    expect(shown.locator(".unhand")).to_have_accessible_name(re.compile("^−1 (hand|mão): a cat"))
    for pinned in (False, True):
        if pinned:
            shown.locator(".pin").click()
            expect(shown).to_have_class(re.compile("pinned"))
        for width in (1440, 1024, 900, 600, 390, 320):
            wall.set_viewport_size({"width": width, "height": 800})
            rows = wall.evaluate(ROWS)
            assert max(map(len, rows)) >= 3
            assert all(len(set(row)) == 1 for row in rows if row), (width, rows)
    shown.locator(".unhand").click()
    expect(shown.locator(".unhand")).to_be_hidden()
    wall.on("dialog", lambda dialog: dialog.accept())  # other lessons begin with an empty wall
    wall.locator("[data-act=clear]").click()
    expect(wall.locator("#empty")).to_be_visible()


def test_a_lesson(enter: Callable[..., Page], app: App) -> None:
    wall = enter("wall", viewport=dict(zip(("width", "height"), DESKTOP, strict=True)))
    expect(wall.locator("#empty")).to_be_visible()
    expect(wall.locator("#lead")).to_be_visible()
    ann = enter("", extra_http_headers=AFAR)
    expect(ann.locator("#class-note")).to_contain_text("shown to everybody on the wall")
    expect(ann.locator("#generate:not(:disabled)")).to_be_visible()
    draw(ann, "a red cat")
    expect(tile(wall, "a red cat")).to_be_visible()
    draw(ann, "a blue dog")
    expect(wall.locator(".prompt")).to_have_text(["a blue dog", "a red cat"])

    # A second pupil votes from their own screen, and the projector counts.
    ben = enter("wall", extra_http_headers=AFAR,
                viewport=dict(zip(("width", "height"), PHONE, strict=True)))
    expect(tile(ben, "a red cat")).to_be_visible()
    expect(ben.locator("#lead, .lead").first).to_be_hidden()
    expect(ben.locator("#enter")).to_be_visible()
    expect(tile(ben, "a red cat").locator(".own")).to_be_hidden()
    tile(ben, "a red cat").locator(".vote").click()
    expect(tile(ben, "a red cat").locator(".vote")).to_have_attribute("aria-pressed", "true")
    expect(tile(wall, "a red cat").locator(".vote")).to_have_text("♥ 1")
    tile(wall, "a red cat").locator(".vote").click()
    tile(wall, "a red cat").locator(".hand").click()
    expect(tile(ben, "a red cat").locator(".vote")).to_have_text("♥ 3")
    wall.get_by_text(strings.WALL_BY_VOTES).click()
    expect(wall.locator(".prompt")).to_have_text(["a red cat", "a blue dog"])

    # What is hidden leaves the others' screens, and its file is theirs no more.
    file = tile(ben, "a blue dog").locator("img").get_attribute("src")
    assert file is not None
    assert ben.request.get(app.url + file).status == 200
    tile(wall, "a blue dog").locator(".hide").click()
    expect(tile(ben, "a blue dog")).to_have_count(0)
    assert ben.request.get(app.url + file).status == 404
    expect(tile(wall, "a blue dog").locator(".why")).to_have_text("Hidden from the others")
    # Nor is it on the projector that the leader's screen goes to.
    expect(tile(wall, "a blue dog").locator("img")).to_be_hidden()
    wall.locator("#controls").click()
    expect(tile(wall, "a blue dog")).to_be_hidden()
    wall.locator("#controls").click()
    # The script of a pupil can ask for nothing that the buttons do not offer.
    for act in ("show", "pin", "hide", "stop", "clear"):
        answer = ben.request.post(f"{app.url}wall/act", data={
            "act": act, "picture": file.split("/")[1]})
        assert answer.status == 403, act
    tile(wall, "a blue dog").locator(".hide").click()
    tile(wall, "a blue dog").locator(".pin").click()
    expect(ben.locator("figure.pinned .prompt")).to_have_text("a blue dog")
    expect(ben.locator(".prompt").first).to_have_text("a blue dog")

    # Stop: nobody draws but who leads, until everybody may again.
    wall.locator("[data-act=stop]").click()
    expect(ben.locator("#now")).to_have_text("All drawing is stopped for now")
    draw(ann, "a green owl")
    expect(ann.locator("#stage")).to_contain_text("Drawing is stopped for everybody for now")
    wall.locator("[data-act=go]").click()
    expect(ann.locator("#generate:not(:disabled)")).to_be_visible()
    draw(ann, "a green owl")
    expect(tile(ben, "a green owl")).to_be_visible()

    # Who drew a picture takes it down, and a new lesson begins with nothing.
    own = ann.context.new_page()
    own.goto(f"{app.url}wall")
    tile(own, "a green owl").locator(".own").click()
    expect(tile(ben, "a green owl")).to_have_count(0)
    wall.on("dialog", lambda dialog: dialog.accept())
    wall.locator("[data-act=clear]").click()
    expect(ben.locator("#empty")).to_be_visible()


@pytest.mark.parametrize(("size", "scheme"), [
    (DESKTOP, "light"), (DESKTOP, "dark"), ((1024, 768), "light"), (PHONE, "dark")])
def test_it_can_be_read_and_hangs_over_no_edge(enter: Callable[..., Page], size: tuple[int, int],
                                               scheme: Any) -> None:
    wall = enter("wall", color_scheme=scheme,
                 viewport={"width": size[0], "height": size[1]})
    artist = enter("", extra_http_headers=AFAR)
    expect(artist.locator("#generate:not(:disabled)")).to_be_visible()
    for prompt in ("a cat", "a very long prompt " * 20):
        draw(artist, prompt)
        expect(tile(wall, prompt.strip())).to_be_visible()
        expect(artist.locator("#generate:not(:disabled)")).to_be_visible()
    tile(wall, "a cat").locator(".pin").click()
    expect(wall.locator("figure.pinned")).to_have_count(1)
    assert wall.evaluate(OVERHANGS) == []
    assert faults(wall) == []
    frame, picture = (wall.locator(f"figure.pinned {place}").bounding_box()
                      for place in (".frame", "img"))
    assert frame == picture, "the mark is around the picture, and nothing beside it"
    assert frame is not None
    assert frame["width"] == pytest.approx(frame["height"], abs=1)  # as it was drawn
    height = wall.locator("figure:not(.pinned) .prompt").first.evaluate(
        "(e) => parseFloat(getComputedStyle(e).fontSize)")
    assert height >= 20, "it is read from afar"
    tile(wall, "a cat").locator(".frame").click()
    expect(wall.locator("dialog[open] img")).to_be_visible()
    assert faults(wall) == []
    wall.keyboard.press("Escape")
    wall.locator("#controls").click()
    expect(wall.locator("#lead")).to_be_hidden()
    wall.locator("#controls").click()
    wall.on("dialog", lambda dialog: dialog.accept())
    wall.locator("[data-act=clear]").click()
    expect(wall.locator("#empty")).to_be_visible()


def test_who_knows_the_password_leads_and_it_speaks_portuguese(enter: Callable[..., Page],
                                                               app: App) -> None:
    wall = enter("wall", extra_http_headers=AFAR, locale="pt-BR")
    expect(wall.locator("h1")).to_have_text("O mural")
    wall.locator("#enter input").fill("Wren")
    wall.locator("#enter button").click()
    expect(wall.locator(".alert")).to_have_text("Essa não é a senha dos modelos.")
    expect(wall.locator("#lead")).to_be_hidden()
    wall.locator("#enter input").fill("wren")
    wall.locator("#enter button").click()
    expect(wall.locator("#lead")).to_be_visible()
    expect(wall.locator("#enter")).to_be_hidden()
    expect(wall.locator("[data-act=stop]")).to_have_text("Parar todos os desenhos")
