"""What is sent to MCP's address and is no message of JSON-RPC, in the protocol's own words.

Source: JSON-RPC 2.0, sections 4 to 6; Model Context Protocol specification of 2025-06-18, "Key
changes", which took batches out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from easel.guard.request_check import TOO_MANY
from pipelines.core.json_values import TooManyValues, read_json

INVALID_REQUEST = -32600
BATCH = "Batches are not taken: send one message at a time."
EMPTY = "The batch is empty."
NO_MESSAGE = "The body is no message of JSON-RPC 2.0."


def message_fault(body: bytes) -> str:
    """Why JSON is no single message of JSON-RPC; empty where it is one, or is no JSON at all.

    Args:
        body: of a request.
    """
    try:
        found = read_json(body)
    except TooManyValues:
        return TOO_MANY
    except (ValueError, RecursionError):
        return ""  # the SDK says so, with the code for it
    if isinstance(found, list):
        return BATCH if found else EMPTY
    return "" if isinstance(found, Mapping) and _is_message(found) else NO_MESSAGE


def _is_message(found: Mapping[str, Any]) -> bool:
    if found.get("jsonrpc") != "2.0":
        return False
    is_answer = ("result" in found) != ("error" in found) and "id" in found
    is_named = "id" not in found or (isinstance(found["id"], str | int)
                                     and not isinstance(found["id"], bool))
    is_asked = (isinstance(found.get("method"), str)
                and isinstance(found.get("params"), Mapping | None))
    return is_named and (is_answer or is_asked)
