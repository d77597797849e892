"""Cases 3 and 4: scripts in everything that strangers write, shown in Chromium.

None runs, and none is in the page.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Dialog, Page, expect

from easel.compare.bundle import make_bundle, write_zip
from easel.words import strings
from pipelines.core.metadata import encode_png
from tests.served import App
from tests.small_models import small_cache
from tests.test_browser import CHROMIUM, PATIENCE_MS, browser
from tests.trust.publishers import png
from tests.windows import Windows

__all__ = ["browser"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
# Out of a text, an attribute with either quote, a comment, a script, a style and a template.
EVIL = ("a cat --></script></style></textarea></title>'\"><img src=x onerror=alert(1)>"
        "<svg onload=alert(2)><script>alert(3)</script><a href=\"javascript:alert(4)\">x</a>{{5}}")
SHORT = "'\"><img src=x onerror=alert(6)>"
NAME = "\"'><img src=x onerror=alert(7)>.png"  # of a file, which holds no slash
# What of it became a part of the page: none but what the texts themselves show.
PARTS = """() => [...document.querySelectorAll("*")].filter((e) =>
  [...e.attributes].some((a) => (a.name.startsWith("on") && a.value.includes("alert("))
    || (["href", "src", "action", "srcdoc"].includes(a.name)
        && a.value.trim().toLowerCase().startsWith("javascript:")))
  || (e.localName === "script" && /^\\s*alert\\(/.test(e.textContent)))
  .map((e) => e.outerHTML.slice(0, 200))"""


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App(cache=small_cache(), classroom=True, queue_size=9)
    yield served
    served.close()


def note_dialogs(page: Page, ran: list[str]) -> None:
    """Note what a script says in a dialog, and close it."""
    def note(dialog: Dialog) -> None:
        ran.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", note)


@pytest.fixture
def visit(app: App, windows: Windows) -> Iterator[Callable[[str], Page]]:
    """Opens an address as one visitor; fails where a script ran or stands in a page."""
    ran: list[str] = []
    context = windows.new_window()
    context.set_default_timeout(PATIENCE_MS)

    def open_page(path: str = "") -> Page:
        page = context.new_page()
        note_dialogs(page, ran)
        page.goto(app.url + path)
        return page

    yield open_page
    found = [part for page in context.pages for part in page.evaluate(PARTS)]
    windows.take_back(context, [app.url])
    assert ran == [], "a script ran"
    assert found == []


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def draw(page: Page, prompt: str) -> None:
    page.wait_for_selector("#generate:not(:disabled)")
    page.locator("#prompt textarea").fill(prompt)
    for name in ("sketch", "etching"):
        page.locator(f"#count-{name} input").fill("1")
    page.locator("#generate").click()
    expect(page.locator("#stage .panel.ranking .tile.done")).to_have_count(2)
    expect(page.locator("#generate")).to_be_enabled()


def test_the_probe_finds_what_runs(browser: Browser) -> None:
    """Else the others would prove nothing."""
    page, ran = browser.new_page(), list[str]()
    note_dialogs(page, ran)
    page.set_content(f"<body>{EVIL}</body>")
    page.wait_for_function("() => document.images.length > 0 && document.images[0].complete")
    assert len(page.evaluate(PARTS)) >= 3
    page.close()
    assert {"1", "2", "3"} & set(ran)


def test_case_3_prompts_in_gallery_history_and_on_the_wall(visit: Callable[..., Page]) -> None:
    page = visit()
    draw(page, EVIL)
    page.locator("#stage button.frame:visible").first.click()
    expect(page.locator("dialog[open] h3")).to_have_text(EVIL)
    page.keyboard.press("Escape")
    tab(page, strings.TAB_HISTORY)
    expect(page.locator("#kept .tile")).to_have_count(2)
    page.locator("#kept .tile button").first.click()
    expect(page.locator(".kept-prompt")).to_have_text(EVIL)
    wall = visit("wall")
    expect(wall.locator(".prompt").first).to_have_text(EVIL)


def test_case_4_what_pictures_and_files_of_others_say(visit: Callable[..., Page],
                                                      tmp_path: Path) -> None:
    page = visit()
    page.wait_for_selector("#generate:not(:disabled)")
    facts = {"prompt": EVIL, "pipeline": SHORT, "seed": EVIL,
             "options": {SHORT: EVIL, EVIL: [EVIL]}}
    settings = f"Steps: 20, Seed: 7, Model: {SHORT}, {SHORT}: {SHORT}, Sampler: {EVIL}"
    graph = {"1": {"class_type": EVIL, "inputs": {
        "seed": 5, "sampler_name": SHORT, "positive": ["2", 0], "negative": ["2", 0]}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": EVIL}}}
    told = {"easel": {"easel": json.dumps(facts).encode()},
            "a1111": {"parameters": f"{EVIL}\nNegative prompt: {EVIL}\n{settings}".encode()},
            "invokeai": {"invokeai_metadata": json.dumps({
                "positive_prompt": EVIL, "seed": 5, "scheduler": EVIL,
                "model": {"name": EVIL}}).encode()},
            "comfyui": {"prompt": json.dumps(graph).encode()}}
    for tool, chunks in told.items():
        file = tmp_path / f"{tool}{NAME}"
        file.write_bytes(png(**chunks))
        page.locator("#prompt textarea").fill("something else")
        page.locator("#recall input[type=file]").set_input_files(file)
        expect(page.locator("#prompt textarea")).to_have_value(EVIL)
        if tool != "easel":  # what has no place here is listed
            expect(page.locator("#filled-note")).to_contain_text("<img s")


def test_case_4_a_shared_comparison(visit: Callable[..., Page], tmp_path: Path) -> None:
    picture = encode_png(np.full((8, 8, 3), 9, np.uint8), {"prompt": EVIL})
    pane = {"pipeline": SHORT, "title": EVIL, "num_images": 1, "seed": 5, "options": {SHORT: EVIL},
            "weights": {SHORT: "ab" * 32}, "elapsed_s": 1.5, "device_s": 1.0,
            "pictures": [{"seed": 5, "scores": {"clip": 0.25}}]}
    shared = make_bundle({"prompt": EVIL, "versions": {SHORT: EVIL}, "vote": 1, "blind": False,
                          "panes": [pane, {**pane, "seed": 6}]}, [[picture], [picture]])
    path = tmp_path / f"shared{NAME}.zip"
    path.write_bytes(write_zip(shared))
    page = visit()
    tab(page, strings.TAB_COMPARE)
    page.locator("#compare-open .label-wrap").click()
    page.locator("#compare-open input[type=file]").set_input_files(path)
    expect(page.locator("#compare-prompt textarea")).to_have_value(EVIL)
    (tmp_path / "index.html").write_bytes(_page_of(path))
    alone = page.context.new_page()
    alone.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    alone.goto((tmp_path / "index.html").as_uri())
    assert alone.locator("h1").text_content() == EVIL


def _page_of(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read("index.html")


@pytest.mark.skipif(os.name != "posix", reason="no file is called so elsewhere")
def test_case_4_labels_and_names_of_files(visit: Callable[..., Page], tmp_path: Path) -> None:
    files = []
    for number in range(2):
        files.append(tmp_path / f"{number}{NAME}")
        Image.new("RGB", (32, 32), ("red", "blue")[number]).save(files[-1])
    page = visit()
    tab(page, strings.TAB_LAB)
    page.locator(".lab-parts button[role=tab]", has_text=strings.LAB_CLASSIFY).click()
    page.locator("#lab input[type=file]").first.set_input_files(files)
    page.locator("#lab-labels textarea").fill(f"{SHORT}\na dog")
    page.locator("#lab-classify").click()
    expect(page.locator("#lab-classify-stage")).to_contain_text("onerror=alert(6)")
    expect(page.locator("#lab-classify")).to_be_enabled()
