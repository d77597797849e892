"""What a tool answers: facts, as text and as structured content, and the pictures that fit in.

The SDK's own client ends a session at an event of more than 1 MiB, and assistants take no longer
answer of a tool either: pictures that would make one longer come smaller, and the facts say so.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mcp.types import CallToolResult, ImageContent, TextContent
from PIL import Image

from pipelines.core.images import open_image

MAX_ANSWER_BYTES = 2**20
_AROUND_BYTES = 4096  # JSON-RPC's envelope, the event's, and what the facts say of reduced pictures
_AROUND_PICTURE_BYTES = 128
WEBP_QUALITY = 85
_LEAST_PX = 16


def answer(facts: Mapping[str, Any], pngs: Sequence[bytes] = ()) -> CallToolResult:
    """An answer that every client reads.

    Args:
        facts: what is told, as JSON can write it. Where pictures come reduced, ``reduced`` has
            their numbers among those of the answer, from 1 on.
        pngs: files of pictures.
    """
    plain = _result(facts, ())
    taken = len(plain.model_dump_json(by_alias=True).encode())
    room = MAX_ANSWER_BYTES - taken - _AROUND_BYTES - _AROUND_PICTURE_BYTES * len(pngs)
    files = fitting(pngs, room * 3 // 4)  # base64 writes four letters for three bytes
    reduced = [n for n, (kind, _) in enumerate(files, 1) if kind != "image/png"]
    return _result({**facts, "reduced": reduced} if reduced else facts, files)


def fitting(pngs: Sequence[bytes], room_bytes: int) -> list[tuple[str, bytes]]:
    """Media type and file of each picture, so that all of them fit.

    Small ones stay as they are; what these leave is shared equally by the larger ones, which become
    WebP, of fewer pixels where that is not enough.

    Args:
        pngs: the files.
        room_bytes: what all may take together.
    """
    found: dict[int, tuple[str, bytes]] = {}
    for index in sorted(range(len(pngs)), key=lambda i: len(pngs[i])):
        share = room_bytes // (len(pngs) - len(found))
        fits = len(pngs[index]) <= share
        found[index] = (("image/png", pngs[index]) if fits
                        else ("image/webp", _reduced(pngs[index], share)))
        room_bytes -= len(found[index][1])
    return [found[index] for index in range(len(pngs))]


def _reduced(png: bytes, most_bytes: int) -> bytes:
    image = open_image(png)
    while True:
        data = io.BytesIO()
        image.save(data, "WEBP", quality=WEBP_QUALITY)
        if len(data.getvalue()) <= most_bytes or min(image.size) <= _LEAST_PX:
            return data.getvalue()
        scale = min(0.9, 0.95 * math.sqrt(max(0, most_bytes) / len(data.getvalue())))
        image = image.resize([max(_LEAST_PX, round(side * scale)) for side in image.size],
                             Image.Resampling.LANCZOS)


def _result(facts: Mapping[str, Any], files: Sequence[tuple[str, bytes]]) -> CallToolResult:
    return CallToolResult(
        content=[TextContent(type="text", text=json.dumps(facts)),
                 *(ImageContent(type="image", mime_type=kind, data=base64.b64encode(data).decode())
                   for kind, data in files)],
        structured_content=dict(facts))
