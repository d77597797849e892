"""Keys on the running server: what each door's own client is told without one, and with it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import openai
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from webuiapi import WebUIApi

from easel.settings import load_settings
from pipelines.core.errors import EaselError
from tests.served import App

KEY, OTHER = "k" * 22, "o" * 22


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App(api_keys=f"{KEY},{OTHER}")
    yield served
    served.close()


def tools(app: App, key: str) -> list[str]:
    """Names of the tools that a client with a key is offered."""
    async def session() -> list[str]:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        async with httpx2.AsyncClient(headers=headers, timeout=300) as http_client:
            transport = streamable_http_client(f"{app.url.rstrip('/')}/mcp",
                                               http_client=http_client)
            async with Client(transport, read_timeout_seconds=300) as client:
                return [tool.name for tool in (await client.list_tools()).tools]

    return asyncio.run(session())


def test_the_client_of_openai_needs_a_key(app: App) -> None:
    def models(key: str) -> Any:
        return openai.OpenAI(base_url=f"{app.url}v1", api_key=key, max_retries=0).models.list()

    assert models(KEY).data
    assert models(OTHER).data
    with pytest.raises(openai.AuthenticationError) as caught:
        models("wrong")
    assert caught.value.code == "invalid_api_key"


def test_the_client_of_a1111_needs_a_key(app: App) -> None:
    api = WebUIApi(baseurl=f"{app.url}sdapi/v1")
    assert api.get_options()["errors"] == "Not authenticated"
    api.set_auth("anybody", "wrong")
    assert api.get_options()["errors"] == "Incorrect username or password"
    api.set_auth("anybody", KEY)
    assert api.get_options()["sd_model_checkpoint"] == "sketch"


def test_the_client_of_mcp_comes_in_by_a_key(app: App) -> None:
    assert "generate" in tools(app, KEY)


@pytest.mark.parametrize(("key", "says"), [("", "A key is needed, as a bearer token."),
                                           ("wrong", "The key is wrong.")])
def test_what_mcp_answers_without_one(app: App, key: str, says: str) -> None:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    answer = httpx.post(f"{app.url}mcp", json={}, headers=headers, timeout=300)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["message"] == says


def test_the_page_needs_none(app: App) -> None:
    assert httpx.get(app.url, timeout=300).status_code == 200


def test_keys_and_doors_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().keys() == ()
    assert "openai" in load_settings().open_doors()
    monkeypatch.setenv("EASEL_API_KEYS", f"{KEY}, {'o' * 30}")
    monkeypatch.setenv("EASEL_DOORS", "none")
    assert load_settings().keys() == (KEY, "o" * 30)
    assert "openai" not in load_settings().open_doors()
    monkeypatch.setenv("EASEL_DOORS", "windows")
    with pytest.raises(EaselError, match="some of openai"):
        load_settings()
    monkeypatch.setenv("EASEL_DOORS", "openai")
    monkeypatch.setenv("EASEL_API_KEYS", "secret")
    with pytest.raises(EaselError, match="EASEL_API_KEYS is not valid: keys of 22") as caught:
        load_settings()
    assert "secret" not in str(caught.value)
