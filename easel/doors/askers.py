"""Who a program asks for: a visitor of the page, the holder of a key, or an address."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Collection
from typing import NamedTuple

from starlette.requests import Request

from easel.guard.host_check import is_local_name
from easel.guard.visitors import (
    address_of,
    brings_token,
    is_local,
    is_token,
    visitor_named,
    visitor_of,
)
from easel.serving.jobs import Requester


class KeyFault(Exception):
    """A request without a key that opens the door.

    Attributes:
        given: the wrong key; empty where there is none.
    """

    def __init__(self, given: str) -> None:
        super().__init__("the key is wrong" if given else "there is no key")
        self.given = given


class Asker(NamedTuple):
    """Who asks.

    Attributes:
        visitor: whose history the pictures go to, and whose jobs are counted.
        requester: the same for the queue.
        is_known: whether the request proves who it is from, so that it may read what is theirs.
        is_crowd: whether it may be anybody's at an address of another machine, which many share
            behind a router or a proxy: nothing of a run is for such a one.
    """

    visitor: str
    requester: Requester
    is_known: bool
    is_crowd: bool = False


def asker_of(request: Request, keys: Collection[str]) -> Asker:
    """Who sent a request.

    Where there are keys, one of them opens the door, and is a visitor of its own unless the request
    brings the page's cookie or header too. Where there are none, the page's token may come in place
    of a key; any other key is a name that several programs may have, as sessions are on the page,
    and a request without one is of its address: those of this machine are one, those of another
    address a crowd.

    Args:
        request: of a program.
        keys: those that open the door; empty where none is needed.

    Raises:
        KeyFault: there are keys, and the request brings none of them.
    """
    given = _key_of(request)
    fits = [key for key in keys if hmac.compare_digest(key.encode(), given.encode())]
    if keys and not fits:
        raise KeyFault(given)
    address, is_crowd = address_of(request), False
    if brings_token(request):
        visitor, is_known = visitor_of(request), True
    elif fits:
        visitor, is_known = visitor_named(f"key {given}"), True
    elif is_token(given):
        visitor, is_known = visitor_named(given), True
    else:
        is_crowd, is_known = not given and not is_local(request), False
        kind, name = ("program", given) if given else ("crowd" if is_crowd else "address", address)
        visitor = visitor_named(f"{kind} {name}")
    counted = "" if is_local_name(address) else address
    return Asker(visitor, Requester(visitor, counted), is_known, is_crowd)


def _key_of(request: Request) -> str:
    """The key in a request's Authorization: after Bearer, or as the password after Basic."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except ValueError:  # letters that are not base64's, or that make no text
            return ""
    return ""
