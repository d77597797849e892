"""What is refused before it reaches a door, said in the form that the door's programs read."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from easel.doors.a1111 import error_answer
from easel.doors.openai_errors import Refusal

MCP_PATH = "/mcp"
_REFUSED = -32001  # of the codes that JSON-RPC leaves to servers


def refusal(scope: Scope, status: int, sentence: str) -> Response:
    """The answer to a request that goes no further.

    Args:
        scope: of the request.
        status: of the answer.
        sentence: why.
    """
    path = scope["path"].removeprefix(scope.get("root_path", "").rstrip("/"))
    first, _, _ = path.lstrip("/").partition("/")
    if first == "v1":
        return Refusal(status, sentence).response()
    if first == "sdapi":
        return error_answer(status, sentence, sentence, "HTTPException")
    if f"/{first}" == MCP_PATH:
        return rpc_error(status, sentence)
    return JSONResponse({"detail": sentence}, status)


def rpc_error(status: int, sentence: str, headers: Mapping[str, str] | None = None,
              code: int = _REFUSED) -> JSONResponse:
    """A refusal of what is no request that was read, as the Model Context Protocol writes it."""
    return JSONResponse({"jsonrpc": "2.0", "id": None, "error": {
        "code": code, "message": sentence}}, status, headers)
