"""The page's blocks: one server, whatever Gradio makes of blocks."""

from __future__ import annotations

from typing import Any

import gradio as gr
import httpx
import pytest
from gradio.routes import App

from easel.ui.blocks import PageBlocks
from tests.served import free_port


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[App]:
    """The servers that Gradio makes."""
    create, found = App.create_app, []

    def counted(*args: Any, **kwargs: Any) -> App:
        found.append(create(*args, **kwargs))
        return found[-1]

    monkeypatch.setattr(App, "create_app", staticmethod(counted))
    return found


def built(kind: type[gr.Blocks]) -> gr.Blocks:
    with kind(analytics_enabled=False) as page:
        box = gr.Textbox("a red ball")
        box.change(str.upper, box, box, api_name="upper")
    page.queue(default_concurrency_limit=None)
    return page


def test_one_server_is_made_and_answers(made: list[App]) -> None:
    page = built(PageBlocks)
    assert made == []
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, server_port=free_port(),
                            ssr_mode=False)
    try:
        assert made == [page.app]
        config = httpx.get(f"{url}config").json()
        assert [fn["api_name"] for fn in config["dependencies"]] == ["upper"]
        assert "a red ball" in httpx.get(url).text
    finally:
        page.close(verbose=False)


def test_what_is_built_fails_as_gradios_does_and_leaves_its_class_behind(made: list[App]) -> None:
    with pytest.raises(ZeroDivisionError), PageBlocks(analytics_enabled=False):
        raise ZeroDivisionError
    built(gr.Blocks)
    assert len(made) == 3, "Gradio makes fewer now: PageBlocks may go"
