"""A picture's file without what it tells of whoever made it: place, time, camera, names, remarks.

Uploads are kept with paused runs and in bundles that people hand on, and a phone writes into each
picture where it was taken. The pixels stay, bit by bit, and so does how they are to be turned.

Sources: ITU-T T.81, sections B.1.1 (markers) and B.2.1 (order); JEITA CP-3451, sections 4.5.4
(APP1) and 4.6.4 (Orientation); W3C, "Portable Network Graphics (PNG) Specification (Third
Edition)", section 11.3; Google, "WebP Container Specification", section "Extended File Format".
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache

from PIL import Image

from pipelines.core.errors import InvalidImage
from pipelines.core.image_faults import UNREADABLE, mended, set_upright
from pipelines.core.images import FORMATS, MAX_BYTES, MAX_PIXELS, open_image
from pipelines.core.png_chunks import SIGNATURE, is_png, png_chunks, text_keyword

MAX_PARTS = 2**15  # of a file; each takes time
CACHED = 6  # as many pictures as a request brings; the cells of a grid bring the same ones
ORIENTATION = 0x0112
# Of a PNG: what says how to show the pixels, and the frames of a moving one. Easel's own texts say
# how a picture was drawn; by the hash of its file, whole, the history knows its own picture again.
PNG_KEPT = frozenset((b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"bKGD", b"pHYs",
                      b"hIST", b"sPLT", b"cICP", b"mDCV", b"cLLI", b"acTL", b"fcTL", b"fdAT"))
PNG_TEXTS = frozenset((b"easel", b"parameters"))
WEBP_KEPT = frozenset((b"VP8 ", b"VP8L", b"ALPH", b"ICCP", b"ANIM", b"ANMF"))
WEBP_EXIF, WEBP_XMP = 0x08, 0x04  # flags of VP8X
_SOI, _EOI, _SOS, _APP1 = b"\xff\xd8", b"\xff\xd9", 0xDA, 0xE1
# The next marker behind the bits of a scan, in which 0xFF is stuffed and restarts are no end.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_FILL = re.compile(rb"\xff*")  # before a marker there may be any number


@lru_cache(maxsize=CACHED)
def without_metadata(data: bytes) -> bytes:
    """The same picture, less what its file tells beside the pixels.

    Args:
        data: a PNG, JPEG or WebP file, from anyone.

    Returns:
        A file that decodes to the same pixels; the very same one where it holds nothing more, and
        where it is no picture, which is told when it is decoded.
    """
    if len(data) > MAX_BYTES:
        return data
    try:
        if is_png(data):
            found = _png(data)
        elif data.startswith(_SOI):
            found = _jpeg(data)
        elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            found = _webp(data)
        else:
            return data
    except (_Odd, struct.error, IndexError):
        return _drawn_again(data)
    return data if found == data else found


class _Odd(Exception):
    """A file that is not laid out as its format says; Pillow may read it all the same."""


def _orientation(data: bytes) -> bytes:
    """EXIF that says how a picture is turned and nothing else; empty where it is upright."""
    value = None
    for mend in (False, True):  # as it is decoded, where Pillow finds faults
        try:
            file = (mended(data, MAX_PIXELS) or b"") if mend else data
            with Image.open(io.BytesIO(file), formats=FORMATS) as image:
                value = image.getexif().get(ORIENTATION)
                break
        except UNREADABLE:
            continue
    if not isinstance(value, int) or not 2 <= value <= 8:
        return b""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, ORIENTATION, 3, 1, value, 0, 0)


def _png(data: bytes) -> bytes:
    parts, kind = [SIGNATURE], b""
    exif = _orientation(data)
    for kind, body, whole in png_chunks(data):
        critical = not kind[0] & 0x20
        if kind == b"IDAT" and exif:  # before the pixels, where readers look for it
            parts.append(_chunk(b"eXIf", exif))
            exif = b""
        if critical or kind in PNG_KEPT or text_keyword(kind, body) in PNG_TEXTS:
            parts.append(whole)
    if kind != b"IEND":
        raise _Odd
    return b"".join(parts)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _jpeg(data: bytes) -> bytes:
    exif = _orientation(data)
    parts = [_SOI]
    if exif:
        body = b"Exif\0\0" + exif
        parts.append(struct.pack(">BBH", 0xFF, _APP1, len(body) + 2) + body)
    for marker, segment in _segments(data):
        if marker == 0xFE or (0xE0 <= marker <= 0xEF and not _shows(marker, segment[4:])):
            continue
        parts.append(segment)
    return b"".join(parts)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Each marker with its segment, that of a scan with its bits, up to the end of the picture.

    What follows is another picture, as phones add one, or the film that it is a part of.
    """
    at = len(_SOI)
    for _ in range(MAX_PARTS):
        filled = _FILL.match(data, at)
        if filled is None or filled.end() == at:
            raise _Odd
        at = filled.end() - 1
        marker = data[at + 1]
        if marker == _EOI[1]:
            yield marker, _EOI
            return
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        if marker == _SOS:
            found = _MARKER.search(data, end)
            if found is None:  # its end is missing, which is no fault of the pixels
                yield marker, data[at:]
                return
            end = found.start()
        if end > len(data):
            raise _Odd
        yield marker, data[at:end]
        at = end
    raise _Odd


def _shows(marker: int, body: bytes) -> bool:
    """Whether an application's segment says how to show the pixels."""
    return ((marker == 0xE0 and body.startswith(b"JFIF\0"))
            or (marker == 0xE2 and body.startswith(b"ICC_PROFILE\0"))
            or (marker == 0xEE and body.startswith(b"Adobe")))


def _webp(data: bytes) -> bytes:
    exif = _orientation(data)
    parts = list[bytes]()
    at, end = 12, 8 + struct.unpack_from("<I", data, 4)[0]
    if end > len(data):
        raise _Odd
    for _ in range(MAX_PARTS):
        if at + 8 > end:
            break
        kind, length = data[at:at + 4], struct.unpack_from("<I", data, at + 4)[0]
        whole = data[at:at + 8 + length]
        at += 8 + length + length % 2
        if len(whole) < 8 + length:
            raise _Odd
        if kind == b"VP8X":
            flags = whole[8] & ~(WEBP_EXIF | WEBP_XMP) | (WEBP_EXIF if exif else 0)
            whole = whole[:8] + bytes([flags]) + whole[9:]
        elif kind not in WEBP_KEPT:
            continue
        parts.append(whole + b"\0" * (length % 2))
    if not parts or at + 8 <= end:
        raise _Odd
    if exif:  # a file that has any is of the extended form, which has the flag
        parts.append(b"EXIF" + struct.pack("<I", len(exif)) + exif + b"\0" * (len(exif) % 2))
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _drawn_again(data: bytes) -> bytes:
    """The pixels as a new PNG file; the old one where they cannot be read, which is told later."""
    buffer = io.BytesIO()
    try:
        open_image(data, finish=_plain).save(buffer, "PNG", compress_level=1)
    except (InvalidImage, *UNREADABLE):
        return data
    return buffer.getvalue()


def _plain(image: Image.Image) -> Image.Image:
    set_upright(image)
    image.info = {key: value for key, value in image.info.items() if key == "transparency"}
    return image.convert("RGB") if image.mode in ("CMYK", "YCbCr") else image
