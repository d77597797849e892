"""The page's document: what a browser is given, what programs still read, what is kept where."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect

from easel.ui.document import FOR_PROGRAMS, MOST_ROOTS, without_programs
from tests.served import App
from tests.test_browser import CHROMIUM, browser

__all__ = ["browser"]
CONFIG = re.compile(r"window\.gradio_config = (.*?);</script>")
# Of each function's targets, which Gradio's script reads most.
COUNT_READS = """
window.read = window.proxied = 0;
let kept;
Object.defineProperty(window, "gradio_config", {get: () => kept, set: (config) => {
  kept = config;
  for (const each of config.dependencies) {
    const targets = each.targets;
    Object.defineProperty(each, "targets", {enumerable: true, get() {
      window.read += 1;
      window.proxied += this !== each;
      return targets;
    }});
  }
}});
"""
INFO = re.compile(r"window\.gradio_api_info = (.*?);</script>")


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App()
    yield served
    served.close()


def in_page(text: str, where: re.Pattern[str] = CONFIG) -> Any:
    """What stands in a document as JSON."""
    found = where.search(text)
    assert found is not None
    return json.loads(found[1])


def in_layout(layout: dict[str, Any]) -> Iterator[int]:
    for each in layout["children"]:
        yield each["id"]
        yield from in_layout({"children": [], **each})


def test_the_page_holds_all_that_is_shown_and_nothing_of_programs(app: App) -> None:
    whole = httpx.get(f"{app.url}config").json()
    page = in_page(httpx.get(app.url).text)
    kept = {each["id"]: each for each in page["components"]}
    gone = [each for each in whole["components"] if each["id"] not in kept]
    assert len(gone) > len(whole["components"]) / 4
    assert all(each["type"] == "api" or each["props"]["visible"] is False for each in gone)
    assert not any(each["type"] == "api" for each in kept.values())
    for each in whole["components"]:
        if each["id"] in kept:
            assert kept[each["id"]] == {name: value for name, value in each.items()
                                        if name not in FOR_PROGRAMS}
    for layout in (page["layout"], page["page"][""]["layout"]):
        assert set(in_layout(layout)) <= set(kept)
        assert set(kept) - set(in_layout(layout)) == (
            {each["id"] for each in whole["components"]} - set(in_layout(whole["layout"])))
    assert page["page"][""]["components"] == list(kept)
    # Functions keep their numbers; what the page itself asks for is as it was.
    for mine, theirs in zip(page["dependencies"], whole["dependencies"], strict=True):
        assert mine["id"] == theirs["id"]
        if theirs["api_visibility"] != "public":
            shown_on = [] if theirs["show_progress"] == "hidden" else theirs["show_progress_on"]
            assert mine == {**theirs, "show_progress_on": shown_on}
            assert {*mine["inputs"], *mine["outputs"]} <= set(kept)
        assert {number for number, _ in mine["targets"]} <= {None, page["layout"]["id"], *kept}


def test_programs_find_what_they_found(app: App) -> None:
    whole = httpx.get(f"{app.url}config").json()
    assert any(each["type"] == "api" for each in whole["components"])
    assert all(fn["inputs"] or fn["outputs"] for fn in whole["dependencies"]
               if fn["api_visibility"] == "public")
    info = httpx.get(f"{app.url}gradio_api/info").json()["named_endpoints"]
    assert "/generate" in info
    assert in_page(httpx.get(app.url).text, INFO)["named_endpoints"].keys() == info.keys()


@pytest.mark.parametrize("path", ["", "config"])
def test_the_page_is_sent_once_and_small(app: App, path: str) -> None:
    address = app.url + path
    plain = httpx.get(address, headers={"accept-encoding": "identity"})
    small = httpx.get(address, headers={"accept-encoding": "gzip, br"})
    assert "content-encoding" not in plain.headers
    assert small.headers["content-encoding"] == "gzip"
    assert small.text == plain.text
    assert int(small.headers["content-length"]) < len(plain.content) / 5
    assert plain.headers["etag"] != small.headers["etag"]
    assert small.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    # It may come with the cookie that makes a visitor, which no proxy may give to another one.
    assert small.headers["cache-control"] == plain.headers["cache-control"] == "private, no-cache"
    again = httpx.get(address, headers={"if-none-match": small.headers["etag"],
                                        "accept-encoding": "gzip"})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["x-content-type-options"] == "nosniff"
    head = httpx.head(address, headers={"accept-encoding": "gzip"})
    assert head.headers["content-length"] == small.headers["content-length"]
    other = httpx.get(address, headers={"if-none-match": '"another"'})
    assert other.status_code == 200


def test_the_configuration_is_written_once_as_gradio_writes_it(app: App) -> None:
    """It took 50 ms, whoever asked: four hundred readers kept an upload waiting for 40 s."""
    whole = httpx.get(f"{app.url}config?deep_link=x&page=y").json()
    assert whole["root"] == app.url.rstrip("/")
    assert whole["username"] is None
    theirs: dict[str, Any] = dict(app.page.config)
    assert set(whole) >= set(theirs)
    for part, names in (("dependencies", ("id", "api_name", "inputs", "outputs")),
                        ("components", ("id", "type"))):
        assert [[each[name] for name in names] for each in whole[part]] == [
            [each[name] for name in names] for each in theirs[part]]
    named = httpx.get(f"{app.url}config", headers={"x-forwarded-host": "two.example"}).json()
    assert named["root"] == "http://two.example"
    assert httpx.get(f"{app.url}config").json() == whole


def test_what_one_visitor_asks_for_is_not_what_the_next_one_gets(app: App) -> None:
    # Hosts of its own, so that theirs is the first request of each.
    asked = httpx.get(f"{app.url}?all_endpoints=1&deep_link=x&view=api",
                      headers={"x-forwarded-host": "one.example", "x-forwarded-proto": "https"})
    assert in_page(asked.text)["root"] == "https://one.example"
    next_one = httpx.get(app.url, headers={"x-forwarded-host": "one.example",
                                           "x-forwarded-proto": "https"})
    assert next_one.text == asked.text
    mine = httpx.get(app.url).text
    assert in_page(mine)["root"] == app.url.rstrip("/")
    assert in_page(mine, INFO)["named_endpoints"].keys() == (
        in_page(asked.text, INFO)["named_endpoints"].keys())
    for number in range(MOST_ROOTS + 1):
        name = f"host-{number}.example"
        answer = httpx.get(app.url, headers={"x-forwarded-host": name})
        assert in_page(answer.text)["root"] == f"http://{name}"
    assert httpx.get(app.url).text == mine


def test_scripts_are_asked_for_once(app: App) -> None:
    script = re.search(r'src="\./(assets/[^"]+\.js)"', httpx.get(app.url).text)
    assert script is not None
    kept = httpx.get(app.url + script[1]).headers["cache-control"]
    assert kept == "private, max-age=31536000, immutable"
    missing = httpx.get(f"{app.url}assets/none.js")
    assert missing.status_code == 404
    assert "cache-control" not in missing.headers


def config_of(functions: list[dict[str, Any]], **components: dict[str, Any]) -> dict[str, Any]:
    """A configuration of a few components, by name, with numbers in their order."""
    made = [{"id": number, "type": "button", "props": {}, "api_info": {}, **each}
            for number, each in enumerate(components.values(), 1)]
    layout = {"id": 0, "children": [{"id": each["id"]} for each in made]}
    return {"components": made, "layout": layout, "dependencies": [
        {"id": number, "inputs": [], "outputs": [], "api_visibility": "public", **each}
        for number, each in enumerate(functions)],
        "page": {"": {"layout": deepcopy(layout), "components": [e["id"] for e in made],
                      "dependencies": [*range(len(functions))]}}}


HIDDEN = {"props": {"visible": False}}


@pytest.mark.parametrize(("functions", "left"), [
    # An endpoint: its button and what it takes go, what is seen stays.
    ([{"targets": [[1, "click"]], "inputs": [2], "outputs": [3]}], [3]),
    # One with a button on the page is left alone.
    ([{"targets": [[3, "click"]], "inputs": [2], "outputs": [1]}], [1, 2, 3]),
    # So is one whose button something may show, and what another function needs.
    ([{"targets": [[1, "click"]], "inputs": [2]},
      {"targets": [[3, "click"]], "outputs": [1], "api_visibility": "private"}], [1, 2, 3]),
    ([{"targets": [[1, "click"]], "inputs": [2]},
      {"targets": [[3, "click"]], "inputs": [2], "api_visibility": "private"}], [2, 3]),
    # What no function knows stays, hidden or not.
    ([], [1, 2, 3]),
])
def test_what_goes(functions: list[dict[str, Any]], left: list[int]) -> None:
    config = config_of(functions, button=HIDDEN, field=HIDDEN, seen={})
    before = deepcopy(config)
    page = without_programs(config)
    assert config == before
    assert [each["id"] for each in page["components"]] == left
    assert [*in_layout(page["layout"])] == page["page"][""]["components"] == left
    assert not any(FOR_PROGRAMS[0] in each for each in page["components"])


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_page_still_describes_its_endpoints(app: App, browser: Browser) -> None:
    page = browser.new_page()  # Gradio's description asks for what Easel does not have
    page.goto(app.url)
    page.locator("[data-api]").click()
    docs = page.locator(".api-docs")
    for name in httpx.get(f"{app.url}gradio_api/info").json()["named_endpoints"]:
        expect(docs.get_by_text(name, exact=True).first).to_be_attached()
    expect(docs).to_contain_text("Draw a prompt with one or more generators")
    page.context.close()


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_functions_are_read_as_they_are(app: App, browser: Browser) -> None:
    """Gradio's script asks for no function's parts through Svelte's proxies."""
    page = browser.new_page()
    page.add_init_script(COUNT_READS)
    page.goto(app.url)
    expect(page.get_by_role("button", name="Generate", exact=True)).to_be_visible()
    read, proxied = page.evaluate("() => [window.read, window.proxied]")
    assert read > 10_000
    assert proxied == 0
    page.context.close()
