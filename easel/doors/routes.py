"""The doors that are open: their routes, which come before the page's own, and how they start."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from starlette.routing import BaseRoute

from easel.doors.a1111 import A1111Door
from easel.doors.bodies import Bodies
from easel.doors.openai_images import OpenAIDoor
from easel.doors.openapi import openapi_route
from easel.doors.published import Published
from easel.doors.runs import DoorRuns
from easel.guard.cache_folder import CacheFolder
from easel.guard.held_bodies import HeldBodies
from easel.history.store import History
from easel.serving.interface import Backend
from easel.settings import Settings


class Doors(NamedTuple):
    """What the doors add to a server.

    Attributes:
        routes: to go before the page's own.
        starts: to be awaited in the server's loop before it answers.
    """

    routes: list[BaseRoute]
    starts: list[Callable[[], Coroutine[Any, Any, None]]]


def open_doors(backend: Backend, history: History | None, settings: Settings, cache: CacheFolder,
               held: HeldBodies) -> Doors:
    """The doors that the settings open.

    Args:
        backend: where programs' pictures are drawn.
        history: what visitors keep; None where nothing is.
        settings: which doors, and the keys that open them.
        cache: where pictures lie that are fetched from an address.
        held: the bodies that the server holds now.
    """
    keys, runs = settings.keys(), DoorRuns(backend)
    bodies = Bodies(int(settings.max_upload), held)
    doors = Doors([openapi_route(backend.registry, settings, history is not None)], [])
    if "openai" in settings.open_doors():
        doors.routes.extend(OpenAIDoor(backend, runs, bodies, Published(cache), keys,
                                       int(time.time())).routes())
    if "a1111" in settings.open_doors():
        doors.routes.extend(A1111Door(backend, runs, bodies, keys).routes())
    if "mcp" in settings.open_doors():
        from easel.doors.mcp_door import MCPDoor  # the SDK takes a moment to import
        from easel.doors.mcp_tools import Tools

        door = MCPDoor(Tools(backend, runs, history, settings), keys, bodies)
        doors.routes.extend(door.routes())
        doors.starts.append(door.start)
    return doors
