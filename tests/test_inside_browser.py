"""Inside in headless Chromium, with small models: one page for all of its views."""

from __future__ import annotations

import re
import threading
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect

from easel.guard.visitors import COOKIE, visitor_named
from easel.ui.history.example import keep_examples
from easel.words import strings
from tests.inside_page import (
    OFF_THE_PICTURE,
    PROMPT,
    app,
    choose_first_picture,
    fits,
    page,
    view,
)
from tests.lab import write_pictures
from tests.served import App
from tests.test_browser import DESKTOP, PATIENCE_MS, browser, pytestmark
from tests.test_told import Held

__all__ = ["app", "browser", "page", "pytestmark"]


def test_the_score_is_taken_apart_and_walked_through_by_keys(page: Page) -> None:
    page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    page.locator("#inside .lab-parts button[role=tab]", has_text=strings.SCORE).click()
    page.locator("#inside-score-guess input, #inside-score-guess textarea").fill("<b>apple</b>")
    view(page, "score", strings.SCORE)
    stage = page.locator("#lab-inside-score-stage")
    expect(stage.locator(".inside-figure")).to_have_text(re.compile(r"^CLIP score [+-]\d\.\d{3}$"))
    expect(stage).to_contain_text("Your guess was “<b>apple</b>”.")
    expect(stage.locator(".lab-bars li")).to_have_count(11)
    expect(stage.locator(".heat img")).to_have_attribute("alt", PROMPT)
    cells, said = stage.locator(".cells [role=gridcell]"), stage.locator("output")
    expect(cells).to_have_count(64)
    assert stage.evaluate(OFF_THE_PICTURE) == []
    cells.first.focus()
    expect(said).to_have_text(re.compile("^Row 1, column 1: worth "))
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    expect(said).to_have_text(re.compile("^Row 2, column 7: worth "))
    expect(stage.locator("[tabindex='0'][role=gridcell]:focus")).to_have_count(1)
    expect(stage.locator("[tabindex='0'][role=gridcell]")).to_have_count(1)
    colour = "e => getComputedStyle(e).backgroundColor"
    assert cells.nth(14).evaluate(colour) != "rgba(0, 0, 0, 0)"
    stage.get_by_label(strings.SCORE_HEAT).uncheck()
    assert cells.nth(14).evaluate(colour) == "rgba(0, 0, 0, 0)"
    stage.get_by_label(strings.SCORE_HEAT).check()
    fits(page)


def test_who_waits_for_the_device_sees_the_place_in_line(app: App, page: Page) -> None:
    held = Held()
    other = threading.Thread(target=app.backend.inside, args=(held,))
    other.start()
    try:
        assert held.begun.wait(60)
        view(page, "score", strings.SCORE)
        stage = page.locator("#lab-inside-score-stage")
        expect(stage).to_contain_text("Waiting: ")
    finally:
        held.let_go.set()
        other.join(60)
    expect(stage.locator(".inside-figure")).to_be_visible()


def test_what_was_found_of_another_picture_goes(page: Page) -> None:
    codes, score = page.locator("#lab-inside-codes-stage"), page.locator("#lab-inside-score-stage")
    page.locator("#inside .lab-parts button[role=tab]", has_text=strings.CODES).click()
    for number in (2, 1):  # or a code of what an earlier test found is pressed
        page.locator("#inside-samples button").nth(number).click()
        expect(codes).to_have_text(strings.CODES_EMPTY)
    view(page, "codes", strings.CODES)
    codes.locator(".code-map [role=gridcell]").first.click()
    expect(page.locator("#inside-code h4").first).to_be_visible()
    page.locator("#patches .label-wrap").click()
    page.locator("#lab-inside-patches").click()
    patches = page.locator("#lab-inside-patches-stage")
    expect(patches.locator(".inside-figure")).to_be_visible()
    view(page, "score", strings.SCORE)
    expect(score.locator(".inside-figure")).to_be_visible()
    page.locator("#inside-samples button").first.click()  # the same once more
    page.locator("#inside-samples button").nth(1).click()
    expect(page.locator("#inside-prompt textarea")).to_have_value("four cats")
    expect(score).to_have_text(strings.SCORE_EMPTY)
    page.locator("#inside .lab-parts button[role=tab]", has_text=strings.CODES).click()
    expect(codes).to_have_text(strings.CODES_EMPTY)
    expect(patches).to_have_text(strings.PATCHES_EMPTY)
    expect(page.locator("#inside-code h4")).to_have_count(0)
    page.locator("#patches .label-wrap").click()
    view(page, "mix", strings.MIX)
    stage = page.locator("#lab-inside-mix-stage")
    expect(stage.locator(".inside-figure")).to_be_visible()
    page.locator(".inside-second .inside-choices button").nth(2).click()
    expect(stage).to_have_text(strings.MIX_EMPTY)
    page.locator("#lab-inside-mix").click()
    expect(stage.locator(".inside-figure")).to_be_visible()
    page.locator("#inside-picture").get_by_label("Clear").or_(page.locator(
        "#inside-picture [aria-label='Remove this file']")).first.click()
    expect(stage).to_have_text(strings.MIX_EMPTY)


def test_pictures_and_prompts_of_ones_own(app: App, page: Page, tmp_path: Path) -> None:
    page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    token = next(each.get("value", "") for each in page.context.cookies()
                 if each.get("name") == COOKIE)
    keep_examples(app.history, app.history.owner_of(visitor_named(token)))
    page.locator("#inside .lab-parts button[role=tab]", has_text=strings.SCORE).click()
    page.locator("#inside-own").click()
    expect(page.locator("#inside-kept button").nth(3)).to_be_visible()  # or more: others' runs
    page.locator("#inside-kept button").nth(1).click()
    expect(page.locator("#inside-prompt textarea")).to_have_value("four cats")
    first = page.locator("#inside-shown img").get_attribute("src")
    assert first
    [own] = write_pictures(tmp_path, 1)
    page.get_by_label("Clear").or_(page.locator("#inside-picture [aria-label='Remove this file']")
                                   ).first.click()
    page.locator("#inside-picture input[type=file]").set_input_files(own)
    expect(page.locator("#inside-shown img")).not_to_have_attribute("src", first)
    page.locator("#inside-prompt textarea").fill("apple")
    page.locator("#lab-inside-score").click()
    stage = page.locator("#lab-inside-score-stage")
    expect(stage).to_contain_text("The prompt has one word")
    expect(stage.locator(".heat img")).to_have_attribute("alt", "apple")
    page.locator("#inside-prompt textarea").fill(" ")
    page.locator("#lab-inside-score").click()
    expect(stage.locator("[role=alert]")).to_have_text(
        "The prompt is empty: say what the picture shows.")


def test_a_picture_whose_file_is_gone_says_so(app: App, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": DESKTOP[0], "height": DESKTOP[1]})
    page.set_default_timeout(PATIENCE_MS)
    taken: dict[Path, bytes] = {}
    try:
        page.goto(f"{app.url}?tab=inside.score")
        page.locator("#inside-own").click()
        expect(page.locator("#inside-kept [role=alert]")).to_have_text(
            "Your history has no such pictures.")
        token = next(each.get("value", "") for each in page.context.cookies()
                     if each.get("name") == COOKIE)
        owner = app.history.owner_of(visitor_named(token))
        keep_examples(app.history, owner)
        gone, *_ = app.history.page(owner, size=1).pictures
        for path in filter(Path.is_file, Path(app.data.name).rglob(f"*{gone.sha256}*")):
            taken[path] = path.read_bytes()
            path.unlink()
        page.locator("#inside-own").click()
        kept = page.locator(f'#inside-kept button[data-say="kept {gone.id}"]')
        expect(kept).to_have_text("The picture’s file is no longer there.")
        expect(kept.locator("img")).to_have_count(0)
        before = page.locator("#inside-shown img").get_attribute("src")
        kept.click()
        expect(page.locator("#inside-ask [role=alert]")).to_have_text(
            "The picture's file is no longer in the data folder.")
        assert page.locator("#inside-shown img").get_attribute("src") == before
        page.locator("#inside-samples button").nth(1).click()
        expect(page.locator("#inside-ask [role=alert]")).to_have_count(0)
    finally:
        page.close()
        for path, data in taken.items():  # others keep the same picture
            path.write_bytes(data)


def test_codes_are_pressed_and_exchanged(page: Page) -> None:
    view(page, "codes", strings.CODES)
    stage, detail = page.locator("#lab-inside-codes-stage"), page.locator("#inside-code")
    expect(stage.locator(".inside-figure")).to_have_text(
        re.compile(r"^\d+ different codes in 64 places, of 125 that there are$"))
    expect(stage).to_contain_text(strings.CODES_LEVELS.format(3, 5, "5 · 5 · 5", 125))
    expect(stage.locator("figcaption").first).to_contain_text("can be different codes")
    expect(stage.locator("figure img")).to_have_count(3)
    cells = stage.locator(".code-map [role=gridcell]")
    expect(cells).to_have_count(64)
    cells.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(detail.locator("h4").first).to_have_text(re.compile(r"^Code \d+ in row 1, column 2$"))
    expect(detail.locator(".near button")).to_have_count(9)  # the furthest among them
    here = detail.locator(".near .here")
    expect(here).to_contain_text(strings.CODES_HERE)
    before = cells.nth(1).get_attribute("aria-label")
    assert before is not None
    put = detail.locator(".near button").nth(2)
    number = put.locator("span").inner_text()
    put.click()
    expect(detail.locator("h4").first).to_have_text(f"Code {number} in row 1, column 2")
    expect(here.locator("span")).to_have_text(number)
    expect(detail.locator("figure")).to_have_count(2)
    expect(detail).to_contain_text("The picture with codes exchanged: 1")
    # The map and the line below it say what stands there now.
    now = f"Row 1, column 2: code {number}, in the place of the one that was read"
    expect(stage.locator("output")).to_have_text(now)
    expect(cells.nth(1)).to_have_attribute("aria-label", now)
    fits(page)
    page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    expect(detail.locator(".chips button")).to_have_count(1)  # nothing else was exchanged
    cells.nth(5).click()
    expect(detail.locator("h4").first).to_have_text(re.compile(r" in row 1, column 6$"))
    detail.locator(".near button").nth(1).click()
    expect(detail).to_contain_text("The picture with codes exchanged: 2")
    detail.locator(".chips button", has_text="Put back code ").click()
    expect(detail).to_contain_text("The picture with codes exchanged: 1")
    expect(stage.locator("output")).to_have_text(re.compile(r"^Row 1, column 6: code \d+$"))
    expect(detail.locator("h4").first).to_have_text(re.compile(r" in row 1, column 6$"))
    detail.get_by_role("button", name="Put back all codes").click()
    expect(detail.locator("figure")).to_have_count(1)
    expect(detail.locator(".chips button")).to_have_count(0)
    expect(cells.nth(1)).to_have_attribute("aria-label", before)
    view(page, "codes", strings.CODES)
    expect(detail.locator("h4")).to_have_count(0)


def test_patches_are_judged_and_walked_over_by_keys(page: Page) -> None:
    page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    page.locator("#inside .lab-parts button[role=tab]", has_text=strings.CODES).click()
    choose_first_picture(page)
    page.locator("#patches .label-wrap").click()
    page.locator("#inside-patches-guess input, #inside-patches-guess textarea").fill("the edges")
    page.locator("#lab-inside-patches").click()
    stage = page.locator("#lab-inside-patches-stage")
    expect(stage.locator(".inside-figure")).to_have_text(re.compile(
        r"^Mean logit [+-]\d+\.\d\d for the picture, [+-]\d+\.\d\d for its codes drawn$"))
    expect(stage).to_contain_text("Your guess was “the edges”.")
    expect(stage).to_contain_text("the VQGAN never heard it")
    expect(stage.locator("figure img")).to_have_count(2)
    expect(stage.get_by_alt_text(re.compile(
        rf"^{strings.CODES_DRAWN}: mean logit [+-]\d+\.\d\d$"))).to_be_visible()
    grids, said = stage.locator("[role=grid]"), stage.locator("output")
    expect(grids).to_have_count(2)
    cells = grids.last.locator("[role=gridcell]")
    expect(cells).to_have_count(64)
    cells.first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    expect(said).to_have_text(re.compile(r"^Row 2, column 8: logit [+-]\d+\.\d\d$"))
    colour = "e => getComputedStyle(e).backgroundColor"
    assert cells.nth(15).evaluate(colour) != "rgba(0, 0, 0, 0)"
    stage.get_by_label(strings.PATCHES_MAP).uncheck()
    assert cells.nth(15).evaluate(colour) == "rgba(0, 0, 0, 0)"
    stage.get_by_label(strings.PATCHES_MAP).check()
    assert stage.evaluate(OFF_THE_PICTURE) == []
    fits(page)
    page.locator("#patches .label-wrap").click()


def test_two_pictures_are_mixed_by_a_painted_mask(page: Page, tmp_path: Path) -> None:
    page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    page.locator("#inside .lab-parts button[role=tab]", has_text=strings.MIX).click()
    choose_first_picture(page)
    stage, grid = page.locator("#lab-inside-mix-stage"), page.locator("#inside-mix-mask-cells")
    cells, said = grid.locator("[role=gridcell]"), grid.locator("output")
    expect(cells).to_have_count(256)
    kept = grid.locator("[aria-selected=true]")
    expect(kept).to_have_count(128)
    page.locator(".mask-field").get_by_role("button", name=strings.MASK_NOTHING).click()
    expect(kept).to_have_count(0)
    page.locator("#lab-inside-mix").click()
    expect(stage.locator("[role=alert]")).to_have_text(
        "The mask keeps none of the codes: keep some of them.")
    cells.first.focus()  # by keys
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(said).to_have_text("2 of 256 stay")
    page.keyboard.press("Space")
    expect(said).to_have_text("1 of 256 stay")
    # By the pointer, clear of the buttons that stick to the lower edge.
    grid.evaluate("(e) => e.scrollIntoView({ block: 'center' })")
    start, end = cells.nth(32).bounding_box(), cells.nth(47).bounding_box()
    assert start
    assert end
    page.mouse.move(start["x"] + 8, start["y"] + 8)
    page.mouse.down()
    page.mouse.move(end["x"] + 8, end["y"] + 8, steps=40)
    page.mouse.up()
    expect(said).to_have_text("17 of 256 stay")
    page.locator(".mask-field").get_by_role("button", name=strings.MASK_INVERT).click()
    expect(said).to_have_text("239 of 256 stay")
    Image.new("L", (60, 60), 0).save(tmp_path / "mask.png")
    page.locator("#inside-mix-mask-file input[type=file]").set_input_files(tmp_path / "mask.png")
    expect(page.locator(".mask-field:visible [role=alert]")).to_have_text(
        "The mask keeps all codes: leave some of them out.")
    white = Image.new("L", (60, 60), 0)
    white.paste(255, (0, 0, 60, 15))
    white.save(tmp_path / "mask.png")
    page.locator("#inside-mix-mask-file [aria-label='Remove this file']").or_(
        page.locator("#inside-mix-mask-file").get_by_label("Clear")).first.click()
    page.locator("#inside-mix-mask-file input[type=file]").set_input_files(tmp_path / "mask.png")
    expect(kept).to_have_count(192)
    page.locator("#lab-inside-mix").click()
    expect(stage.locator(".inside-figure")).to_have_text(
        "48 codes of the first picture, 16 of the second")
    expect(stage.locator("figure img")).to_have_count(5)
    expect(stage.get_by_alt_text(strings.MIX_TOGETHER)).to_be_visible()
    fits(page)
