"""Uploads: three formats, a limit before decoding, orientation and transparency as people see."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from easel.history.recall import recall
from pipelines.core import images
from pipelines.core.errors import InvalidImage
from pipelines.core.images import MAX_BYTES, crop_square, fit_square, load_image, open_image, resize
from pipelines.core.metadata import read_png


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    """A picture as a file."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def gradient(width_px: int = 40, height_px: int = 30) -> Image.Image:
    """A picture in which every corner differs."""
    y, x = np.mgrid[0:height_px, 0:width_px]
    return Image.fromarray(np.stack([x * 6, y * 8, x + y], -1).astype(np.uint8))


def png_header(width_px: int, height_px: int) -> bytes:
    """A PNG that claims a size and holds a few bytes."""
    head = struct.pack(">IIBBBBB", width_px, height_px, 1, 0, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
            + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b""))


@pytest.mark.parametrize("format", ["PNG", "WEBP", "JPEG"])
def test_the_three_formats(format: str) -> None:
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
    image = load_image(encoded(gradient(), format, **lossless.get(format, {})))
    assert (image.shape, image.dtype) == ((30, 40, 3), np.uint8)
    assert np.abs(image.astype(int) - np.asarray(gradient()).astype(int)).max() <= (
        8 if format == "JPEG" else 0)


@pytest.mark.parametrize("format", ["GIF", "BMP", "TIFF", "PPM", "TGA", "ICO", "JPEG2000"])
def test_other_formats_are_refused(format: str) -> None:
    with pytest.raises(InvalidImage, match="not a PNG, JPEG or WebP"):
        load_image(encoded(gradient(), format))


def test_renamed_files_are_refused() -> None:
    cards = (("SIMPLE", "T"), ("BITPIX", "8"), ("NAXIS", "2"), ("NAXIS1", "4"), ("NAXIS2", "4"))
    fits = "".join(f"{name:8}= {value:>20}".ljust(80) for name, value in cards) + "END"
    assert Image.open(io.BytesIO(fits.ljust(2880).encode() + b"\0" * 2880)).format == "FITS"
    for data in (fits.ljust(2880).encode() + b"\0" * 2880, b'<svg xmlns="http://www.w3.org/2000/svg"/>',
                 b"%!PS-Adobe-3.0 EPSF-3.0\n", b"%PDF-1.4", b"", b"hello", b"\x89PNG\r\n\x1a\n"):
        with pytest.raises(InvalidImage):
            load_image(data)


def test_a_huge_picture_is_refused_by_its_header() -> None:
    data = png_header(20_000, 20_000)
    tracemalloc.start()
    with pytest.raises(InvalidImage, match="25 megapixels is the most"):
        load_image(data)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 5_000_000
    with pytest.raises(InvalidImage, match="5,000 by 5,001 px; 25 megapixels is the most"):
        load_image(png_header(5_000, 5_001))


def test_what_a_phone_takes_and_an_upscaler_makes_is_read() -> None:
    """4096 by 4096 as PNG; a JPEG of more pixels than are decoded is read at half its sides."""
    flat = Image.new("RGB", (4096, 4096), "teal")
    buffer = io.BytesIO()
    flat.save(buffer, "PNG", compress_level=1)
    assert load_image(buffer.getvalue()).shape == (4096, 4096, 3)
    blocks = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8))
    large, half = (blocks.resize(size, Image.Resampling.BICUBIC) for size in (
        (800, 600), (400, 300)))
    for mode in ("RGB", "L", "CMYK"):
        file = io.BytesIO()
        large.convert(mode).save(file, "JPEG", quality=95)
        read = load_image(file.getvalue(), max_pixels=150_000)
        assert read.shape == (300, 400, 3), mode
        wanted = np.asarray(half.convert(mode).convert("RGB"), float)
        assert np.abs(read - wanted).mean() < 6, mode
        assert load_image(file.getvalue(), max_pixels=480_000).shape == (600, 800, 3)
        with pytest.raises(InvalidImage, match="megapixels is the most"):
            load_image(file.getvalue(), max_pixels=100_000)
    progressive = io.BytesIO()
    large.save(progressive, "JPEG", progressive=True)
    with pytest.raises(InvalidImage, match="megapixels is the most"):
        load_image(progressive.getvalue(), max_pixels=150_000)


@pytest.mark.parametrize(("width_px", "height_px", "says"), [
    (1, 16_000_000, "1 by 16,000,000 px; no side may be longer than 16,384 px"),
    (16_000_000, 1, "no side may be longer than 16,384 px"),
    (400, 16_385, "no side may be longer than 16,384 px"),
    (10, 641, "10 by 641 px; no side may be more than 64 times as long as the other"),
    (641, 10, "no side may be more than 64 times as long as the other"),
])
def test_a_narrow_picture_is_refused_by_its_header(width_px: int, height_px: int, says: str,
                                                   ) -> None:
    """What a resize to a square makes on its way would have all of the longer side."""
    data = png_header(width_px, height_px)
    with pytest.raises(InvalidImage, match=says):
        load_image(data)
    with pytest.raises(InvalidImage, match=says):
        read_png(data)


def test_the_narrowest_pictures_are_taken() -> None:
    for size in ((10, 640), (640, 10)):
        assert load_image(encoded(Image.new("RGB", size))).shape == (size[1], size[0], 3)


def chunk(kind: bytes, data: bytes) -> bytes:
    """A part of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_texts_of_a_narrow_picture_are_read_without_its_pixels() -> None:
    """Texts that come after the pixels, too."""
    text, end = chunk(b"tEXt", b"parameters\0a cat\nSteps: 20, Seed: 5"), chunk(b"IEND", b"")
    for height_px in (1000, 16_000_000):
        picture = encoded(Image.new("L", (1, height_px))).removesuffix(end) + text + end
        assert recall(picture).prompt == "a cat"


def test_a_few_pictures_are_decoded_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many threads ask: each large one takes up to 200 MB on its way."""
    now, most, lock = [0], [0], threading.Lock()
    decoded = images._decode

    def counted(*args: Any) -> Image.Image:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.05)
        try:
            return decoded(*args)
        finally:
            with lock:
                now[0] -= 1

    monkeypatch.setattr(images, "_decode", counted)
    data = encoded(gradient())
    with ThreadPoolExecutor(32) as pool:
        assert len(list(pool.map(load_image, [data] * 32))) == 32
    assert 1 <= most[0] <= images.MAX_DECODERS


def test_squeezing_the_largest_pictures_takes_no_more_than_they_do() -> None:
    """In a process of its own, whose most memory is that of these alone."""
    script = """
import resource
import numpy as np
from PIL import Image
from pipelines.core.images import MAX_SIDE_PX, fit_square
from pipelines.models.pixels import to_squares
from easel.search.files import _squeezed

def most_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

small = np.zeros((64, 64, 3), np.uint8)
to_squares([small], 224, "cpu"), _squeezed(Image.fromarray(small), 96), fit_square(small, 32)
before_mb = most_mb()
for size in ((MAX_SIDE_PX, 256), (256, MAX_SIDE_PX)):
    picture = np.zeros((*size, 3), np.uint8)
    to_squares([picture], 224, "cpu"), _squeezed(Image.fromarray(picture), 384)
    fit_square(picture, 512)
print(most_mb() - before_mb)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                          check=True, cwd=Path(__file__).parents[1])
    # 4 megapixels are 12 MB, and 50 MB as numbers for a network; there are some copies of both.
    assert float(done.stdout) < 400


def test_a_large_file_is_refused() -> None:
    with pytest.raises(InvalidImage, match="MB is the most"):
        load_image(encoded(gradient()) + b"\0" * MAX_BYTES)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_truncated_files_are_refused(format: str) -> None:
    data = encoded(gradient(200, 150), format)
    for length in (len(data) // 2, len(data) // 10, 20):
        with pytest.raises(InvalidImage):
            load_image(data[:length])


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to see it upright
    image = load_image(encoded(gradient(), "PNG", exif=exif))
    assert np.array_equal(image, np.rot90(np.asarray(gradient()), -1))


def test_transparency_is_put_on_white() -> None:
    image = Image.new("RGBA", (2, 1), (200, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    assert load_image(encoded(image)).tolist() == [[[200, 0, 0], [255, 255, 255]]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    assert load_image(encoded(palette, transparency=1)).tolist() == [
        [[10, 20, 30], [255, 255, 255]]]


def test_a_large_jpeg_may_be_decoded_small() -> None:
    image = gradient().resize((1600, 1200))
    file = encoded(image, "JPEG", quality=95)
    small = open_image(file, least_px=96)
    assert small.size == (400, 300), "a quarter, which is still more than 192"
    whole = np.asarray(image.resize(small.size)).astype(int)
    assert abs(np.asarray(small).astype(int) - whole).mean() < 3
    assert open_image(file).size == image.size


def test_what_a_file_says_of_its_picture_is_kept() -> None:
    facts = PngInfo()
    facts.add_text("easel", "{}")
    for mode in ("RGB", "RGBA", "P", "L"):
        opened = open_image(encoded(gradient().convert(mode), pnginfo=facts))
        assert opened.mode == "RGB"
        assert opened.info["easel"] == "{}", mode


def test_sixteen_bit_grey_keeps_its_range() -> None:
    wide = Image.fromarray(np.array([[0, 32_768, 65_535]], np.uint16))
    assert load_image(encoded(wide))[0, :, 0].tolist() == [0, 127, 255]


def test_crop_and_resize() -> None:
    image = np.asarray(gradient())
    assert np.array_equal(crop_square(image), image[:, 5:35])
    assert resize(image, 20, 10).shape == (10, 20, 3)
    assert fit_square(image, 64).shape == (64, 64, 3)
    assert resize(image, 40, 30) is image


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0",
                                                 b"RIFF\x20\0\0\0WEBPVP8 "]))
def test_any_bytes_are_refused_in_a_sentence(tail: bytes, head: bytes) -> None:
    with pytest.raises(InvalidImage):
        load_image(head + tail)
