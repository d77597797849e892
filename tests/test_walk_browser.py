"""Walking on the page in headless Chromium, with unCLIP in small that may be held at a step."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, Page, expect
from torch import nn

from easel.words import strings
from pipelines.models.cache.cache import ModelCache
from pipelines.unclip.pipeline import UnclipPipeline
from tests.served import App
from tests.small_models import SmallLoader
from tests.test_browser import CHROMIUM, CONTRASTS, DESKTOP, PHONE, browser, open_page
from tests.test_browser_compare import open_tab
from tests.test_unclip import png

__all__ = ["browser", "open_page"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
FACTS_OF_VIDEO = "v => [v.loop, v.muted, v.autoplay, v.error === null && v.duration > 0]"
Open = Callable[..., Page]


class HeldLoader(SmallLoader):
    """While ``held`` is set, the decoder takes as many steps as were released."""

    def __init__(self) -> None:
        super().__init__()
        self.held, self.steps = threading.Event(), threading.Semaphore(0)

    def load(self, model_id: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """See ``SmallLoader.load``."""
        model = super().load(model_id, device, dtype)
        if model_id == "embedded/unclip-decoder":
            model.get_submodule("unet").register_forward_pre_hook(self._wait)
        return model

    def _wait(self, *_: object) -> None:
        if self.held.is_set():
            self.steps.acquire(timeout=120)

    def let_go(self) -> None:
        """From now on nothing is held."""
        self.held.clear()
        self.steps.release()


@pytest.fixture(scope="module")
def loader() -> HeldLoader:
    return HeldLoader()


@pytest.fixture(scope="module")
def app(loader: HeldLoader) -> Iterator[App]:
    served = App([UnclipPipeline()], ModelCache(loader, "cpu"))
    yield served
    served.close()


@pytest.fixture(autouse=True)
def held(loader: HeldLoader) -> Iterator[None]:
    """Each test lets the models go on as far as it says."""
    while loader.steps.acquire(blocking=False):
        pass  # what an earlier test released and nobody took would let this one go further
    yield
    loader.let_go()


def test_a_walk_is_seen_as_strip_and_video(open_page: Open, loader: HeldLoader,
                                           tmp_path: Path) -> None:
    page = open_page(DESKTOP)
    open_tab(page, strings.TAB_INSIDE)
    open_tab(page, strings.WALK)
    stage, go, stop = (page.locator(place) for place in ("#walk-stage", "#walk-run", "#walk-stop"))
    expect(stop).to_be_disabled()
    page.locator("#walk-seed input, #walk-seed textarea").fill("7")
    loader.held.set()
    go.click()
    loader.steps.release(4)
    expect(stage.locator(".hint")).to_have_text(re.compile(r"^Frame [1-4] of 9 · .* left$"))
    expect(stage.locator("[role=progressbar]")).to_have_attribute("aria-valuemax", "9")
    expect(stop).to_be_enabled()
    expect(go).to_be_disabled()
    loader.let_go()
    expect(stage.locator(".hint")).to_have_text(re.compile(r"^9 frames in .* · seed 7$"))
    expect(stop).to_be_disabled()
    expect(go).to_be_enabled()
    strip = stage.get_by_alt_text("From “a red apple” to “a blue car”")
    assert strip.evaluate("i => i.decode().then(() => [i.naturalWidth, i.naturalHeight])") == [
        576, 64]
    video = stage.get_by_label("From “a red apple” to “a blue car”, as a video")
    video.evaluate("v => v.readyState || new Promise(done => v.onloadedmetadata = () => done(1))")
    assert video.evaluate(FACTS_OF_VIDEO) == [True] * 4
    with page.expect_download() as saved:
        stage.get_by_text(strings.WALK_SAVE_VIDEO).click()
    assert saved.value.suggested_filename == "walk.mp4"

    picture = tmp_path / "evening.png"
    picture.write_bytes(png())
    page.locator("#walk-end-picture input[type=file]").set_input_files(picture)
    expect(page.locator("#walk-end-picture")).to_contain_text("evening")
    go.click()
    expect(stage.get_by_alt_text("From “a red apple” to a picture").first).to_be_visible()
    expect(stage.locator("video")).to_be_visible()

    page.locator("#walk-start textarea").fill(" ")
    go.click()
    expect(page.locator("#walk-alert").get_by_role("alert")).to_have_text(
        "The start of the walk is neither a prompt nor a picture.")
    expect(go).to_be_enabled()


def test_two_pictures_by_easel_are_an_example_to_press(open_page: Open) -> None:
    page = open_page(DESKTOP)
    open_tab(page, strings.TAB_INSIDE)
    open_tab(page, strings.WALK)
    stage = page.locator("#walk-stage")
    invitation = stage.get_by_role("button", name=strings.WALK_EXAMPLE)
    expect(invitation.locator("img")).to_have_count(2)
    expect(invitation.locator("img").first).to_have_js_property("naturalWidth", 256)
    invitation.click()
    expect(stage.get_by_alt_text("From a picture to a picture").first).to_be_visible()
    expect(stage.locator("video")).to_be_visible()
    expect(page.locator("#walk-end-picture")).to_contain_text("umbrella")


def test_a_reload_finds_a_walk_again_and_stop_ends_it(browser: Browser, app: App,
                                                      loader: HeldLoader) -> None:
    context = browser.new_context(viewport={"width": DESKTOP[0], "height": DESKTOP[1]})
    page = context.new_page()
    page.goto(app.url)
    page.wait_for_selector("#generate:not(:disabled)")
    open_tab(page, strings.TAB_INSIDE)
    open_tab(page, strings.WALK)
    frames = page.get_by_label("number input for Frames")
    frames.fill("64")
    frames.blur()
    page.locator("#walk-end textarea").fill("a dog")
    loader.held.set()
    page.locator("#walk-run").click()
    loader.steps.release(9)
    status = page.locator("#walk-stage .hint")
    expect(status).to_have_text(re.compile("^Frame [89] of 64 · "))
    page.reload()
    expect(status).to_have_text(re.compile("^Frame [89] of 64 · "))
    expect(page.get_by_alt_text("(in the making)")).to_be_visible()
    expect(page.locator("#walk-end textarea")).to_have_value("a dog")
    expect(page.locator("#walk-stop")).to_be_enabled()
    page.keyboard.press("Escape")
    for _ in range(50):  # until Stop has come to the server, there are steps to take
        loader.steps.release()
        page.wait_for_timeout(200)
        if "Stopped" in (status.text_content() or ""):
            break
    expect(status).to_have_text(re.compile(r"^Stopped with \d+ of 64 frames\.$"))
    expect(page.locator("#walk-stop")).to_be_disabled()
    expect(page.locator("#walk-run")).to_be_enabled()
    app.wait_until_idle()
    context.close()


def test_an_address_of_when_it_was_in_the_lab_opens_it(app: App, open_page: Open) -> None:
    page = open_page(DESKTOP)
    page.goto(f"{app.url}?tab=lab.walk")
    expect(page.locator("#walk-run")).to_be_visible()
    expect(page.locator("#inside-chooser")).to_be_hidden()
    page.locator("[data-link]").click()
    expect(page).to_have_url(re.compile(r"\?tab=inside\.walk$"))


def test_a_phone_shows_it_without_overflow(app: App, open_page: Open) -> None:
    page = open_page(PHONE, "dark")
    page.goto(f"{app.url}?tab=inside.walk")
    expect(page.locator("#walk-run")).to_be_visible()
    button = page.locator("#walk-run").bounding_box()
    assert button is not None
    assert button["y"] + button["height"] < PHONE[1], "Walk is on the first screen"
    page.locator("#walk-run").click()
    expect(page.locator("#walk-stage video")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    strip = page.locator(".walk-strip")
    assert strip.evaluate("s => s.scrollWidth > s.clientWidth"), "the strip alone scrolls"
    assert page.evaluate(CONTRASTS.replace("#desk *", "#walk-desk *")) == {}


def test_prior_on_and_off_side_by_side(open_page: Open) -> None:
    page = open_page(DESKTOP)
    open_tab(page, strings.TAB_COMPARE)
    form = page.locator('.pane-form[data-pane="1"]')
    form.locator("> details > summary").click()
    form.locator("[data-option=prior]").uncheck()
    page.locator("#compare-run").click()
    done = page.locator(".pane .tile.done")
    expect(done).to_have_count(2)
    with_prior, without = (json for json in page.locator(".pane [data-details]").evaluate_all(
        "all => all.map(e => Object.fromEntries(JSON.parse(e.dataset.details).facts))"))
    assert (with_prior["Prior"], without["Prior"]) == ("yes", "no")
    assert with_prior["Seed"] == without["Seed"]
