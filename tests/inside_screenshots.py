"""A picture of each view of Inside, for ``docs/inside.md``; ``python -m tests.screenshots inside``
takes them with the embedded models."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageOps
from playwright.sync_api import Locator, Page, expect

from easel.words import strings

WIDTH_PX = 960  # as kept
SCREEN = (1440, 1500)  # so high that no button sticks to its lower edge
AROUND_PX = 24
SAMPLE, PROMPT = 2, "an orange cat and a blue umbrella"
CELL = (9, 6)  # row and column where a grid is pressed, from 1
# Of what goes on for long, how much is kept.
HEIGHTS_PX = {"prior": 1205, "stream": 940, "mix": 860, "complete": 600, "codes": 1090}


def views(page: Page, folder: Path) -> None:
    """Open every view, answer as a reader would, and keep it as ``inside-NAME.webp``.

    Args:
        page: of the served page, at the width of a desktop.
        folder: where the pictures go.
    """
    page.set_viewport_size({"width": SCREEN[0], "height": SCREEN[1]})
    page.get_by_role("tab", name=strings.TAB_INSIDE, exact=True).click()
    page.locator("#inside-samples button").nth(SAMPLE).click()
    expect(page.locator("#inside-prompt textarea")).to_have_value(PROMPT)
    for name, title, see in VIEWS:
        page.locator("#inside .lab-parts button[role=tab]").get_by_text(title, exact=True).click()
        shown = see(page)
        expect(shown).to_be_visible()
        page.locator("#inside .lab-parts").evaluate("(e) => e.scrollIntoView()")
        page.evaluate("document.fonts.ready")
        page.wait_for_timeout(500)  # what moves comes to rest
        keep(shown, folder / f"inside-{name}.webp", HEIGHTS_PX.get(name))


def keep(shown: Locator, path: Path, most_px: int | None) -> None:
    """Keep an element as WebP with a margin, its lower end cut off where it is longer than that."""
    with Image.open(io.BytesIO(shown.screenshot(animations="disabled"))) as picture:
        rgb = picture.convert("RGB")
    cut = rgb.crop((0, 0, rgb.width, min(rgb.height, most_px or rgb.height)))
    ground = cut.getpixel((cut.width - 1, 0))
    whole = ImageOps.expand(cut, AROUND_PX, ground)  # type: ignore[arg-type]
    width = min(WIDTH_PX, whole.width)
    height = round(whole.height * width / whole.width)
    whole.resize((width, height), Image.Resampling.LANCZOS).save(path, quality=80, method=6)


def asked(page: Page, name: str) -> Locator:
    """Press a view's button and wait for its answer; returns its stage."""
    page.locator(f"#lab-inside-{name}").click()
    stage = page.locator(f"#lab-inside-{name}-stage")
    expect(stage.locator(".inside-figure")).to_be_visible()
    expect(page.locator(f"#lab-inside-{name}")).to_be_enabled()
    return stage


def desk(page: Page, name: str) -> Locator:
    """The question and the stage of a view."""
    return page.locator(".lab-desk", has=page.locator(f"#lab-inside-{name}-stage"))


def cell_of(grid: Locator) -> Locator:
    """The cell that a reader looks at."""
    row, column = CELL
    return grid.locator("[role=row]").nth(row - 1).locator("[role=gridcell]").nth(column - 1)


def score(page: Page) -> Locator:
    """The heat map and the words."""
    asked(page, "score")
    return desk(page, "score")


def codes(page: Page) -> Locator:
    """The map of codes, and one that was pressed."""
    cell_of(asked(page, "codes").locator(".code-map")).click()
    expect(page.locator("#inside-code .near button").first).to_be_visible()
    return desk(page, "codes")


def patches(page: Page) -> Locator:
    """Both maps of the discriminator."""
    page.locator("#patches .label-wrap").click()
    cell_of(asked(page, "patches").locator("[role=grid]").first).focus()
    return desk(page, "patches")


def mix(page: Page) -> Locator:
    """Two pictures in one grid of codes."""
    asked(page, "mix")
    return desk(page, "mix")


def stream(page: Page) -> Locator:
    """The map of surprise and the likeliest blocks of one place."""
    asked(page, "stream").locator("[role=gridcell]").nth(41).focus()
    return desk(page, "stream")


def complete(page: Page) -> Locator:
    """Several ways to go on with the upper half."""
    asked(page, "complete")
    return desk(page, "complete")


def loop(page: Page) -> Locator:
    """The steps of VQGAN+CLIP, at the last one."""
    asked(page, "loop").locator("[role=gridcell]").first.focus()
    page.keyboard.press("End")
    return desk(page, "loop")


def prior(page: Page) -> Locator:
    """The plane of embeddings and the two pictures."""
    asked(page, "prior")
    return desk(page, "prior")


def walk(page: Page) -> Locator:
    """The strip between two prompts."""
    page.locator("#walk-seed textarea, #walk-seed input").fill("1")
    page.locator("#walk-run").click()
    expect(page.locator("#walk-stage video")).to_be_visible()
    expect(page.locator("#walk-run")).to_be_enabled()
    return page.locator("#walk-desk")


def contrast(page: Page) -> Locator:
    """The matrix of four pairs."""
    asked(page, "contrast")
    return desk(page, "contrast")


def replay(page: Page) -> Locator:
    """The twelve pairs at the last moment."""
    page.locator("#replay .label-wrap").click()
    expect(page.locator("#replay-stage h4")).to_be_visible()
    page.locator("#replay-moment input[type=range]").focus()
    page.keyboard.press("End")
    expect(page.locator("#replay-stage h4")).not_to_contain_text("After 0 steps")
    return page.locator(".lab-desk", has=page.locator("#replay-stage"))


def path(page: Page) -> Locator:
    """A lesson with what one sees."""
    lesson = page.locator("#lesson-4")
    lesson.locator("> details > summary").first.click()
    return lesson


VIEWS: tuple[tuple[str, str, Callable[[Page], Locator]], ...] = (
    ("score", strings.SCORE, score), ("codes", strings.CODES, codes),
    ("patches", strings.CODES, patches), ("mix", strings.MIX, mix),
    ("stream", strings.STREAM, stream), ("complete", strings.COMPLETE, complete),
    ("loop", strings.LOOP, loop), ("prior", strings.PRIOR, prior), ("walk", strings.WALK, walk),
    ("contrast", strings.CONTRAST, contrast), ("replay", strings.CONTRAST, replay),
    ("path", strings.PATH, path))
