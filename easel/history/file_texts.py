"""The texts in a picture's file: chunks of a PNG, EXIF of a JPEG or WebP."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from pipelines.core.errors import InvalidImage
from pipelines.core.image_faults import UNREADABLE
from pipelines.core.images import FORMATS, MAX_BYTES
from pipelines.core.png_chunks import is_png, png_exif, png_texts
from pipelines.core.texts import clean_text, decoded

EXIF_IFD, USER_COMMENT = 0x8769, 0x9286
EXIF_TEXTS = (0x010E, 0x010F, 0x0110)  # ImageDescription, Make, Model


def read_texts(data: bytes) -> dict[str, str]:
    """Every text of a picture's file by its name; the pixels are not looked at.

    Raises:
        InvalidImage: it is not a PNG, JPEG or WebP file.
    """
    if len(data) > MAX_BYTES:
        raise InvalidImage("The picture has more than {} MB.", MAX_BYTES // 2**20)
    if is_png(data):
        return {**_exif_texts(png_exif(data)), **png_texts(data)}
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return _exif_texts(image.info.get("exif", b""))
    except UNREADABLE:
        raise InvalidImage("The file is not a PNG, JPEG or WebP picture.") from None


def _exif_texts(data: bytes) -> dict[str, str]:
    texts = {}
    try:
        exif = Image.Exif()  # not getexif(), which would read on to the end of a damaged file
        exif.load(data)
        for tag in EXIF_TEXTS:
            name, colon, text = _plain(exif.get(tag, "")).partition(":")
            if colon and text.strip().startswith("{"):
                texts[name.strip().lower()] = text.strip()
        comment = _user_comment(exif.get_ifd(EXIF_IFD).get(USER_COMMENT, b""))
    except UNREADABLE:  # of a picture all the same
        return texts
    return {**texts, "parameters": comment} if comment else texts


def _plain(value: Any) -> str:
    """Text of an EXIF tag; UTF-8 where it is, though the standard knows ASCII alone."""
    if isinstance(value, bytes):
        return clean_text(decoded(value))
    try:
        return clean_text(decoded(str(value).encode("latin-1")))
    except UnicodeEncodeError:
        return clean_text(str(value))


def _user_comment(value: Any) -> str:
    """Text of a UserComment: eight bytes name its character code."""
    if not isinstance(value, bytes):
        return _plain(value)
    code, body = value[:8], value[8:]
    if code == b"UNICODE\0" and 0 in body:
        # The order of bytes is not said; in most texts the high bytes are zeros.
        big = body[0::2].count(0) >= body[1::2].count(0)
        text = body.decode("utf-16-be" if big else "utf-16-le", "replace")
        return clean_text(text.removeprefix("\ufeff"))
    # Without a zero it is UTF-8 under another name: some tools mean that by "UNICODE".
    return clean_text(decoded(body if code in (b"UNICODE\0", b"ASCII\0\0\0", bytes(8)) else value))
