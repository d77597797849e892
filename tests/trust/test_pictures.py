"""Cases 7 to 10 and 36: pictures that are not what they seem, at every entrance of the server."""

from __future__ import annotations

import base64
import io
import os
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from tests.served import App
from tests.trust.conftest import Refusal

# Every endpoint that takes pictures, with the arguments of a call; "/picture_settings" is not
# among them, since it reads the header and the texts alone.
ENTRANCES: dict[str, Any] = {
    "/generate": lambda file: ("a cat", ["sketch"], 1, 0, {}, file),
    "/compare": lambda file: ("a cat", [{"pipeline": "sketch"}] * 2, 1, None, file),
    "/walk": lambda file: ("", "a cow", 3, 0, {"decoder_steps": 2, "prior_steps": 2}, file),
    "/rerank": lambda file: ([file], ["a cat"]),
    "/search": lambda file: ("history", "", "", file),
    "/text_picture_matrix": lambda file: ([file], ["a cat"]),
    "/inside_stream": lambda file: (file, "a cat"),
    "/inside_contrast": lambda file: ([file, file], ["a cat", "a dog"]),
    "/inside_codes": lambda file: (file,),
    "/inside_patches": lambda file: (file,),
    "/inside_score": lambda file: (file, "a cat"),
    "/inside_mix": lambda file: (file, file),
    "/inside_complete": lambda file: (file, "a cat"),
}


@cache
def png(width_px: int, height_px: int, bits: int = 8) -> bytes:
    """A black picture, small as a file however large its sides are; of one bit a pixel, or 8."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    pixels = zlib.compress(bytes(height_px * (1 + (width_px * bits + 7) // 8)))
    head = struct.pack(">IIBBBBB", width_px, height_px, bits, 0, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels)
            + chunk(b"IEND", b""))


def encoded(kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(buffer, kind, **options)
    return buffer.getvalue()


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def upload(folder: Path, data: bytes, name: str = "picture.png") -> Any:
    path = folder / name
    path.write_bytes(data)
    return handle_file(str(path))


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_case_36_narrow_pictures_are_refused_everywhere(
        app: App, client: Client, refusal: Refusal, tmp_path: Path, entrance: str) -> None:
    before_mb = resident_mb()
    for size in ((1, 16_000_000), (16_000_000, 1)):
        file = upload(tmp_path, png(*size))
        assert "no side may be longer" in refusal(client, entrance, *ENTRANCES[entrance](file))
    assert resident_mb() - before_mb < 150
    app.wait_until_idle()


@pytest.mark.parametrize("endpoint", ["/index", "/classify", "/near_duplicates", "/picture_map"])
def test_case_36_a_narrow_picture_of_a_collection_is_named_and_left_out(
        client: Client, tmp_path: Path, endpoint: str) -> None:
    """One bad picture does not end what is done with the others."""
    assert_left_out(client, tmp_path, endpoint, png(1, 16_000_000))


def assert_left_out(client: Client, folder: Path, endpoint: str, data: bytes) -> None:
    """One picture of four is refused, unread, and the others are taken."""
    files = [upload(folder, data, "odd.png"),
             *(upload(folder, encoded("PNG", compress_level=level), f"{level}.png")
               for level in (0, 1, 9))]
    before_mb = resident_mb()
    args = {"/classify": (files, ["a cat", "a dog"]), "/index": ("uploads", files),
            "/near_duplicates": ("uploads", files), "/picture_map": ("uploads", files)}
    found = client.predict(*args[endpoint], api_name=endpoint)
    assert resident_mb() - before_mb < 150
    assert "odd" not in str(found.get("pictures", found.get("groups", "")))
    told = client.predict("uploads", files, api_name="/index")["unreadable"]
    assert ["odd.png" in each["name"] for each in told] == [True], "which one was not read"


def test_case_36_the_settings_of_a_narrow_picture_are_not_looked_for_in_its_pixels(
        client: Client, refusal: Refusal, tmp_path: Path) -> None:
    before_mb = resident_mb()
    file = upload(tmp_path, png(1, 16_000_000))
    assert "does not say how it was made" in refusal(client, "/picture_settings", file)
    assert resident_mb() - before_mb < 50


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_case_7_a_huge_picture_is_refused(client: Client, refusal: Refusal, tmp_path: Path,
                                          entrance: str) -> None:
    """Of 48 KB: 20,000 by 20,000 px, and one that is wide alone."""
    huge = png(20_000, 20_000, bits=1)
    assert 45_000 < len(huge) < 55_000
    before_mb = resident_mb()
    for data in (huge, png(20_000, 2_000)):
        file = upload(tmp_path, data)
        assert "megapixels is the most" in refusal(client, entrance, *ENTRANCES[entrance](file))
    assert resident_mb() - before_mb < 150


@pytest.mark.parametrize("data", [(20_000, 20_000, 1), (1, 16_000_000), (16_000_000, 1)], ids=str)
def test_case_7_and_36_such_pictures_are_refused_at_the_doors_of_others(app: App, data: Any,
                                                                        ) -> None:
    """OpenAI's, A1111's and MCP's, each in its own form."""
    file, finished = png(*data), app.sketch.finished
    text = base64.b64encode(file).decode()
    before_mb = resident_mb()
    with httpx.Client(base_url=app.url, timeout=60) as web:
        said = [
            web.post("v1/images/edits", data={"prompt": "a cat"}, files={"image": ("a.png", file)}),
            web.post("v1/images/variations", files={"image": ("a.png", file)}),
            web.post("sdapi/v1/img2img", json={"prompt": "a cat", "init_images": [text]}),
            web.post("sdapi/v1/png-info", json={"image": text}),
            *(web.post("mcp", headers={"accept": "application/json, text/event-stream"}, json={
                "jsonrpc": "2.0", "id": 1, "method": "tools/call",
                "params": {"name": name, "arguments": arguments}}) for name, arguments in (
                    ("generate", {"prompt": "a cat", "init_image": text}),
                    ("rerank", {"prompts": ["a cat"], "images": [text]}),
                    ("classify", {"labels": ["a cat", "a dog"], "images": [text]})))]
    for answer in said:
        assert "megapixels is the most" in answer.text or "no side may be longer" in answer.text, (
            answer.request.url, answer.text)
    assert resident_mb() - before_mb < 150
    assert app.sketch.finished == finished


@pytest.mark.parametrize("endpoint", ["/index", "/classify", "/near_duplicates", "/picture_map"])
def test_case_7_a_huge_picture_of_a_collection_is_named_and_left_out(
        client: Client, tmp_path: Path, endpoint: str) -> None:
    assert_left_out(client, tmp_path, endpoint, png(20_000, 20_000, bits=1))


@pytest.mark.parametrize("make", [
    lambda: ("SIMPLE  =                    T".ljust(80) + "END").ljust(2880).encode(),
    lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    lambda: encoded("GIF"), lambda: encoded("TIFF"), lambda: b"%PDF-1.4",
], ids=["fits", "svg", "gif", "tiff", "pdf"])
def test_case_8_another_format_under_a_pictures_name_is_refused(
        client: Client, refusal: Refusal, tmp_path: Path, make: Any) -> None:
    file = upload(tmp_path, make())
    assert refusal(client, "/rerank", *ENTRANCES["/rerank"](file))


@pytest.mark.parametrize("entrance", ["/generate", "/rerank", "/search"])
def test_case_8_a_phones_photograph_is_read_and_refused_under_another_name(
        client: Client, refusal: Refusal, tmp_path: Path, entrance: str) -> None:
    """A phone writes an MPO and calls it a JPEG; who calls it a PNG hides the other pictures."""
    data = encoded("MPO", save_all=True, append_images=[Image.new("RGB", (64, 64), "red")])
    for name in ("photograph.png", "photograph.WEBP"):
        said = refusal(client, entrance, *ENTRANCES[entrance](upload(tmp_path, data, name)))
        assert "JPEG of several pictures (MPO) under another name" in said
    file = upload(tmp_path, data, "photograph.jpg")
    if entrance == "/search":  # which finds nothing where nothing is
        client.predict(*ENTRANCES["/generate"](None), api_name="/generate")
    assert client.predict(*ENTRANCES[entrance](file), api_name=entrance)


def test_case_8_a_file_of_another_kind_is_refused_in_a_plain_sentence(
        client: Client, refusal: Refusal, tmp_path: Path) -> None:
    file = upload(tmp_path, encoded("GIF"), "picture.gif")
    assert refusal(client, "/generate", *ENTRANCES["/generate"](file)) == (
        "The file must be of one of these kinds: .png, .jpg, .jpeg, .webp.")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_case_9_a_truncated_picture_is_refused(client: Client, refusal: Refusal, tmp_path: Path,
                                               kind: str) -> None:
    data = encoded(kind)
    file = upload(tmp_path, data[:len(data) * 2 // 3])
    assert refusal(client, "/generate", *ENTRANCES["/generate"](file))


def test_case_10_an_oversize_upload_is_refused(app: App) -> None:
    files = {"files": ("a.png", bytes(16_001_000))}
    assert httpx.post(f"{app.url}gradio_api/upload", files=files, timeout=30).status_code == 413


def test_case_43_sixteen_large_pictures_at_once(app: App, tmp_path: Path) -> None:
    """Each is answered, by a ranking or by a sentence that the queue is full or others read."""
    noise = np.random.default_rng(0).integers(0, 65_536, (64, 64), np.uint16)
    path = tmp_path / "large.png"
    Image.fromarray(np.kron(noise, np.ones((60, 60), np.uint16))).save(path)
    clients = [app.client() for _ in range(16)]
    before_mb = resident_mb()
    jobs = [each.submit([handle_file(str(path))], ["a cat"], api_name="/rerank")
            for each in clients]
    answers = [job.exception(120) or job.result() for job in jobs]
    assert resident_mb() - before_mb < 1200
    assert all("queue is full" in str(answer) or "Files of others are being read" in str(answer)
               for answer in answers if isinstance(answer, Exception))
    assert sum(not isinstance(answer, Exception) for answer in answers) >= 1
    app.wait_until_idle()


def test_of_many_files_the_one_that_is_no_picture_is_named(client: Client, refusal: Refusal,
                                                           tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "apple.png")
    (tmp_path / "notes.png").write_bytes(b"none")
    files = [handle_file(str(tmp_path / name)) for name in ("apple.png", "notes.png")]
    said = "The file is not a PNG, JPEG or WebP picture."
    assert refusal(client, "/rerank", files, ["a cat"]) == f"notes.png: {said}"
    assert refusal(client, "/rerank", files[1:], ["a cat"]) == said
