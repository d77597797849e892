"""MCP over streamable HTTP, by the protocol's own client against the page's server."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import httpx
import httpx2
import numpy as np
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import DEFAULT_MAX_SSE_EVENT_SIZE, streamable_http_client
from mcp.types import CallToolResult, ImageContent
from PIL import Image

from easel.doors import mcp_answers
from easel.doors.mcp_answers import MAX_ANSWER_BYTES, answer
from easel.guard.visitors import HEADER, new_token
from pipelines.core.metadata import read_png
from tests.served import App
from tests.small_models import small_cache

T = TypeVar("T")
FAST = {"steps": 2, "pause_s": 0}
TOKEN = new_token()


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App(cache=small_cache(), queue_size=4)
    yield served
    served.close()


def ask(app: App, work: Callable[[Client], Awaitable[T]], token: str = TOKEN,
        most_bytes: int = DEFAULT_MAX_SSE_EVENT_SIZE) -> T:
    """What a client of a visitor gets; without a token it is nobody's."""
    async def session() -> T:
        headers = {HEADER: token} if token else {}
        async with httpx2.AsyncClient(headers=headers, timeout=300) as http_client:
            transport = streamable_http_client(f"{app.url.rstrip('/')}/mcp",
                                               http_client=http_client,
                                               max_sse_event_size=most_bytes)
            async with Client(transport, read_timeout_seconds=300) as client:
                return await work(client)

    return asyncio.run(session())


def call(app: App, name: str, arguments: dict[str, Any] | None = None, token: str = TOKEN,
         ) -> CallToolResult:
    return ask(app, lambda client: client.call_tool(name, arguments or {}), token)


def facts(result: CallToolResult) -> dict[str, Any]:
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content


def pictures(result: CallToolResult) -> list[bytes]:
    return [base64.b64decode(each.data) for each in result.content
            if isinstance(each, ImageContent)]


def refused(result: CallToolResult) -> str:
    assert result.is_error
    return result.content[0].text  # type: ignore[union-attr]


def png(colour: str) -> str:
    data = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def test_the_tools_are_typed_and_no_endpoint_of_the_page_is_among_them(app: App) -> None:
    tools = {tool.name: tool for tool in ask(app, lambda client: client.list_tools()).tools}
    assert list(tools) == ["generators", "generate", "compare", "rerank", "classify", "search",
                           "history"]
    assert all(tool.description for tool in tools.values())
    for tool in tools.values():
        for name, schema in tool.input_schema["properties"].items():
            assert schema.get("description"), (tool.name, name)
    generate = tools["generate"].input_schema
    assert generate["required"] == ["prompt"]
    assert generate["properties"]["num_images"]["maximum"] == 16
    assert tools["search"].annotations is not None
    assert tools["search"].annotations.read_only_hint
    assert not tools["generate"].annotations.read_only_hint  # type: ignore[union-attr]


def test_pictures_are_drawn_kept_and_found(app: App) -> None:
    steps: list[float] = []
    mine = new_token()  # of whom nothing is kept yet

    async def note(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    drawn = ask(app, lambda client: client.call_tool(
        "generate", {"prompt": "a red apple", "num_images": 2, "seed": 7, "options": FAST},
        progress_callback=note), mine)
    found = facts(drawn)
    assert (found["generator"], found["options"]["steps"]) == ("sketch", 2)
    assert sorted(each["seed"] for each in found["pictures"]) == [7, 8]
    assert steps
    assert steps == sorted(steps)
    files = pictures(drawn)
    assert read_png(files[0])["easel"]["seed"] == found["pictures"][0]["seed"]
    names = [each["id"] for each in found["pictures"]]

    listed = facts(call(app, "history", {"text": "apple"}, mine))
    assert {each["id"] for each in listed["pictures"]} == set(names)
    assert pictures(call(app, "history", {"picture_id": names[0]}, mine)) == [files[0]]
    hits = facts(call(app, "search", {"text": "a red apple"}, mine))["hits"]
    assert {hit["id"] for hit in hits} == set(names)
    again = call(app, "generate", {"prompt": "a cat", "init_image": names[0], "options": FAST},
                 mine)
    assert read_png(pictures(again)[0])["easel"]["init_image_sha256"]
    order = facts(call(app, "rerank", {"prompts": ["a red apple"], "ids": names,
                                       "images": [png("red")], "against": ["a worm"]},
                       mine))["order"]
    assert sorted(order) == sorted(["1", *names])

    stranger = new_token()
    assert facts(call(app, "history", token=stranger))["total"] == 0
    for name, arguments in (("history", {"picture_id": names[0]}),
                            ("rerank", {"prompts": ["a"], "ids": names}),
                            ("generate", {"prompt": "a", "init_image": names[0]})):
        assert "no such picture" in refused(call(app, name, arguments, stranger))
        said = refused(call(app, name, arguments, ""))
        assert "cannot know you" in said or "picture" in said
    for name, arguments in (("search", {"text": "apple"}), ("history", {}),
                            ("classify", {"labels": ["cat", "dog"], "ids": names})):
        said = refused(call(app, name, arguments, ""))
        assert "cannot know you" in said
        assert "bearer token" in said, "which is what such a client can send"


def test_ways_are_compared_and_pictures_classified(app: App) -> None:
    compared = call(app, "compare", {"prompt": "a cat", "seed": 3, "panes": [
        {"generator": "sketch", "options": FAST}, {"generator": "etching", "options": FAST},
        {"generator": "etching", "options": {"fail": True, "pause_s": 0}}]})
    panes = facts(compared)["panes"]
    assert [pane["generator"] for pane in panes] == ["sketch", "etching", "etching"]
    assert "error" in panes[2]
    first, second = (np.array(Image.open(io.BytesIO(file))) for file in pictures(compared))
    assert np.array_equal(first, second)
    found = facts(call(app, "classify", {"labels": ["cat", "dog"], "images": [png("red")]}))
    assert sum(found["pictures"][0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert set(found["pictures"][0]["probabilities"]) == {"cat", "dog"}
    assert [g["name"] for g in facts(call(app, "generators"))["generators"]] == ["sketch",
                                                                                 "etching"]


def test_of_many_large_pictures_only_small_ones_are_held(app: App,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen of 25 megapixels took 2.2 GB."""
    data, shapes = io.BytesIO(), []
    Image.new("RGB", (1600, 900), "red").save(data, "PNG")
    large = [base64.b64encode(data.getvalue()).decode()] * 3
    embed = app.backend.embed

    def noted(model_id: str, images: Any = (), *args: Any) -> Any:
        shapes.extend(image.shape for image in images)
        return embed(model_id, images, *args)

    monkeypatch.setattr(app.backend, "embed", noted)
    facts(call(app, "rerank", {"prompts": ["a red apple"], "images": large}))
    facts(call(app, "classify", {"labels": ["cat", "dog"], "images": large}))
    assert len(shapes) >= 4
    assert set(shapes) == {(288, 512, 3)}


@pytest.mark.parametrize(("name", "arguments", "says"), [
    ("generate", {"prompt": "a", "generator": "nobody"}, "no generator called"),
    ("generate", {"prompt": "a", "num_images": 0},
     "num_images must be greater than or equal to 1, not 0."),
    ("generate", {"prompt": "a", "num_images": "x" * 99}, "must be a whole number, not \"xxx"),
    ("generate", {"prompt": "a", "num_images": 1.5}, "num_images must be a whole number, not 1.5."),
    ("generate", {"prompt": "a", "num_images": True}, "num_images must be a number, not true."),
    ("generate", {"prompt": "a", "seed": True}, "seed must be a number, not true."),
    ("generate", {"prompt": "a", "options": {"steps": True}}, "Steps must be"),
    ("compare", {"prompt": "a", "panes": [{"generator": "sketch"}] * 2, "seconds": True},
     "seconds must be a number, not true."),
    ("compare", {"prompt": "a", "panes": [{"generator": "sketch"}] * 2, "seed": False},
     "seed must be a number, not false."),
    ("search", {"text": "a", "limit": True}, "limit must be a number, not true."),
    ("history", {"page": True}, "page must be a number, not true."),
    ("generate", {"prompt": "a", "colour": "red"}, "generate has no argument called \"colour\"; "
     "there are: prompt, generator, num_images, seed, options, init_image, image_prompts, mask."),
    ("generate", {"text": "a"}, "generate has no argument called \"text\""),
    ("generate", {"prompt": "x" * 501}, "prompt must have at most 500 characters."),
    ("generate", {"prompt": "a", "options": 5}, "options must be an object, not 5."),
    ("generate", {"prompt": "a", "options": {"steps": 0}}, "Steps must be"),
    ("generate", {"prompt": "a", "width": 1000, "height": 1000},
     "generate has no argument called \"width\""),
    ("generate", {"prompt": "a", "options": {"size_px": 1000}},
     "There is no option called 'size_px'"),
    ("generate", {"prompt": "a", "init_image": "@@@"}, "not in base64"),
    ("generate", {"prompt": "a", "init_image": "AAAA"}, "not a PNG, JPEG or WebP"),
    ("generate", {}, "prompt is missing: generate needs it."),
    ("generate", {"prompt": "a", "options": {"fail": True, "pause_s": 0}}, "went wrong"),
    ("compare", {"prompt": "a", "panes": [{"generator": "sketch"}]},
     "panes must have at least 2 items."),
    ("compare", {"prompt": "a", "panes": [{"generator": "sketch"}, {}]},
     "panes[1].generator is missing: compare needs it."),
    ("compare", {"prompt": "a", "panes": [{"generator": "sketch", "steps": 2}] * 2},
     "panes[0] has no argument called \"steps\"; there are: generator, options."),
    ("history", {"text": "x" * 501}, "The filter text must be text of at most 500 characters."),
    ("history", {"generator": "x" * 501}, "The filter pipeline must be text of at most 500 ch"),
    ("generators", {"all": True}, "generators has no argument called \"all\"; there are: none."),
    ("classify", {"labels": ["a", "b"]}, "no pictures"),
    ("rerank", {"prompts": [" "], "images": [png("red")]}, "no prompt"),
    ("generate_page", {}, "There is no tool called \"generate_page\"; there are: generators, ")])
def test_bad_calls_end_in_one_sentence(app: App, name: str, arguments: dict[str, Any],
                                       says: str) -> None:
    said = refused(call(app, name, arguments))
    assert says in said
    assert not any(odd in said for odd in ("Traceback", "\n", "pydantic", "Error executing"))
    assert len(said) < 200


def noise_png(side_px: int) -> bytes:
    data = io.BytesIO()
    pixels = np.random.default_rng(side_px).integers(0, 256, (side_px, side_px, 3), np.uint8)
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def test_an_answer_is_never_longer_than_clients_read() -> None:
    """Three pictures of 1280 px ended the session of the SDK's own client."""
    small, sides = noise_png(32), (1536, 32, 700, 1280)
    pngs = [noise_png(side) if side != 32 else small for side in sides]
    told = answer({"pictures": ["\"é" * 5000]}, pngs)
    assert len(told.model_dump_json(by_alias=True).encode()) < MAX_ANSWER_BYTES
    assert MAX_ANSWER_BYTES <= DEFAULT_MAX_SSE_EVENT_SIZE
    assert facts(told)["reduced"] == [1, 3, 4]
    assert json.loads(told.content[0].text) == facts(told)  # type: ignore[union-attr]
    files = pictures(told)
    assert files[1] == small
    opened = [Image.open(io.BytesIO(file)) for file in files]
    assert [each.format for each in opened] == ["WEBP", "PNG", "WEBP", "WEBP"]
    assert all(each.width == each.height > 128 for each in opened[2:])
    assert "reduced" not in facts(answer({"pictures": []}, [small]))


def test_large_pictures_reach_a_client_and_stay_whole_in_the_history(
        app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = {"prompt": "a red apple", "num_images": 4, "seed": 7, "options": FAST}
    whole = pictures(call(app, "generate", arguments))
    bound = 6000 + sum(map(len, whole)) // 2
    monkeypatch.setattr(mcp_answers, "MAX_ANSWER_BYTES", bound)
    drawn = ask(app, lambda client: client.call_tool("generate", arguments), most_bytes=bound)
    assert facts(drawn)["reduced"]
    assert len(pictures(drawn)) == 4
    monkeypatch.undo()
    kept = [pictures(call(app, "history", {"picture_id": each["id"]}))[0]
            for each in facts(drawn)["pictures"]]
    for number in range(1, 5):
        image = Image.open(io.BytesIO(pictures(drawn)[number - 1]))
        assert image.format == ("WEBP" if number in facts(drawn)["reduced"] else "PNG")
        assert read_png(kept[number - 1])["easel"]["prompt"] == "a red apple"


def test_the_schema_says_that_there_are_no_other_arguments(app: App) -> None:
    for tool in ask(app, lambda client: client.list_tools()).tools:
        assert tool.input_schema["additionalProperties"] is False, tool.name


def test_what_breaks_inside_a_tool_is_told_the_log_alone(app: App, caplog: pytest.LogCaptureFixture,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> Any:
        raise RuntimeError("a secret")

    monkeypatch.setattr(app.backend.registry, "check", broken)
    said = refused(call(app, "generate", {"prompt": "a"}))
    assert said == "Something went wrong on this machine; the details are in the server's log."
    assert "a secret" in caplog.text


def test_a_client_that_goes_away_frees_the_device(app: App) -> None:
    async def leave(client: Client) -> None:
        task = asyncio.ensure_future(client.call_tool(
            "generate", {"prompt": "a cat", "options": {"steps": 2000, "pause_s": 0.02}}))
        end = time.monotonic() + 90
        while not app.sketch.running:
            assert time.monotonic() < end, "the run has not begun"
            assert not task.done()
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    ask(app, leave)
    app.wait_until_idle(90)


def test_other_pages_and_foreign_names_are_refused(app: App) -> None:
    address = f"{app.url.rstrip('/')}/mcp"
    for headers, status in (({"origin": "https://example.org"}, 403),
                            ({"host": "example.org"}, 421)):
        answer = httpx.post(address, headers=headers, json={}, timeout=300)
        assert answer.status_code == status
        assert answer.json()["error"]["message"].startswith("Easel ")


REQUEST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


@pytest.mark.parametrize(("body", "code", "says"), [
    ("{", -32700, "Parse error"), ("[]", -32600, "The batch is empty."),
    ("[1, 2]", -32600, "one message at a time"), ([REQUEST], -32600, "one message at a time"),
    ("3", -32600, "no message of JSON-RPC 2.0"), ({}, -32600, "no message"),
    ({**REQUEST, "jsonrpc": "1.0"}, -32600, "no message"),
    ({**REQUEST, "method": 5}, -32600, "no message"),
    ({**REQUEST, "id": None}, -32600, "no message"),
    ({**REQUEST, "id": True}, -32600, "no message"),
    ({**REQUEST, "params": [1]}, -32600, "no message"),
    ({"jsonrpc": "2.0", "id": 1, "result": {}, "error": {}}, -32600, "no message")])
def test_what_is_no_message_is_an_error_of_json_rpc(app: App, body: Any, code: int, says: str,
                                                    ) -> None:
    sent = body if isinstance(body, str) else json.dumps(body)
    answer = httpx.post(f"{app.url.rstrip('/')}/mcp", content=sent, timeout=300, headers={
        HEADER: TOKEN, "content-type": "application/json",
        "accept": "application/json, text/event-stream"})
    assert answer.status_code == 400
    told = answer.json()
    assert (told["jsonrpc"], told["id"], told["error"]["code"]) == ("2.0", None, code)
    assert says in told["error"]["message"]


def test_a_message_that_comes_in_pieces_is_one(app: App) -> None:
    body = json.dumps(REQUEST).encode()
    answer = httpx.post(f"{app.url.rstrip('/')}/mcp", content=iter([body[:9], body[9:]]),
                        timeout=300, headers={
                            HEADER: TOKEN, "content-type": "application/json",
                            "accept": "application/json, text/event-stream"})
    assert answer.status_code == 200
    assert "generators" in answer.text


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_what_is_not_posted_is_answered_at_once(app: App, method: str) -> None:
    """A stream by which nothing ever comes would hold a connection for as long as one likes."""
    answer = httpx.request(method, f"{app.url.rstrip('/')}/mcp", timeout=300,
                           headers={"accept": "application/json, text/event-stream"})
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["error"]["message"].startswith("Send messages by POST")
