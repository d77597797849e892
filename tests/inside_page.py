"""Inside in headless Chromium, with small models: the page that tests of its views share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.served import App
from tests.small_models import small_cache
from tests.test_browser import CONTRASTS, DESKTOP, PATIENCE_MS, PHONE, watch_console
from tests.test_widths_browser import OVERHANGS, TABLET

PROMPT = "a red apple next to a blue car at the beach"
# Cells have no text of their own, and colours over a picture are no ground for one.
IN_TAB = CONTRASTS.replace("#desk *", "#inside *").replace(
    ".map(Number)", '.map((v) => v * (text.startsWith("color(srgb") ? 255 : 1))')

# Maps whose cells do not lie over their picture.
OFF_THE_PICTURE = """(stage) => [...stage.querySelectorAll(".heat")].map((heat) => {
  const box = (each) => heat.querySelector(each).getBoundingClientRect();
  const [image, cells] = [box("img"), box(".cells")];
  return ["x", "y", "width", "height"].map((side) => Math.abs(image[side] - cells[side]));
}).filter((apart) => Math.max(...apart) > 1)"""


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App(cache=small_cache())
    yield served
    served.close()


@pytest.fixture(scope="module")
def page(app: App, browser: Browser) -> Iterator[Page]:
    """The tab at desktop size; fails on a foreign request or an error in the console."""
    foreign, errors = [], []
    opened = browser.new_page(viewport={"width": DESKTOP[0], "height": DESKTOP[1]})
    opened.set_default_timeout(PATIENCE_MS)
    opened.on("request", lambda request: foreign.append(request.url) if not request.url.
              startswith((app.url, "data:", "blob:")) else None)
    watch_console(opened, errors)
    opened.goto(f"{app.url}?tab=inside.score")
    expect(opened.locator("#lab-inside-score")).to_be_visible()
    yield opened
    said = list(errors)
    opened.close()
    assert foreign == [], "requests left the machine"
    assert said == []


def view(page: Page, name: str, title: str) -> None:
    """Open a view at desktop size with the first picture, and run it."""
    page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    page.locator("#inside .lab-parts button[role=tab]", has_text=title).click()
    choose_first_picture(page)
    page.locator(f"#lab-inside-{name}").click()


def choose_first_picture(page: Page) -> None:
    """A test before may have left the page as it loads, without a picture."""
    page.locator("#inside-samples button").first.click()
    expect(page.locator("#inside-prompt textarea")).to_have_value(PROMPT)
    expect(page.locator("#inside-shown img")).to_be_visible()


def fits(page: Page) -> None:
    """Nothing hangs over an edge and all can be read, at three widths, light and dark."""
    for (width, height), scheme in ((DESKTOP, "light"), (TABLET, "dark"), (PHONE, "dark"),
                                    (PHONE, "light")):
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.wait_for_function("dark => document.body.classList.contains('dark') === dark",
                               arg=scheme == "dark")
        assert page.evaluate(OVERHANGS) == [], width
        assert page.evaluate(IN_TAB) == {}, (width, scheme)


def contrastive(page: Page) -> None:
    """Open the view by its address: tests follow each other, and its tab cannot be clicked again at
    once after it was chosen at a phone's width."""
    page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    page.goto(f"{page.url.partition('?')[0]}?tab=inside.contrast")
    expect(page.locator("#lab-inside-contrast")).to_be_visible()
