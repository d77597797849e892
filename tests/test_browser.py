"""The page in headless Chromium, as a person uses it; no request may leave the machine."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Frame, Page, expect

from easel.words import strings
from pipelines.core.metadata import read_png
from pipelines.dalle import DallePipeline
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from tests.one_browser import PATIENCE_MS, OneBrowser
from tests.served import App
from tests.windows import Windows

CHROMIUM = shutil.which("chromium")
DESKTOP, PHONE = (1440, 900), (390, 844)
# What Gradio's client says when its page is left while a stream is open.
CUT = ("AbortError: signal is aborted", "Unexpected error Connection errored out")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App()
    yield served
    served.close()


@pytest.fixture(scope="module")
def browser(one_browser: OneBrowser) -> Iterator[Browser]:
    yield one_browser.browser(CHROMIUM)
    one_browser.close_windows()


@pytest.fixture(scope="module")
def trained() -> Iterator[App]:
    served = App([DallePipeline(), VQGANCLIPPipeline(Catalogue.load())])
    yield served
    served.close()


def watch_console(page: Page, errors: list[str]) -> None:
    """Add what a page says of its errors, save that its streams were cut when it was left."""
    def left(frame: Frame) -> None:
        if frame == page.main_frame:
            errors[:] = [error for error in errors if not error.startswith(CUT)]

    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("framenavigated", left)


@pytest.fixture
def open_page(app: App, windows: Windows) -> Iterator:
    """Opens the page at a size; fails the test on a foreign request or an error in the console."""
    pages, foreign, errors = [], [], []

    def open_at(size: tuple[int, int], scheme: str = "light", app: App = app) -> Page:
        page = windows.new_page(size, scheme)
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", lambda request: foreign.append(request.url) if not request.url.
                startswith((app.url, "data:", "blob:")) else None)
        watch_console(page, errors)
        page.goto(app.url)
        page.wait_for_selector("#generate:not(:disabled)")
        pages.append((page.context, [app.url]))
        return page

    yield open_at
    said = list(errors)  # before its streams are cut
    for each in pages:
        windows.take_back(*each)
    assert foreign == [], "requests left the machine"
    assert said == []


def clip_scores(page: Page, section: str) -> list[float]:
    """Numbers of the tiles: a percentile of a ranker that was calibrated, else the cosine."""
    texts = page.locator(f"{section} .score").all_text_contents()
    return [float(re.sub(r"^fit | %$|^CLIP ", "", text)) for text in texts]


def test_type_generate_see_ranked_pictures(open_page, tmp_path: Path) -> None:
    page = open_page(DESKTOP)
    prompt = page.locator("#prompt textarea")
    expect(prompt).to_have_value(strings.FIRST_PROMPT)
    prompt.fill("a zzyzx next to <b>a blue car</b>")
    expect(page.locator("#prompt-note mark")).to_have_text(["zzyzx", "b"])
    page.keyboard.press("End")
    page.keyboard.press("Shift+Enter")
    expect(prompt).to_have_value("a zzyzx next to <b>a blue car</b>\n")
    page.keyboard.press("Backspace")
    page.keyboard.press("Enter")
    sketch = page.locator('.panel[aria-label="Sketch"]')
    expect(sketch.locator(".tile img")).to_have_count(4)
    expect(page.locator(".panel.ranking .tile.done")).to_have_count(8)
    expect(page.locator("#generate")).to_be_enabled()
    expect(page.locator("#stop")).to_be_disabled()
    # Each picture is seen once: in one of two orders, of which the best is first.
    expect(page.locator("#stage .tile.done:visible")).to_have_count(8)
    expect(page.locator(".panel.ranking .rank.best")).to_be_in_viewport()
    page.get_by_role("radio", name=strings.BY_GENERATOR).check()
    expect(page.locator("#stage .tile.done:visible")).to_have_count(8)
    expect(page.locator(".panel.ranking")).to_be_hidden()
    expect(page.locator("#stage .rank.best:visible")).to_have_count(1)
    for section in ('.panel[aria-label="Sketch"]', ".panel.ranking"):
        scores = clip_scores(page, section)
        assert len(scores) >= 4
        assert scores == sorted(scores, reverse=True)
    expect(sketch.locator(".status")).to_have_text(re.compile(r"^4 pictures in \d"))
    assert (sketch.locator(".tile img").first.get_attribute("alt")
            == "a zzyzx next to <b>a blue car</b>")

    expect(page.locator("#prompt textarea")).to_have_value("a zzyzx next to <b>a blue car</b>")
    assert page.evaluate(SOFT) == []
    sketch.locator("button.frame").nth(1).click()
    assert page.evaluate(SOFT) == []
    dialog = page.locator("dialog[open]")
    expect(dialog.locator("h3")).to_have_text("a zzyzx next to <b>a blue car</b>")
    expect(dialog.locator("dl")).to_contain_text("cosine similarity")
    with page.expect_download() as saved:
        dialog.get_by_text("Save PNG").click()
    saved.value.save_as(tmp_path / "saved.png")
    easel = read_png((tmp_path / "saved.png").read_bytes())["easel"]
    seed = str(easel["seed"])
    assert easel["prompt"] == "a zzyzx next to <b>a blue car</b>"
    expect(dialog.locator("dd").nth(1)).to_have_text(seed)
    page.keyboard.press("ArrowRight")
    expect(dialog.locator("dd").nth(1)).not_to_have_text(seed)
    dialog.get_by_role("button", name="Previous").click()
    expect(dialog.locator("dd").nth(1)).to_have_text(seed)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


@pytest.mark.weights
def test_the_trained_models_answer_a_prompt(open_page, trained: App) -> None:
    """The job that everything else stands on, with as few steps as show it."""
    page = open_page(DESKTOP, app=trained)
    expect(page.locator("#prompt textarea")).to_have_value(strings.FIRST_PROMPT)
    expect(page.locator("#prompt-note mark")).to_have_count(0)
    page.locator("#count-dalle input").fill("2")
    page.get_by_role("button", name=strings.SETTINGS_LABEL).click()
    iterations = page.get_by_label("number input for Iterations")
    assert iterations.get_attribute("placeholder") == "auto: 100"
    assert_auto_follows_the_guide(page)
    iterations.fill("3")
    iterations.blur()
    page.locator("#generate").click()
    dalle, clip = (page.locator(f'.panel[aria-label="{title}"]')
                   for title in ("DALL·E", "VQGAN+CLIP"))
    expect(page.locator(".panel.ranking .tile.done")).to_have_count(3, timeout=60_000)
    expect(dalle.locator(".status")).to_have_text(re.compile(r"^2 pictures in \d"))
    expect(clip.locator(".status")).to_have_text(re.compile(r"^1 picture in \d"))
    expect(clip.locator(".curve")).to_have_count(2)
    scores = clip_scores(page, ".panel.ranking")
    assert scores == sorted(scores, reverse=True)
    for picture in page.locator(".panel.ranking img").all():
        assert picture.get_attribute("alt") == strings.FIRST_PROMPT
        assert picture.evaluate("image => image.naturalWidth") >= 256
    page.locator(".panel.ranking button.frame").first.click()
    expect(page.locator("dialog[open] dl")).to_contain_text("Weights")


def assert_auto_follows_the_guide(page: Page) -> None:
    """What "auto" says changes with the guide, and what does not go together is said at once."""
    form = page.locator('#option-forms [data-pipeline="vqgan_clip"]')
    form.locator("summary").click()
    cutouts, start, optimiser, vqgan, guide = (form.locator(f'[data-option="{name}"]') for name in (
        "num_cutouts", "init", "optimiser", "vqgan", "guide"))
    expect(cutouts).to_have_attribute("placeholder", "auto: 1")
    vqgan.select_option(json.dumps("compvis/vqgan-f16-1024"))
    expect(form.locator(".refused")).to_contain_text("choose a public CLIP as the guide")
    guide.select_option(json.dumps("openai/clip-vit-b-32"))
    expect(form.locator(".refused")).to_be_hidden()
    expect(cutouts).to_have_attribute("placeholder", "auto: 32")
    expect(start.locator("option").first).to_have_text("auto (noise)")
    expect(optimiser.locator("option").first).to_have_text("auto (adam)")
    for select, usual in ((vqgan, "embedded/vqgan"), (guide, "embedded/clip-guide")):
        select.select_option(json.dumps(usual))
    expect(start.locator("option").first).to_have_text("auto (plain)")
    form.locator("summary").click()


def test_everything_has_a_name_and_shows_its_focus(open_page) -> None:
    page = open_page(DESKTOP)
    page.locator("#generate").click()
    expect(page.locator(".panel.ranking .tile.done")).to_have_count(8)
    for fold in page.locator("#more .label-wrap, #more summary").all():
        fold.click()
    assert page.evaluate(NAMELESS) == []
    names = [page.locator(f"#count-{name} input").evaluate(ACCESSIBLE_NAME)
             for name in ("sketch", "etching")]
    assert names == ["Pictures: Sketch", "Pictures: Etching"]
    page.locator("#prompt textarea").focus()
    for _ in range(25):
        page.keyboard.press("Tab")
        assert page.evaluate(UNSEEN_FOCUS) is None


def test_escape_stops_and_keeps_the_best_so_far(app: App, open_page) -> None:
    page = open_page(DESKTOP)
    page.locator("#choose-etching input").uncheck()
    page.get_by_role("button", name=strings.SETTINGS_LABEL).click()
    steps = page.get_by_label("number input for Steps").first
    # A fold that has just opened may still put its first values in; a new one takes a turn to act.
    for _ in range(10):
        steps.fill("2000")
        steps.blur()
        page.wait_for_timeout(500)
        if page.get_by_label("range slider for Steps").first.input_value() == "2000":
            break
    page.locator("#generate").click()
    panel = page.locator('.panel[aria-label="Sketch"]')
    expect(panel.locator("[role=progressbar]")).to_have_attribute("aria-valuemax", "2000")
    expect(panel.locator(".status")).to_contain_text("left")
    expect(panel.locator("img").first).to_have_attribute("src", re.compile("^data:image/jpeg"))
    page.keyboard.press("Escape")
    expect(panel.locator(".status")).to_contain_text("the best so far is kept")
    expect(panel.locator(".tile.done")).to_have_count(4)
    expect(page.locator("#generate")).to_be_enabled()
    app.wait_until_idle()


def test_what_cannot_run_is_said_on_the_page(open_page) -> None:
    page = open_page(DESKTOP)
    page.locator("#prompt textarea").fill("   ")
    page.locator("#generate").click()
    expect(page.get_by_role("alert")).to_have_text("The prompt is empty: say what to draw.")
    page.locator("#prompt textarea").fill("a cat")
    for name in ("sketch", "etching"):
        page.locator(f"#choose-{name} input").uncheck()
    page.locator("#generate").click()
    expect(page.get_by_role("alert")).to_have_text(strings.NOTHING_TICKED)
    expect(page.locator("#generate")).to_be_enabled()
    expect(page.locator("#stage .tile.sample").first).to_be_visible()
    page.locator("#choose-sketch input").check()
    page.locator("#generate").click()
    expect(page.locator("#stage .tile.done")).to_have_count(4)
    expect(page.get_by_role("alert")).to_have_count(0)
    page.locator("#prompt textarea").fill("   ")
    page.locator("#generate").click()
    expect(page.get_by_role("alert")).to_have_text("The prompt is empty: say what to draw.")
    expect(page.locator("#stage .tile.done")).to_have_count(4)


def test_examples_and_surprises_fill_the_prompt(open_page) -> None:
    page = open_page(DESKTOP)
    prompt = page.locator("#prompt textarea")
    page.get_by_role("tab", name="Counts").click()
    page.get_by_text("three bananas").click()
    expect(prompt).to_have_value("three bananas")
    page.locator("#surprise").click()
    expect(prompt).not_to_have_value("three bananas")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_prompt_then_pictures_then_the_rest(open_page, scheme: str) -> None:
    page = open_page(PHONE, scheme)
    order = ("#prompt", "#generate", "#stage", "#more")
    tops = [page.locator(place).bounding_box()["y"] for place in order]
    assert tops == sorted(tops)
    assert tops[1] < PHONE[1], "Generate is on the first screen"
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE[0], "nothing hangs over the edge"
    assert page.evaluate(CONTRASTS) == {}


def test_the_page_says_where_the_best_picture_is_or_goes_there(open_page) -> None:
    page = open_page(PHONE)
    best = page.locator(".panel.ranking .tile:has(.rank.best)")
    page.clock.set_fixed_time(0)
    page.locator("#generate").click()
    page.clock.set_fixed_time(60_000)  # nothing is touched for a minute
    expect(best).to_be_in_viewport(ratio=1)
    expect(page.locator("#generate")).to_be_enabled()
    expect(page.locator("#show-best")).to_have_count(0)

    page.evaluate("scrollTo(0, 0)")
    expect(best).not_to_be_in_viewport(ratio=1)
    page.locator("#prompt textarea").fill("a cat")
    page.keyboard.press("Enter")
    page.keyboard.press("Shift")  # and time stands still: whoever typed has just typed
    expect(page.locator("#show-best")).to_be_visible()
    expect(best).not_to_be_in_viewport(ratio=1)
    page.locator("#show-best").click()
    expect(best).to_be_in_viewport(ratio=1)
    expect(page.locator("#show-best")).to_have_count(0)


def test_a_phone_opens_the_large_picture_at_its_top(open_page) -> None:
    page = open_page(PHONE)
    page.locator("#generate").click()
    expect(page.locator(".panel.ranking .tile.done")).to_have_count(8)
    page.locator("#stage button.frame:visible").first.click()
    dialog = page.locator("dialog[open]")
    close = dialog.get_by_role("button", name="Close")
    expect(close).to_be_focused()
    assert dialog.evaluate("d => d.scrollTop") == 0
    for top in (0, 10_000):  # and it stays in reach
        dialog.evaluate("(d, top) => d.scrollTo(0, top)", top)
        box = close.bounding_box()
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= PHONE[1]
        assert min(box["width"], box["height"]) >= 44
    close.click()
    expect(dialog).to_have_count(0)


# Pictures that are shown larger than twice their pixels.
SOFT = """() => [...document.querySelectorAll("img")]
  .filter((image) => image.checkVisibility() && image.naturalWidth)
  .filter((image) => image.clientWidth > 2 * image.naturalWidth + 1
    || image.clientHeight > 2 * image.naturalHeight + 1)
  .map((image) => `${image.clientWidth} x ${image.clientHeight} of ${image.naturalWidth}`)"""
ACCESSIBLE_NAME = """(e) => {
  const labels = [...(e.labels ?? [])].map((l) => l.textContent.trim()).join(" ");
  return (e.getAttribute("aria-label") || labels || e.title || e.textContent
    || e.querySelector("img")?.alt || "").trim();
}"""
# What can be operated, or is a picture, and has no name that a screen reader could say.
NAMELESS = f"""() => [...document.querySelectorAll("#desk *, #colophon *")]
  .filter((e) => e.matches("button, input, textarea, select, a, img"))
  .filter((e) => e.checkVisibility() && e.type !== "file"
    && !(e.tagName === "IMG" ? e.alt : ({ACCESSIBLE_NAME})(e)))
  .map((e) => e.outerHTML.slice(0, 200))"""
# The element in focus, where neither it nor a box around it is outlined.
UNSEEN_FOCUS = """() => {
  const e = document.activeElement;
  if (e === document.body) return null;
  const style = getComputedStyle(e);
  if (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) return null;
  return e.outerHTML.slice(0, 200);
}"""

# Text whose contrast with the first painted background behind it is under 4.5 to 1.
CONTRASTS = """async () => {
  const fades = () => document.getAnimations().some((each) => each instanceof CSSTransition);
  while (fades()) await new Promise(requestAnimationFrame);  // a colour between two is neither
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const colour = rgb(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const bad = {};
  for (const e of document.querySelectorAll("#desk *, #masthead *, #colophon *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility() || e.closest(":disabled")) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) bad[e.textContent.trim().slice(0, 40)] = contrast;
  }
  return bad;
}"""
