"""What is not on this machine looks so in every list of models, with a button that downloads it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from easel.words import strings
from pipelines.dalle import DallePipeline
from pipelines.models.checkpoints.catalogue import Catalogue
from tests.served import App
from tests.test_browser import CHROMIUM, DESKTOP, browser, open_page

__all__ = ["browser", "open_page"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
CLIP = "openai/clip-vit-b-32"


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App([DallePipeline(Catalogue.load())], offline=True)
    yield served
    served.close()


def refused(page: Page) -> None:
    expect(page.locator("#fetch .alert")).to_contain_text("Easel is offline")


def test_every_list_says_what_is_not_here(open_page) -> None:
    page = open_page(DESKTOP)
    expect(page.locator("#fetch [data-missing]")).to_have_count(1)
    page.locator("#settings .label-wrap").first.click()
    group = page.locator('#option-forms [data-pipeline="dalle"]')
    group.locator(".advanced summary").click()
    ranker = group.locator("[data-option=ranker]")
    ranker.focus()
    expect(ranker.locator(f"option[value*='{CLIP}']")).to_contain_text("· not here")
    expect(ranker.locator("option:checked")).not_to_contain_text("not here")
    ranker.select_option(value=f'"{CLIP}"')
    note = group.locator(".missing-note")
    expect(note).to_contain_text("CLIP ViT-B/32 (OpenAI)")
    note.get_by_role("button", name="Download 605 MB").click()
    refused(page)
    ranker.select_option(index=0)
    expect(note).to_have_count(0)

    page.get_by_role("tab", name=strings.TAB_RERANK, exact=True).click()
    here = page.locator("#rerank-clips")
    expect(here).to_be_visible()
    expect(here).not_to_contain_text("OpenAI")
    page.get_by_text(strings.MORE_CLIPS).click()
    expect(page.locator(f"#rerank-away [data-fetch='{CLIP}']")).to_be_visible()

    page.get_by_role("tab", name=strings.TAB_LAB, exact=True).click()
    page.locator("#lab-clip input").click()
    page.get_by_role("option", name="CLIP ViT-B/32 (OpenAI)").click()
    expect(page.locator("#lab-clip input")).to_have_value("CLIP ViT-B/32 (OpenAI) (605 MB, MIT) "
                                                          "· not here")
    expect(page.locator(f"#lab-clip-away [data-fetch='{CLIP}']")).to_be_visible()
