"""The nets below calls and requests: an answer or one sentence, and one line in the log.

What every function and address makes of odd values is looked at in ``tests/trust``.
"""

from __future__ import annotations

import asyncio
import errno
import io
import json
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio import queueing
from starlette.requests import ClientDisconnect

from easel.guard.call_net import answer_every_call, log_in_one_way
from easel.guard.error_net import ErrorNet
from easel.serving.logs import configure_logging
from pipelines.core.errors import EaselError
from tests.served import App


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App()
    yield served
    served.close()


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging("INFO", "text", stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)


def page_of(function: Any) -> tuple[gr.Blocks, Any]:
    with gr.Blocks(analytics_enabled=False) as page:
        box = gr.Textbox()
        box.submit(function, box, box)
    answer_every_call(page)
    [block] = page.fns.values()
    return page, block


def test_what_has_none_for_a_default_may_be_left_out(log: io.StringIO) -> None:
    def handler(text: str, mask: str | None = None) -> str:
        return f"{text} {mask}"

    with gr.Blocks(analytics_enabled=False) as page:
        boxes = [gr.Textbox(), gr.Textbox()]
        boxes[0].submit(handler, boxes, boxes[0])
    answer_every_call(page)
    [block] = page.fns.values()

    def call(*values: str) -> Any:
        return asyncio.run(page.process_api(block, list(values)))["data"]

    assert call("a dog") == ["a dog None"]
    assert call("a dog", "a mask") == ["a dog a mask"]
    with pytest.raises(gr.Error):
        call()


def test_what_a_handler_raises_becomes_a_sentence(log: io.StringIO) -> None:
    caller: Any = SimpleNamespace(headers={"accept-language": "pt"})

    def raises(error: BaseException) -> Any:
        def handler(text: str) -> str:
            raise error
        return handler

    for error, says in ((EaselError("No such picture."), "No such picture"),
                        (RuntimeError("a\nforged line"), "Algo deu errado nesta máquina")):
        page, block = page_of(raises(error))
        with pytest.raises(gr.Error, match=says) as caught:
            asyncio.run(page.process_api(block_fn=block, inputs=["a"], request=caller))
        assert caught.value.print_exception is False
    assert not any(line.startswith("forged") for line in log.getvalue().splitlines())


def test_an_answer_that_json_cannot_hold_is_none(log: io.StringIO) -> None:
    page, block = page_of(lambda text: gr.update(value="a\ud800"))
    with pytest.raises(gr.Error, match="Something went wrong on this machine"):
        asyncio.run(page.process_api(block_fn=block, inputs=["a"]))


def test_too_few_values_are_refused_in_one_line(log: io.StringIO) -> None:
    page, block = page_of(lambda text: text)
    with pytest.raises(gr.Error, match="does not hold what this function takes"):
        asyncio.run(page.process_api(block_fn=block, inputs=[]))
    [line] = log.getvalue().splitlines()
    assert "was refused" in line


@pytest.mark.parametrize("choose", [gr.Dropdown, gr.Radio, gr.CheckboxGroup])
@pytest.mark.parametrize(("value", "says"), [
    ("c", "'c' is none of the choices that there are."),
    ("'" * 1000, "is none of the choices that there are."),
    ("c" * 10**6, "does not hold what this function takes")], ids=["short", "quotes", "long"])
def test_what_is_no_choice_is_refused_in_a_sentence(log: io.StringIO, choose: Any, value: str,
                                                    says: str) -> None:
    """Gradio's words are Python's."""
    with gr.Blocks(analytics_enabled=False) as page:
        box = choose(["a", "b"])
        box.change(lambda value: value, box, box)
    answer_every_call(page)
    [block] = page.fns.values()
    given: Any = [value] if choose is gr.CheckboxGroup else value
    with pytest.raises(gr.Error) as caught:
        asyncio.run(page.process_api(block_fn=block, inputs=[given]))
    assert says in str(caught.value.message)
    assert len(str(caught.value.message)) < 200


def test_what_lives_in_the_browser_alone_is_refused_in_one_line(log: io.StringIO) -> None:
    with gr.Blocks(analytics_enabled=False) as page:
        box = gr.Textbox()
        box.submit(None, box, box, js="text => text")
    answer_every_call(page)
    [block] = page.fns.values()
    with pytest.raises(gr.Error, match="does not hold what this function takes"):
        asyncio.run(page.process_api(block_fn=block, inputs=["a dog"]))
    [line] = log.getvalue().splitlines()
    assert "was refused" in line


def test_what_gradio_prints_goes_through_the_log(log: io.StringIO,
                                                 capfd: pytest.CaptureFixture[str]) -> None:
    log_in_one_way()
    try:
        raise ValueError("a\nFORGED \x1b[31mred\x1b[0m")
    except ValueError:
        queueing.traceback.print_exc()
    logging.getLogger("uvicorn.error").warning("a\nFORGED too")
    assert "FORGED" in log.getvalue()
    assert "\x1b" not in log.getvalue()
    assert not any(line.startswith("FORGED") for line in log.getvalue().splitlines())
    assert "FORGED" not in "".join(capfd.readouterr())


def test_a_forged_file_name_forges_no_line(app: App, log: io.StringIO) -> None:
    """A path with a line feed and an escape sequence, as the log's reader would believe it."""
    file = {"path": "a\n2026-01-01T00:00:00Z [info] FORGED \x1b[31m", "meta": {
        "_type": "gradio.FileData"}}
    for path in ("call/rerank", "queue/join", "run/rerank"):
        httpx.post(f"{app.url}gradio_api/{path}", timeout=60, json={
            "data": [[file], ["a"], "embedded/clip-ranker", None, None, None],
            "session_hash": "forger", "fn_index": None})
    body = json.dumps({"data": [[file], ["a"]] + [None] * 4})
    event = httpx.post(f"{app.url}gradio_api/call/rerank", content=body, timeout=60, headers={
        "content-type": "application/json"}).json()["event_id"]
    assert "error" in httpx.get(f"{app.url}gradio_api/call/rerank/{event}", timeout=60).text
    assert "\x1b" not in log.getvalue()
    assert not any("FORGED" in line and line.startswith("2026-01-01")
                   for line in log.getvalue().splitlines())


def answered(error: Exception, path: str = "/page", begun: bool = False) -> list[Any]:
    """What is sent where the application raises."""
    sent: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise error

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    asyncio.run(ErrorNet(application)({"type": "http", "path": path, "method": "GET",
                                       "headers": []}, receive, send))
    return sent


@pytest.mark.parametrize(("error", "path", "status", "says"), [
    (RuntimeError("a\nforged"), "/page", 500, "went wrong"),
    (TypeError("no file"), "/gradio_api/upload", 400, "no file that has a name"),
    (OSError(28, "No space left on device"), "/gradio_api/upload", 507, "could not be written"),
    (OSError(errno.ENAMETOOLONG, "File name too long"), "/assets/a", 404, "no such address")])
def test_a_request_that_fails_is_answered(log: io.StringIO, error: Exception, path: str,
                                          status: int, says: str) -> None:
    start, body = answered(error, path)
    assert start["status"] == status
    assert says in json.loads(body["body"])["detail"]
    assert not any(line.startswith("forged") for line in log.getvalue().splitlines())


def test_who_hung_up_is_no_fault(log: io.StringIO) -> None:
    assert answered(ClientDisconnect(), "/gradio_api/upload") == []
    [line] = log.getvalue().splitlines()
    assert "hung up" in line
    assert "ERROR" not in line


def test_an_answer_that_has_begun_gets_no_second_one(log: io.StringIO) -> None:
    assert [message["type"] for message in answered(RuntimeError("late"), begun=True)] == [
        "http.response.start"]
