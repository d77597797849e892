"""Uploads are kept without what their files tell of whoever took them; the pixels stay."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import handle_file
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, PngImagePlugin

from pipelines.core import image_metadata
from pipelines.core.errors import InvalidImage
from pipelines.core.image_metadata import MAX_PARTS, without_metadata
from pipelines.core.images import load_image, load_mask, suffix_of
from pipelines.core.metadata import encode_png
from pipelines.core.request import picture_fields
from pipelines.models.cache.cache import ModelCache
from tests.paused_server import Server, cache
from tests.served import App
from tests.sketch import SketchPipeline
from tests.test_shared_pictures import Collage

__all__ = ["cache"]

SECRETS = (b"Canon of Anna", b"Rue de la Paix", b"2024:05:06 07:08:09", b"xpacket")
ORIENTATIONS = [1, 2, 3, 6, 8]


def scene(mode: str = "RGB") -> Image.Image:
    """A picture that is another one however it is turned."""
    image = Image.new("RGB", (48, 32), "teal")
    draw = ImageDraw.Draw(image)
    draw.rectangle((2, 2, 20, 10), fill="red")
    draw.ellipse((28, 14, 46, 30), fill="yellow")
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
        return image
    return image.convert(mode)


def exif(orientation: int = 1) -> bytes:
    """What a phone writes: where, when, with what, by whom."""
    found = Image.Exif()
    found[0x0112], found[0x010F], found[0x9286] = orientation, "Canon of Anna", b"Rue de la Paix"
    found[0x0132] = "2024:05:06 07:08:09"
    gps = found.get_ifd(0x8825)
    gps[1], gps[2], gps[3], gps[4] = "N", (48.0, 51.0, 24.0), "E", (2.0, 21.0, 8.0)
    return found.tobytes()


XMP = b'<?xpacket begin=""?><x:xmpmeta>Rue de la Paix</x:xmpmeta><?xpacket end="w"?>'


def jpeg(orientation: int = 1, mode: str = "RGB", **more: Any) -> bytes:
    buffer = io.BytesIO()
    scene(mode).save(buffer, "JPEG", exif=exif(orientation), xmp=XMP, comment=b"Rue de la Paix",
                     quality=92, **more)
    return buffer.getvalue()


def png(orientation: int = 1, mode: str = "RGB", **more: Any) -> bytes:
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
    texts.add_text("Comment", "Rue de la Paix", zip=True)
    texts.add_text("parameters", "a cat")
    buffer = io.BytesIO()
    scene(mode).save(buffer, "PNG", exif=exif(orientation), pnginfo=texts, **more)
    return buffer.getvalue()


def webp(orientation: int = 1, mode: str = "RGB", **more: Any) -> bytes:
    buffer = io.BytesIO()
    scene(mode).save(buffer, "WEBP", exif=exif(orientation), xmp=XMP, **more)
    return buffer.getvalue()


def mpo() -> bytes:
    """A JPEG of two pictures, each with its EXIF, as phones write them."""
    buffer = io.BytesIO()
    scene().save(buffer, "MPO", exif=exif(6), save_all=True, append_images=[scene("L")])
    return buffer.getvalue() + jpeg()


def animated() -> bytes:
    buffer = io.BytesIO()
    scene().save(buffer, "WEBP", save_all=True, append_images=[scene().rotate(90)], exif=exif(),
                 xmp=XMP)
    return buffer.getvalue()


def tells(data: bytes) -> list[bytes]:
    """What of the secrets a file still holds, and whatever EXIF holds beside the orientation."""
    found = [secret for secret in SECRETS if secret in data]
    with Image.open(io.BytesIO(data)) as image:
        found += [str(tag).encode() for tag in dict(image.getexif()) if tag != 0x0112]
        found += [b"gps" for _ in image.getexif().get_ifd(0x8825)]
    return found


FILES = {
    **{f"jpeg {turn}": jpeg(turn) for turn in ORIENTATIONS},
    "jpeg grey": jpeg(3, "L"), "jpeg cmyk": jpeg(6, "CMYK"),
    "jpeg progressive": jpeg(8, progressive=True), "jpeg restarts": jpeg(restart_marker_rows=1),
    **{f"png {turn}": png(turn) for turn in ORIENTATIONS},
    "png palette": png(6, "P", transparency=0), "png alpha": png(3, "RGBA"),
    "png bits": png(8, "1"), "png wide": png(6, "I;16"),
    **{f"webp {turn}": webp(turn) for turn in ORIENTATIONS},
    "webp alpha": webp(6, "RGBA", lossless=True), "mpo": mpo(), "animated": animated(),
    "jpeg without an end": jpeg(6)[:-2],
}


@pytest.mark.parametrize("name", FILES)
def test_the_pixels_stay_and_what_tells_goes(name: str) -> None:
    data = FILES[name]
    assert tells(data), "the file tells something"
    stripped = without_metadata(data)
    assert tells(stripped) == []
    assert np.array_equal(load_image(stripped), load_image(data)), "as it is turned, too"
    assert np.array_equal(load_mask(stripped), load_mask(data))
    assert without_metadata(stripped) == stripped


def test_colour_profiles_and_what_easel_writes_stay() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for data in (jpeg(icc_profile=profile), png(icc_profile=profile), webp(icc_profile=profile)):
        with Image.open(io.BytesIO(without_metadata(data))) as image:
            assert image.info["icc_profile"] == profile
    drawn = encode_png(np.asarray(scene()), {"prompt": "a cat, in São Paulo", "options": {}})
    assert without_metadata(drawn) is drawn, "by its hash the history knows the parent"


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n",
                                  b"RIFF\0\0\0\0WEBP", b"no picture"])
def test_what_is_no_picture_is_left_to_who_decodes_it(data: bytes) -> None:
    assert without_metadata(data) == data


def test_a_file_of_an_odd_form_is_drawn_again() -> None:
    """Pillow reads it, so that it would be kept; what its parts are is not known."""
    for data in (jpeg(6)[:2] + b"\0\0junk" + jpeg(6)[2:], png(6)[:-12]):
        try:
            pixels = load_image(data)
        except InvalidImage:
            assert without_metadata(data) == data
            continue
        stripped = without_metadata(data)
        assert tells(stripped) == []
        assert np.array_equal(load_image(stripped), pixels)


def test_a_file_of_endless_parts_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = b"\xff\xe5\x00\x04no" * (MAX_PARTS + 1)
    many = jpeg(6)[:2] + parts + jpeg(6)[2:]
    monkeypatch.setattr(image_metadata, "MAX_PARTS", 2)
    for data in (many, jpeg(6), webp(6)):
        stripped = without_metadata.__wrapped__(data)
        assert stripped.startswith(b"\x89PNG")
        assert tells(stripped) == []
        assert np.array_equal(load_image(stripped), load_image(data))
    monkeypatch.undo()
    assert without_metadata(many).startswith(b"\x89PNG")
    filled = jpeg(6)[:2] + b"\xff" * 2**20 + jpeg(6)[2:]
    assert len(without_metadata(filled)) < 2**16, "what fills the space before a marker goes"


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(FILES)), st.integers(0, 2**31), st.integers(0, 255),
       st.integers(0, 2**31))
def test_damaged_files_end_in_no_other_picture(name: str, place: int, value: int, cut: int) -> None:
    """Whatever is wrong with a file that can be read, its pixels are as they were."""
    data = bytearray(FILES[name])
    data[place % len(data)] = value
    if cut % 3 == 0:
        data = data[:cut % len(data)]
    stripped = without_metadata(bytes(data))
    try:
        pixels = load_image(bytes(data))
    except InvalidImage:
        return
    assert np.array_equal(load_image(stripped), pixels)


# Every way by which an upload gets to a disk ------------------------------------------------

GIVEN = {"init_image": jpeg(6), "image_prompts": [webp(3), png(8)], "mask": png(6, "RGBA")}
PANES = [{"pipeline": "collage", "seed": seed, "options": {"steps": 1, "pause_s": 0}}
         for seed in (1, 2)]


def all_bytes(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder, and every file of each zip there."""
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            yield path.name, data
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    yield from ((name, archive.read(name)) for name in archive.namelist())


def holds_nothing(folder: Path) -> int:
    files = list(all_bytes(folder))
    raw = [each for value in GIVEN.values() for each in (
        value if isinstance(value, list) else [value])]
    for name, data in files:
        assert not any(secret in data for secret in SECRETS), name
        assert not any(each in data for each in raw), name
    return len(files)


def test_a_request_has_them_without(tmp_path: Path) -> None:
    from pipelines.registry import Registry

    registry = Registry()
    registry.register(Collage())
    fields = {"pipeline": "collage", "prompt": "a cat", "seed": 1, **GIVEN}
    for request in (registry.check(fields), registry.as_saved(fields)):
        assert len(request.pictures) == 4
        assert [tells(data) for data in request.pictures.values()] == [[]] * 4
    assert picture_fields(registry.check(fields).pictures)["mask"] == without_metadata(
        GIVEN["mask"])  # type: ignore[arg-type]


def test_a_paused_run_has_them_without(tmp_path: Path, cache: ModelCache) -> None:
    server = Server(tmp_path / "paused", cache)
    try:
        server.paused_at(1, init_image=jpeg(6))
        assert holds_nothing(tmp_path) >= 1
    finally:
        server.backend.close()


def test_bundles_of_the_page_and_the_command_line_have_them_without(tmp_path: Path) -> None:
    app = App([Collage(), SketchPipeline()], queue_size=4)
    try:
        paths = {}
        for name, value in GIVEN.items():
            paths[name] = []
            for number, data in enumerate(value if isinstance(value, list) else [value]):
                path = tmp_path / "mine" / f"{name}-{number}.{suffix_of(data)}"
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(data)
                paths[name].append(handle_file(str(path)))
        client = app.client()
        _, details = client.predict("a cat", PANES, None, None, paths["init_image"][0],
                                    paths["image_prompts"], paths["mask"][0], api_name="/compare")
        bundle = Path(client.predict(details["comparison"], api_name="/bundle_export"))
        out = tmp_path / "out"
        out.mkdir()
        (out / "bundle.zip").write_bytes(bundle.read_bytes())
        with zipfile.ZipFile(bundle) as archive:
            assert sum(name.startswith("inputs/") for name in archive.namelist()) == 4
        assert holds_nothing(out) > 4
        assert holds_nothing(Path(app.data.name)) > 1, "the history"
    finally:
        app.close()
