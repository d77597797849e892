"""Presets on the page, as a person uses them: chosen, kept, deleted, downloaded and taken over."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import pytest
from playwright.sync_api import Locator, Page, expect

from easel.words import strings
from pipelines.pipeline import Preset
from tests.served import App
from tests.test_browser import CONTRASTS, DESKTOP, PHONE, browser, open_page, pytestmark
from tests.test_widths_browser import OVERHANGS
from tests.watched_sketch import WatchedSketch

__all__ = ["browser", "open_page", "pytestmark"]


class Sketching(WatchedSketch):
    """With presets of its own."""

    presets = MappingProxyType({"draft": Preset({"steps": 2, "pause_s": 0.0}), "normal": Preset(),
                                "best": Preset({"steps": 9, "pause_s": 0.0}, best_of=6)})


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    sketch = Sketching()
    served = App([sketch, Sketching("etching", "Etching")])
    served.sketch = sketch
    yield served
    served.close()


def unfold(page: Page) -> None:
    """Open the settings, and one's own presets in them, once the choices are there."""
    page.locator("#settings > button").click()
    page.locator("#presets-own > button").click()
    expect(page.locator("#preset-name input, #preset-name textarea")).to_be_visible()


def options_of(page: Page) -> Locator:
    """The choices, which open when the list gets the focus; the form has lists of its own."""
    page.locator("#preset input").blur()
    page.locator("#preset input").click()
    options = page.locator("#preset").get_by_role("option")
    expect(options.first).to_be_visible()
    return options


def expect_offered(page: Page, *labels: str, but: str = "") -> None:
    """Labels are among the choices, and one is not."""
    options = options_of(page)
    for label in labels:
        expect(options.filter(has_text=label)).to_have_count(1)
    if but:
        expect(options.filter(has_text=but)).to_have_count(0)
    page.locator("#preset input").blur()
    expect(options).to_have_count(0)


def choose(page: Page, label: str) -> None:
    options_of(page).filter(has_text=label).click()


def steps(page: Page, generator: str = "sketch"):
    return page.locator(f'#option-forms [data-pipeline="{generator}"] '
                        '[data-option="steps"][type="number"]')


def test_a_preset_fills_the_form_and_is_what_is_drawn(app: App, open_page) -> None:
    page = open_page(DESKTOP)
    page.locator("#choose-sketch input").uncheck()
    page.locator("#choose-etching input").uncheck()
    unfold(page)
    expect_offered(page, *(f"{title}: {name}" for title in ("Sketch", "Etching")
                           for name in ("draft", "normal", "best")))
    choose(page, "Sketch: best")
    said = page.locator("#preset-said")
    expect(said).to_have_text("Sketch: best is filled in.")
    expect(page.locator("#choose-sketch input")).to_be_checked()
    expect(page.locator("#choose-etching input")).not_to_be_checked()
    expect(steps(page)).to_have_value("9")
    expect(page.locator("#best-of input")).to_have_value("6")
    page.locator("#generate").click()
    expect(page.locator('.panel[aria-label="Sketch"] .tile.done')).not_to_have_count(0)
    expect(page.locator("#generate")).to_be_enabled()
    choose(page, "Sketch: normal")
    expect(said).to_have_text("Sketch: normal is filled in.")
    expect(steps(page)).to_have_value("6")
    expect(page.locator("#best-of input")).to_have_value("0")


def test_own_presets_are_kept_downloaded_deleted_and_taken_over(app: App, open_page,
                                                                tmp_path: Path) -> None:
    page, other = open_page(DESKTOP), open_page(DESKTOP)
    for each in (page, other):
        unfold(each)
    said, name = page.locator("#preset-said"), page.locator("#preset-name").get_by_role("textbox")
    page.locator("#choose-etching input").uncheck()
    steps(page).fill("3")
    name.fill("Not: a name")
    page.locator("#preset-save").click()
    expect(said).to_contain_text("lower-case letters")
    name.fill("My Calm")
    page.locator("#preset-save").click()
    expect(said).to_have_text("my-calm is kept for Sketch.")
    expect_offered(page, "Sketch: my-calm")
    expect_offered(other, "Sketch: draft", but="my-calm")

    with page.expect_download() as saved:
        page.locator("#presets-export a").click()
    file = tmp_path / "mine.toml"
    saved.value.save_as(file)
    assert tomllib.loads(file.read_text()) == {"sketch": {"my-calm": {"options": {"steps": 3}}}}

    choose(page, "Sketch: draft")
    expect(said).to_have_text("Sketch: draft is filled in.")
    page.locator("#preset-delete").click()
    expect(said).to_contain_text("no preset of yours called 'draft'")
    choose(page, "Sketch: my-calm")
    expect(said).to_have_text("Sketch: my-calm is filled in.")
    expect(steps(page)).to_have_value("3")
    page.locator("#preset-delete").click()
    expect(said).to_have_text("my-calm is deleted.")
    expect_offered(page, "Sketch: draft", but="my-calm")

    with other.expect_file_chooser() as chooser:
        other.locator("#presets-import").click()
    chooser.value.set_files(file)
    expect(other.locator("#preset-said")).to_have_text("Presets taken over: 1.")
    expect_offered(other, "Sketch: my-calm")
    file.write_text("not TOML")
    with other.expect_file_chooser() as chooser:
        other.locator("#presets-import").click()
    chooser.value.set_files(file)
    expect(other.locator("#preset-said")).to_contain_text("is not TOML")


def test_a_preset_is_filled_in_when_it_is_chosen_and_not_when_its_list_is_left(open_page) -> None:
    page = open_page(DESKTOP)
    unfold(page)
    chosen = page.locator("#preset input")
    choose(page, "Sketch: draft")
    expect(steps(page)).to_have_value("2")
    steps(page).fill("7")
    chosen.focus()
    page.keyboard.press("Tab")
    choose(page, "Etching: best")
    expect(steps(page, "etching")).to_have_value("9")
    expect(steps(page)).to_have_value("7")
    steps(page, "etching").fill("8")
    choose(page, "Etching: best")
    expect(steps(page, "etching")).to_have_value("9")
    steps(page, "etching").fill("8")
    chosen.focus()
    chosen.press("ArrowUp")
    chosen.press("Enter")
    expect(steps(page, "etching")).not_to_have_value("8")


@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "dark"), (PHONE, "light")])
def test_the_fold_fits(open_page, size: tuple[int, int], scheme: str) -> None:
    page = open_page(size, scheme)
    unfold(page)
    expect(page.locator("#presets-export")).to_contain_text(strings.PRESETS_EXPORT)
    assert page.evaluate(OVERHANGS) == []
    assert page.evaluate(CONTRASTS) == {}
