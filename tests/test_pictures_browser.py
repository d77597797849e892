"""Thumbnails of the pictures that a request brings, each with a × of its own, in Chromium."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from easel.words import strings
from pipelines.core.metadata import read_png
from tests.served import App
from tests.sketch import SketchPipeline
from tests.test_browser import CHROMIUM, DESKTOP, PHONE, browser
from tests.test_browser_compare import open_tab
from tests.test_history_browser import visit
from tests.test_shared_pictures import MASK, ONE, OTHER, START, Collage
from tests.test_widths_browser import TABLET

__all__ = ["browser", "visit"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
THERE = ".given:not(.taken)"
FILES = {"start.png": START, "one.png": ONE, "other.png": OTHER, "mask.png": MASK}


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App([Collage(), SketchPipeline()])
    yield served
    served.close()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    return {name.partition(".")[0]: tmp_path / name for name in FILES}


def choose(page: Page, place: str, *paths: Path) -> None:
    """Files for the place whose label has some words."""
    page.locator(".upload").filter(has_text=place).locator("input[type=file]").set_input_files(
        list(paths))


def gone(shown: Locator, what: str) -> Locator:
    return shown.get_by_role("button", name=strings.PICTURE_REMOVE.format(what), exact=True)


def draw(page: Page) -> dict[str, object]:
    """Draw one picture, and read what its file says."""
    drawn = page.locator("#stage .tile.done img")
    before = drawn.first.get_attribute("src") if drawn.count() else ""
    page.locator("#generate").click()
    expect(drawn).to_have_count(1)
    expect(drawn).not_to_have_attribute("src", before or "")
    address = drawn.get_attribute("src")
    return read_png(page.request.get(f"{page.url.split('?')[0]}{address}").body())["easel"]


def test_each_picture_shows_and_goes_by_its_own_button(visit: Callable[..., Page],
                                                       files: dict[str, Path]) -> None:
    page = visit()
    page.locator("#settings .label-wrap").first.click()
    shown = page.locator("#init-shown")
    choose(page, "Collage: start from", files["start"])
    choose(page, "Collage: image prompts", files["one"], files["other"])
    choose(page, "Collage: mask", files["mask"])
    expect(shown.locator(".given")).to_have_count(4)
    for image in shown.locator("img").all():
        expect(image).to_have_js_property("naturalWidth", 50)  # as they were uploaded
    gone(shown, "Collage: image prompt 1").click()
    expect(shown.locator(THERE)).to_have_count(3)
    expect(gone(shown, "Collage: image prompt 2")).to_have_count(0)
    expect(shown.locator("img[src*='other']")).to_have_count(1)
    gone(shown, "Collage: mask").click()
    expect(shown.locator(THERE)).to_have_count(2)
    page.locator("#choose-sketch input").uncheck()
    page.locator("#count-collage input").fill("1")
    said = draw(page)
    assert len(said["image_prompts_sha256"]) == 1  # type: ignore[arg-type]
    assert said["init_image_sha256"]
    assert "mask_sha256" not in said
    gone(shown, "Collage: image prompt 1").click()
    expect(shown.locator(THERE)).to_have_count(1)
    gone(shown, "Collage starts from this picture").click()
    expect(shown.locator(THERE)).to_have_count(0)
    assert not [name for name in draw(page) if name.endswith("_sha256")]
    expect(page.locator("#init-row")).to_be_hidden()  # what was drawn without cannot be put back


def back(shown: Locator, what: str) -> Locator:
    return shown.get_by_role("button", name=strings.PICTURE_UNDO.format(what), exact=True)


@pytest.mark.parametrize(("size", "scheme"), [
    (DESKTOP, "light"), (TABLET, "dark"), (PHONE, "dark")])
def test_what_was_taken_away_can_be_put_back(visit: Callable[..., Page], files: dict[str, Path],
                                             size: tuple[int, int], scheme: str) -> None:
    page = visit(size, scheme)
    page.locator("#settings .label-wrap").first.click()
    shown, start = page.locator("#init-shown"), "Collage starts from this picture"
    choose(page, "Collage: start from", files["start"])
    choose(page, "Collage: image prompts", files["one"], files["other"])
    expect(shown.locator(THERE)).to_have_count(3)
    place = page.locator("#generators").evaluate("(e) => e.getBoundingClientRect().top + scrollY")
    gone(shown, start).click()
    expect(shown.get_by_role("status")).to_have_text(strings.PICTURE_TAKEN.format(start))
    assert page.locator("#generators").evaluate(
        "(e) => e.getBoundingClientRect().top + scrollY") == place  # nothing moves
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    gone(shown, "Collage: image prompt 1").click()
    expect(shown.locator(THERE)).to_have_count(1)
    back(shown, "Collage: image prompt 1").click()
    expect(shown.locator(THERE)).to_have_count(2)
    expect(shown.locator(THERE).locator("img").first).to_have_attribute("src", re.compile("one"))
    # In a place that another picture has taken there is nothing to put back.
    choose(page, "Collage: start from", files["mask"])
    expect(shown.locator(THERE)).to_have_count(3)
    expect(back(shown, start)).to_have_count(0)
    gone(shown, start).click()
    back(shown, start).last.click()
    expect(shown.locator(THERE)).to_have_count(3)
    page.locator("#choose-sketch input").uncheck()
    page.locator("#count-collage input").fill("1")
    said = draw(page)
    assert len(said["image_prompts_sha256"]) == 2  # type: ignore[arg-type]
    assert said["init_image_sha256"] == sha256(MASK).hexdigest()


def test_two_pressed_before_the_first_has_gone_both_go(visit: Callable[..., Page],
                                                       files: dict[str, Path]) -> None:
    page = visit()
    page.locator("#settings .label-wrap").first.click()
    shown = page.locator("#init-shown")
    choose(page, "Collage: image prompts", files["start"], files["one"], files["other"])
    expect(shown.locator(THERE)).to_have_count(3)
    shown.evaluate("row => [...row.querySelectorAll('.gone')].slice(0, 2).forEach(b => b.click())")
    expect(shown.locator(THERE)).to_have_count(1)
    expect(shown.locator(f"{THERE} img[src*='other']")).to_have_count(1)
    shown.evaluate("row => [...row.querySelectorAll('[data-undo]')].forEach(b => b.click())")
    expect(shown.locator(THERE)).to_have_count(3)
    for place, name in enumerate(("start", "one", "other")):  # each where it was
        expect(shown.locator("img").nth(place)).to_have_attribute("src", re.compile(name))


def test_a_comparison_shows_them_and_fills_them_in_again(visit: Callable[..., Page],
                                                         files: dict[str, Path],
                                                         tmp_path: Path) -> None:
    page = visit()
    open_tab(page, strings.TAB_COMPARE)
    page.locator("#compare-settings .label-wrap").click()
    shown = page.locator("#compare-given-shown")
    choose(page, "Image prompts, up to 4", files["one"], files["other"])
    expect(shown.locator(".given")).to_have_count(2)
    page.locator("#compare-run").click()
    expect(page.locator(".pane .tile.done")).to_have_count(2)
    expect(page.locator("#compare-save")).to_be_visible()
    with page.expect_download() as saved:
        page.locator("#compare-save").click()
    saved.value.save_as(tmp_path / "saved.zip")
    gone(shown, "Image prompt 1").click()
    gone(shown, "Image prompt 1").click()
    expect(shown.locator(THERE)).to_have_count(0)
    page.locator("#compare-open .label-wrap").click()
    page.locator("#compare-upload input[type=file]").set_input_files(tmp_path / "saved.zip")
    expect(shown.locator(THERE)).to_have_count(2)
    page.locator("#sweep .label-wrap").click()
    page.locator("#sweep-run").click()
    expect(page.locator("#sweep-stage .tile.done")).to_have_count(4)
    address = page.locator("#sweep-stage .tile.done img").first.get_attribute("src")
    said = read_png(page.request.get(f"{page.url.split('?')[0]}{address}").body())["easel"]
    assert len(said["image_prompts_sha256"]) == 2
