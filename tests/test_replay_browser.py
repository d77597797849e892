"""A training that is played back, in headless Chromium."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from easel.words import strings
from pipelines.inside.replay import replayed
from tests.inside_page import app, contrastive, fits, page
from tests.test_browser import browser, pytestmark

__all__ = ["app", "browser", "page", "pytestmark"]


def test_a_training_is_played_back_by_keys(page: Page) -> None:
    contrastive(page)
    page.locator("#replay .label-wrap").click()
    stage, slider = page.locator("#replay-stage"), page.locator("#replay-moment input[type=range]")
    table = stage.locator("table.matrix")
    expect(stage.locator("h4")).to_have_text("After 0 steps, 0 pictures seen")
    expect(table.locator("tbody tr")).to_have_count(12)
    page.get_by_label(strings.MATRIX_SIMILARITIES).last.check()
    expect(table.locator("caption")).to_have_text(strings.MATRIX_SIMILARITIES)
    slider.focus()
    for number in range(2, 9):
        page.keyboard.press("ArrowRight")
        expect(stage.locator("h4")).to_have_text(re.compile(
            f"^After {replayed(number).step:,} steps, "))
    expect(table.locator("caption")).to_have_text(strings.MATRIX_SIMILARITIES)
    loss = stage.locator(".inside-figure")
    expect(loss).to_have_text(f"Loss {replayed(8).contrast.loss:.3f} nats")
    page.get_by_label(strings.REPLAY_OWN).uncheck()
    chosen = page.locator("#replay-temperature input[type=number]")
    chosen.fill("1")
    chosen.press("Enter")
    chosen.blur()
    expect(loss).to_have_text(f"Loss {replayed(8, 1.0).contrast.loss:.3f} nats")
    fits(page)
    page.get_by_label(strings.REPLAY_OWN).check()
    expect(chosen).to_be_hidden()
