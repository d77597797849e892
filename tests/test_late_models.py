"""A generator whose models come while Easel runs is there without a restart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from gradio_client.exceptions import AppError
from playwright.sync_api import Browser, expect

from pipelines.registry import Registry
from tests.served import App
from tests.test_browser import CHROMIUM, browser
from tests.watched_sketch import WatchedSketch

__all__ = ["browser"]
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
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_it_appears_when_its_models_are_here(app: App, browser: Browser) -> None:
    with pytest.raises(AppError, match="no generator called 'fresco'"):
        drawn(app)
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(app.url)
    expect(page.locator("#choose-sketch")).to_be_visible()
    assert page.locator("#choose-fresco:visible").count() == 0
    HERE.append(True)  # what the end of a download makes true
    page.get_by_role("tab", name="Models").click()
    page.get_by_role("tab", name="Generate").click()
    expect(page.locator("#choose-fresco")).to_be_visible()
    expect(page.locator("#choose-fresco input")).not_to_be_checked()
    page.context.close()
    assert len(drawn(app)[0]) == 1
