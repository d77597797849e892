"""The page's document, lighter than Gradio's, and its configuration, each made once, not for each
visitor.

Gradio writes the whole configuration into the page and makes it anew for each request: half of it
is of the endpoints, whose components a browser never shows, and of what programs are told of each
component. Its script walks all components several times, and for each all functions, until
anything is seen; later, whenever a function is called, it looks for each component that any
function has changed so far, to tell it how far that is, even where no progress is ever shown.
``/config`` and ``/gradio_api/info``, which programs read, stay whole.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

from gradio.route_utils import get_root_url
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

MOST_ROOTS = 8  # addresses that the page is reached by, which it holds; anyone may name another
FOR_PROGRAMS = ("api_info", "api_info_as_input", "api_info_as_output", "example_inputs")
# By its browser alone: it may come with the cookie that makes a visitor.
KEEP = "private, no-cache"
# Svelte reads what it is given through proxies, to see it change, save objects of a class. The
# functions of a page never change, and their parts are read some 300,000 times.
SCRIPT = """<script>{
  class Unwatched extends Array { static get [Symbol.species]() { return Array; } }
  const other = Object.create(Object.prototype);
  const unwatch = (each) => {
    if (each === null || typeof each !== "object") return;
    Object.setPrototypeOf(each, Array.isArray(each) ? Unwatched.prototype : other);
    Object.values(each).forEach(unwatch);
  };
  unwatch(window.gradio_config.dependencies);
}</script>"""
BEFORE = '<script type="module"'  # Gradio's own, which reads the configuration
Config = dict[str, Any]


def document_routes() -> list[Route]:
    """The routes of the page itself and of its configuration, to come before Gradio's."""
    return [Route(path, Made(path, make, kind).answer, methods=["GET"]) for path, make, kind in (
        ("/", _page, "text/html"), ("/config", _config, "application/json"))]


class Made:
    """What stands at an address, by the name that the server is reached by, which stands in it.

    Args:
        path: of the address.
        make: writes it, as anybody is to have it.
        kind: its media type.
    """

    def __init__(self, path: str, make: Callable[[Request], bytes], kind: str) -> None:
        self.path, self.make, self.kind = path, make, kind
        self._made: dict[str, tuple[bytes, bytes, str]] = {}  # as it is, compressed, its hash
        self._making = asyncio.Lock()

    async def answer(self, request: Request) -> Response:
        """It; 304 where the client has it."""
        root = get_root_url(request, self.path,
                            request.app.root_path or request.scope.get("root_path"))
        if root not in self._made:
            async with self._making:  # many may come before it is there
                if root not in self._made:
                    made = await run_in_threadpool(self._packed, request)
                    while len(self._made) >= MOST_ROOTS:
                        self._made.pop(next(iter(self._made)))
                    self._made[root] = made
                return self._answer(request, *self._made[root])
        return self._answer(request, *self._made[root])

    def _packed(self, request: Request) -> tuple[bytes, bytes, str]:
        # What is asked after the "?" is the script's to read, and must not decide for all others.
        text = self.make(Request({**request.scope, "query_string": b""}))
        return text, gzip.compress(text, mtime=0), hashlib.sha256(text).hexdigest()[:32]

    def _answer(self, request: Request, plain: bytes, compressed: bytes, name: str) -> Response:
        takes_gzip = "gzip" in request.headers.get("accept-encoding", "")
        headers = {"ETag": f'"{name}{"-gzip" if takes_gzip else ""}"', "Vary": "Accept-Encoding",
                   "Cache-Control": KEEP}
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(None, 304, headers)
        if takes_gzip:
            headers["Content-Encoding"] = "gzip"
        return Response(compressed if takes_gzip else plain, 200, headers, self.kind)


def _page(request: Request) -> bytes:
    """The document, lighter than Gradio's."""
    full = _gradios(request, "/", "main")(request, user=None, page="", deep_link="")
    config = without_programs(full.context["config"])
    text = full.template.render({**full.context, "config": config})
    return text.replace(BEFORE, SCRIPT + BEFORE, 1).encode()


def _config(request: Request) -> bytes:
    """What programs read of the page, whole; Gradio takes 50 ms to write it for each of them."""
    return bytes(_gradios(request, "/config", "get_config")(request, user=None, page=None).body)


def _gradios(request: Request, path: str, name: str) -> Callable[..., Any]:
    """Gradio's own function that answers at an address."""
    return next(route.endpoint for route in request.app.router.routes if isinstance(route, Route)
                and route.path == path and route.endpoint.__name__ == name)


def without_programs(config: Config) -> Config:
    """A page's configuration as a browser needs it.

    An endpoint's function stays, since the page describes it under "API", but nothing on the page
    starts it; components that only such functions use, and that are never shown, go. A function
    that shows no progress shows it on no component, instead of on all that it changes.

    Args:
        config: as Gradio writes it into the page; it is left as it is.
    """
    hidden = {each["id"] for each in config["components"]
              if each["type"] == "api" or each["props"].get("visible") is False}
    changed = {number for fn in config["dependencies"] for number in fn["outputs"]}
    never = hidden - changed  # what nothing shows later, either
    lone = {fn["id"] for fn in config["dependencies"]
            if fn["api_visibility"] == "public" and never >= {each for each, _ in fn["targets"]}}
    theirs, others = (_used(fn for fn in config["dependencies"] if (fn["id"] in lone) is of_them)
                      for of_them in (True, False))
    gone = (theirs & hidden) - others
    functions = [{**fn, "targets": [], "inputs": [], "outputs": []} if fn["id"] in lone else
                 {**fn, "show_progress_on": []} if fn.get("show_progress") == "hidden" else fn
                 for fn in config["dependencies"]]
    components = [{name: value for name, value in each.items() if name not in FOR_PROGRAMS}
                  for each in config["components"] if each["id"] not in gone]
    pages = {name: {**page, "layout": _without(page["layout"], gone),
                    "components": [each for each in page["components"] if each not in gone]}
             for name, page in config["page"].items()}
    return {**config, "components": components, "dependencies": functions, "page": pages,
            "layout": _without(config["layout"], gone)}


def _used(functions: Any) -> set[int]:
    """The components that functions read, change or wait for."""
    return {number for fn in functions for number in (
        *fn["inputs"], *fn["outputs"], *(target for target, _ in fn["targets"]))}


def _without(layout: Mapping[str, Any], gone: Collection[int]) -> dict[str, Any]:
    """A layout without some of its components."""
    if "children" not in layout:
        return dict(layout)
    return {**layout, "children": [_without(each, gone) for each in layout["children"]
                                   if each["id"] not in gone]}
