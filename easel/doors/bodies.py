"""What programs send, read whole but bounded: each body, and all that are held at a time."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from easel.guard.forms import ODD_FORM, is_odd_form
from easel.guard.request_check import TOO_MANY
from easel.guard.text_door import first_fault
from pipelines.core.json_values import TooManyValues, read_json

TEXT_BYTES = 2**20  # beside pictures
HELD_BYTES = 256 * 2**20
MAX_FILES, MAX_FIELDS = 4, 64
_DATA_URL = re.compile(r"data:[a-z0-9.+/-]{0,80}(;[a-z0-9=.-]{0,40})?;base64,", re.IGNORECASE)


class BodyFault(Exception):
    """A body that cannot be taken.

    Attributes:
        status: of the answer: 400 for what cannot be read, 413 for too much, 503 for too much at a
            time.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Bodies:
    """The bodies that are held now.

    Args:
        max_upload: bytes of the largest file that the page takes; the doors take no larger one.
    """

    def __init__(self, max_upload: int) -> None:
        self.max_upload, self.held_bytes = max_upload, 0

    @asynccontextmanager
    async def json(self, request: Request) -> AsyncIterator[Any]:
        """A body of JSON; holds it for the length of the block.

        Raises:
            BodyFault: it is not JSON, too large, or holds what no answer can.
        """
        most = self.max_upload * 4 // 3 + TEXT_BYTES
        async with self._read(request, most) as body:
            try:
                found = await run_in_threadpool(read_json, body)
            except TooManyValues:
                raise BodyFault(413, TOO_MANY) from None
            except (ValueError, RecursionError):
                raise BodyFault(400, "The body is not valid JSON.") from None
            if (fault := first_fault(found)) is not None:
                raise BodyFault(400, str(fault))
            yield found

    @asynccontextmanager
    async def form(self, request: Request) -> AsyncIterator[dict[str, Any]]:
        """Fields of a form: texts, and lists of bytes under the names of files.

        Raises:
            BodyFault: it is not a form, or too large.
        """
        if is_odd_form(request.headers.get("content-type", "")):
            raise BodyFault(400, ODD_FORM)
        async with self._read(request, self.max_upload + TEXT_BYTES) as body:
            again = Request(request.scope, _replayed(body))
            try:
                form = await again.form(max_files=MAX_FILES, max_fields=MAX_FIELDS,
                                        max_part_size=TEXT_BYTES)
            except (HTTPException, MultiPartException, ValueError, KeyError):
                raise BodyFault(400, "The body is not a valid form.") from None
            try:
                fields = await _fields(form)
            finally:
                await form.close()
            if (fault := first_fault({name: value for name, value in fields.items()
                                      if isinstance(value, str)})) is not None:
                raise BodyFault(400, str(fault))
            yield fields

    @asynccontextmanager
    async def _read(self, request: Request, most: int) -> AsyncIterator[bytes]:
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length[:18]) > most:
            raise BodyFault(413, f"A request has at most {most >> 20} MB.")
        parts: list[bytes] = []
        held = 0
        try:
            try:
                async for part in request.stream():
                    held += len(part)
                    self.held_bytes += len(part)
                    if held > most:
                        raise BodyFault(413, f"A request has at most {most >> 20} MB.")
                    if self.held_bytes > HELD_BYTES:
                        raise BodyFault(503, "Too many pictures come at the same time: try again "
                                             "in a minute.")
                    parts.append(part)
            except ClientDisconnect:
                raise BodyFault(400, "The body was cut short.") from None
            yield b"".join(parts)
        finally:
            self.held_bytes -= held


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


async def _fields(form: FormData) -> dict[str, Any]:
    """Texts by name, and files as lists of bytes under the name without its "[]"."""
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            fields.setdefault(name.removesuffix("[]"), []).append(await value.read())
        else:
            fields[name] = value
    return fields


def _replayed(body: bytes) -> Any:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
