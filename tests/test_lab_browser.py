"""The lab in headless Chromium: one click to a classification, an index, a search, a matrix."""

from __future__ import annotations

import csv
import os
import re
import shutil
import sqlite3
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from easel.search.database import DATABASE
from easel.words import strings
from tests.lab import write_pictures
from tests.served import App
from tests.small_models import small_cache
from tests.test_browser import (
    CHROMIUM,
    CONTRASTS,
    DESKTOP,
    PATIENCE_MS,
    PHONE,
    browser,
    watch_console,
)

__all__ = ["browser"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
# Mixed colours come as "color(srgb 0.9 0.9 0.9)", in parts of 1.
IN_LAB = CONTRASTS.replace("#desk *", "#lab *").replace(
    ".map(Number)", '.map((v) => v * (text.startsWith("color(srgb") ? 255 : 1))')
TAB_BUTTON = "#tabs > .tab-wrapper button[role=tab]"


def write_folder(folder: Path) -> Path:
    """Five pictures and a file that is none."""
    write_pictures(folder, 5)
    (folder / "bad.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that may be searched, which one test indexes."""
    return write_folder(tmp_path_factory.mktemp("allowed"))


@pytest.fixture(scope="module")
def other_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one, for the others."""
    return write_folder(tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    """The app's data folder."""
    with tempfile.TemporaryDirectory(prefix="easel-lab-") as name:
        yield Path(name).resolve()


@pytest.fixture(scope="module")
def app(root: Path, other_root: Path, data: Path) -> Iterator[App]:
    served = App(cache=small_cache(), search_folders=os.pathsep.join(map(str, (root, other_root))),
                 data_dir=data)
    yield served
    served.close()


@pytest.fixture
def lab_page(app: App, browser: Browser) -> Iterator[Page]:
    """The lab at desktop size; fails on a foreign request or an error in the console."""
    foreign, errors = [], []
    page = browser.new_page(viewport={"width": DESKTOP[0], "height": DESKTOP[1]})
    page.set_default_timeout(PATIENCE_MS)
    page.on("request", lambda request: foreign.append(request.url) if not request.url.
            startswith((app.url, "data:", "blob:")) else None)
    watch_console(page, errors)
    page.goto(app.url)
    page.locator(TAB_BUTTON, has_text=strings.TAB_LAB).click()
    yield page
    said = list(errors)
    page.close()
    assert foreign == [], "requests left the machine"
    assert said == []


def part(page: Page, name: str) -> None:
    page.locator(".lab-parts button[role=tab]", has_text=name).click()


def test_the_lessons_example_is_one_click(lab_page: Page, tmp_path: Path) -> None:
    part(lab_page, strings.LAB_CLASSIFY)
    lab_page.locator("#lab-example").click()
    table = lab_page.locator(".lab-table")
    expect(table.locator("tbody tr")).to_have_count(3)
    expect(table.locator("tbody th")).to_have_text(["cat.png", "dog.png", "human.png"])
    expect(lab_page.locator("#lab-labels textarea")).to_have_value("cat, dog, human")
    expect(lab_page.locator("#lab-classify-stage")).to_contain_text("logit scale")
    terms = lab_page.locator("#lab-classify-stage details.terms")
    expect(terms.locator("p")).to_have_count(2)
    expect(terms.locator("p").first).to_be_hidden()
    terms.locator("summary").press("Enter")
    expect(terms.locator("p").first).to_contain_text("multiplied by it before the softmax")
    with lab_page.expect_download() as saved:
        lab_page.get_by_role("link", name=strings.LAB_CSV).click()
    saved.value.save_as(tmp_path / "labels.csv")
    with (tmp_path / "labels.csv").open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert [row["picture"] for row in rows] == ["cat.png", "dog.png", "human.png"]
    assert sum(float(rows[0][label]) for label in ("cat", "dog", "human")) == pytest.approx(
        1, abs=1e-4)


def test_labelled_pictures_of_a_zip_are_counted_by_eighty_templates(
        lab_page: Page, root: Path, tmp_path: Path) -> None:
    part(lab_page, strings.LAB_CLASSIFY)
    stage, pictures = lab_page.locator("#lab-classify-stage"), sorted(root.glob("picture-*.png"))
    for name, folders in (("one", ["cat"]), ("two", ["dog", "cat"])):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            for number, picture in enumerate(pictures[:4]):
                archive.write(picture, f"pets/{folders[number % len(folders)]}/{number}.png")
    field = lab_page.locator("#lab-classify-pictures input[type=file]")
    field.set_input_files(tmp_path / "one.zip")
    expect(stage.locator("[role=alert]")).to_have_text(
        "One label alone always has a probability of 100 %: give two or more.")
    field.set_input_files(tmp_path / "two.zip")
    expect(lab_page.locator("#lab-labels textarea")).to_have_value("cat, dog")
    lab_page.get_by_role("button", name=strings.LAB_TEMPLATES).click()
    lab_page.locator("#lab-many-templates").click()
    expect(lab_page.locator("#lab-templates textarea")).to_have_value(
        re.compile(r"^a bad photo of a \{\}\.\n(.+\n){78}.+$"))
    lab_page.locator("#lab-classify").click()
    counted = stage.locator(".lab-accuracy")
    expect(counted.locator("h3")).to_have_text(re.compile(r"^Right: \d of 4 \(\d+\.\d %\)$"))
    expect(counted.locator("table")).to_be_visible()
    assert [row.locator("th").inner_text() for row in counted.locator("tbody tr").all()] == [
        "cat", "dog"]
    assert sum(map(int, counted.locator("td").all_inner_texts())) == 4
    folded = stage.locator(".lab-by-template")
    folded.locator("summary").click()
    rows = folded.locator("tbody tr")
    expect(rows).to_have_count(80)
    assert "a bad photo of a {}." in rows.locator("th").all_inner_texts()
    said = [re.match(r"Right: (\d) of 4", text) for text in rows.locator("td").all_inner_texts()]
    right = [int(each[1]) for each in said if each is not None]
    assert right == sorted(right, reverse=True)
    assert len(right) == 80


@pytest.mark.parametrize(("name", "shown"), [
    (strings.LAB_SEARCH, "#lab-search-stage .lab-tiles .tile"),
    (strings.LAB_MAP, "#lab-map-stage .map .dot")])
def test_search_and_map_have_pictures_by_easel_to_try(lab_page: Page, name: str, shown: str,
                                                      ) -> None:
    part(lab_page, name)
    stage = lab_page.locator(f"#lab-{name.lower()}-stage")
    invitation = stage.get_by_role("button", name=strings.LAB_COLLECTION)
    expect(invitation.locator("img").first).to_have_js_property("naturalWidth", 256)
    invitation.click()
    expect(lab_page.locator(shown)).to_have_count(16)
    if name == strings.LAB_MAP:  # coloured by who drew them
        expect(stage.locator(".legend li")).to_have_count(3)


def test_one_picture_has_a_bar_chart_and_faults_are_said(lab_page: Page, root: Path) -> None:
    part(lab_page, strings.LAB_CLASSIFY)
    lab_page.locator("#lab-labels textarea").fill("")
    lab_page.locator("#lab-classify").click()
    alert = lab_page.locator("#lab-classify-stage [role=alert]")
    expect(alert).to_have_text("There are no labels: type two or more, with commas between them.")
    lab_page.locator("#lab-labels textarea").fill("cat, <b>dog</b>")
    lab_page.locator("#lab-classify-pictures input[type=file]").set_input_files(
        [root / "picture-001.png", root / "bad.png"])
    expect(lab_page.locator("#lab-classify-pictures")).to_contain_text("bad")
    lab_page.locator("#lab-classify").click()
    chart = lab_page.locator(".lab-one")
    expect(chart.locator(".lab-bars li")).to_have_count(2)
    expect(chart).to_contain_text("<b>dog</b>")
    expect(chart.locator("img")).to_have_attribute("alt", "picture-001.png")
    expect(lab_page.locator(".lab-faults summary")).to_have_text("Files that cannot be read: 1")


def test_a_folder_is_indexed_searched_and_mapped(lab_page: Page, root: Path) -> None:
    part(lab_page, strings.LAB_SEARCH)
    lab_page.locator("#lab-search-where input").click()
    lab_page.get_by_role("option", name=f"Folder {root.name}").click()
    stage = lab_page.locator("#lab-search-stage")
    lab_page.locator("#lab-text textarea, #lab-text input").fill("a cat")
    lab_page.locator("#lab-search").click()
    expect(stage.locator("[role=alert]")).to_contain_text("index it first.")
    expect(lab_page.locator("#lab-search")).to_be_enabled()
    lab_page.locator("#lab-index").click()
    expect(stage).to_contain_text("The index is up to date: 6 new")
    expect(stage.locator("summary")).to_have_text("Files that cannot be read: 1")
    expect(lab_page.locator("#lab-search")).to_be_enabled()
    lab_page.locator("#lab-search").click()
    expect(stage.locator(".lab-tiles .tile")).to_have_count(5)
    scores = [float(text) for text in stage.locator(".score").all_text_contents()]
    assert scores == sorted(scores, reverse=True)

    part(lab_page, strings.LAB_MAP)
    lab_page.locator("#lab-map-where input").click()
    lab_page.get_by_role("option", name=f"Folder {root.name}").last.click()
    lab_page.locator("#lab-map").click()
    expect(lab_page.locator(".map .dot img")).to_have_count(5)


def choose_folder(page: Page, name: str, typed: str) -> None:
    """Type a place by hand, as the field allows."""
    where = page.locator(f"#lab-{name}-where input")
    where.fill(typed)
    where.press("Enter")
    where.press("Tab")


def test_places_that_may_not_be_searched_are_said_on_the_page(lab_page: Page, other_root: Path,
                                                              ) -> None:
    part(lab_page, strings.LAB_SEARCH)
    stage = lab_page.locator("#lab-search-stage")
    lab_page.locator("#lab-text textarea, #lab-text input").fill("a cat")
    write_pictures(other_root / "gone", 1)
    # No sentence twice in a row: the one before it would be taken for its answer.
    for typed, sentence in (("/etc", "That folder is not among those that this Easel may search"),
                            (str(other_root / "gone"), "gone was not indexed with this CLIP yet"),
                            ("../..", "That folder is not among those that this Easel may search")):
        choose_folder(lab_page, "search", typed)
        lab_page.locator("#lab-search").click()
        expect(stage.locator("[role=alert]")).to_contain_text(sentence)
        expect(lab_page.locator("#lab-search")).to_be_enabled()
    shutil.rmtree(other_root / "gone")
    choose_folder(lab_page, "search", str(other_root / "gone"))
    lab_page.locator("#lab-index").click()
    expect(stage.locator("[role=alert]")).to_have_text("The folder gone is not there.")
    expect(lab_page.locator("#lab-search")).to_be_enabled()


def test_an_index_of_another_version_is_made_anew_after_asking(lab_page: Page, data: Path,
                                                               other_root: Path) -> None:
    part(lab_page, strings.LAB_SEARCH)
    choose_folder(lab_page, "search", str(other_root))
    stage, rebuild = lab_page.locator("#lab-search-stage"), lab_page.locator("#lab-search-rebuild")
    lab_page.locator("#lab-index").click()
    expect(stage).to_contain_text("The index is up to date")
    expect(lab_page.locator("#lab-search")).to_be_enabled()
    expect(rebuild).to_be_hidden()
    for database in (data / "search").glob(f"folder-*/*/{DATABASE}"):
        with closing(sqlite3.connect(database)) as opened:
            opened.execute("UPDATE facts SET value = '99' WHERE name = 'version'")
            opened.commit()
    lab_page.locator("#lab-text textarea, #lab-text input").fill("a cat")
    lab_page.locator("#lab-search").click()
    expect(stage.locator("[role=alert]")).to_contain_text("was made by another version of Easel")
    expect(lab_page.locator("#lab-search")).to_be_enabled()
    rebuild.click()
    expect(stage).to_contain_text("The index is up to date: 6 new, 0 known already")
    expect(rebuild).to_be_hidden()
    expect(lab_page.locator("#lab-search")).to_be_enabled()
    lab_page.locator("#lab-search").click()
    expect(stage.locator(".lab-tiles .tile")).to_have_count(5)


def test_labels_that_cannot_be_used_are_said_on_the_page(lab_page: Page, tmp_path: Path) -> None:
    part(lab_page, strings.LAB_CLASSIFY)
    labels, stage = lab_page.locator("#lab-labels textarea"), lab_page.locator(
        "#lab-classify-stage [role=alert]")
    labels.fill(" , ")
    lab_page.locator("#lab-classify").click()
    expect(stage).to_have_text("There are no labels: type two or more, with commas between them.")
    expect(lab_page.locator("#lab-classify")).to_be_enabled()
    (tmp_path / "many.txt").write_text("\n".join(f"label {n}" for n in range(10_000)))
    (tmp_path / "film.txt").write_bytes(b"GIF89a\xff\xfe\0")
    file = lab_page.locator("#lab input[type=file][accept*='.csv']")
    file.set_input_files(tmp_path / "many.txt")
    expect(labels).to_have_value(re.compile("label 9999$"))
    lab_page.locator("#lab-classify").click()
    expect(stage).to_have_text("10,000 labels are too many: 1,000 is the most.")
    expect(lab_page.locator("#lab-classify")).to_be_enabled()
    file.set_input_files(tmp_path / "film.txt")
    expect(stage).to_have_text("The file film.txt is not text in UTF-8.")
    expect(labels).to_have_value(re.compile("label 9999$"))
    labels.fill("cat, dog")


def test_the_matrix_changes_its_reading_without_the_server(lab_page: Page) -> None:
    part(lab_page, strings.LAB_MATRIX)
    lab_page.locator("#lab-matrix-example").click()
    shown = lab_page.locator("table.matrix:visible")
    expect(shown).to_have_count(1)
    expect(shown.locator("tbody tr")).to_have_count(4)
    for name in (strings.MATRIX_PICTURES, strings.MATRIX_TEXTS, strings.MATRIX_SIMILARITIES):
        lab_page.get_by_label(name).check()
        expect(shown.locator("caption")).to_have_text(name)
    assert "%" not in shown.locator("td").first.inner_text()


def test_the_lab_fits_a_phone_and_can_be_read(lab_page: Page, other_root: Path) -> None:
    part(lab_page, strings.LAB_CLASSIFY)
    lab_page.locator("#lab-example").click()
    expect(lab_page.locator(".lab-table tbody tr")).to_have_count(3)
    part(lab_page, strings.LAB_SEARCH)
    choose_folder(lab_page, "search", str(other_root))
    lab_page.locator("#lab-index").click()
    expect(lab_page.locator("#lab-search-stage")).to_contain_text("The index is up to date")
    lab_page.locator("#lab-text textarea, #lab-text input").fill("a cat")
    expect(lab_page.locator("#lab-search")).to_be_enabled()
    lab_page.locator("#lab-search").click()
    expect(lab_page.locator("#lab-search-stage .lab-tiles .tile")).to_have_count(5)
    part(lab_page, strings.LAB_MATRIX)
    lab_page.locator("#lab-matrix-example").click()
    expect(lab_page.locator("table.matrix:visible")).to_have_count(1)
    part(lab_page, strings.LAB_MAP)
    choose_folder(lab_page, "map", str(other_root))
    lab_page.locator("#lab-map").click()
    expect(lab_page.locator(".map .dot img")).to_have_count(5)
    lab_page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        lab_page.emulate_media(color_scheme=scheme)
        for name in (strings.LAB_CLASSIFY, strings.LAB_SEARCH, strings.LAB_MATRIX,
                     strings.LAB_MAP):
            part(lab_page, name)
            width = lab_page.evaluate("document.documentElement.scrollWidth")
            assert width <= PHONE[0], f"{name} hangs over the edge"
            ask, stage = (lab_page.locator(f"{place}:visible").first.bounding_box()
                          for place in (".lab-ask", ".lab-stage"))
            assert ask
            assert stage
            assert stage["y"] >= ask["y"] + ask["height"], "what was asked for comes below"
            assert stage["width"] > 300
            assert lab_page.evaluate(IN_LAB) == {}
