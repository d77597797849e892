"""Case 42: what an upload, a server before and a deleted picture leave behind."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import httpx

from easel.guard.cache_folder import MAX_AGE_S, PART_S, CacheFolder
from tests.served import App
from tests.test_cache_folder import age


def test_case_42_a_picture_deleted_for_good_is_nowhere_served(app: App) -> None:
    client = app.client()
    files, details = client.predict("a fox", ["sketch"], 1, 0, {"sketch": {"steps": 1}},
                                    api_name="/generate")
    assert files
    name = details["pictures"][0]["id"]
    client.predict(name, api_name="/history_show")  # another copy in the cache
    owner = next(each for each in app.history.owners()
                 if any(p.id == name for p in app.history.page(each).pictures))
    data = app.history.files.read(app.history.get(owner, name).sha256)
    copies = [path for path in _cache().rglob("*.png") if path.read_bytes() == data]
    assert len(copies) == 2
    addresses = [f"{app.url}gradio_api/file={path}" for path in copies]
    assert [httpx.get(address).status_code for address in addresses] == [200, 200]
    client.predict([name], True, api_name="/history_delete")
    assert not any(path.exists() for path in copies)
    assert all(httpx.get(address).status_code in (403, 404) for address in addresses)


def test_case_42_an_upload_that_was_cut_off_leaves_nothing(app: App) -> None:
    before = set(_cache().iterdir())
    head = (b"POST /gradio_api/upload HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 6000000\r\n"
            b"content-type: multipart/form-data; boundary=cut\r\n\r\n--cut\r\n"
            b'content-disposition: form-data; name="files"; filename="a.png"\r\n\r\n')
    with socket.create_connection(("127.0.0.1", httpx.URL(app.url).port or 0)) as raw:
        raw.sendall(head + bytes(2_000_000))
        end = time.monotonic() + 60
        while not any(path.is_file() for path in set(_cache().iterdir()) - before):
            assert time.monotonic() < end, "no part is written"
            time.sleep(0.02)
    while set(_cache().iterdir()) - before:
        assert time.monotonic() < end, "the part stays"
        time.sleep(0.02)


def test_case_42_the_part_of_an_upload_of_a_server_before_is_swept(app: App) -> None:
    part = _cache() / "tmpabcd1234"
    part.write_bytes(b"a part")
    age(part, PART_S + 60)
    CacheFolder(_cache(), 10**10).sweep()
    assert not part.exists()


def test_case_42_files_of_a_server_before_go_when_they_are_old(app: App) -> None:
    path = _cache() / ("c" * 64) / "before.png"
    path.parent.mkdir()
    path.write_bytes(b"before")
    age(path, MAX_AGE_S + 60)
    CacheFolder(_cache(), 10**10).sweep()
    assert httpx.get(f"{app.url}gradio_api/file={path}").status_code in (403, 404)


def _cache() -> Path:
    return Path(os.environ["GRADIO_TEMP_DIR"])
