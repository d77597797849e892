"""A browser that draws slowly is behind by what it is drawing, and not by all that it was sent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect
from pydantic import Field

from pipelines.models.cache.cache import ModelCache
from tests.noise import LinearLoader, NoiseOptions, NoisePipeline
from tests.served import App
from tests.test_browser import DESKTOP, browser, open_page, pytestmark

__all__ = ["browser", "open_page", "pytestmark"]
STEPS = 100
# Every drawing of the stage takes as long as it would in a browser that has a tenth of a core.
SLOW = """() => {
  window.drawings = 0;
  new MutationObserver(() => {
    window.drawings += 1;
    for (const end = performance.now() + 700; performance.now() < end;);
  }).observe(document.querySelector("#stage"),
    { childList: true, subtree: true, characterData: true, attributes: true });
}"""


class LongOptions(NoiseOptions):
    """More steps than such a browser can draw."""

    steps: int = Field(default=STEPS, ge=1, le=10_000, title="Steps", description="Steps to take.")
    step_s: float = Field(default=0.05, ge=0, le=5, title="Step seconds",
                          description="Length of a step.")


class LongNoise(NoisePipeline):
    """Noise of many steps."""

    Options = LongOptions


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App([LongNoise()], ModelCache(LinearLoader(), "cpu"))
    yield served
    served.close()


def test_a_slow_browser_shows_the_end_of_a_run_when_it_ends(app: App, open_page) -> None:
    page = open_page(DESKTOP)
    page.evaluate(SLOW)
    page.locator("#generate").click()
    expect(page.locator("#stage .status")).to_contain_text(f"of {STEPS}")
    app.wait_until_idle()
    behind = page.evaluate("drawings")
    expect(page.locator("#stage .tile.done").first).to_be_attached()
    expect(page.locator("#generate")).to_be_enabled()
    # What was being drawn, what was sent meanwhile, and the end, which comes in a few messages.
    assert page.evaluate("drawings") - behind <= 6
