"""Addresses that open a tab, a lesson or a prompt, the projector, and what Enter does."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from easel.words import strings
from tests.test_browser import CHROMIUM, DESKTOP, app, browser, open_page

__all__ = ["app", "browser", "open_page"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
ZOOM = "document.querySelector('.main.app').currentCSSZoom"


def test_an_address_brings_a_prompt_a_lesson_and_a_tab(app, open_page) -> None:
    page = open_page(DESKTOP)
    page.goto(f"{app.url}?prompt=two+dogs&lesson=clip")
    prompt = page.locator("#prompt textarea")
    expect(prompt).to_have_value("two dogs")
    expect(page.locator('[data-lesson="clip"] p').first).to_be_in_viewport()
    prompt.fill("a cat & a dog")
    page.locator("[data-link]").click()
    expect(page).to_have_url(re.compile(r"\?prompt=a\+cat\+%26\+a\+dog$"))

    # Enter generates, unless this browser was told otherwise.
    expect(page.locator(".keys .by-ctrl")).to_be_hidden()
    page.locator('[data-enter="ctrl"]').click()
    page.goto(f"{app.url}?prompt=two+dogs")
    expect(page.locator(".keys .by-ctrl")).to_be_visible()
    expect(prompt).to_have_value("two dogs")
    prompt.press("End")
    prompt.press("Enter")
    expect(prompt).to_have_value("two dogs\n")
    prompt.press("Control+Enter")
    expect(page.locator(".panel.ranking .tile.done")).to_have_count(8)
    expect(page.locator("#generate")).to_be_enabled()

    page.locator("[data-present]").click()
    expect(page.locator("#ask")).to_be_hidden()
    expect(page.locator(".panel.ranking .rank.best")).to_be_visible()
    assert page.evaluate(ZOOM) == 1.5
    page.locator("[data-present]").click()
    expect(page.locator("#ask")).to_be_visible()

    page.goto(f"{app.url}?tab=lab.matrix&present")
    expect(page.get_by_role("tab", name=strings.LAB_MATRIX)).to_have_attribute(
        "aria-selected", "true")
    assert page.evaluate(ZOOM) == 1.5
    page.locator("[data-link]").click()
    expect(page).to_have_url(re.compile(r"\?tab=lab\.matrix&present=$"))
