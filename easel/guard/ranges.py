"""Which part of a file is asked for: one that can be served, or else the whole.

Source: RFC 9110, section 14.2: a server may ignore the header Range, and should where its parts are
many, or none. Gradio fails on all but one part, with a traceback in the log.
"""

from __future__ import annotations

import re

from starlette.types import Scope

_ONE_PART = re.compile(rb"bytes=(?:([0-9]{1,15})-([0-9]{0,15})|-[0-9]{1,15})", re.IGNORECASE)


def keep_plain_range(scope: Scope) -> None:
    """Take the header Range from a request unless it asks for one part.

    Args:
        scope: of the request; changed.
    """
    scope["headers"] = [(name, value) for name, value in scope["headers"]
                        if name != b"range" or _is_plain(value)]


def _is_plain(value: bytes) -> bool:
    found = _ONE_PART.fullmatch(value)
    if found is None:
        return False
    first, last = found[1], found[2]
    return not last or int(first) <= int(last)
