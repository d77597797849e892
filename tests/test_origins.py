"""Preflight requests: answered for origins that the operator allows, and for no other."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.served import App

FRIEND = "https://notebook.example:8443"
PATHS = ["v1/images/generations", "sdapi/v1/txt2img", "mcp", "gradio_api/run/queue"]


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App(allowed_hosts="notebook.example, 127.0.0.1")
    yield served
    served.close()


def asked(app: App, path: str, origin: str = FRIEND, method: str = "POST") -> httpx.Response:
    return httpx.options(app.url + path, timeout=300, headers={
        "origin": origin, "access-control-request-method": method,
        "access-control-request-headers": "authorization, content-type"})


@pytest.mark.parametrize("path", PATHS)
def test_a_page_of_an_allowed_host_may_call_and_read(app: App, path: str) -> None:
    answer = asked(app, path)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == FRIEND
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "authorization" in answer.headers["access-control-allow-headers"]
    assert "Origin" in answer.headers["vary"]
    assert asked(app, path, method="PATCH").status_code == 400
    said = httpx.post(app.url + path, json={}, headers={"origin": FRIEND}, timeout=300)
    assert said.headers["access-control-allow-origin"] == FRIEND, "also where it is refused"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("origin", ["https://evil.example", "https://notebook.example.evil.example",
                                    "https://notebook.example@evil.example", "null"])
def test_no_other_page_may(app: App, path: str, origin: str) -> None:
    answer = asked(app, path, origin)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    said = httpx.post(app.url + path, json={}, headers={"origin": origin}, timeout=300)
    assert (said.status_code, "access-control-allow-origin" in said.headers) == (403, False)


def test_under_a_name_of_its_own_it_tells_no_site_that_it_may() -> None:
    """Gradio's own answers do."""
    served = App(allowed_hosts="easel.example")
    try:
        for origin in ("https://evil.example", "null"):
            for path in ("", "config", *PATHS):
                answers = [httpx.request(method, served.url + path, timeout=300, headers={
                    "host": "easel.example", "origin": origin,
                    "access-control-request-method": "POST"}) for method in ("OPTIONS", "GET")]
                assert [each.status_code for each in answers] == [403, 403], path
                assert not any("access-control-allow-origin" in each.headers for each in answers)
    finally:
        served.close()


@pytest.mark.parametrize("path", PATHS)
def test_what_is_no_preflight_is_no_method_of_the_door(app: App, path: str) -> None:
    answer = httpx.options(app.url + path, timeout=300)
    assert answer.status_code == 405
    assert answer.headers["allow"]
