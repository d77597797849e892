"""What stands under a prompt changes with every word; nothing else on the page moves for it."""

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
