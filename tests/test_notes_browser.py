"""What helps with a prompt: what stands under it, and moves nothing, and what can be drawn."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from easel.words import strings
from tests.test_browser import DESKTOP, PHONE, app, browser, open_page, pytestmark
from tests.test_browser_compare import open_tab
from tests.test_widths_browser import TABLET

__all__ = ["app", "browser", "open_page", "pytestmark"]
# What is said of each: all is known, near words, unknown ones, known ones put together anew.
SAID = {
    "a red apple and a dog ": strings.WORDS_KNOWN, "two puppies in the snow ": strings.WORDS_NEAR,
    "a cat and a zzyzx ": "zzyzx", "a castle in the clouds ": strings.WORDS_APART,
    "a cat wearing a hat ": strings.WORDS_WORN, "un perro azul al lado de la ":
    strings.WORDS_FOREIGN}


@pytest.mark.weights("minilm")
@pytest.mark.parametrize("size", [DESKTOP, TABLET, PHONE])
def test_nothing_moves_while_a_prompt_is_typed(open_page, size: tuple[int, int]) -> None:
    page = open_page(size)
    for field, note, below in (("#prompt", "#prompt-note", "#generators"),
                               ("#compare-prompt", "#compare-note", "#compare-forms")):
        if field == "#compare-prompt":
            open_tab(page, strings.TAB_COMPARE)
        places = {}
        for prompt, said in SAID.items():
            page.locator(f"{field} textarea").fill(prompt)
            expect(page.locator(note)).to_contain_text(said)
            places[prompt] = page.locator(below).evaluate(
                "(e) => e.getBoundingClientRect().top + scrollY")
        assert len({round(top) for top in places.values()}) == 1, places


# Pixels from the line of words above a prompt to press, and to that below it.
CLEAR = """(note) => {
  const box = (e) => { const range = document.createRange(); range.selectNodeContents(e);
    return range.getBoundingClientRect(); };
  const chip = note.querySelector(".chip"), { top, bottom } = chip.getBoundingClientRect();
  return [top - box(chip.previousElementSibling).bottom, box(chip.nextElementSibling).top - bottom];
}"""


@pytest.mark.weights("minilm")
@pytest.mark.parametrize(("size", "scheme"), [
    (DESKTOP, "light"), (TABLET, "dark"), (PHONE, "light")])
def test_a_prompt_to_press_stands_clear_of_the_words_around_it(
        open_page, size: tuple[int, int], scheme: str) -> None:
    page = open_page(size, scheme)
    page.locator("#prompt textarea").fill("my dog at the zzyzx ")
    expect(page.locator("#prompt-note .chip")).to_be_visible()
    above, below = page.locator("#prompt-note .vocabulary").evaluate(CLEAR)
    assert above >= 6
    assert below >= 6
    # And what follows is no nearer to the last line than its parts are to one another.
    last = page.locator("#prompt-note").evaluate("(e) => e.getBoundingClientRect().bottom")
    assert page.locator("#generators").evaluate("(e) => e.getBoundingClientRect().top") - last >= 12


def test_what_can_be_drawn_is_shown_searched_and_put_in(open_page) -> None:
    page = open_page(DESKTOP)
    prompt = page.locator("#prompt textarea")
    prompt.fill("")
    page.locator("[data-open=drawable]").click()
    search = page.locator(".drawable-search")
    expect(search).to_be_visible()
    search.fill("cachorro")
    things = page.locator("#drawable .thing:visible")
    expect(things.first).to_have_text("dog")
    things.first.click()
    search.fill("on top")
    page.locator("#drawable [data-insert]:visible").first.click()
    search.fill("skateboard")
    things.first.click()
    expect(prompt).to_have_value("a dog on top of a skateboard")
    search.fill("watercolor")
    page.locator("#drawable [data-insert]:visible").first.click()
    expect(prompt).to_have_value("a watercolor painting of a dog on top of a skateboard")
    search.fill("zzyzx")
    expect(page.locator("#drawable .hint")).to_be_visible()
    expect(page.locator("#prompt-note mark")).to_have_count(0)


def test_every_prompt_field_is_read(open_page) -> None:
    page = open_page(DESKTOP)
    fields = {strings.TAB_COMPARE: "compare-prompt", strings.TAB_RERANK: "rerank-prompts",
              strings.TAB_LAB: "lab-labels", strings.TAB_INSIDE: "inside-prompt"}
    for tab, field in fields.items():
        page.get_by_role("tab", name=tab, exact=True).click()
        box = page.locator(f"#{field} :is(textarea, input)")
        box.fill("a dog riding a skateboard")
        page.locator(f"[data-for={field}] [data-prompt]").click()
        expect(box).to_have_value("a dog on top of a skateboard")
        box.fill("a giraf")
        page.locator(f"[data-for={field}] [data-complete=giraffe]").click()
        expect(box).to_have_value("a giraffe ")
        expect(page.locator(f"[data-for={field}] :is([data-complete], mark)")).to_have_count(0)
    expect(page.locator("#prompt textarea")).to_have_value(strings.FIRST_PROMPT)


def test_words_to_go_on_with_move_nothing(open_page) -> None:
    page = open_page(DESKTOP)
    for tab, field, below in ((strings.TAB_GENERATE, "prompt", "#generators"),
                              (strings.TAB_COMPARE, "compare-prompt", "#compare-forms")):
        page.get_by_role("tab", name=tab, exact=True).click()
        before = page.locator(below).bounding_box()
        page.locator(f"#{field} textarea").fill("a giraf")
        chip = page.locator(f"[data-for={field}] [data-complete=giraffe]")
        expect(chip).to_be_visible()
        assert page.locator(below).bounding_box() == before
        page.locator(f"#{below.removeprefix('#')} input:visible").first.focus()
        expect(chip).to_be_hidden()
        page.locator(f"#{field} textarea").focus()
        expect(chip).to_be_visible()
        chip.click()
        expect(page.locator(f"#{field} textarea")).to_have_value("a giraffe ")
