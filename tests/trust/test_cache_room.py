"""What is written without any of the device's time: no visitor fills the cache with it."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from easel.guard.cache_folder import ADDRESS_SHARE, EACH_SHARE, FRESH_S, CacheFolder
from easel.guard.visitors import HEADER, new_token
from easel.serving.jobs import Requester
from tests.served import App

QUOTA = 16 * 2**20
NO_ROOM = "There is no room for these files now: try again in some minutes."


def served_alone(folder: Path, **settings: Any) -> Iterator[App]:
    """A server with a small cache that nobody else's files are in."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("GRADIO_TEMP_DIR", str(folder))
        served = App(cache_quota=QUOTA, **settings)
        yield served
        served.close()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    yield from served_alone(tmp_path_factory.mktemp("cache"), queue_size=4)


@pytest.fixture
def new_app(tmp_path: Path) -> Iterator[App]:
    """One of whose cache nobody has taken a share so far."""
    yield from served_alone(tmp_path)


def visitor(app: App) -> Client:
    return app.client(**{HEADER: new_token()})


def fat_png(size: int) -> bytes:
    """A small picture with a chunk of zeros that nobody reads, which a zip makes very short."""
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, "PNG")
    kind, filled = b"zzZz", bytes(size)
    chunk = struct.pack(">I", size) + kind + filled + struct.pack(">I", zlib.crc32(kind + filled))
    return data.getvalue()[:-12] + chunk + data.getvalue()[-12:]


def packed(files: Mapping[str, bytes | str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def comparison(size: int) -> bytes:
    """A saved comparison of two pictures of so many bytes."""
    picture = fat_png(size)
    panes = [{"pipeline": "sketch", "title": "Sketch", "num_images": 1, "seed": 1, "pictures": [
        {"file": f"pictures/{letter}-01.png", "seed": 1,
         "sha256": hashlib.sha256(picture).hexdigest()}]} for letter in "ab"]
    return packed({"comparison.json": json.dumps({"prompt": "a cat", "panes": panes}),
                   "pictures/a-01.png": picture, "pictures/b-01.png": picture})


def repeated(client: Client, endpoint: str, *args: Any) -> str:
    """What is said of the call that is one too many, which comes soon."""
    for _ in range(9):
        try:
            client.predict(*args, api_name=endpoint)
        except AppError as error:
            return str(error)
    raise AssertionError("it went on for ever")


def test_a_comparison_is_not_opened_and_saved_for_ever(app: App, tmp_path: Path) -> None:
    (tmp_path / "c.zip").write_bytes(comparison(2**20))
    assert (tmp_path / "c.zip").stat().st_size < 20_000
    file = handle_file(tmp_path / "c.zip")
    one = visitor(app)
    _, opened = one.predict(file, api_name="/bundle_open")
    assert repeated(one, "/bundle_open", file) == NO_ROOM
    with pytest.raises(AppError, match=NO_ROOM):
        one.predict(opened["comparison"], api_name="/bundle_export")
    other = visitor(app)
    _, opened = other.predict(file, api_name="/bundle_open")
    assert repeated(other, "/bundle_export", opened["comparison"]) == NO_ROOM
    one.predict("a cat", ["sketch"], 1, 0, {"sketch": {"steps": 1}}, api_name="/generate")


def test_labelled_pictures_are_not_unpacked_for_ever(app: App) -> None:
    picture = fat_png(2**20)
    data = packed({"cat/a.png": picture, "dog/a.png": picture})
    with httpx.Client(base_url=f"{app.url}gradio_api/", timeout=120,
                      headers={HEADER: new_token()}) as web:
        path = web.post("upload", files={"files": ("z.zip", data)}).json()[0]
        config = httpx.get(f"{app.url}config", timeout=120).json()
        uploads = next(each["id"] for each in config["components"]
                       if each["props"].get("elem_id") == "lab-classify-pictures")
        function = next(each for each in config["dependencies"]
                        if [uploads, "upload"] in each["targets"])
        body = {"data": [[{"path": path, "meta": {"_type": "gradio.FileData"}}]],
                "fn_index": function["id"], "session_hash": "labels"}
        folder = Path(app.page.app.uploaded_file_dir) / "lab"
        for _ in range(9):
            before = set(folder.glob("*"))
            said = web.post(f"run/{function['api_name']}", json=body).text
            if NO_ROOM in said:
                assert set(folder.glob("*")) == before, "what was written before is removed"
                return
    raise AssertionError("it went on for ever")


def test_a_history_is_not_saved_for_ever(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("easel.guard.cache_folder.EACH_SHARE", 1 / 128)  # pictures here are small
    one, other = visitor(app), visitor(app)
    for each in (one, other):
        each.predict("a cat", ["sketch"], 4, 0, {"sketch": {"steps": 1}}, api_name="/generate")
    assert repeated(one, "/history_export") == NO_ROOM
    other.predict(api_name="/history_export")


def test_uploads_of_one_visitor_leave_room_for_others(app: App) -> None:
    """Those of who brings no token are one visitor's as well."""
    files = {"files": ("a.bin", bytes(QUOTA // 16))}
    for headers in ({HEADER: new_token()}, {}):
        with httpx.Client(base_url=f"{app.url}gradio_api/", timeout=120, headers=headers) as web:
            said = [web.post("upload", files=files) for _ in range(5)]
            assert [each.status_code for each in said] == [200, 200, 200, 507, 507]
            assert said[-1].json() == {
                "detail": "There is no room for uploads now: try again in some minutes."}
            other = web.post("upload", files=files, headers={HEADER: new_token()})
            assert other.status_code == 200


def test_uploads_of_one_address_leave_room_for_others(new_app: App) -> None:
    """However many visitors it is."""
    async def statuses(address: str) -> list[int]:
        where = httpx.ASGITransport(new_app.page.app, client=(address, 50_000))
        async with httpx.AsyncClient(transport=where, base_url=new_app.url) as web:
            return [(await web.post("gradio_api/upload", headers={HEADER: new_token()}, files={
                "files": ("a.bin", bytes(QUOTA // 8))})).status_code for _ in range(5)]

    assert asyncio.run(statuses("203.0.113.9")) == [200, 200, 200, 507, 507]
    assert asyncio.run(statuses("198.51.100.7"))[:2] == [200, 200]


ANNA, BEN = Requester("anna", "203.0.113.9"), Requester("ben", "203.0.113.9")
CARL = Requester("carl", "198.51.100.7")


def test_a_visitor_has_a_part_of_the_cache_and_others_have_theirs(tmp_path: Path) -> None:
    cache = CacheFolder(tmp_path, 1000)
    most = int(1000 * EACH_SHARE)
    assert cache.has_room_for(ANNA, most, 1)
    assert not cache.has_room_for(ANNA, 1, 1)
    assert cache.has_room_for(BEN, most, 1)
    assert ADDRESS_SHARE == 2 * EACH_SHARE
    assert not cache.has_room_for(Requester("one more of theirs", ANNA.address), 1, 1)
    assert cache.has_room_for(CARL, most, 1)
    cache._since_s -= FRESH_S + 1
    assert cache.has_room_for(ANNA, most, 1), "what was written long ago counts no more"


def test_what_an_address_has_written_is_not_forgotten_for_its_many_visitors(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("easel.guard.cache_folder.MAX_COUNTED", 5)
    cache = CacheFolder(tmp_path, 1000)
    said = [cache.has_room_for(Requester(str(number), ANNA.address), 100, 1) for number in range(9)]
    assert said == [True] * 5 + [False] * 4


def test_all_together_have_the_quota(tmp_path: Path) -> None:
    cache = CacheFolder(tmp_path, 1000)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(bytes(900))
    assert cache.has_room_for(ANNA, 100, 1)
    assert not cache.has_room_for(CARL, 101, 1)
