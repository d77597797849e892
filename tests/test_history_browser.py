"""The History tab in headless Chromium, as a person uses it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from easel.history.records import HistoryError
from easel.words import strings
from pipelines.core.metadata import read_png
from tests.served import App
from tests.test_browser import (
    CHROMIUM,
    CONTRASTS,
    DESKTOP,
    PATIENCE_MS,
    PHONE,
    browser,
    watch_console,
)
from tests.test_history_recall import A1111_FILES
from tests.test_widths_browser import OVERHANGS
from tests.windows import Windows

__all__ = ["browser"]

SCRIPT = "a cat <img src=x onerror=alert(1)>"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App(shared_password="hush")
    yield served
    served.close()


@pytest.fixture
def visit(app: App, windows: Windows) -> Iterator[Callable[..., Page]]:
    """Opens the page as a new visitor; fails the test on an error in the console."""
    pages, errors = [], []

    def open_page(size: tuple[int, int] = DESKTOP, scheme: str = "light") -> Page:
        page = windows.new_page(size, scheme)
        page.set_default_timeout(PATIENCE_MS)
        watch_console(page, errors)
        page.on("dialog", lambda dialog: errors.append(f"a script ran: {dialog.message}"))
        page.goto(app.url)
        page.wait_for_selector("#generate:not(:disabled)")
        pages.append(page)
        return page

    yield open_page
    said = list(errors)
    for page in pages:
        windows.take_back(page.context, [app.url])
    assert said == []


@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_what_cannot_be_done_is_said_and_undone(
        app: App, windows: Windows, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int],
        scheme: str) -> None:
    page = windows.new_page(size, scheme)
    page.set_default_timeout(PATIENCE_MS)
    page.goto(app.url)
    page.wait_for_selector("#generate:not(:disabled)")
    draw(page, "a cat")
    history(page)
    page.locator("#kept .tile button").first.click()
    expect(page.locator(".kept-prompt")).to_have_text("a cat")

    def fail(*_: object) -> None:
        raise HistoryError("The history cannot be written: the disk is full.")

    for name, box in (("set_favourite", page.locator("#favourite input")),
                      ("rate", page.locator("#rating").get_by_label("4", exact=True))):
        with monkeypatch.context() as broken:
            broken.setattr(app.history, name, fail)
            box.click()
            expect(page.locator("#failed [role=alert]")).to_have_text(
                "The history cannot be written: the disk is full.")
            expect(box).not_to_be_checked()
        assert page.evaluate(OVERHANGS) == []
        assert page.evaluate(CONTRASTS.replace("#desk *", "#failed *")) == {}
        page.locator("#failed").get_by_role("button").click()
        expect(page.locator("#failed")).to_have_count(0)
        box.click()
        expect(box).to_be_checked()
    windows.take_back(page.context, [app.url])


def draw(page: Page, prompt: str) -> None:
    """Two pictures, by Etching alone."""
    page.get_by_role("tab", name=strings.TAB_GENERATE).click()
    page.locator("#prompt textarea").fill(prompt)
    page.locator("#choose-sketch input").uncheck()
    page.locator("#count-etching input").fill("2")
    page.locator("#generate").click()
    expect(page.locator("#stage .tile.done")).to_have_count(2)
    expect(page.locator(f'#stage .tile.done img[alt="{prompt}"]')).to_have_count(2)
    expect(page.locator("#generate")).to_be_enabled()


def history(page: Page) -> None:
    page.get_by_role("tab", name=strings.TAB_HISTORY).click()


def test_a_kept_picture_leads_to_why_it_has_its_score(visit: Callable[..., Page]) -> None:
    page = visit()
    draw(page, "two dogs and a kite")
    history(page)
    page.locator("#kept .tile button").first.click()
    page.locator(".kept-save").get_by_role("button", name=strings.SCORE).click()
    expect(page.locator("#lab-inside-score")).to_be_visible()
    expect(page.locator("#inside-prompt textarea")).to_have_value("two dogs and a kite")


def test_a_kept_picture_leads_to_those_like_it(visit: Callable[..., Page]) -> None:
    page = visit()
    draw(page, "three cats and a drum")
    history(page)
    page.locator("#kept .tile button").first.click()
    page.locator(".kept-save").get_by_role("button", name=strings.ALIKE_THIS).click()
    tiles = page.locator("#lab-search-stage .lab-tiles .tile")
    expect(tiles.first).to_be_visible()
    # Itself, read again smaller than it was for the index.
    expect(tiles.first.locator(".score")).to_have_text(re.compile(r"^(1\.000|0\.99\d)$"))
    expect(tiles.first.locator("img")).to_have_attribute("alt", "three cats and a drum")
    assert tiles.count() >= 2


def test_two_kept_pictures_are_under_a_slider(visit: Callable[..., Page]) -> None:
    page = visit()
    draw(page, "a bus and a tree")
    history(page)
    tiles, bar = page.locator("#kept .tile"), page.locator("#kept-bar")
    button = bar.locator('[data-kept="two"]')
    tiles.nth(0).locator(".pick").check()
    expect(button).to_be_disabled()
    tiles.nth(1).locator(".pick").check()
    button.click()
    stage, edge = page.locator(".two-stage"), page.get_by_label(strings.TWO_SLIDER)
    expect(stage.locator("img")).to_have_count(2)
    expect(page.locator(".two-table th[scope=row]").first).to_have_text("Seed")
    width = stage.evaluate("stage => stage.clientWidth")
    for key, share in (("Home", 0.0), ("End", 1.0)):
        edge.press(key)
        cut = stage.locator(".over").evaluate(
            "image => parseFloat(getComputedStyle(image).clipPath.split(' ')[1])")
        assert cut == pytest.approx(100 * (1 - share)) or cut == pytest.approx(width * (1 - share))
    expect(bar).to_be_hidden()


def test_kept_pictures_are_turned_over_one_by_one(visit: Callable[..., Page]) -> None:
    page = visit()
    draw(page, "a drum beside a kite")
    history(page)
    tiles = page.locator("#kept .tile button")
    expect(tiles).to_have_count(2)
    ids = [tiles.nth(i).get_attribute("data-picture") for i in range(2)]
    tiles.first.click()
    large, newer, older = (page.locator(name) for name in (
        ".kept-large", "#history-newer", "#history-older"))
    expect(large).to_have_attribute("src", re.compile(str(ids[0])))
    expect(newer).to_be_disabled()
    older.click()
    expect(large).to_have_attribute("src", re.compile(str(ids[1])))
    expect(older).to_be_disabled()
    page.keyboard.press("ArrowLeft")
    expect(large).to_have_attribute("src", re.compile(str(ids[0])))
    expect(older).to_be_enabled()
    page.keyboard.press("ArrowRight")
    expect(large).to_have_attribute("src", re.compile(str(ids[1])))
    newer.click()
    expect(large).to_have_attribute("src", re.compile(str(ids[0])))


def test_a_picture_is_kept_found_used_and_restored(visit: Callable[..., Page], app: App,
                                                   tmp_path: Path) -> None:
    page = visit()
    draw(page, SCRIPT)
    page.reload()
    page.wait_for_selector("#generate:not(:disabled)")
    history(page)
    tiles = page.locator("#kept .tile")
    expect(tiles).to_have_count(2)
    expect(tiles.first.locator("img")).to_have_attribute("alt", SCRIPT)
    expect(tiles.first.locator("img")).to_have_js_property("complete", True)
    assert tiles.first.locator("img").evaluate("image => image.naturalWidth") == 64
    expect(page.locator(".kept-run h3")).to_contain_text(SCRIPT)  # both are of one run
    expect(tiles.first.locator(".by")).to_have_text("Etching")
    for number in range(2):
        tiles.nth(number).locator(".pick").check()
    expect(page.locator("#kept-bar")).to_contain_text("2 selected")
    page.locator("#kept-bar").get_by_role("button", name="Favourite").click()
    expect(page.locator("#kept .heart:checked")).to_have_count(2)
    expect(page.locator("#kept-bar")).to_be_hidden()
    tiles.first.locator(".heart").uncheck()
    tiles.first.locator(".pick").check()
    page.locator("#kept-bar").get_by_role("button", name="Rerank").click()
    expect(page.locator("#rerank-chosen")).to_have_text(strings.CHOSEN_NOTE.format(1))
    history(page)
    expect(page.locator("#kept .heart:checked")).to_have_count(1)
    page.locator("#search-kept input, #search-kept textarea").fill("dog")
    expect(page.locator("#kept")).to_have_text(strings.HISTORY_NO_MATCH)
    page.locator("#search-kept input, #search-kept textarea").fill("CAT")
    expect(tiles).to_have_count(2)

    tiles.first.locator("button").click()
    expect(page.locator(".kept-prompt")).to_have_text(SCRIPT)
    seed = page.locator(".kept-facts dd").nth(1).inner_text()
    with page.expect_download() as saved:
        page.get_by_text(strings.SAVE_PNG).click()
    saved.value.save_as(tmp_path / "saved.png")
    assert str(read_png((tmp_path / "saved.png").read_bytes())["easel"]["seed"]) == seed
    page.locator("#rating").get_by_text("4", exact=True).click()
    page.locator("#favourite input").check()
    page.locator("#delete-kept").click()
    expect(page.locator(".kept-prompt small")).to_have_text(strings.DELETED_MARK)
    page.locator("#history-back").click()
    expect(tiles).to_have_count(1)
    page.get_by_role("button", name=strings.HISTORY_FILTERS).click()
    page.get_by_label(strings.HISTORY_DELETED).check()
    expect(page.locator("#kept [data-deleted] .tile")).to_have_count(1)
    tiles.first.locator("button").click()
    expect(page.locator("#delete-kept")).to_have_text(strings.RESTORE)
    expect(page.locator("#favourite input")).to_be_checked()
    page.locator("#delete-kept").click()
    expect(page.locator("#delete-kept")).to_have_text(strings.DELETE)

    page.get_by_role("tab", name=strings.TAB_GENERATE).click()
    page.locator("#prompt textarea").fill("something else")
    history(page)
    page.locator("#reuse").click()
    expect(page.locator("#filled-note")).to_contain_text("From Easel: prompt, seed, generator")
    expect(page.locator("#prompt textarea")).to_have_value(SCRIPT)
    expect(page.locator("#choose-sketch input")).not_to_be_checked()
    expect(page.locator("#count-etching input")).to_have_value("1")
    page.locator("#generate").click()
    expect(page.locator("#stage .tile.done .seed")).to_have_text([f"seed {seed}"])


def test_vary_draws_the_next_seeds_at_once(visit: Callable[..., Page]) -> None:
    page = visit()
    draw(page, "a dog")
    seeds = [int(text.removeprefix("seed ")) for text in
             page.locator("#stage .seed").all_inner_texts()]
    history(page)
    page.locator("#kept .tile button").first.click()
    page.locator("#vary").click()
    after = sorted((seed + 2) % 2**32 for seed in seeds)
    expect(page.locator("#stage .seed").first).to_have_text(
        re.compile("|".join(f"seed {seed}" for seed in after)))
    expect(page.locator("#stage .tile.done")).to_have_count(2)
    expect(page.locator("#generate")).to_be_enabled()
    page.locator("#settings .label-wrap").first.click()
    page.locator("#seed textarea, #seed input").fill("77")
    page.locator("#generate").click()
    expect(page.locator("#stage .seed").first).to_have_text(re.compile("seed 7[78]"))
    expect(page.locator("#generate")).to_be_enabled()
    history(page)
    page.locator("#history-back").click()
    kept = page.locator("#kept .tile")
    expect(kept).to_have_count(6)
    kept.locator("button").nth(3).click()  # a variation: it knows what it was made from
    expect(page.locator("#kin section")).to_have_count(1)
    expect(page.locator("#kin h3")).to_have_text(strings.ANCESTORS)
    page.locator("#kin button").first.click()  # and that one knows its variations
    expect(page.locator("#kin h3")).to_have_text(strings.DESCENDANTS)
    expect(page.locator("#kin .tile")).to_have_count(2)
    page.locator("#history-back").click()
    kept.locator("button").first.click()  # with another seed it is a drawing of its own
    expect(page.locator("#history-picture .kept-large")).to_be_visible()
    expect(page.locator("#kin section")).to_have_count(0)


def test_a_candidate_becomes_the_init_image_and_both_know_it(visit: Callable[..., Page]) -> None:
    page = visit()
    draw(page, "a seed")
    page.locator("#stage .tile.done button").first.click()
    page.locator("dialog[open]").get_by_text("Start Sketch from it").click()
    expect(page.locator("#filled-note")).to_contain_text("Sketch starts from the picture")
    shown = page.locator("#init-shown .given:not(.taken)")  # at the prompt, while it counts
    expect(shown.locator("img")).to_be_visible()
    shown.get_by_role("button", name="Take away: Sketch starts from this picture").click()
    expect(shown).to_have_count(0)
    page.locator("#stage .tile.done button").first.click()
    page.locator("dialog[open]").get_by_text("Start Sketch from it").click()
    expect(shown).to_contain_text("Sketch starts from this picture.")
    expect(page.locator("#choose-sketch input")).to_be_checked()
    expect(page.locator("#choose-etching input")).not_to_be_checked()
    page.locator("#prompt textarea").fill("a tree")
    page.locator("#count-sketch input").fill("1")
    page.locator("#generate").click()
    expect(page.locator('#stage .tile.done img[alt="a tree"]')).to_have_count(1)
    history(page)
    expect(page.locator("#kept .tile")).to_have_count(3)
    page.locator("#kept .tile button").first.click()
    kin = page.get_by_role("region", name=strings.ANCESTORS, exact=True)
    expect(kin.locator("img")).to_have_attribute("alt", "a seed")
    kin.locator("button").click()
    expect(page.locator(".kept-prompt")).to_have_text("a seed")
    expect(page.get_by_role("region", name=strings.DESCENDANTS, exact=True).locator("img")
           ).to_have_attribute("alt", "a tree")


def test_two_browsers_never_see_each_others_pictures(visit: Callable[..., Page], app: App) -> None:
    anna, ben = visit(), visit()
    draw(anna, "annas secret")
    history(ben)
    expect(ben.locator("#kept")).to_have_text(strings.HISTORY_NONE)
    history(anna)
    source = anna.locator("#kept img").first.get_attribute("src") or ""
    assert anna.request.get(app.url + source).status == 200
    assert ben.request.get(app.url + source).status == 404
    # Unless both know the password of the shared history.
    for page in (anna, ben):
        page.get_by_role("button", name=strings.SHARED_LABEL).click()
        page.locator("#shared-password input").fill("hush")
        page.locator("#sign-in").click()
        expect(page.locator("#history-shared")).to_contain_text(strings.SHARED_IN)
    draw(anna, "for all")
    ben.get_by_role("tab", name=strings.TAB_GENERATE).click()
    history(ben)
    expect(ben.locator("#kept img")).to_have_count(2)
    expect(ben.locator("#kept img").first).to_have_attribute("alt", "for all")
    ben.locator("#sign-out").click()
    expect(ben.locator("#kept")).to_have_text(strings.HISTORY_NONE)


def test_a_dropped_picture_brings_its_settings_back(visit: Callable[..., Page],
                                                    tmp_path: Path) -> None:
    page = visit()
    for name in ("png", "jpeg", "webp"):
        file = tmp_path / f"castle.{name}"
        file.write_bytes(A1111_FILES[name])
        page.locator("#prompt textarea").fill("something else")
        page.locator("#recall input[type=file]").set_input_files(file)
        expect(page.locator("#prompt textarea")).to_have_value(re.compile(r"^a castle, \(det"))
        expect(page.locator("#filled-note")).to_contain_text("Sampler Euler a")
    (tmp_path / "plain.png").write_bytes(b"no picture")
    page.locator("#recall input[type=file]").set_input_files(tmp_path / "plain.png")
    expect(page.locator("#filled-note [role=alert]")).to_contain_text("not a PNG, JPEG or WebP")
    page.get_by_role("button", name=strings.SETTINGS_LABEL).click()
    expect(page.locator("#seed input, #seed textarea")).to_have_value("965400086")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_all(visit: Callable[..., Page], scheme: str) -> None:
    page = visit(PHONE, scheme)
    draw(page, "a small cat")
    history(page)
    boxes = [page.locator("#kept .tile").nth(i).bounding_box() for i in (0, 1)]
    assert all(boxes)
    assert boxes[0]["y"] == boxes[1]["y"], "two in a row"  # type: ignore[index]
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    page.locator("#kept .tile button").first.click()
    expect(page.locator(".kept-large")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]


def test_a_history_that_is_empty_offers_pictures_by_easel(visit: Callable[..., Page]) -> None:
    page = visit()
    history(page)
    expect(page.locator("#kept")).to_have_text(strings.HISTORY_NONE)
    shown = page.get_by_role("button", name=strings.MATRIX_EXAMPLE)
    expect(shown.locator("img").last).to_have_js_property("complete", True)
    assert shown.locator("img").last.evaluate("image => image.naturalWidth") == 256
    shown.click()
    tiles = page.locator("#kept .tile")
    expect(tiles).to_have_count(4)
    expect(shown).to_be_hidden()
    expect(tiles.first.locator("img")).to_have_attribute("alt", strings.FIRST_PROMPT)
    page.locator("#search-kept :is(input, textarea)").fill("giraffe")
    expect(tiles).to_have_count(1)
    tiles.first.locator("button").click()
    expect(page.locator(".kept-prompt")).to_have_text("a giraffe right of a bicycle")
