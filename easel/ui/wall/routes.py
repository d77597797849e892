"""The wall's addresses: its page, what is on it now, the pictures, and what people do with them.

Whoever reaches the page may look and vote; hiding, pinning and stopping are the leader's, whom the
models' administration knows (``ModelAdmins.leads``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from easel.guard.visitors import UnknownVisitor, from_afar, visitor_of
from easel.history.records import HistoryError
from easel.ui.playground import Playground
from easel.ui.wall.render import render_wall
from easel.wall.ballots import Ballots
from easel.wall.filter import FILE, Labels, LabelStore, WallFilter
from easel.wall.wall import Order, Wall
from easel.words import strings
from easel.words.language import language_of, say, speaking
from pipelines.core.errors import EaselError, InvalidRequest
from pipelines.core.json_values import read_json

# Held for as long as a client likes, of as many as there are connections.
MAX_BODY_BYTES, MAX_LABELS_BYTES = 2**12, 2**18  # what the leader may send is longer
NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
# Asked for again each time: what is hidden meanwhile is in nobody's cache.
ASK_AGAIN = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
ORDERS: tuple[Order, ...] = ("newest", "votes")


def wall_routes(playground: Playground) -> list[Route]:
    """Routes that come before the page's own; none unless this is a class.

    Args:
        playground: of the page. From now on what is drawn is on the wall.

    Raises:
        EaselError: the filter that the settings name is no CLIP.
    """
    settings = playground.settings
    if not settings.classroom or playground.history is None:
        return []
    labels = None
    wall = Wall(playground.history)
    if settings.classroom_filter:
        if playground.models is not None:
            entry = playground.models.catalogue.get(settings.classroom_filter)
            if entry.family != "clip":
                raise EaselError("EASEL_CLASSROOM_FILTER names {}, which is no CLIP.", entry.id)
        labels = LabelStore(settings.data_dir / FILE)
        WallFilter(wall, playground.backend, settings.classroom_filter, labels).start()
    return _Door(playground, wall, labels).routes()


class _Door:
    """What the routes share."""

    def __init__(self, playground: Playground, wall: Wall, labels: LabelStore | None) -> None:
        self.playground, self.wall, self.labels = playground, wall, labels
        self.admins, self.backend = playground.admins, playground.backend
        # The number of people in the room, as docs/class.md has an operator set it.
        self.ballots = Ballots(max(1, playground.settings.queue_size))

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/wall", self._page, methods=["GET"]),
            Route("/wall/state", _answered(self._state), methods=["GET"]),
            Route("/wall/act", _answered(self._act, self._most_bytes), methods=["POST"]),
            *(
                Route(
                    f"/wall/{{picture_id:str}}/{name}",
                    _answered(partial(self._file, name)),
                    methods=["GET"],
                )
                for name in ("picture", "thumbnail")
            ),
        ]

    def _most_bytes(self, request: Request) -> int:
        return MAX_LABELS_BYTES if self.admins.leads(request) else MAX_BODY_BYTES

    async def _page(self, request: Request) -> Response:
        with speaking(language_of(request.headers)):
            return HTMLResponse(render_wall(), headers={**NO_STORE, "Vary": "Accept-Language"})

    def _state(self, request: Request, body: bytes) -> Response:
        return JSONResponse(self._told(request), headers=NO_STORE)

    def _told(self, request: Request) -> dict[str, Any]:
        leads, visitor = self.admins.leads(request), visitor_of(request)
        asked = request.query_params.get("order")
        order = ORDERS[ORDERS.index(asked) if asked in ORDERS else 0]
        titles = {each.name: say(each.title) for each in self.playground.registry}
        running, waiting = self.backend.queue()
        labels = self.labels.read() if leads and self.labels is not None else None
        return {
            "leads": leads,
            "may_enter": self.admins.has_password and not leads,
            "suspended": self.backend.is_suspended(),
            "running": running,
            "waiting": waiting,
            "labels": None if labels is None else asdict(labels),
            "pictures": [
                {**asdict(each), "by": titles.get(each.pipeline, each.pipeline)}
                for each in self.wall.pictures(visitor, leads, order)
            ],
        }

    def _file(self, name: str, request: Request, body: bytes) -> Response:
        found = self.wall.find(request.path_params["picture_id"], self.admins.leads(request))
        files = self.wall.history.files
        if name == "thumbnail":
            return FileResponse(
                files.thumbnail(found.sha256), media_type="image/webp", headers=ASK_AGAIN
            )
        return FileResponse(files.local(found.sha256), media_type="image/png", headers=ASK_AGAIN)

    def _act(self, request: Request, body: bytes) -> Response:
        try:
            fields = read_json(body)
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            raise InvalidRequest(strings.ODD_CALL)
        visitor = visitor_of(request)
        act, picture = _text(fields, "act"), _text(fields, "picture")
        if act == "enter":
            self.admins.enter(request, _text(fields, "password"))
        elif act == "vote":
            self.wall.find(picture)
            self.ballots.cast(picture, visitor, from_afar(request))
            self.wall.vote(picture, visitor)
        elif act == "unvote":
            self.wall.vote(picture, visitor, on=False)
            self.ballots.take_back(picture, visitor, from_afar(request))
        elif act == "take_down":
            self.wall.take_down(picture, visitor)
        else:
            self._lead(request, visitor, act, picture, fields)
        return JSONResponse(self._told(request), headers=NO_STORE)

    def _lead(
        self, request: Request, visitor: str, act: str, picture: str, fields: Mapping[str, Any]
    ) -> None:
        """What only the leader may do."""
        acts: dict[str, Callable[[], object]] = {
            "hide": lambda: self.wall.hide(picture),
            "show": lambda: self.wall.show(picture),
            "pin": lambda: self.wall.pin(picture),
            "unpin": lambda: self.wall.unpin(picture),
            "hand": lambda: self.wall.raise_hand(picture, 1),
            "unhand": lambda: self.wall.raise_hand(picture, -1),
            "clear": self.wall.clear,
            "stop": lambda: self.backend.suspend(visitor),
            "go": self.backend.unsuspend,
            "labels": lambda: self._keep_labels(fields),
        }
        if act not in acts:
            raise InvalidRequest(strings.ODD_CALL)
        if not self.admins.leads(request):
            raise _Forbidden("Only who leads the class may do that.")
        acts[act]()

    def _keep_labels(self, fields: Mapping[str, Any]) -> None:
        if self.labels is None:
            raise InvalidRequest("There is no filter: EASEL_CLASSROOM_FILTER names its CLIP.")
        self.labels.write(
            Labels.checked(*(_text(fields, name).splitlines() for name in ("held", "fine")))
        )


class _Forbidden(EaselError):
    """Somebody else may."""


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str):
        raise InvalidRequest(strings.ODD_CALL)
    return value


def _answered(
    endpoint: Callable[[Request, bytes], Response],
    most_bytes: Callable[[Request], int] = lambda request: MAX_BODY_BYTES,
) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint in a thread, in the visitor's language; what is wrong is one sentence."""

    async def answer(request: Request) -> Response:
        body, most = b"", most_bytes(request)
        try:
            async for part in request.stream():
                body += part
                if len(body) > most:
                    with speaking(language_of(request.headers)):
                        return JSONResponse({"detail": say(strings.ODD_CALL)}, 413)
        except ClientDisconnect:
            return Response(status_code=499)
        return await run_in_threadpool(_said, endpoint, request, body)

    return answer


def _said(
    endpoint: Callable[[Request, bytes], Response],
    request: Request,
    body: bytes,
) -> Response:
    with speaking(language_of(request.headers)):
        try:
            return endpoint(request, body)
        except EaselError as error:
            status = (
                401
                if isinstance(error, UnknownVisitor)
                else 403
                if isinstance(error, _Forbidden)
                else 404
                if isinstance(error, HistoryError)
                else 400
            )
            return JSONResponse({"detail": say(str(error))}, status, NO_STORE)
