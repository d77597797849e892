"""What is wrong with a call before Gradio reads it: refused here, for all functions at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, QueryParams
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from easel.guard.cache_folder import CacheFolder
from easel.guard.cut_uploads import removed_where_cut
from easel.guard.error_net import NO_ADDRESS
from easel.guard.forms import FILES_ALONE, ODD_FORM, files_alone, is_odd_form
from easel.guard.held_bodies import BodyFault, HeldBodies, replayed
from easel.guard.ranges import keep_plain_range
from easel.guard.session_names import LONE, rename_in_address, rename_in_body
from easel.guard.visitors import UnknownVisitor, from_afar, token_of, visitor_named
from easel.serving.jobs import Requester
from easel.words.language import language_of, say, speaking
from pipelines.core.json_values import MAX_VALUES, TooManyValues, read_json
from pipelines.core.texts import MAX_FILE_BYTES

API = "/gradio_api/"
# Gradio's routes that Easel has no use for; one of them echoes any file.
CLOSED = ("process_recording", "deep_link", "proxy=", "monitoring", "pwa_icon", "startup-code",
          "queue/status", "component_server", "vibe-", "undo-vibe", "run-history", "profiling",
          "stream/", "custom_component", "dev/")
CLOSED_PAGES = ("/monitoring", "/pwa_icon", "/deep_link", "/login", "/logout", "/svelte")
DIRECT = ("run", "api")  # calls that are answered at once, outside Gradio's queue
CALLS = (*DIRECT, "call")  # with the function's name in the address
MAX_SESSION_CHARS = 64
MAX_BODY_BYTES = 8 * 2**20  # of JSON; files come by /upload
UPLOADS = ("upload", "upload_progress")
SESSION = f"A session's name has at most {MAX_SESSION_CHARS} characters, all of them printable."
UPLOAD_ID = f"An upload's name has at most {MAX_SESSION_CHARS} characters, all of them printable."
TOO_LARGE = f"A request has at most {MAX_BODY_BYTES >> 20} MB beside its files."
TOO_MANY = f"A request has at most {MAX_VALUES:,} values."
# Of one text, which functions cut into lines and words: the largest are lists that people type, of
# as many bytes as their files. Each piece takes thirty times as much memory as its letter.
MAX_TEXT_CHARS = MAX_FILE_BYTES
TOO_LONG = f"A text in a request has at most {MAX_TEXT_CHARS:,} characters."
NO_ROOM = "There is no room for uploads now: try again in some minutes."
NO_LENGTH = "An upload says how many bytes it has, as Content-Length."
NO_FUNCTION = "There is no such function."
REMOTE = "Easel fetches nothing from other machines: upload the file."


class _Refused(Exception):
    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class RequestCheck:
    """Refuses calls of Gradio's functions that must not reach it.

    - Who has neither cookie, token nor session is nobody, whatever is asked for (401).
    - What Easel does not use, and a function that there is not, is not there (404).
    - A session's name is short and printable: Gradio keeps state for each, and writes it into
      addresses (400). So is that of an upload whose progress is asked for. To Gradio it is another
      one for each visitor who brings a token: see ``easel.guard.session_names``.
    - A file of another machine is not fetched, for anyone (403). Gradio would, wherever a body
      holds what looks like a file, in a text field too.
    - An upload that the cache has no room for is not begun (507), of which a visitor and an address
      have a part, nor one that does not say its length (411), or whose form is odd (415). One that
      holds a field without a file, which Gradio would hold in memory, is ended there (400).
    - What else is sent is read before Gradio reads it, and counts among the bodies that are held
      (413, 503). It has so many values, and none of its texts is longer than files of text are.

    Args:
        app: what answers the requests.
        cache: where uploads go.
        functions: number and name of all functions that there are.
        held: the bodies that are held now, those of the doors among them.
    """

    def __init__(self, app: ASGIApp, cache: CacheFolder,
                 functions: Callable[[], Mapping[int, str]], held: HeldBodies) -> None:
        self.app, self.cache, self.functions, self.held = app, cache, functions, held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (_page_of(scope).startswith(CLOSED_PAGES)
                                        or _is_other_page(scope)):
            await JSONResponse({"detail": NO_ADDRESS}, 404)(scope, receive, send)
            return
        if scope["type"] == "http":
            keep_plain_range(scope)
        async with AsyncExitStack() as held:
            if scope["type"] == "http" and API in scope["path"]:
                try:
                    receive = await self._checked(scope, receive, held)
                except (_Refused, BodyFault) as error:
                    await JSONResponse({"detail": str(error)}, error.status)(scope, receive, send)
                    return
            with removed_where_cut():
                await self.app(scope, receive, send)

    async def _checked(self, scope: Scope, receive: Receive, held: AsyncExitStack) -> Receive:
        called = scope["path"].partition(API)[2]
        name, _, rest = called.partition("/")
        if called.startswith(CLOSED):
            raise _Refused(404, NO_ADDRESS)
        query = QueryParams(scope["query_string"])
        session = query.get("session_hash", "")
        if name in ("heartbeat", "stream"):
            session = rest.partition("/")[0]
        _check_name(session, SESSION)
        if name in UPLOADS:
            _check_name(query.get("upload_id"), UPLOAD_ID)
        if called.startswith(("file=", "file/", "proxy=")) and _is_remote(called[5:].lstrip("=")):
            raise _Refused(403, REMOTE)
        token = token_of(HTTPConnection(scope))
        if token:
            rename_in_address(scope, API, token)
        if scope["method"] != "POST":
            return receive
        if name == "upload":
            headers = Headers(scope=scope)
            if is_odd_form(headers.get("content-type", "")):
                raise _Refused(415, ODD_FORM)
            length = headers.get("content-length", "")
            if not length.isdecimal():
                raise _Refused(411, NO_LENGTH)
            expected = int(length[:18])
            who = Requester(visitor_named(token) if token else "", from_afar(HTTPConnection(scope)))
            if not await run_in_threadpool(self.cache.has_room_for, who, expected):
                raise _Refused(507, NO_ROOM)
            with speaking(language_of(headers)):
                return files_alone(headers.get("content-type", ""), receive, say(FILES_ALONE))
        body = await held.enter_async_context(self.held.read(scope, receive, MAX_BODY_BYTES,
                                                             TOO_LARGE))
        try:
            found = read_json(body) if body else None
        except TooManyValues:
            raise _Refused(413, TOO_MANY) from None
        except (ValueError, RecursionError):
            found = None  # Gradio says so
        fields = found if isinstance(found, dict) else {}
        session = fields.get("session_hash")
        _check_name(session, SESSION)
        if name in DIRECT and not session and not token:
            raise _Refused(401, str(UnknownVisitor()))
        for value, is_path in _values(found):
            if isinstance(value, str) and len(value) > MAX_TEXT_CHARS:
                raise _Refused(413, TOO_LONG)
            if is_path and _is_remote(value):
                raise _Refused(403, REMOTE)
        self._check_function(name, rest, fields)
        if token and rename_in_body(fields, token):
            body = json.dumps(found).encode()
        elif name == "call" and not session:
            scope[LONE] = True
        return replayed(body, receive)

    def _check_function(self, name: str, rest: str, fields: Mapping[str, Any]) -> None:
        """Refuse a call of a function that there is not."""
        index, functions = fields.get("fn_index"), self.functions()
        if name in (*DIRECT, "queue") and index is not None:
            # Gradio takes "1" and 1.0 as well, and says itself what is no number.
            known = not isinstance(index, int) or index in functions
        elif name in CALLS:
            known = rest.removeprefix("v2/").strip("/") in functions.values()
        else:
            known = True
        if not known:
            raise _Refused(404, NO_FUNCTION)


def _page_of(scope: Scope) -> str:
    """The address without what a proxy puts before it."""
    return scope["path"].removeprefix(scope.get("root_path", "").rstrip("/"))


def _is_other_page(scope: Scope) -> bool:
    """Whether one of Gradio's further pages is asked for, of which there are none."""
    return (_page_of(scope).strip("/") == ""
            and bool(QueryParams(scope["query_string"]).get("page")))


def _check_name(name: Any, sentence: str) -> None:
    if name is not None and (not isinstance(name, str) or len(name) > MAX_SESSION_CHARS
                             or not name.isprintable()):
        raise _Refused(400, sentence)


def _values(value: Any) -> Iterator[tuple[Any, bool]]:
    """What stands anywhere in a value, names among it, and whether that is under "path"; without
    recursion, since it is anyone's."""
    waiting = [(value, False)]
    while waiting:
        value, is_path = waiting.pop()
        yield value, is_path
        if isinstance(value, dict):
            waiting += ((name, False) for name in value)
            waiting += ((each, name == "path") for name, each in value.items())
        elif isinstance(value, list):
            waiting += ((each, False) for each in value)


def _is_remote(path: Any) -> bool:
    return isinstance(path, str) and path.strip().lower().startswith(("http:", "https:", "//"))
