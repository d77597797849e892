"""The screenshots of README and docs, taken anew of the page with the embedded models.

    python -m tests.screenshots           # all of them
    python -m tests.screenshots inside    # those of docs/inside.md alone

A visitor draws one prompt on Generate, compares the three generators and votes, reranks the sample
pictures and opens the history; every stop is kept at the width of a desktop and of a phone.
What each view of Inside shows is in ``inside_screenshots``.
"""

from __future__ import annotations

import argparse
import io
import shutil
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from easel.words import strings
from pipelines.dalle import DallePipeline
from pipelines.unclip.pipeline import UnclipPipeline
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from tests import inside_screenshots
from tests.served import App

ASSETS = Path(__file__).resolve().parent.parent / "assets"
DESKTOP, PHONE = (1440, 900), (390, 844)
DESKTOP_WIDTH_PX = 1152  # as kept
WAIT_MS = 180_000
PROMPT = "an orange cat and a blue umbrella"
Keep = Callable[[str], None]


def saver(page: Page, folder: Path) -> Keep:
    """Keeps what the page shows, by a name, as ``name-desktop.webp`` and ``name-phone.webp``."""
    def keep(name: str) -> None:
        for width, (kind, size) in zip((DESKTOP_WIDTH_PX, PHONE[0]),
                                       (("desktop", DESKTOP), ("phone", PHONE)), strict=True):
            page.set_viewport_size({"width": size[0], "height": size[1]})
            page.wait_for_timeout(1000)
            with Image.open(io.BytesIO(page.screenshot())) as picture:
                height = round(picture.height * width / picture.width)
                picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS).save(
                    folder / f"{name}-{kind}.webp", quality=80, method=6)
        page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})

    return keep


def open_tab(page: Page, name: str) -> None:
    """Open a tab of the page, from its top."""
    page.get_by_role("tab", name=name, exact=True).click()
    page.evaluate("window.scrollTo(0, 0)")


def visit(page: Page, keep: Keep) -> None:
    """The visitor's way through the page."""
    page.locator("#generate").click()
    expect(page.locator("#generate")).to_be_enabled()  # seeds that drew alike have one tile
    expect(page.locator(".panel.ranking .tile.done").first).to_be_visible()
    keep("generate")
    open_tab(page, strings.TAB_COMPARE)
    page.locator("#compare-prompt textarea").fill(PROMPT)
    page.locator('[data-panes="1"]').click()
    for pane, name in enumerate(("dalle", "unclip", "vqgan_clip")):
        page.locator(f'.pane-form[data-pane="{pane}"] [data-field=pipeline]').select_option(name)
    page.locator("#compare-run").click()
    expect(page.locator("#vote-1")).to_be_visible()
    keep("compare")
    page.locator("#vote-1").click()
    expect(page.locator("#outcome")).to_contain_text("You chose")
    page.locator("#outcome").scroll_into_view_if_needed()
    keep("vote")
    open_tab(page, strings.TAB_RERANK)
    page.locator("#rerank-files input[type=file]").set_input_files(
        sorted((ASSETS / "samples").glob("*.png")))
    page.locator("#rerank-prompts textarea").fill("an orange cat\na blue umbrella")
    page.locator("#rerank-against textarea").fill("a giraffe")
    page.locator("#rerank-run").click()
    expect(page.locator("#rerank-stage img")).not_to_have_count(0)
    keep("rerank")
    look_inside(page, keep)
    open_tab(page, strings.TAB_HISTORY)
    expect(page.locator("#history-gallery img").first).to_be_visible()
    keep("history")


def look_inside(page: Page, keep: Keep) -> None:
    """What each word and part of a picture by Easel is worth to CLIP."""
    open_tab(page, strings.TAB_INSIDE)
    page.locator("#inside-samples button").nth(2).click()
    expect(page.locator("#inside-prompt textarea")).to_have_value(PROMPT)
    page.locator("#lab-inside-score").click()
    stage = page.locator("#lab-inside-score-stage")
    expect(stage.locator(".heat img")).to_have_attribute("alt", PROMPT)
    page.locator("#inside .lab-parts").evaluate("(e) => e.scrollIntoView()")
    keep("inside")


def main() -> None:
    """Take all of them, or those that the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("part", nargs="?", choices=("page", "inside"))
    part = parser.parse_args().part
    served = App([DallePipeline(), VQGANCLIPPipeline(), UnclipPipeline()])
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"),
                                                 args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": DESKTOP[0], "height": DESKTOP[1]})
            page.set_default_timeout(WAIT_MS)
            expect.set_options(timeout=WAIT_MS)
            page.goto(served.url)
            if part != "inside":
                visit(page, saver(page, ASSETS / "screenshots"))
            if part != "page":
                inside_screenshots.views(page, ASSETS / "screenshots")
            browser.close()
    finally:
        served.close()


if __name__ == "__main__":
    main()
