"""Cases 13 to 15, 38, 39 and 44: who asks, from where, for whose data, and what is fetched."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from easel.guard.forms import FILES_ALONE, ODD_FORM
from easel.guard.request_check import NO_LENGTH
from easel.guard.visitors import HEADER, new_token
from easel.history.records import LOCAL
from pipelines.core.json_values import MAX_VALUES
from tests.asking import stream
from tests.served import App

SECRET = "a secret cow of the command line"
SILENT = {"accept": "application/json"}


@pytest.fixture(scope="module")
def secret(app: App) -> str:
    """Id of a picture that the command line drew; a paused run is beside it."""
    backend = app.backend
    *_, _ = stream(backend, {"pipeline": "sketch", "prompt": SECRET, "num_images": 1,
                             "options": {"steps": 1}}, owner=LOCAL)
    return app.history.page(LOCAL).pictures[0].id


@pytest.fixture(scope="module")
def config(app: App) -> dict[str, Any]:
    return httpx.get(f"{app.url}config").json()


@pytest.fixture(scope="module")
def web(app: App) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=app.url, timeout=30) as made:
        yield made


def post(web: httpx.Client, path: str, body: Any, **headers: str) -> httpx.Response:
    return web.post(f"gradio_api/{path}", json=body, headers=headers)


def test_case_38_nobody_gets_data_from_any_route(web: httpx.Client, secret: str) -> None:
    for path in ("history/export", f"history/{secret}/picture", f"history/{secret}/thumbnail"):
        answer = web.get(f"{path}")
        assert answer.status_code == 401, path
        assert "cannot know you" in answer.json()["detail"]


def test_case_38_nobody_gets_data_from_any_function(app: App, web: httpx.Client, secret: str,
                                                    config: dict[str, Any]) -> None:
    """Every function by its index, whether or not it has a name."""
    for function in config["dependencies"]:
        body = {"data": [None] * len(function["inputs"]), "fn_index": function["id"]}
        name = function["api_name"] or "first"
        answers = [post(web, f"run/{name}", body), post(web, f"api/{name}", body)]
        assert [answer.status_code for answer in answers] == [401, 401], function
        assert post(web, "queue/join", body).status_code in (400, 401, 422)
    assert app.history.get(LOCAL, secret).prompt == SECRET


def test_case_38_a_session_of_its_own_sees_nothing_of_the_command_line(
        app: App, web: httpx.Client, secret: str, config: dict[str, Any]) -> None:
    for function in config["dependencies"]:
        body = {"data": [None] * len(function["inputs"]), "fn_index": function["id"],
                "session_hash": "alone"}
        answer = post(web, f"run/{function['api_name'] or 'first'}", body)
        assert SECRET not in answer.text
        assert secret not in answer.text
    assert app.history.get(LOCAL, secret).prompt == SECRET


def test_case_14_a_strangers_picture_does_not_exist(app: App, web: httpx.Client, client: Client,
                                                    ) -> None:
    mine, other = new_token(), new_token()
    _, details = app.client().predict("a dog", ["sketch"], 1, 0, {"sketch": {"steps": 1}},
                                      api_name="/generate")
    name = details["pictures"][0]["id"]
    for token in (mine, other):
        for kind in ("picture", "thumbnail"):
            answer = web.get(f"history/{name}/{kind}", headers={HEADER: token})
            assert answer.status_code == 404
    with pytest.raises(AppError, match="no such picture"):
        client.predict(name, api_name="/history_show")


@pytest.mark.parametrize(("headers", "status"), [
    ({"host": "evil.example"}, 421), ({"host": "evil.example:7860"}, 421), ({"host": ""}, 421),
    ({"host": "127.0.0.1.evil.example"}, 421), ({"host": "[::1].evil"}, 421),
    ({"origin": "https://evil.example"}, 403), ({"origin": "null"}, 403),
    ({"origin": "http://127.0.0.1:9977"}, 403), ({"origin": "http://localhost"}, 403),
    ({"host": "evil.example", "origin": "http://evil.example"}, 421)])
def test_case_15_and_39_foreign_names_and_pages_are_refused(
        web: httpx.Client, headers: dict[str, str], status: int) -> None:
    """By every method: what a page may not change, it may not read either."""
    for send in (lambda: web.get("/", headers=headers),
                 lambda: web.get("history/export", headers=headers),
                 lambda: post(web, "queue/join", {"data": []}, **headers),
                 lambda: post(web, "run/stop", {"data": []}, **headers),
                 lambda: web.post("gradio_api/upload", headers=headers,
                                    files={"files": ("a.png", b"a")})):
        answer = send()
        assert answer.status_code == status
        assert answer.json()["detail"].endswith(".")


def test_case_15_and_39_the_pages_own_requests_are_taken(app: App, web: httpx.Client) -> None:
    port = httpx.URL(app.url).port
    for name in ("127.0.0.1", "localhost", "easel.localhost", "[::1]"):
        own = {"host": f"{name}:{port}", "origin": f"http://{name}:{port}"}
        body = {"data": [], "session_hash": "own"}
        assert post(web, "run/stop", body, **own).status_code == 200
        assert web.get("/", headers=own).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_foreign_page_without_origin_may_look_and_not_act(app: App, web: httpx.Client, site: str,
                                                            ) -> None:
    """A link from another site leads to the page; nothing else of that site is taken."""
    foreign = {"sec-fetch-site": site}
    assert web.get("", headers=foreign).status_code == 200
    body = {"data": [], "session_hash": "own"}
    assert post(web, "run/stop", body, **foreign).status_code == 403
    for path in ("v1/images/generations", "sdapi/v1/interrupt", "mcp"):
        assert web.post(path, json={}, headers=foreign).status_code == 403
    own = {"origin": app.url.rstrip("/"), **foreign}
    assert post(web, "run/stop", body, **own).status_code == 200
    for site in ("same-origin", "none"):
        assert post(web, "run/stop", body, **{"sec-fetch-site": site}).status_code == 200


def test_every_answer_tells_browsers_what_it_is_not_for(web: httpx.Client) -> None:
    for path in ("", "config", "healthz", "history/export", "gradio_api/file=/etc/passwd",
                 "no/such/page"):
        headers = web.get(f"{path}").headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert "frame-ancestors 'self'" in headers["content-security-policy"]
        assert headers["x-frame-options"] == "SAMEORIGIN"
        assert headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/etc/passwd", "/etc/passwd%00.png", "../../etc/passwd",
                                  "%2e%2e/%2e%2e/etc/passwd"])
def test_case_12_files_of_the_machine_are_not_served(web: httpx.Client, path: str) -> None:
    assert web.get(f"gradio_api/file={path}").status_code in (403, 404)


@pytest.mark.parametrize("address", [
    "https://example.com/x.png", "http://169.254.169.254/latest", "HTTPS://example.com/x.png",
    "//example.com/x.png", " https://example.com/x.png"])
def test_case_13_and_44_nothing_is_fetched_for_anyone(web: httpx.Client, config: dict[str, Any],
                                                      address: str,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    """In any input, however deep, and no name is looked up for it."""
    looked_up: list[Any] = []
    look_up = socket.getaddrinfo

    def noted(host: Any, *args: Any, **more: Any) -> Any:
        if host not in ("127.0.0.1", None):
            looked_up.append(host)
        return look_up(host, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", noted)
    file = {"path": address, "meta": {"_type": "gradio.FileData"}}
    generate = next(d for d in config["dependencies"] if d["api_name"] == "generate")
    for value in (file, [file], {"sketch": {"steps": [[file]]}}):
        body = {"data": ["a cat", ["sketch"], 1, 0, value, value], "fn_index": generate["id"],
                "session_hash": "fetch"}
        for path in ("queue/join", "run/generate", "call/generate", "call/v2/generate"):
            answer = post(web, path, body)
            assert answer.status_code == 403
            assert "fetches nothing" in answer.json()["detail"]
    assert web.get(f"gradio_api/file={address.strip()}").status_code == 403
    assert looked_up == []


@pytest.fixture
def lure() -> Iterator[tuple[str, list[str]]]:
    """A server of this machine that redirects to where nobody is to be led, and who asked it."""
    asked: list[str] = []

    class Redirect(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", {"/link-local": "http://169.254.169.254/latest"}.get(
                self.path, "/secret.png"))
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Redirect) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join(60)


@pytest.mark.parametrize("path", ["/link-local", "/here"])
def test_case_13_an_address_that_redirects_is_never_asked(
        web: httpx.Client, config: dict[str, Any], lure: tuple[str, list[str]], path: str) -> None:
    """By no route that names a file, and no field of a body that holds one."""
    server, asked = lure
    assert httpx.get(server + path).status_code == 302, "it is there, and leads on"
    assert asked.pop() == path
    generate = next(d for d in config["dependencies"] if d["api_name"] == "generate")
    addresses = [server + path, server.replace("127.0.0.1", "localhost") + path,
                 server.replace("http", "HTTP") + path, server.replace("http:", "") + path]
    for address in addresses:
        for route in (f"file={address}", f"file/{address}", f"file={quote(address, safe='')}"):
            assert web.get(f"gradio_api/{route}").status_code == 403, route
        assert web.get(f"gradio_api/proxy={address}").status_code == 404
        for file in ({"path": address}, {"path": "/a.png", "url": address},
                     {"url": address}, {"path": address, "url": address, "is_stream": False}):
            value = {**file, "orig_name": "a.png", "meta": {"_type": "gradio.FileData"}}
            body = {"data": ["a cat", ["sketch"], 1, 0, {}, value], "fn_index": generate["id"],
                    "session_hash": "lure"}
            statuses = [post(web, each, body).status_code
                        for each in ("run/generate", "api/generate", "call/generate")]
            if "path" in file and file["path"] == address:
                assert statuses == [403] * 3, file
            assert 500 not in statuses[2:]
        for door, fields in (
                ("v1/images/edits", {"prompt": "a cat", "image": address}),
                ("sdapi/v1/img2img", {"prompt": "a cat", "init_images": [address]}),
                ("sdapi/v1/png-info", {"image": address})):
            answer = web.post(door, json=fields)
            assert answer.status_code in (400, 422, 500)
    assert asked == []


@pytest.mark.parametrize("session", ["a" * 65, "a" * 10**6, 5, ["a"], "a\nb", "a\0b", "a\x1bb"])
def test_case_40_a_sessions_name_is_short_and_printable(web: httpx.Client, session: Any) -> None:
    body = {"data": [], "session_hash": session}
    for path in ("queue/join", "run/stop", "cancel"):
        assert post(web, path, body).status_code == 400
    if isinstance(session, str) and len(session) < 1000:
        for path in (f"heartbeat/{quote(session)}", f"queue/data?session_hash={quote(session)}"):
            assert web.get(f"gradio_api/{path}").status_code == 400


def test_a_request_of_json_is_bounded(web: httpx.Client) -> None:
    body = json.dumps({"data": ["a" * (9 * 2**20)], "session_hash": "large"})
    answer = web.post("gradio_api/run/stop", content=body,
                        headers={"content-type": "application/json"})
    assert answer.status_code == 413


@pytest.mark.parametrize("path", ["gradio_api/run/stop", "gradio_api/queue/join",
                                  "v1/images/generations", "sdapi/v1/txt2img", "mcp"])
def test_json_of_many_small_values_is_refused(web: httpx.Client, path: str) -> None:
    """8 MB of empty lists held everybody up for 13 s and took half a gigabyte."""
    body = b'{"data": [' + b"[]," * 200_000 + b'0], "session_hash": "many"}'
    answer = web.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code in ((400,) if path == "mcp" else (413,))
    assert f"{MAX_VALUES:,} values" in answer.text


@pytest.mark.parametrize("data", [["a " * 2**20], {"a" * (2**20 + 1): 1},
                                  [[{"path": "0" * 2**21}]]],
                         ids=["text", "name", "path"])
def test_a_text_of_a_call_is_no_longer_than_a_file_of_text(web: httpx.Client, data: Any) -> None:
    """Functions cut texts into lines and words, each of which takes far more than its letters."""
    answer = web.post("gradio_api/run/stop", json={"data": data, "session_hash": "long"})
    assert answer.status_code == 413
    assert answer.json() == {"detail": "A text in a request has at most 1,048,576 characters."}
    longest = web.post("gradio_api/run/unknown_words", json={"data": ["a " * 2**19],
                                                             "session_hash": "long"})
    assert longest.status_code == 200, longest.text


@pytest.mark.parametrize("path", ["gradio_api/process_recording", "gradio_api/deep_link",
                                  "gradio_api/proxy=http://localhost/", "gradio_api/pwa_icon/16",
                                  "docs", "redoc", "gradio_api/queue/status",
                                  "gradio_api/component_server", "gradio_api/vibe-code",
                                  "gradio_api/stream/a/b/1/playlist.m3u8", "pwa_icon/100000",
                                  "monitoring", "monitoring/summary", "login", "?page=other"])
def test_routes_that_nobody_needs_are_closed(web: httpx.Client, path: str) -> None:
    answers = [web.get(path), web.post(path, files={"file": ("a.wav", b"a")})]
    assert all(answer.status_code in (404, 405) for answer in answers)
    assert 404 in {answer.status_code for answer in answers}


def test_a_function_that_there_is_not_is_not_found(web: httpx.Client) -> None:
    body = {"data": [], "session_hash": "nothing"}
    for path, more in (("run/first", {"fn_index": 99_999}), ("run/first", {"fn_index": -1}),
                       ("queue/join", {"fn_index": 99_999}), ("run/nothing", {}),
                       ("api/nothing", {}), ("call/nothing", {}), ("call/v2/nothing", {})):
        answer = post(web, path, body | more)
        assert answer.status_code == 404, path
        assert "no such function" in answer.json()["detail"]


def test_an_upload_without_a_file_is_refused_in_a_sentence(web: httpx.Client) -> None:
    form = (b'--b\r\ncontent-disposition: form-data; name="files"; filename=".."\r\n\r\n'
            b"a\r\n--b--\r\n")
    answer = web.post("gradio_api/upload", content=form, headers={
        "content-type": "multipart/form-data; boundary=b"})
    assert answer.status_code < 500
    answer = web.post("gradio_api/upload", data={"files": "text, and no file"},
                      files={"other": ("a.png", b"a")})
    assert (answer.status_code, answer.text) == (400, str(FILES_ALONE))


ODD_FORMS = ("boundary=b; charset=punycode", "boundary=b; charset=utf-7",
             "boundary=b; charset=unicode_escape", "boundary=b; charset=undefined",
             f"boundary={'b' * 5000}")


@pytest.mark.parametrize("options", ODD_FORMS, ids=lambda options: options[:40])
def test_a_form_in_odd_letters_is_refused_unread(web: httpx.Client, options: str) -> None:
    """Python's punycode takes a time that grows with the square of the text."""
    body = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n' + b"9" * 300_000
    headers = {"content-type": f"multipart/form-data; {options}"}
    answer = web.post("gradio_api/upload", content=body, headers=headers)
    assert (answer.status_code, answer.json()) == (415, {"detail": ODD_FORM})
    answer = web.post("v1/images/edits", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, ODD_FORM)


def test_an_upload_that_hides_its_length_is_refused(web: httpx.Client) -> None:
    """Else the room for it would be counted too late."""
    answer = web.post("gradio_api/upload", content=iter([b"--b\r\n"]),
                      headers={"content-type": "multipart/form-data; boundary=b"})
    assert (answer.status_code, answer.json()) == (411, {"detail": NO_LENGTH})


@pytest.mark.parametrize("part", [
    "bytes=0-0,5-6", "bytes=" + "0-," * 2000, "bytes=--5", "bytes=5-2", "bytes=a-b", "bytes=-",
    "items=0-1", f"bytes={'9' * 5000}-", "bytes=\u0663-\u0664"])
def test_an_odd_part_of_a_file_is_the_whole(web: httpx.Client, part: str) -> None:
    """Each was a traceback of fifty lines in the log, or an answer in words of a library."""
    path, = web.post("gradio_api/upload", files={"files": ("a.txt", b"0123456789")}).json()
    address = f"gradio_api/file={path}"
    answer = web.get(address, headers=[(b"range", part.encode())])
    assert (answer.status_code, answer.content) == (200, b"0123456789")
    for plain, expected in (("bytes=2-4", b"234"), ("bytes=7-", b"789"), ("bytes=-2", b"89")):
        answer = web.get(address, headers={"range": plain})
        assert (answer.status_code, answer.content) == (206, expected)


def test_a_frame_of_any_number_is_not_there(web: httpx.Client) -> None:
    assert web.get(f"videos/{'a' * 20}/{'9' * 5000}").status_code == 404
