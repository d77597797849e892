"""What programs send, read whole but bounded: each body, and all that are held at a time."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.types import Receive, Scope

from easel.guard.forms import ODD_FORM, is_odd_form
from easel.guard.held_bodies import BodyFault, HeldBodies, replayed
from easel.guard.request_check import TOO_MANY
from easel.guard.text_door import first_fault
from pipelines.core.json_values import TooManyValues, read_json

TEXT_BYTES = 2**20  # beside pictures
MAX_FILES, MAX_FIELDS = 4, 64
MAX_NAME_CHARS = 64  # of what is named to whoever sent it
_PART = re.compile(r"(\w{1,64})\[(\w{1,64})\]", re.ASCII)  # of an object
_DATA_URL = re.compile(r"data:[a-z0-9.+/-]{0,80}(;[a-z0-9=.-]{0,40})?;base64,", re.IGNORECASE)


class Bodies:
    """What is sent to the doors.

    Args:
        max_upload: bytes of the largest file that the page takes; the doors take no larger one.
        held: the bodies that are held now, those of the page's calls among them.

    Attributes:
        raw_bytes: that a body may have, where a file in it is in base64.
    """

    def __init__(self, max_upload: int, held: HeldBodies) -> None:
        self.max_upload, self._held = max_upload, held
        self.raw_bytes = max_upload * 4 // 3 + TEXT_BYTES

    def raw(self, scope: Scope, receive: Receive) -> AbstractAsyncContextManager[bytes]:
        """A body as it comes; holds it for the length of the block.

        Raises:
            BodyFault: it is too large, or the client is gone.
        """
        return self._read(scope, receive, self.raw_bytes)

    @asynccontextmanager
    async def json(self, request: Request) -> AsyncIterator[Any]:
        """A body of JSON; holds it for the length of the block.

        Raises:
            BodyFault: it is not JSON, too large, or holds what no answer can.
        """
        async with self.raw(request.scope, request.receive) as body:
            try:
                found = await run_in_threadpool(read_json, body)
            except TooManyValues:
                raise BodyFault(413, TOO_MANY) from None
            except (ValueError, RecursionError):
                raise BodyFault(400, "The body is not valid JSON.") from None
            _check(found)
            yield found

    @asynccontextmanager
    async def form(self, request: Request) -> AsyncIterator[dict[str, Any]]:
        """Fields of a form: texts, lists of bytes under the names of files, and objects of texts.

        Raises:
            BodyFault: it is not a form, or too large.
        """
        if is_odd_form(request.headers.get("content-type", "")):
            raise BodyFault(400, ODD_FORM)
        most = self.max_upload + TEXT_BYTES
        async with self._read(request.scope, request.receive, most) as body:
            again = Request(request.scope, replayed(body, request.receive))
            try:
                form = await again.form(max_files=MAX_FILES, max_fields=MAX_FIELDS,
                                        max_part_size=TEXT_BYTES)
            except (HTTPException, MultiPartException, ValueError, KeyError):
                raise BodyFault(400, "The body is not a valid form.") from None
            try:
                fields = await _fields(form)
            finally:
                await form.close()
            # Of files the names alone: what they hold is looked at by whoever decodes it.
            _check({name: "" if isinstance(value, list) else value
                    for name, value in fields.items()})
            yield fields

    def _read(self, scope: Scope, receive: Receive, most: int,
              ) -> AbstractAsyncContextManager[bytes]:
        return self._held.read(scope, receive, most, f"A request has at most {most >> 20} MB.")


def picture_bytes(text: str) -> bytes:
    """The file in a text of base64, with or without the head of a data URL.

    Raises:
        ValueError: it is not base64.
    """
    head = _DATA_URL.match(text[:200])
    try:
        return base64.b64decode(text[head.end() if head else 0:], validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not base64") from None


def _check(found: Any) -> None:
    """Refuse what no answer can hold, by the name under which it came.

    Raises:
        BodyFault: it holds such a thing.
    """
    if (fault := first_fault(found)) is None:
        return
    named = found.items() if isinstance(found, dict) else ()
    raise BodyFault(400, str(fault), next((name for name, value in named if first_fault(
        name) is None and len(name) <= MAX_NAME_CHARS and first_fault(value) is not None), None))


async def _fields(form: FormData) -> dict[str, Any]:
    """Texts by name, files as lists of bytes under the name without its "[]", and objects.

    What comes as ``name[part]`` is a part of an object, unless the name has a value of its own.
    """
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            fields.setdefault(name.removesuffix("[]"), []).append(await value.read())
        elif (part := _PART.fullmatch(name)) and isinstance(fields.get(part[1], {}), dict):
            fields.setdefault(part[1], {})[part[2]] = value
        else:
            fields[name] = value
    return fields
