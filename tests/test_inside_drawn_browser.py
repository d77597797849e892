"""Inside's views of what generators draw and read, in headless Chromium with small models."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from easel.words import strings
from pipelines.inside.loop import shown_steps
from tests.inside_page import OFF_THE_PICTURE, PROMPT, app, contrastive, fits, page, view
from tests.test_browser import DESKTOP, SOFT, browser, pytestmark

__all__ = ["app", "browser", "page", "pytestmark"]


def test_the_stream_is_walked_through_block_by_block(page: Page) -> None:
    view(page, "stream", strings.STREAM)
    stage = page.locator("#lab-inside-stream-stage")
    expect(stage.locator(".inside-figure")).to_have_text(
        re.compile(r"^A surprise of [\d.]+ nats with “.+”$"))
    # Small models with other weights drew nothing of the kind.
    expect(stage).to_contain_text("These codes were read of the picture")
    plan = stage.locator("table.plan tbody tr")
    assert [row.split("\t")[:2] for row in plan.all_inner_texts()][:6] == [
        ["Style", "photograph"], ["Background", "white"], ["Thing 1, column", "0"],
        ["Thing 1, row", "0"], ["Thing 1, side", "16"],
        ["Thing 1, way", "at once"]]
    expect(plan).to_have_count(7)
    expect(plan.last).to_contain_text("no further thing")
    grids = stage.locator(".stream-layers .cells")
    expect(grids).to_have_count(2)
    expect(stage.locator(".stream-layers figcaption")).to_have_text(["Ground", "Thing 1"])
    cells, said = stage.locator(".cells [role=gridcell]"), stage.locator("output")
    expect(cells).to_have_count(32)
    tables = stage.locator("[data-cell] table.blocks:visible")
    expect(tables).to_have_count(1)
    expect(stage).to_contain_text("A block is four codes of 125 each")
    assert re.search(r"one: row \d, column \d of (the ground|thing 1), ", stage.inner_text())
    # It opens on a block that Tab comes to and that is marked.
    expect(cells.and_(page.locator("[tabindex='0']"))).to_have_count(2)
    marked = cells.and_(page.locator("[aria-current='true']"))
    expect(marked).to_have_attribute("tabindex", "0")
    first = marked.get_attribute("data-said")
    assert first
    expect(tables.locator("caption")).to_have_text(re.compile(f"^{first.split(':')[0]}: "))
    grids.last.locator("[role=gridcell]").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    expect(said).to_have_text(re.compile("^Row 2, column 2 of thing 1: "))
    expect(marked).to_have_attribute("data-said", re.compile("^Row 2, column 2 of thing 1: "))
    expect(tables).to_have_count(1)
    expect(tables.locator("caption")).to_have_text(re.compile("^Row 2, column 2 of thing 1: "))
    expect(tables.locator("tbody tr")).to_have_count(6)
    why = stage.locator("[data-cell]:visible > .lab-note", has_text="surprise of")
    expect(why).to_have_text(re.compile(r"^A surprise of [\d.]+ nats: .+ (%|1 in [\d,]+)"))
    words = stage.locator(".looked:visible li")
    expect(words).to_have_count(11)
    expect(words.nth(2)).to_have_text(re.compile(r"^apple [\d.]+ %$"))
    maps = stage.locator(".looked-maps img")
    expect(maps).to_have_count(22)
    expect(maps.nth(5)).to_have_attribute("alt", re.compile(
        r"^apple, Thing 1: [\d.]+ % at most$"))
    expect(stage.locator(".looked-maps figcaption").nth(2)).to_have_text(
        re.compile(r"^apple, [\d.]+ % at most$"))
    size = "e => [getComputedStyle(e).backgroundSize, getComputedStyle(e).backgroundPosition]"
    assert tables.locator(".patch").nth(1).evaluate(size) == ["336px 1792px", "-56px -1176px"]
    stage.locator(".looked-fold summary").click()
    expect(maps.first).to_be_visible()
    assert stage.evaluate(OFF_THE_PICTURE) == []
    before = tables.inner_text()
    page.locator("#stream-options .label-wrap").click()
    slider = page.locator("#inside-stream-temperature input[type=number]")
    slider.fill("2")
    slider.press("Enter")
    expect(stage.locator(".inside-figure")).to_be_visible()
    cells.nth(5).focus()
    expect(tables).not_to_have_text(before)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    slider.focus()
    slider.blur()
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    assert not [url for url in asked if "queue/join" in url], "it was left as it was"
    assert page.evaluate(SOFT) == []
    fits(page)


def test_a_picture_is_gone_on_with_in_several_ways(page: Page) -> None:
    view(page, "complete", strings.COMPLETE)
    stage = page.locator("#lab-inside-complete-stage")
    expect(stage.locator(".inside-figure")).to_have_text("64 of 128 codes written")
    expect(stage).to_contain_text("was squeezed into a square and read as one thing that fills it")
    expect(stage.locator("figure")).to_have_count(5)
    expect(stage.get_by_alt_text(f"Completion 1, seed 0: {PROMPT}")).to_be_visible()
    first = stage.locator("figure img").nth(2).get_attribute("src")
    assert first
    count = page.locator("#inside-complete-count input[type=number]")
    count.fill("2")
    count.press("Enter")
    expect(stage.locator("figure")).to_have_count(4)
    count.fill("1")
    seed = page.locator("#inside-complete-seed input")
    seed.fill("5")
    seed.blur()
    page.locator("#lab-inside-complete").click()
    expect(stage.locator("figure")).to_have_count(3)
    expect(stage.locator("figcaption").last).to_have_text("Completion 1, seed 5")
    expect(stage.locator("figure img").nth(2)).not_to_have_attribute("src", first)
    seed.fill("0")
    seed.blur()
    page.locator("#lab-inside-complete").click()
    expect(stage.locator("figcaption").last).to_have_text("Completion 1, seed 0")
    expect(stage.locator("figure img").nth(2)).to_have_attribute("src", first)
    chips = page.locator(".mask-field:visible")
    chips.get_by_role("button", name=strings.MASK_NOTHING).click()
    page.locator("#lab-inside-complete").click()
    expect(stage.locator("[role=alert]")).to_have_text(
        "The mask keeps none of the codes: keep some of them.")
    chips.get_by_role("button", name=strings.MASK_SHAPES[0]).click()
    page.locator("#lab-inside-complete").click()
    expect(stage.locator("figure")).to_have_count(3)
    fits(page)


def test_pairs_are_compared_at_a_temperature(page: Page) -> None:
    contrastive(page)
    texts = page.locator("#inside-contrast-texts textarea")
    expect(texts).to_have_value(re.compile(f"^{PROMPT}\nfour cats\n"))
    page.locator("#lab-inside-contrast").click()
    stage = page.locator("#lab-inside-contrast-stage")
    expect(stage.locator(".inside-figure")).to_have_text(re.compile(r"^Loss \d+\.\d{3} nats$"))
    expect(stage.locator("table.matrix:visible tbody tr")).to_have_count(4)
    stage.get_by_label(strings.MATRIX_SIMILARITIES).check()
    expect(stage.locator("table.matrix:visible caption")).to_have_text(strings.MATRIX_SIMILARITIES)
    slider = page.locator("#inside-contrast-temperature input[type=number]")
    slider.fill("1")
    slider.press("Enter")
    expect(stage).to_contain_text("At a temperature of 1.000")
    expect(stage).to_contain_text("1.39 where one of 4 is guessed")
    before = strings.CONTRAST_BEFORE.format(
        stage.locator(".inside-figure").inner_text().split()[1])
    expect(stage).not_to_contain_text(before)
    first, second, *others = texts.input_value().splitlines()
    texts.fill("\n".join([second, first, *others]))
    page.locator("#lab-inside-contrast").click()
    expect(stage).to_contain_text(before)
    fits(page)
    texts.fill("a cat")
    page.locator("#lab-inside-contrast").click()
    expect(stage.locator("[role=alert]")).to_have_text(
        "Every picture needs its own text, one a line; pictures: 4, texts: 1.")


def test_a_picture_that_is_drawn_is_looked_into(page: Page) -> None:
    page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    page.get_by_role("tab", name=strings.TAB_GENERATE, exact=True).click()
    page.locator("#prompt textarea").fill("two dogs and a kite")
    page.locator("#generate").click()
    expect(page.locator(".panel.ranking .tile.done")).to_have_count(8)
    page.locator("#stage button.frame:visible").first.click()
    shown = page.locator("#inside-shown img")
    before = shown.get_attribute("src") if shown.count() else ""  # of another test
    page.locator("dialog[open]").get_by_role("button", name="Look inside").click()
    expect(page.locator("#inside-prompt textarea")).to_be_visible()
    expect(page.locator("#inside-prompt textarea")).to_have_value("two dogs and a kite")
    expect(shown).to_be_visible()
    expect(shown).not_to_have_attribute("src", before or "")


def test_the_loop_is_walked_through_for_two_prompts(page: Page) -> None:
    page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    page.locator("#inside .lab-parts button[role=tab]", has_text=strings.LOOP).click()
    page.locator("#inside-samples button").first.click()
    expect(page.locator("#inside-prompt textarea")).to_have_value(PROMPT)
    page.locator("#inside-loop-other textarea, #inside-loop-other input").fill("a blue apple")
    page.locator("#inside-loop-steps input[type=number]").fill("12")
    page.locator("#inside-loop-seed input").fill("7")
    expect(page.locator("#inside-loop-seed")).to_contain_text(strings.LOOP_SEED_INFO)
    page.locator("#inside-loop-cutouts input[type=number]").fill("3")
    page.locator("#inside-loop-cutouts input[type=number]").blur()
    page.locator("#lab-inside-loop").click()
    stage = page.locator("#lab-inside-loop-stage")
    expect(stage.locator(".inside-figure")).to_have_text(
        re.compile(r"^Loss from \d\.\d{3} to \d\.\d{3} in 12 steps; "))
    expect(stage.locator(".film:has(img)")).to_have_count(2)
    expect(stage.locator(".curve")).to_have_count(4)  # of each the loss, and the ranker's cosine
    assert stage.locator(".film").last.locator("span").all_inner_texts() == [
        str(step) for step in shown_steps(12)]
    expect(stage).to_contain_text("which does not guide: from ")
    expect(stage).to_contain_text(strings.LOOP_FROM.format(7, strings.LOOP_SEED))
    shown = stage.locator("section[data-cell]:visible")
    expect(shown.locator("h4")).to_have_text("Step 12 of 12")
    expect(shown.locator(".inside-row")).to_have_count(2)
    expect(shown.locator("figcaption", has_text="What CLIP sees of it, parts: 3")).to_have_count(2)
    stage.locator("[role=gridcell][tabindex='0']").focus()
    page.keyboard.press("Home")
    expect(shown.locator("h4")).to_have_text("Step 1 of 12")
    expect(shown.locator("figcaption", has_text=strings.LOOP_FIRST)).to_have_count(2)
    page.keyboard.press("End")
    expect(stage.locator("output")).to_have_text(re.compile(r"^Step 12, codes changed: \d+$"))
    expect(shown.locator("h4")).to_have_text("Step 12 of 12")
    expect(shown).to_contain_text("“a blue apple”: distance ")
    page.locator("#inside-prompt textarea").fill("an egg ^ a bird")
    page.locator("#lab-inside-loop").click()
    expect(stage.locator("[role=alert]")).to_have_text(
        "This view shows one prompt and no story: leave the caret (^) out.")
    page.locator("#inside-samples button").first.click()
    expect(page.locator("#inside-prompt textarea")).to_have_value(PROMPT)
    page.locator("#lab-inside-loop").click()
    expect(stage.locator(".film:has(img)")).to_have_count(2)
    fits(page)


def test_the_prior_is_followed_in_a_plane(page: Page) -> None:
    view(page, "prior", strings.PRIOR)
    stage = page.locator("#lab-inside-prior-stage")
    expect(stage.locator(".inside-figure")).to_have_text(
        re.compile(r"^The prior ends at a cosine of -?\d\.\d{3} with the caption’s own embedding$"))
    expect(stage.locator(".plane circle.other")).to_have_count(48)
    expect(stage.locator(".plane circle.step")).to_have_count(8)
    expect(stage.locator(".plane rect.rendered")).to_have_count(12)
    expect(stage.locator(".plane rect.drawn")).to_have_count(12)
    expect(stage.locator(".plane rect.drawn title").first).to_have_text(
        re.compile(r"^Drawn by Easel: .+, -?\d\.\d{3}$"))
    expect(stage.locator(".plane li")).to_have_count(9)
    expect(stage.locator(".plane line[marker-end]")).to_have_count(7)
    expect(stage.get_by_alt_text(strings.PRIOR_ON)).to_be_visible()
    expect(stage.get_by_alt_text(strings.PRIOR_OFF)).to_be_visible()
    stage.locator("summary", has_text=strings.PRIOR_GUIDANCE).click()
    shown = stage.locator("section[data-cell]:visible")
    expect(shown.locator("h4")).to_have_text("Step 1 of 8")
    stage.locator("[role=gridcell]").first.focus()
    page.keyboard.press("End")
    expect(stage.locator("output")).to_have_text("Step 8 of the decoder")
    expect(shown.locator("figure")).to_have_count(4)
    fits(page)
