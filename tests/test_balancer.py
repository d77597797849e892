"""Two front ends behind HAProxy, as the configuration says that ships: who comes stays with one."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from gradio_client import Client
from playwright.sync_api import expect

from easel.guard.visitors import HEADER, new_token
from tests.conftest import REPOSITORY
from tests.one_browser import PATIENCE_MS, OneBrowser
from tests.served import App, free_port

HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
CONFIGURATION = REPOSITORY / "docs" / "cluster" / "haproxy.cfg"
CHROMIUM = shutil.which("chromium")
COOKIE = "EASEL_FRONT"
SHORT = {"sketch": {"steps": 2, "pause_s": 0.0}}
WAIT_S = 120.0

pytestmark = pytest.mark.skipif(HAPROXY is None, reason="HAProxy is not installed")


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.05)


def balancer(fronts: list[str]) -> tuple[str, subprocess.Popen[bytes]]:
    """HAProxy before two addresses, and its own."""
    port = free_port()
    process = subprocess.Popen([str(HAPROXY), "-f", str(CONFIGURATION)], env={
        **os.environ, "EASEL_BALANCER": f"127.0.0.1:{port}", "EASEL_FRONT_1": fronts[0],
        "EASEL_FRONT_2": fronts[1]})
    return f"http://127.0.0.1:{port}/", process


def front_of(url: str, **headers: str) -> str:
    """The number of the front end that a new visitor gets; empty where nobody answers."""
    try:
        return httpx.get(f"{url}healthz", headers=headers).cookies.get(COOKIE) or ""
    except httpx.HTTPError:
        return ""


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with the headers that it got."""

    def do_GET(self) -> None:
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class Balanced:
    """HAProxy before two front ends with one data folder."""

    def __init__(self, folder: Path) -> None:
        self.fronts = [App(data_dir=folder, queue_size=20) for _ in range(2)]
        self.url, self.process = balancer(
            [front.url.partition("://")[2].strip("/") for front in self.fronts])
        until(lambda: self.front_of() == "1")
        until(lambda: self.front_of() == "2")

    def front_of(self, **headers: str) -> str:
        """See ``front_of``."""
        return front_of(self.url, **headers)

    def client(self, **headers: str) -> Client:
        return Client(self.url, verbose=False, analytics_enabled=False, headers=headers,
                      httpx_kwargs={"timeout": 300})

    def drawn(self) -> list[int]:
        """How many pictures each front end has drawn."""
        return [front.sketch.finished for front in self.fronts]

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()
        for front in self.fronts:
            front.close()


@pytest.fixture
def balanced(tmp_path: Path) -> Iterator[Balanced]:
    made = Balanced(tmp_path)
    yield made
    made.close()


def test_haproxy_finds_no_fault_in_it() -> None:
    done = subprocess.run([str(HAPROXY), "-c", "-f", str(CONFIGURATION)], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower()


def test_programs_draw_and_both_front_ends_do(balanced: Balanced) -> None:
    for _ in range(6):
        files, details = balanced.client().predict("a red apple", ["sketch"], 1, 0, SHORT,
                                                   api_name="/generate")
        assert len(files) == len(details["pictures"]) == 1
    assert sum(balanced.drawn()) == 6
    assert all(balanced.drawn()), "nobody was sent to one of them"


def test_a_visitor_is_known_to_both_and_comes_back_to_one(balanced: Balanced) -> None:
    token = new_token()
    assert len({balanced.front_of(**{HEADER: token}) for _ in range(6)}) == 1, "without a cookie"
    assert {balanced.front_of(**{HEADER: new_token()}) for _ in range(30)} == {"1", "2"}
    _, details = balanced.client(**{HEADER: token}).predict(
        "a red apple", ["sketch"], 1, 0, SHORT, api_name="/generate")
    name = details["pictures"][0]["id"]
    for number in ("1", "2"):
        answer = httpx.get(f"{balanced.url}history/{name}/picture", headers={HEADER: token},
                           cookies={COOKIE: number})
        assert answer.status_code == 200
        assert answer.content.startswith(b"\x89PNG")


def test_who_comes_through_it_is_not_taken_for_who_runs_it() -> None:
    """Easel takes who comes from its own machine for that, but for a proxy's word."""
    with http.server.HTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url, process = balancer([f"127.0.0.1:{server.server_port}", f"127.0.0.1:{free_port()}"])
        try:
            until(lambda: front_of(url) == "1")
            found = httpx.get(url, cookies={COOKIE: "1", "easel": "mine"}, headers={
                "X-Forwarded-For": "203.0.113.7", "X-Real-IP": "203.0.113.7",
                "Forwarded": "for=203.0.113.7", "Host": "easel.example.org"}).json()
        finally:
            process.terminate()
            process.wait()
            server.shutdown()
    assert found["x-forwarded-for"] == "127.0.0.1"
    assert (found["host"], found["x-forwarded-host"]) == ("easel.example.org",) * 2
    assert found["x-forwarded-proto"] == "http"
    assert not found.keys() & {"x-real-ip", "forwarded"}
    assert found["cookie"] == "easel=mine", "the balancer's own is nobody else's affair"


def test_who_was_with_a_front_end_that_ends_goes_on_with_the_other(balanced: Balanced) -> None:
    ended, other = balanced.fronts
    with httpx.Client(base_url=balanced.url, cookies={COOKIE: "1"}) as visitor:
        assert visitor.get("healthz").status_code == 200
        ended.backend.close()
        until(lambda: {balanced.front_of() for _ in range(4)} == {"2"})
        answer = visitor.get("healthz")
        assert (answer.status_code, answer.cookies.get(COOKIE)) == (200, "2")
    assert other.backend.is_open()


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_page_draws_and_stays_where_it_is(balanced: Balanced, one_browser: OneBrowser) -> None:
    browser = one_browser.browser(CHROMIUM)
    for _ in range(3):
        page = browser.new_context().new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(balanced.url)
        page.wait_for_selector("#generate:not(:disabled)")
        page.locator("#prompt textarea").fill("a red apple")
        page.locator("#prompt textarea").press("Enter")
        expect(page.locator(".panel.ranking .tile.done")).to_have_count(8)
        names = [each.get("value") for each in page.context.cookies()
                 if each.get("name") == COOKIE]
        assert names in (["1"], ["2"])
        page.context.close()
    assert sum(balanced.drawn()) >= 3
