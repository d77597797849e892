"""Files that browsers show although something in them is wrong.

A fault that no pixel depends on is passed over: a text or colour profile of a PNG, the mark at the
end of a JPEG, an orientation of no known number. What lacks pixels stays refused, though browsers
paint the rest grey: a picture cut short is a download to try again.
"""

from __future__ import annotations

import io
import struct

from PIL import Image, ImageOps

from pipelines.core.png_chunks import is_png, without_faults

JPEG_START, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
# What no more than a few blocks of a JPEG could be read from: other pixels, if any are missing.
OTHER_END = b"\x5a" * 256 + JPEG_END
# What Pillow raises for a file that it cannot read, beside what it should.
UNREADABLE = (OSError, ValueError, SyntaxError, struct.error, LookupError, ArithmeticError,
              TypeError, EOFError, Image.DecompressionBombError)


def mended(data: bytes, max_pixels: int) -> bytes | None:
    """A file of the same pixels that Pillow may be able to read; None where there is none.

    Args:
        data: a file that Pillow could not read.
        max_pixels: width times height of what may be decoded to find that out.
    """
    if is_png(data):
        better = without_faults(data)
        return None if better == data else better
    if data.startswith(JPEG_START):
        better = data.removesuffix(JPEG_END[:1]) + JPEG_END
        return better if _lacks_only_its_end(better, max_pixels) else None
    return None


def _lacks_only_its_end(data: bytes, max_pixels: int) -> bool:
    """Whether a JPEG's pixels are all there, so that they do not change with what follows."""
    try:
        ends = []
        for file in (data, data.removesuffix(JPEG_END) + OTHER_END):
            with Image.open(io.BytesIO(file), formats=("JPEG",)) as image:
                if image.width * image.height > max_pixels:
                    return False
                ends.append(image.tobytes())
        return ends[0] == ends[1]
    except UNREADABLE:
        return False


def set_upright(image: Image.Image) -> None:
    """Apply the orientation of a picture's EXIF in place, where that can be read."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except UNREADABLE:
        return
