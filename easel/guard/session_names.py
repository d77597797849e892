"""Sessions as Gradio knows them: those of a visitor who brings a token are that visitor's alone.

A session is a name that its browser or program makes up; it stands in addresses, which servers and
proxies write down. To Gradio the name is all: who knows it reads the session's answers, cancels its
calls and ends them by going away. So to Gradio a session is called by its visitor's token and its
name together, which nobody else can say. Who brings no token is known by that name alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.types import Scope

FIELD = "session_hash"
IN_PATH = ("heartbeat", "stream")  # routes whose next part is a session's name
LONE = "easel.lone_call"


def own_name(token: str, name: str) -> str:
    """What Gradio is to call a visitor's session: 40 hex digits.

    Args:
        token: of the visitor, not empty.
        name: of the session, as the visitor says it.
    """
    return hashlib.sha256(f"session {token} {name}".encode()).hexdigest()[:40]


def rename_in_address(scope: Scope, api: str, token: str) -> None:
    """Let a request's address name the visitor's own session, where it names one.

    Args:
        scope: of the request; changed.
        api: what stands before Gradio's routes in its path.
        token: of the visitor, not empty.
    """
    query = QueryParams(scope["query_string"])
    if query.get(FIELD):
        pairs = [(key, own_name(token, value) if key == FIELD else value)
                 for key, value in query.multi_items()]
        scope["query_string"] = urlencode(pairs).encode()
    before, _, called = scope["path"].partition(api)
    route, _, rest = called.partition("/")
    name, more, after = rest.partition("/")
    if route in IN_PATH and name:
        scope["path"] = f"{before}{api}{route}/{own_name(token, name)}{more}{after}"
        scope["raw_path"] = scope["path"].encode()


def rename_in_body(fields: MutableMapping[str, Any], token: str) -> bool:
    """The same for what a body holds; whether it named a session."""
    name = fields.get(FIELD)
    if not isinstance(name, str) or not name:
        return False
    fields[FIELD] = own_name(token, name)
    return True
