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
MAX_TEXTS_BYTES = 16 * 2**20  # all of a file's together, those that are left out among them
PIECE_BYTES = 2**16  # in which texts are unpacked
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


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Type, body and the whole of each chunk of a PNG file, up to its end or a break in it."""
    for kind, body, whole, _ in _chunks(data):
        yield kind, bytes(body), whole


def text_keyword(kind: bytes, body: bytes) -> bytes:
    """What a chunk of text is called; empty for any other."""
    return body.partition(b"\0")[0] if kind in _TEXTS else b""


def is_png(data: bytes) -> bool:
    """Whether a file begins as a PNG does: its signature, then the chunk with its size."""
    return data.startswith(SIGNATURE) and data[12:16] == b"IHDR"


def png_texts(data: bytes) -> dict[str, str]:
    """The texts of a PNG file by their keywords, of those with equal ones the last.

    Args:
        data: the file, from anyone; one cut short gives what came before the cut.

    Returns:
        Texts without what no text may hold. Those of more than ``MAX_TEXT_BYTES`` are left out, and
        those after ``MAX_TEXTS_BYTES`` of texts that were read or left out.
    """
    found: dict[str, str] = {}
    left = MAX_TEXTS_BYTES
    for kind, body, _, _ in _chunks(data):
        if kind in _TEXTS:
            text, unpacked = _text(kind, bytes(body), min(left, MAX_TEXT_BYTES))
            left -= unpacked
            if text is not None:
                found[clean_text(decoded(text[0]))] = clean_text(decoded(text[1]))
    return found


def png_exif(data: bytes) -> bytes:
    """The EXIF of a PNG file; empty where it has none."""
    return next((bytes(body) for kind, body, _, _ in _chunks(data) if kind == b"eXIf"), b"")


def _text(kind: bytes, body: bytes, most: int) -> tuple[tuple[bytes, bytes] | None, int]:
    """Keyword and text of a chunk as bytes, None where it is malformed or too long; and its length
    as far as it was looked at."""
    keyword, nul, rest = body.partition(b"\0")
    if not nul:
        return None, 0
    packed = kind == b"zTXt" or (kind == b"iTXt" and rest[:1] == b"\1")
    if packed and rest[kind == b"iTXt":][:1] != b"\0":  # the only way of packing that there is
        return None, 0
    if kind == b"zTXt":
        rest = rest[1:]
    elif kind == b"iTXt":
        *_, rest = (rest[2:] + b"\0\0").split(b"\0", 2)  # language and translated keyword
        rest = rest.removesuffix(b"\0\0")
    if packed:
        unpacked, length = _unpacked(rest, most)
        return None if unpacked is None else (keyword, unpacked), length
    return ((keyword, rest), len(rest)) if len(rest) <= most else (None, 0)


def _unpacked(data: bytes, most: int) -> tuple[bytes | None, int]:
    """What was packed by zlib, None where that is damaged or longer than ``most``; and how many
    bytes it had by then."""
    worker, parts, length = zlib.decompressobj(), [], 0
    try:
        while length <= most and not worker.eof:
            parts.append(worker.decompress(data, min(PIECE_BYTES, most + 1 - length)))
            length += len(parts[-1])
            data = worker.unconsumed_tail
            if not data and not parts[-1]:  # cut short
                break
    except zlib.error:
        return None, length
    return (b"".join(parts) if length <= most else None), length


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
            text, unpacked = _text(kind, bytes(body), min(left, PILLOW_BYTES))
            left -= unpacked
            if text is not None:
                parts.append(whole)
        elif good and kind in _KEPT:
            parts.append(whole)
    return b"".join(parts)
