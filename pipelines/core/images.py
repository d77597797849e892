"""Pictures from outside: only formats that are allowed, never larger than allowed, always RGB."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
from PIL import Image, ImageChops

from pipelines.core.errors import InvalidImage
from pipelines.core.image_faults import UNREADABLE, mended, set_upright

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 25_000_000  # 4096 by 4096 is what upscalers make, 24 megapixels what phones do
# A JPEG is decoded at half its sides where it has more: its blocks need not be whole for that. A
# progressive one is held whole all the same. Pillow itself warns from 89.5 megapixels on.
MAX_HALVED_PIXELS = 89_000_000
# A resize goes over one side after the other: what lies between has a side of the picture and one
# of the target, so that a bound on width times height alone does not bound it.
MAX_SIDE_PX = 16_384
MAX_PROPORTION = 64  # longer side over shorter
MAX_BYTES = 32 * 2**20
SMALL_PX = 512  # more than a CLIP looks at; many pictures as they come could fill the memory

# Pictures that are decoded at the same time, whoever asks: one of 25 megapixels takes up to 310 MB
# on its way, and a server has more threads than that.
MAX_DECODERS = 8
_decoding = threading.BoundedSemaphore(max(2, min(MAX_DECODERS, (os.cpu_count() or 1) - 1)))


@contextmanager
def decoding() -> Iterator[None]:
    """For whoever decodes a picture: waits where enough others do."""
    with _decoding:
        yield


class _Unreadable(InvalidImage):
    """Pillow cannot read the file, which may be mended; its size is not what is wrong."""


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """Read the header alone, with Pillow's other decoders out of reach."""
    if not data:
        raise InvalidImage("The picture is an empty file.", field="init_image")
    if len(data) > MAX_BYTES:
        raise InvalidImage("The picture has {:.0f} MB; {} MB is the most.", len(data) / 2**20,
                           MAX_BYTES // 2**20, field="init_image")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise InvalidImage("The picture has far too many pixels; {:.0f} megapixels is the most.",
                           max_pixels / 1000000.0, field="init_image") from None
    except UNREADABLE:
        raise _Unreadable("The file is not a PNG, JPEG or WebP picture.",
                          field="init_image") from None
    halved = image.format in ("JPEG", "MPO") and not image.info.get("progressive")
    check_size(*image.size, min(4 * max_pixels, MAX_HALVED_PIXELS) if halved else max_pixels)
    return image


def check_size(width_px: int, height_px: int, max_pixels: int = MAX_PIXELS) -> None:
    """Refuse a picture by what its header says, before any of it is decoded.

    Raises:
        InvalidImage: it has more than ``max_pixels``, a side of more than ``MAX_SIDE_PX``, or one
            side that is more than ``MAX_PROPORTION`` times the other.
    """
    longer, shorter = max(width_px, height_px), min(width_px, height_px)
    if width_px * height_px > max_pixels:
        raise InvalidImage("The picture is {:,} by {:,} px; {:.0f} megapixels is the most.",
                           width_px, height_px, max_pixels / 1000000.0, field="init_image")
    if longer > MAX_SIDE_PX:
        raise InvalidImage("The picture is {:,} by {:,} px; no side may be longer than {:,} px.",
                           width_px, height_px, MAX_SIDE_PX, field="init_image")
    if longer > MAX_PROPORTION * shorter:
        raise InvalidImage("The picture is {:,} by {:,} px; no side may be more than {} times as "
                           "long as the other.", width_px, height_px, MAX_PROPORTION,
                           field="init_image")


def check_name(name: str, data: bytes) -> None:
    """Refuse a JPEG of several pictures (MPO) under the name of a format that it is not.

    Phones call such a file a JPEG, and its first picture is read; whoever calls it a PNG hides what
    else is in it.

    Args:
        name: of the file, or its path.
        data: the file.

    Raises:
        InvalidImage: it is one.
    """
    ending = os.path.splitext(name)[1].lower()
    if ending not in (".png", ".webp") or not data.startswith(b"\xff\xd8\xff"):
        return
    with suppress(*UNREADABLE):  # which is said when it is decoded
        if Image.open(io.BytesIO(data), formats=FORMATS).format == "MPO":
            raise InvalidImage("The file is a JPEG of several pictures (MPO) under another name, "
                               "{}: call it .jpg.", ending, field="init_image")


def pixels_of(data: bytes, max_pixels: int = MAX_PIXELS) -> int:
    """How many pixels decoding a picture makes, by its header alone.

    Errors are those of ``open_image``, but for damage behind the header.
    """
    try:
        image = _open(data, max_pixels)
    except _Unreadable:
        if (better := mended(data, max_pixels)) is None:
            raise
        image = _open(better, max_pixels)
    return min(image.width * image.height, max_pixels)


def suffix_of(data: bytes) -> str:
    """The usual ending of a picture file's name, by what it begins with: png, jpg or webp."""
    if data.startswith(b"\x89PNG"):
        return "png"
    return "jpg" if data.startswith(b"\xff\xd8\xff") else "webp"


def load_image(data: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode an uploaded picture as an array (H, W, 3) uint8 RGB; see ``open_image``."""
    return np.array(open_image(data, max_pixels))


def load_small(data: bytes, side_px: int = SMALL_PX) -> np.ndarray:
    """Decode one of many pictures as (H, W, 3) uint8 RGB, its longer side at most ``side_px``.

    It is whole no longer than its turn among those that are decoded lasts. Errors are those of
    ``open_image``.
    """
    def shrunk(image: Image.Image) -> Image.Image:
        picture = rgb_of(image)
        scale = min(1.0, side_px / max(picture.size))
        if scale == 1.0:
            return picture
        width_px, height_px = (max(1, round(side * scale)) for side in picture.size)
        return picture.resize((width_px, height_px), Image.Resampling.LANCZOS)

    return np.array(open_image(data, finish=shrunk))


def plain_png(pixels: np.ndarray) -> bytes:
    """A PNG file of pixels (H, W, 3) uint8 RGB that says nothing of how they came about."""
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def load_mask(data: bytes) -> np.ndarray:
    """Decode an uploaded mask as an array (H, W) uint8, 255 where it marks a place.

    That is where it is transparent, if it is so anywhere, and otherwise where it is white. Errors
    are those of ``open_image``.
    """
    return np.array(open_image(data, finish=_marked))


def _marked(image: Image.Image) -> Image.Image:
    picture = rgb_of(image)
    if image.has_transparency_data:
        alpha = image.convert("RGBA").getchannel("A")
        if alpha.getextrema()[0] != 255:  # programs write the channel where all is opaque, too
            return ImageChops.invert(alpha)
    return picture.convert("L")


def open_image(data: bytes, max_pixels: int = MAX_PIXELS, least_px: int | None = None,
               finish: Callable[[Image.Image], Image.Image] | None = None) -> Image.Image:
    """Decode an uploaded picture, a few at the same time at most.

    EXIF orientation is applied, transparency is put on white, an animation and a JPEG of several
    pictures (MPO, as phones make them) give their first one. A fault that no pixel depends on is
    no fault; see ``pipelines.core.image_faults``.

    Args:
        data: the file.
        max_pixels: width times height that is refused before decoding when exceeded; of a JPEG
            four times that, which is decoded at half its sides.
        least_px: where no more is wanted, a JPEG's decoder may leave out details, down to twice
            that side; None for all that is there.
        finish: makes something else of the decoded picture than ``rgb_of`` does.

    Returns:
        The picture, decoded, in RGB; ``info`` is what the file says of it.

    Raises:
        InvalidImage: another format, too large (see ``check_size``), or damaged.
    """
    with decoding():
        try:
            return _decode(_open(data, max_pixels), max_pixels, least_px, finish or rgb_of)
        except _Unreadable as error:
            if (better := mended(data, max_pixels)) is None:
                raise
            try:
                return _decode(_open(better, max_pixels), max_pixels, least_px, finish or rgb_of)
            except _Unreadable:
                raise error from None  # what is wrong with the file itself


def _decode(image: Image.Image, max_pixels: int, least_px: int | None,
            finish: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """The pixels behind a header; see ``open_image``."""
    try:
        if least_px is not None:
            image.draft("RGB", (2 * least_px, 2 * least_px))
        elif image.width * image.height > max_pixels:
            image.draft("RGB", (image.width // 2, image.height // 2))
        image.load()
        return finish(image)
    except UNREADABLE:
        raise _Unreadable("The picture is damaged or cut short.", field="init_image") from None


def rgb_of(image: Image.Image) -> Image.Image:
    """A picture of Pillow's as it is meant: upright, on white where it is transparent.

    Args:
        image: loaded, of any mode; it may be turned in place.

    Returns:
        In RGB; ``info`` is what the file says of it.
    """
    info = {key: value for key, value in image.info.items() if key != "transparency"}
    set_upright(image)
    if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion would clip it
        wide = np.asarray(image).astype(np.float32)
        image = Image.fromarray((wide / 257).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    picture = image if image.mode == "RGB" else image.convert("RGB")
    picture.info = info
    return picture


def resize(image: np.ndarray, width_px: int, height_px: int) -> np.ndarray:
    """Resize a picture, whatever its proportions.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (height_px, width_px, 3) uint8 RGB.
    """
    if image.shape[:2] == (height_px, width_px):
        return image
    resized = Image.fromarray(image).resize((width_px, height_px), Image.Resampling.LANCZOS)
    return np.array(resized)


def crop_square(image: np.ndarray) -> np.ndarray:
    """The central square of a picture (H, W, 3), as large as it goes."""
    height_px, width_px = image.shape[:2]
    side = min(height_px, width_px)
    top, left = (height_px - side) // 2, (width_px - side) // 2
    return image[top:top + side, left:left + side]


def fit(image: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    """The central part of a picture that has the proportions of a size, at that size.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (height_px, width_px, 3) uint8 RGB.
    """
    if height_px == width_px:
        return fit_square(image, width_px)
    height, width = image.shape[:2]
    scale = min(height / height_px, width / width_px)
    kept_h, kept_w = max(1, round(height_px * scale)), max(1, round(width_px * scale))
    top, left = (height - kept_h) // 2, (width - kept_w) // 2
    return resize(image[top:top + kept_h, left:left + kept_w], width_px, height_px)


def fit_square(image: np.ndarray, side_px: int) -> np.ndarray:
    """The central square of a picture at ``side_px``: (side_px, side_px, 3) uint8 RGB."""
    return resize(crop_square(image), side_px, side_px)
