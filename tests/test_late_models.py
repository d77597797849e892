"""A generator whose models come while Easel runs is there without a restart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from gradio_client.exceptions import AppError
from playwright.sync_api import expect, sync_playwright

from pipelines.registry import Registry
from tests.served import App
from tests.test_browser import ARGUMENTS, CHROMIUM
from tests.watched_sketch import WatchedSketch

HERE: list[bool] = []


class Waiting(Registry):
    """A registry in which one more pipeline waits for ``HERE``."""

    def __init__(self) -> None:
        super().__init__()
        self.register(WatchedSketch("fresco", "Fresco"), lambda: bool(HERE))


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    HERE.clear()
    monkeypatch.setattr("tests.served.Registry", Waiting)
    served = App()
    yield served
    served.close()


def drawn(app: App) -> Any:
    return app.client().predict(prompt="a red apple", pipelines=["fresco"], num_images=1,
                                api_name="/generate")


@pytest.mark.browser
def test_it_appears_when_its_models_are_here(app: App) -> None:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with pytest.raises(AppError, match="no generator called 'fresco'"):
        drawn(app)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(30_000)
        page.goto(app.url)
        expect(page.locator("#choose-sketch")).to_be_visible(timeout=30_000)
        assert page.locator("#choose-fresco:visible").count() == 0
        HERE.append(True)  # what the end of a download makes true
        page.get_by_role("tab", name="Models").click()
        page.get_by_role("tab", name="Generate").click()
        expect(page.locator("#choose-fresco")).to_be_visible(timeout=30_000)
        expect(page.locator("#choose-fresco input")).not_to_be_checked()
        browser.close()
    assert len(drawn(app)[0]) == 1
