"""Comparing and reranking in headless Chromium, as a person does it."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from easel.words import strings
from tests.served import App
from tests.test_browser import (
    CHROMIUM,
    CONTRASTS,
    DESKTOP,
    PHONE,
    app,
    browser,
    open_page,
)

__all__ = ["app", "browser", "open_page"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def set_option(page: Page, pane: int, name: str, value: str) -> None:
    form = page.locator(f'.pane-form[data-pane="{pane}"]')
    if not form.locator("> details").evaluate("d => d.open"):
        form.locator("> details > summary").click()
    form.locator(f'fieldset:not([hidden]) [data-option="{name}"]').fill(value)


def test_three_panes_one_stopped_then_a_vote(open_page, app: App) -> None:
    before = len(app.playground.votes.votes(blind=None))
    page = open_page(DESKTOP)
    open_tab(page, strings.TAB_COMPARE)
    page.get_by_text(strings.ADD_PANE).click()
    expect(page.locator(".pane-form:not([hidden])")).to_have_count(3)
    page.locator("#compare-prompt textarea").fill("a <b>red</b> apple")
    set_option(page, 0, "steps", "2000")
    page.locator('.pane-form[data-pane="2"] [data-field=num_images]').fill("2")
    page.keyboard.press("Control+Enter")
    panes = page.locator(".pane")
    expect(panes).to_have_count(3)
    expect(panes.nth(0).locator("img")).to_have_attribute("src", re.compile("^data:image/jpeg"))
    for place, count in ((1, 1), (2, 2)):
        expect(panes.nth(place).locator(".tile.done")).to_have_count(count)
    expect(page.locator("#vote-0")).to_have_count(0)
    page.get_by_role("button", name="Stop A").click()
    expect(panes.nth(0).locator(".status")).to_contain_text("the best so far is kept")
    expect(panes.nth(0).locator(".score")).to_contain_text("CLIP 0.")
    expect(panes.nth(1).locator(".usage")).to_contain_text("on the device")
    expect(page.locator("#compare-run")).to_be_enabled()
    assert panes.nth(2).locator("img").first.get_attribute("alt") == "a <b>red</b> apple"
    assert page.evaluate(CONTRASTS) == {}
    page.locator("#vote-1").click()
    expect(page.locator("#outcome")).to_contain_text("You chose B · Etching.")
    expect(page.locator("#vote-1")).to_have_count(0)
    assert [vote.choice for vote in app.playground.votes.votes(blind=None)[before:]] == [1]
    app.wait_until_idle()


def test_a_comparison_by_easel_is_there_to_try(open_page, app: App) -> None:
    before = [len(app.playground.votes.votes(blind=blind)) for blind in (None, True)]
    page = open_page(DESKTOP)
    open_tab(page, strings.TAB_COMPARE)
    shown = page.get_by_role("button", name=strings.COMPARE_EXAMPLE)
    expect(shown.locator("img")).to_have_count(3)
    expect(shown.locator("img").last).to_have_js_property("naturalWidth", 256)
    shown.click()
    expect(page.locator("#panes .tile.done img:visible")).to_have_count(3)
    expect(page.locator("#compare-prompt textarea")).to_have_value(
        "an orange cat and a blue umbrella")
    expect(shown).to_have_count(0)
    page.locator("#vote-1").click()
    expect(page.locator("#outcome")).to_contain_text("You chose")
    expect(page.locator("#outcome .hint")).to_have_text(strings.VOTE_UNCOUNTED)
    after = [len(app.playground.votes.votes(blind=blind)) for blind in (None, True)]
    assert after == before, "its pictures were not drawn on this server"


def test_a_blind_vote_on_a_phone(open_page) -> None:
    page = open_page(PHONE, "dark")
    open_tab(page, strings.TAB_COMPARE)
    page.locator("#compare-blind input").check()
    page.locator("#compare-run").click()
    panes = page.locator(".pane")
    expect(page.get_by_role("button", name=strings.VOTE_LEFT)).to_be_visible()
    for button in page.locator("#vote button").all():
        assert button.bounding_box()["height"] >= 44
    for place in (0, 1):
        expect(panes.nth(place).locator("h2")).to_have_text(f"Picture {place + 1}")
        expect(panes.nth(place).locator(".score")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    page.get_by_role("button", name=strings.VOTE_TIE).click()
    expect(page.locator("#outcome")).to_contain_text("tie")
    titles = sorted(panes.locator("h2").all_text_contents())
    assert titles == ["A · Sketch", "B · Etching"]
    page.locator("#compare-prompt textarea").fill("  ")
    page.locator("#compare-run").click()
    expect(page.get_by_role("alert")).to_have_text("The prompt is empty: say what to draw.")


def test_pictures_are_on_the_first_screen_and_a_key_votes(open_page, app: App) -> None:
    before = len(app.playground.votes.votes(blind=None))
    page = open_page((1024, 768))
    open_tab(page, strings.TAB_COMPARE)
    page.locator("#compare-run").click()
    expect(page.locator("#vote-1")).to_be_visible()
    expect(page.locator(".pane .tile.done")).to_have_count(2)
    # At once: what is measured one after the other may be drawn anew in between.
    boxes = page.evaluate("""() => [...document.querySelectorAll(".pane .frame, #vote button")]
        .filter((e) => e.checkVisibility()).map((e) => e.getBoundingClientRect().toJSON())""")
    assert len(boxes) == 6, "two pictures, four answers"
    assert all(box["bottom"] <= 768 for box in boxes), "pictures and answers on the first screen"
    assert all(box["bottom"] < boxes[2]["top"] for box in boxes[:2]), "none under the answers"
    assert boxes[-1]["right"] - boxes[2]["left"] > 900, "as wide as the pictures"
    page.locator("#compare-prompt textarea").press("2")  # while typing it is a character
    expect(page.locator("#vote-1")).to_be_visible()
    page.locator("#compare-prompt textarea").blur()
    page.keyboard.press("2")
    expect(page.locator("#outcome")).to_contain_text("You chose B")
    assert [vote.choice for vote in app.playground.votes.votes(blind=None)[before:]] == [1]
    page.locator("#compare-blind input").check()
    page.locator("#compare-run").click()
    expect(page.locator("#vote .vote-label p")).to_contain_text("Click the best picture")
    page.locator(".pane").nth(0).locator("div.frame").click()
    expect(page.locator("#outcome")).to_contain_text("You chose")
    page.locator("#leaderboard .label-wrap").click()
    page.get_by_label(strings.LEADERS_OPEN).check()
    expect(page.locator("#leaders")).to_contain_text("10 votes between it and another")
    expect(page.locator("#leaders tbody td").first).to_have_text("–")


def test_a_grid_proposes_values_of_options_that_apply(open_page) -> None:
    page = open_page(DESKTOP)
    open_tab(page, strings.TAB_COMPARE)
    page.locator("#sweep .label-wrap").click()
    values = page.locator("#sweep-values-across textarea, #sweep-values-across input")
    for option, proposed in (("Blur", "none, soft"), ("Fail", "on, off"), ("Steps", "3, 6, 12")):
        page.locator("#sweep-across input").click()
        page.locator("#sweep-across").get_by_role("option", name=option).click()
        expect(values).to_have_value(proposed)
    values.fill("4, 5")
    page.locator("#sweep-across input").focus()
    page.keyboard.press("Tab")
    page.locator("#sweep-down input").click()
    page.locator("#sweep-down").get_by_role("option", name="Blur").click()
    expect(page.locator("#sweep-values-down").get_by_role("textbox")).to_have_value("none, soft")
    expect(values).to_have_value("4, 5")


def test_a_ticked_box_looks_ticked(open_page) -> None:
    page = open_page(DESKTOP)
    open_tab(page, strings.TAB_COMPARE)
    form = page.locator('.pane-form[data-pane="0"]')
    form.locator("> details > summary").click()
    form.locator("fieldset:not([hidden]) summary").click()
    box = form.locator("fieldset:not([hidden]) input[type=checkbox]").first
    looks = []
    for ticked in (True, False):
        box.set_checked(ticked)
        page.mouse.move(0, 0)
        with Image.open(io.BytesIO(box.screenshot(animations="disabled"))) as shot:
            looks.append(np.asarray(shot.convert("L"), np.float32))
    assert np.abs(looks[0] - looks[1]).mean() > 20, "of 255 levels of grey"


def test_a_comparison_is_saved_and_opened_again(open_page, tmp_path: Path) -> None:
    page = open_page(DESKTOP)
    open_tab(page, strings.TAB_COMPARE)
    page.locator("#compare-prompt textarea").fill("a green bus")
    set_option(page, 0, "steps", "4")
    page.locator("#compare-run").click()
    expect(page.locator("#vote-0")).to_be_visible()
    page.locator("#vote-0").click()
    expect(page.locator("#outcome")).to_contain_text("You chose A · Sketch.")
    with page.expect_download() as saved:
        page.locator("#compare-save").click()
    saved.value.save_as(tmp_path / "saved.zip")
    with zipfile.ZipFile(tmp_path / "saved.zip") as archive:
        archive.extractall(tmp_path / "saved")
    alone = page.context.new_page()  # without Easel, and without a network
    alone.route("http*://**", lambda route: route.abort())
    alone.goto((tmp_path / "saved" / "index.html").as_uri())
    assert alone.locator("h1").text_content() == "a green bus"
    assert alone.locator("img").evaluate_all("all => all.map((i) => i.naturalWidth)") == [64, 64]
    page.locator("#compare-prompt textarea").fill("something else")
    page.locator("#compare-open .label-wrap").click()
    page.locator("#compare-open input[type=file]").set_input_files(tmp_path / "saved.zip")
    expect(page.locator("#compare-prompt textarea")).to_have_value("a green bus")
    expect(page.locator("#outcome")).to_contain_text("You chose A · Sketch.")
    expect(page.locator('.pane-form[data-pane="0"] fieldset:not([hidden]) [data-option=steps]')
           ).to_have_value("4")
    page.locator("#compare-run").click()
    expect(page.locator("#vote-0")).to_be_visible()


def test_a_pane_draws_a_prompt_of_its_own(open_page, app: App, tmp_path: Path) -> None:
    page = open_page(DESKTOP)
    open_tab(page, strings.TAB_COMPARE)
    page.locator("#compare-prompt textarea").fill("a green bus")
    second = page.locator('.pane-form[data-pane="1"]')
    second.locator("> details > summary").click()
    second.get_by_label(strings.PANE_PROMPT).fill("a red bus")
    page.locator("#compare-run").click()
    expect(page.locator("#vote-0")).to_be_visible()
    panes = page.locator(".pane .pane-prompt")
    expect(panes).to_have_text(["a green bus", "a red bus"])
    expect(page.locator(".pane").nth(1).locator("img").first).to_have_attribute(
        "alt", re.compile("a red bus"))
    page.locator("#vote-0").click()
    expect(page.locator("#outcome")).to_contain_text(strings.VOTE_PROMPTS)
    with page.expect_download() as saved:
        page.locator("#compare-save").click()
    saved.value.save_as(tmp_path / "saved.zip")
    second.get_by_label(strings.PANE_PROMPT).fill("")
    page.locator("#compare-open .label-wrap").click()
    page.locator("#compare-open input[type=file]").set_input_files(tmp_path / "saved.zip")
    expect(page.locator("#compare-prompt textarea")).to_have_value("a green bus")
    expect(second.locator("[data-field=prompt]")).to_have_value("a red bus")
    page.locator("#compare-run").click()
    expect(page.locator("#vote-0")).to_be_visible()
    expect(panes).to_have_text(["a green bus", "a red bus"])


@pytest.mark.parametrize(("table", "labels", "says"), [
    (b"prompt,steps\na red cat,2\na dog,3\n", ["Seed 1", "Seed 2", "a red cat", "a dog"], ""),
    (b"prompt,stepz\na red cat,2\n", [], "There is no option called")])
def test_a_grid_takes_its_rows_from_a_file(open_page, table: bytes, labels: list[str],
                                           says: str) -> None:
    page = open_page(DESKTOP)
    open_tab(page, strings.TAB_COMPARE)
    page.locator("#sweep .label-wrap").click()
    page.locator("#sweep-values-across textarea, #sweep-values-across input").fill("1..2")
    page.locator('#sweep-file input[type="file"]').set_input_files(
        {"name": "list.csv", "mimeType": "text/csv", "buffer": table})
    expect(page.locator("#sweep-file")).to_contain_text("list")
    page.locator("#sweep-run").click()
    if says:
        expect(page.locator("#sweep-alert")).to_contain_text(says)
    expect(page.locator("#sweep-stage .tile.done")).to_have_count(0 if says else 4)
    expect(page.locator("#sweep-stage .label")).to_have_text(labels)


def test_a_grid_over_seeds_and_prompts(open_page) -> None:
    page = open_page(DESKTOP)
    open_tab(page, strings.TAB_COMPARE)
    page.locator("#compare-prompt textarea").fill("a {red|blue} __an")
    page.locator("[data-complete=__animal__]").click()
    expect(page.locator("#compare-prompt textarea")).to_have_value("a {red|blue} __animal__ ")
    page.locator("#sweep .label-wrap").click()
    page.locator("#sweep-values-across textarea, #sweep-values-across input").fill("1..3")
    page.locator("#sweep-run").click()
    expect(page.locator("#sweep-stage .tile").first).to_be_visible()
    expect(page.locator("#sweep-stage .tile.done")).to_have_count(6)
    expect(page.locator("#sweep-stage .label")).to_have_count(5)
    # No side says which animal a cell was drawn of, so the cell does.
    filled = page.locator("#sweep-stage .tile.done .from")
    expect(filled).to_have_text([re.compile(r"^a red \w")] * 3 + [re.compile(r"^a blue \w")] * 3)
    expect(page.locator("#compare-note .chip[data-prompt]")).to_have_count(0)
    with page.expect_download() as saved:
        page.get_by_text(strings.SWEEP_SAVE).click()
    assert saved.value.suggested_filename == "grid.png"


@pytest.mark.parametrize("how", ["the button", "Escape"])
def test_a_grid_is_stopped(app: App, open_page, how: str) -> None:
    page = open_page(DESKTOP)
    open_tab(page, strings.TAB_COMPARE)
    page.locator("#sweep .label-wrap").click()
    page.locator("#sweep-across input").click()
    page.locator("#sweep-across").get_by_role("option", name="Steps").click()
    values = page.locator("#sweep-values-across textarea, #sweep-values-across input")
    expect(values).not_to_have_value("1..4")  # or what is proposed comes over what is typed
    values.fill("1991..2000")
    values.press("Control+Enter")  # inside the fold it is the grid that is drawn
    expect(page.locator("#sweep-stage .tile img[src^='data:image/jpeg']")).to_have_count(1)
    expect(page.locator("#compare-run")).to_be_enabled()
    if how == "Escape":
        page.keyboard.press("Escape")
    else:
        # A real click waits for a page that stands still, as this one may not for long.
        page.locator("#sweep-stop").dispatch_event("click")
    expect(page.locator("#sweep-run")).to_be_enabled()
    expect(page.locator("#sweep-stop")).to_be_disabled()
    # The best so far, perhaps after some that were finished by then, and not the whole grid.
    done = page.locator("#sweep-stage .tile.done")
    expect(done).not_to_have_count(0)
    assert done.count() < 10
    expect(page.locator("#sweep-stage .tile img[src^='data:']")).to_have_count(0)
    expect(page.get_by_role("alert")).to_have_count(0)
    app.wait_until_idle()


@pytest.mark.weights("clip-ranker")
def test_the_last_run_and_what_the_history_shows_are_candidates(open_page) -> None:
    page = open_page(DESKTOP)
    open_tab(page, strings.TAB_RERANK)
    page.get_by_label(strings.SOURCE_LAST).check()
    page.locator("#rerank-run").click()
    expect(page.get_by_role("alert")).to_have_text(strings.NO_LAST_RUN)
    open_tab(page, strings.TAB_COMPARE)
    page.locator("#compare-prompt textarea").fill("a yellow duck")
    page.locator('.pane-form[data-pane="0"] [data-field=num_images]').fill("2")
    page.locator("#compare-run").click()
    expect(page.locator("#vote-0")).to_be_visible()
    open_tab(page, strings.TAB_RERANK)
    page.locator("#rerank-run").click()
    expect(page.locator(".ranked .tile")).to_have_count(3)
    names = sorted(page.locator(".ranked .from").all_text_contents())
    assert [name.split()[0] for name in names] == ["Etching", "Sketch", "Sketch"]
    open_tab(page, strings.TAB_GENERATE)
    page.locator("#prompt textarea").fill("a red boat")  # what stands there may be yellow
    page.locator("#count-sketch input").fill("1")
    page.locator("#choose-etching input").uncheck()
    page.locator("#generate").click()
    expect(page.locator("#stage .tile.done")).to_have_count(1)
    expect(page.locator("#generate")).to_be_enabled()
    open_tab(page, strings.TAB_HISTORY)
    page.locator("#search-kept textarea, #search-kept input").fill("yellow")
    expect(page.locator("#kept .tile")).to_have_count(3)
    page.locator("#rerank-these").click()
    expect(page.locator("#rerank-chosen")).to_have_text(strings.CHOSEN_NOTE.format(3))
    # As many as were ranked before, so that only what takes their place says that this has ended.
    page.locator(".ranked").evaluate("(ranked) => { ranked.dataset.old = ''; }")
    page.locator("#rerank-run").click()
    expect(page.locator(".ranked[data-old]")).to_have_count(0)
    expect(page.locator(".ranked .tile")).to_have_count(3)
    page.get_by_label(strings.SOURCE_LAST).check()
    prompts = page.locator("#rerank-prompts textarea")
    expect(prompts).to_have_value("a red boat")  # what they were drawn for
    page.locator("#rerank-run").click()
    expect(page.locator(".ranked .tile")).to_have_count(1)
    other_words = page.get_by_text(strings.RERANK_OTHER_WORDS.format("a red boat"))
    expect(other_words).to_have_count(0)
    prompts.fill("a green boat")
    page.locator("#rerank-run").click()
    expect(other_words).to_be_visible()


@pytest.mark.weights("clip-ranker")
def test_uploads_are_put_in_order(open_page, tmp_path: Path) -> None:
    page = open_page(DESKTOP)
    files = []
    for name, colour in (("red.png", "red"), ("blue.jpg", "blue"), ("green.webp", "green")):
        Image.new("RGB", (96, 64), colour).save(tmp_path / name)
        files.append(tmp_path / name)
    open_tab(page, strings.TAB_RERANK)
    page.locator("#rerank-run").click()
    expect(page.get_by_role("alert")).to_have_text("There are no pictures to put in order.")
    page.locator("#rerank-files input[type=file]").set_input_files(files * 22)
    expect(page.locator("#rerank-limit")).to_have_text("66 pictures are too many: 64 is the most.")
    page.locator("#rerank-files input[type=file]").set_input_files(files)
    expect(page.locator("#rerank-files")).to_contain_text("red")
    expect(page.locator("#rerank-limit")).to_be_hidden()
    page.locator("#rerank-prompts textarea").fill("a red apple\na tomato")
    page.locator("#rerank-against textarea, #rerank-against input").fill("snow")
    page.locator("#rerank-keep input").fill("2")
    page.locator("#rerank-run").click()
    expect(page.locator(".ranked .tile")).to_have_count(2)
    expect(page.locator("table.heat tbody tr")).to_have_count(3)
    expect(page.locator("table.heat thead th")).to_have_count(3)
    scores = [float(text) for text in page.locator(".bar-value").all_text_contents()]
    assert scores == sorted(scores, reverse=True)
    # One table, whose heads sort; the others are views of the same.
    rows = page.locator("table.figures tbody tr")
    expect(rows.locator("img:visible")).to_have_count(3)
    expect(page.locator(".bars")).to_be_hidden()
    page.get_by_role("button", name="a tomato").click()
    cosines = [float(text) for text in rows.locator("td:nth-child(5)").all_text_contents()]
    assert cosines == sorted(cosines, reverse=True)
    page.get_by_role("button", name=strings.RANK_RANK, exact=True).click()
    expect(rows.locator("td:first-child")).to_have_text(["1", "2", "3"])
    page.get_by_role("radio", name=strings.RANK_BARS).check()
    expect(page.locator(".bars")).to_be_visible()
    expect(page.locator("table.figures")).to_be_hidden()
    with page.expect_download() as saved:
        page.locator("#rerank-save").click()
    saved.value.save_as(tmp_path / "best.zip")
    with zipfile.ZipFile(tmp_path / "best.zip") as archive:
        assert [name[:3] for name in archive.namelist()] == ["01-", "02-"]
    page.locator("#rerank-example").click()  # pictures of the product, with two of their prompts
    expect(page.locator("table.figures tbody tr")).to_have_count(4)
