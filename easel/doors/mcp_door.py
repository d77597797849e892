"""The Model Context Protocol over streamable HTTP, at /mcp.

By the SDK's own server: Gradio's needs a pydantic and an SDK older than those that are pinned here.

Source: Model Context Protocol specification, "Transports: Streamable HTTP" and "Tools".
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from easel.doors.askers import KeyFault, asker_of
from easel.doors.bodies import Bodies
from easel.doors.mcp_messages import INVALID_REQUEST, message_fault
from easel.doors.mcp_server import ToolServer, strict_tool
from easel.doors.mcp_tools import ASKER, Tools
from easel.doors.refusals import MCP_PATH, rpc_error
from easel.guard.held_bodies import BodyFault, replayed
from pipelines.core.version import __version__

INSTRUCTIONS = ("Easel draws pictures from short prompts with several small generators, and ranks, "
                "classifies and searches pictures by CLIP. Ask generators first: its embedded "
                "models know a small world of things, colours and places.")

# The SDK answers GET with a stream, by which without sessions nothing ever comes: it would hold a
# connection for as long as a client likes.
NO_STREAM = "Send messages by POST: this server begins none, and keeps no sessions."


class MCPDoor:
    """The server of the tools; each request stands alone, so that nothing is kept of a client.

    Args:
        tools: what it offers.
        keys: that open the door; empty where none is needed.
        bodies: what is being read.
    """

    def __init__(self, tools: Tools, keys: Collection[str], bodies: Bodies) -> None:
        self.keys, self.bodies = keys, bodies
        self.server = ToolServer("easel", [strict_tool(*each) for each in tools.all()],
                                 title="Easel", instructions=INSTRUCTIONS, version=__version__,
                                 log_level="WARNING")
        # Hosts and origins are checked before, for all of the page.
        self.server.streamable_http_app(
            stateless_http=True, max_request_body_size=bodies.raw_bytes,
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False))
        self._task: asyncio.Task[None] | None = None

    def routes(self) -> list[BaseRoute]:
        """The one address."""
        return [Route(MCP_PATH, _Endpoint(self))]

    async def start(self) -> None:
        """Serve from now on, in the running loop."""
        ready = asyncio.Event()
        self._task = asyncio.create_task(self._serve(ready))
        await ready.wait()

    async def _serve(self, ready: asyncio.Event) -> None:
        async with self.server.session_manager.run():
            ready.set()
            await asyncio.Event().wait()


class _Endpoint:
    """An application of one address, not a function: its answer is the SDK's."""

    def __init__(self, door: MCPDoor) -> None:
        self.door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            scope[ASKER] = asker_of(Request(scope), self.door.keys)
        except KeyFault as fault:
            said = "The key is wrong." if fault.given else "A key is needed, as a bearer token."
            await rpc_error(401, said, {"WWW-Authenticate": "Bearer"})(scope, receive, send)
            return
        if scope["method"] != "POST":
            await rpc_error(405, NO_STREAM, {"Allow": "POST"})(scope, receive, send)
            return
        try:
            async with self.door.bodies.raw(scope, receive) as body:
                if said := message_fault(body):
                    await rpc_error(400, said, code=INVALID_REQUEST)(scope, receive, send)
                    return
                await self.door.server.session_manager.handle_request(
                    scope, replayed(body, receive), send)
        except BodyFault as fault:
            await rpc_error(fault.status, str(fault))(scope, receive, send)
