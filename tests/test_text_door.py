"""Half characters in calls: a sentence in the language of the caller, before any handler runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gradio as gr
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from easel.guard.text_door import DEEP, INFINITE, LARGE, first_fault, refuse_unwritable
from tests.served import App

HALF = "a \ud800 cat"
SENTENCE = "The text holds half a character, which no file can store."


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App()
    yield served
    served.close()


def answer(app: App, endpoint: str, data: list[Any], **headers: str) -> str:
    """The events with which a call ends."""
    body = json.dumps({"data": data})  # in ASCII, with halves escaped
    call = f"{app.url}gradio_api/call/{endpoint}"
    event = httpx.post(call, content=body, headers={
        "content-type": "application/json", **headers}, timeout=120).json()["event_id"]
    return httpx.get(f"{call}/{event}", timeout=120).text


@pytest.mark.parametrize(("endpoint", "data"), [
    ("search", ["history", HALF]), ("history_rate", [HALF, 1]), ("history_delete", [[HALF]]),
    ("history_list", [{"text": HALF}]), ("classify", ["uploads", ["a", HALF]]),
    ("rerank", [[], [HALF]]), ("generate", [HALF]),
    ("generate", ["a cat", ["sketch"], 1, 1, {"sketch": {HALF: 1}}])])
def test_every_endpoint_refuses_half_characters(app: App, endpoint: str, data: list[Any]) -> None:
    said = answer(app, endpoint, data)
    assert "event: error" in said
    assert SENTENCE in said


def test_it_is_said_in_the_callers_language(app: App) -> None:
    said = answer(app, "history_rate", [HALF, 1], **{"accept-language": "pt-BR"})
    assert "meio caractere, que nenhum arquivo pode guardar." in said


def test_handlers_never_see_them() -> None:
    seen: list[Any] = []
    with gr.Blocks(analytics_enabled=False) as page:
        box = gr.Textbox()
        box.submit(seen.append, box, None)
    refuse_unwritable(page)
    [block] = page.fns.values()
    caller: Any = SimpleNamespace(headers={})
    for bad in (HALF, "a\0b"):
        with pytest.raises(gr.Error, match="which no"):
            asyncio.run(page.process_api(block_fn=block, inputs=[bad], request=caller))
    asyncio.run(page.process_api(block_fn=block, inputs=["a cat"]))
    assert seen == ["a cat"]


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
JSON = st.recursive(st.none() | st.integers(-2**63, 2**63 - 1) | TEXT,
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        TEXT, inner, max_size=3), max_leaves=8)


@given(JSON, st.integers(0, 3))
def test_they_are_found_anywhere(value: Any, depth: int) -> None:
    assert first_fault(value) is None
    for wrap in (lambda v: [value, v], lambda v: {"a": v}, lambda v: {HALF: v}):
        found: Any = HALF
        for _ in range(depth + 1):
            found = wrap(found)
        assert first_fault(found) == SENTENCE


@pytest.mark.parametrize(("value", "says"), [
    ("1" + "0" * 400, LARGE), ("-9223372036854775809", LARGE), ("NaN", INFINITE),
    ("-Infinity", INFINITE), ("1e999", INFINITE), ("[" * 65 + "]" * 65, DEEP),
    ("[" * 900 + "]" * 900, DEEP)])
def test_what_no_answer_can_hold_is_refused(app: App, value: str, says: str) -> None:
    body = '{"data": ["a cat", ["sketch"], 1, 1, {"sketch": {"steps": VALUE}}, null, null, ' \
           "false, null, null, null]}"
    call = f"{app.url}gradio_api/call/generate"
    event = httpx.post(call, content=body.replace("VALUE", value), timeout=120, headers={
        "content-type": "application/json"}).json()["event_id"]
    assert says in httpx.get(f"{call}/{event}", timeout=120).text
