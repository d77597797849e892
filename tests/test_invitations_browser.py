"""Every tab opens with pictures by Easel that try it out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from easel.words import strings
from pipelines.models.cache.cache import ModelCache
from pipelines.unclip.pipeline import UnclipPipeline
from tests.served import App
from tests.small_models import SmallLoader
from tests.test_browser import DESKTOP, browser, open_page, pytestmark
from tests.test_browser_compare import open_tab

__all__ = ["browser", "open_page", "pytestmark"]
# The tabs to open, one in the other.
PARTS = [(), (strings.TAB_COMPARE,), (strings.TAB_RERANK,), (strings.TAB_LAB,),
         (strings.TAB_LAB, strings.LAB_SEARCH), (strings.TAB_LAB, strings.LAB_MATRIX),
         (strings.TAB_LAB, strings.LAB_MAP), (strings.TAB_INSIDE,),
         (strings.TAB_INSIDE, strings.WALK), (strings.TAB_HISTORY,)]
INVITING = ":is(.invitation, .drawn-earlier button, .tile.sample, .inside-choices) img:visible"


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App([UnclipPipeline()], ModelCache(SmallLoader(), "cpu"))
    yield served
    served.close()


@pytest.fixture(scope="module")
def with_models() -> Iterator[App]:
    """With a catalogue, and so with the tab of the models."""
    served = App()
    yield served
    served.close()


def test_every_tab_shows_pictures_that_try_it_out(open_page) -> None:
    page: Page = open_page(DESKTOP)
    for tabs in PARTS:
        for tab in tabs:
            open_tab(page, tab)
        pictures = page.locator(INVITING)
        expect(pictures.nth(1)).to_be_visible()
        assert all(pictures.evaluate_all(
            "(all) => Promise.all(all.map((e) => e.decode().then(() => e.naturalWidth)))")), tabs


def test_a_picture_on_models_brings_its_prompt_to_generate(open_page, with_models: App) -> None:
    page: Page = open_page(DESKTOP, app=with_models)
    open_tab(page, strings.TAB_MODELS)
    page.locator("#models-inside").get_by_role("button", name="four cats").click()
    expect(page.locator("#prompt textarea")).to_be_visible()
    expect(page.locator("#prompt textarea")).to_have_value("four cats")
