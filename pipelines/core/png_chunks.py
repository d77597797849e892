"""The parts of a PNG file: its texts without its pixels, and its pixels without its texts.

Pillow gives a file up for a fault in a part that no pixel depends on: a wrong checksum of a text,
a text or colour profile that unpacks to more than a megabyte. Browsers show such files.

Source: W3C, "Portable Network Graphics (PNG) Specification (Third Edition)", sections 5.3 (chunks),
5.4 (which of them can be left out), 11.3.3 (texts).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from pipelines.core.texts import clean_text, decoded

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_TEXT_BYTES = 4 * 2**20  # unpacked; larger ones are left out
MAX_TEXTS_BYTES = 16 * 2**20  # all of a file's together
MAX_CHUNKS = 2**15  # of a file; 32 MB in parts of 8 KB, as libpng writes them, are an eighth
PILLOW_BYTES = 2**20  # what Pillow unpacks at most
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
# What changes how the pixels are to be read; the rest only describes.
_KEPT = (b"tRNS", b"eXIf")


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview, bytes, bool]]:
    """Type, body, the whole chunk, and whether its checksum holds, up to the end or a break."""
    view, start = memoryview(data), len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if start + 12 > len(data):
            return
        length = int.from_bytes(view[start:start + 4], "big")
        end = start + 12 + length
        kind, body = bytes(view[start + 4:start + 8]), view[start + 8:end - 4]
        if end > len(data) or not kind.isalpha():
            return
        good = zlib.crc32(view[start + 4:end - 4]) == int.from_bytes(view[end - 4:end], "big")
        yield kind, body, bytes(view[start:end]), good
        if kind == b"IEND":
            return
        start = end


def is_png(data: bytes) -> bool:
    """Whether a file begins as a PNG does: its signature, then the chunk with its size."""
    return data.startswith(SIGNATURE) and data[12:16] == b"IHDR"


def png_texts(data: bytes) -> dict[str, str]:
    """The texts of a PNG file by their keywords, of those with equal ones the last.

    Args:
        data: the file, from anyone; one cut short gives what came before the cut.

    Returns:
        Texts without what no text may hold. Those of more than ``MAX_TEXT_BYTES`` are left out.
    """
    found: dict[str, str] = {}
    left = MAX_TEXTS_BYTES
    for kind, body, _, _ in _chunks(data):
        if kind in _TEXTS:
            text = _text(kind, bytes(body), min(left, MAX_TEXT_BYTES))
            if text is not None:
                left -= len(text[1])
                found[clean_text(decoded(text[0]))] = clean_text(decoded(text[1]))
    return found


def png_exif(data: bytes) -> bytes:
    """The EXIF of a PNG file; empty where it has none."""
    return next((bytes(body) for kind, body, _, _ in _chunks(data) if kind == b"eXIf"), b"")


def _text(kind: bytes, body: bytes, most: int) -> tuple[bytes, bytes] | None:
    """Keyword and text of a chunk as bytes; None where it is malformed or too long."""
    keyword, nul, rest = body.partition(b"\0")
    if not nul:
        return None
    packed = kind == b"zTXt" or (kind == b"iTXt" and rest[:1] == b"\1")
    if packed and rest[kind == b"iTXt":][:1] != b"\0":  # the only way of packing that there is
        return None
    if kind == b"zTXt":
        rest = rest[1:]
    elif kind == b"iTXt":
        *_, rest = (rest[2:] + b"\0\0").split(b"\0", 2)  # language and translated keyword
        rest = rest.removesuffix(b"\0\0")
    if packed:
        unpacked = _unpacked(rest, most)
        return None if unpacked is None else (keyword, unpacked)
    return (keyword, rest) if len(rest) <= most else None


def _unpacked(data: bytes, most: int) -> bytes | None:
    """What was packed by zlib; None where that is damaged or longer than ``most``."""
    worker = zlib.decompressobj()
    try:
        unpacked = worker.decompress(data, most + 1)
    except zlib.error:
        return None
    return unpacked if len(unpacked) <= most else None


def without_faults(data: bytes) -> bytes:
    """A PNG file without the parts that no pixel depends on and that Pillow could not read.

    Args:
        data: the file, from anyone.

    Returns:
        A file of the same pixels; texts that can be read stay.
    """
    parts, left = [SIGNATURE], MAX_TEXTS_BYTES
    for kind, body, whole, good in _chunks(data):
        if not kind[0] & 0x20:  # a capital letter: the picture depends on it
            parts.append(whole)
        elif good and kind in _TEXTS:
            text = _text(kind, bytes(body), min(left, PILLOW_BYTES))
            if text is not None:
                left -= len(text[1])
                parts.append(whole)
        elif good and kind in _KEPT:
            parts.append(whole)
    return b"".join(parts)
