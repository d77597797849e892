"""Forms of strangers: what they make the server hold, what breaks one, whose files they name."""

from __future__ import annotations

import asyncio
import base64
import io
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from gradio import routes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.formparsers import MultiPartException
from starlette.types import Message

from easel.guard import upload_progress
from easel.guard.forms import FILES_ALONE, ODD_FORM, files_alone
from easel.guard.held_bodies import TOO_MUCH_NOW, UNCOUNTED_BYTES, HeldBodies
from easel.guard.request_check import MAX_SESSION_CHARS, RequestCheck
from easel.guard.upload_progress import UploadProgress
from easel.words import strings
from tests.served import App

FORM = {"content-type": "multipart/form-data; boundary=b"}
JSON = {"content-type": "application/json"}
FIELD = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n'
FILE = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\n'
END = b"\r\n--b--\r\n"


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App(queue_size=4)
    yield served
    served.close()


@pytest.fixture(scope="module")
def web(app: App) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=app.url, timeout=300) as made:
        yield made


# Uploads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["gradio_api/upload", "gradio_api/upload?upload_id=x"])
@pytest.mark.parametrize("body", [
    FIELD + b"9" * 2**21 + END, FIELD + END, FILE + b"a\r\n" + FIELD + b"9" + END,
    b"--b\r\nX: y\r\n\r\n9" + END], ids=["long", "empty", "after a file", "without a name"])
def test_an_upload_holds_files_alone(web: httpx.Client, path: str, body: bytes) -> None:
    """A field that is no file was held whole, up to the length of the largest upload."""
    answer = web.post(path, content=body, headers=FORM)
    assert (answer.status_code, answer.text) == (400, str(FILES_ALONE))


def test_an_upload_is_refused_in_the_visitors_language(web: httpx.Client) -> None:
    answer = web.post("gradio_api/upload", content=FIELD + END,
                      headers=FORM | {"accept-language": "pt-BR"})
    assert answer.text.startswith("Um envio contém só arquivos")


def test_what_an_upload_wrote_before_it_was_refused_is_removed(app: App, web: httpx.Client,
                                                               ) -> None:
    folder = Path(app.page.app.uploaded_file_dir)
    before = set(folder.iterdir())
    answer = web.post("gradio_api/upload", content=FILE + b"a\r\n" + FIELD + END, headers=FORM)
    assert answer.status_code == 400
    assert set(folder.iterdir()) == before


def test_of_an_endless_field_no_more_is_read_than_its_head() -> None:
    read: list[int] = []

    async def receive() -> Message:
        read.append(1)
        return {"type": "http.request", "body": FIELD if len(read) == 1 else b"9" * 2**16,
                "more_body": True}

    async def all_of_it() -> None:
        checked = files_alone(FORM["content-type"], receive, str(FILES_ALONE))
        while True:
            await checked()

    with pytest.raises(MultiPartException, match="files alone"):
        asyncio.run(all_of_it())
    assert len(read) == 1


def test_files_are_taken_however_they_are_cut(web: httpx.Client) -> None:
    """Between any two bytes of a head or a boundary."""
    body = FILE + b"\r\n--bb and more\r\n" + FILE + b"b" + END
    length = {"content-length": str(len(body))}
    for at in range(1, len(body), 7):
        answer = web.post("gradio_api/upload", headers=FORM | length,
                          content=iter([body[:at], body[at:]]))
        assert answer.status_code == 200, answer.text
        assert len(answer.json()) == 2


def test_progress_of_an_upload_is_told_once_and_forgotten(web: httpx.Client) -> None:
    assert isinstance(routes.file_upload_statuses, UploadProgress)
    answer = web.post("gradio_api/upload?upload_id=mine", content=FILE + b"a" + END, headers=FORM)
    assert answer.status_code == 200
    told = web.get("gradio_api/upload_progress?upload_id=mine")
    assert told.status_code == 200
    assert '"done"' in told.text
    assert "mine" not in routes.file_upload_statuses._statuses


def test_uploads_that_nobody_asks_about_are_forgotten(web: httpx.Client,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_progress, "MAX_UPLOADS", 3)
    for number in range(7):
        web.post(f"gradio_api/upload?upload_id=left{number}", content=FILE + b"a" + END,
                 headers=FORM).raise_for_status()
    assert [*routes.file_upload_statuses._statuses] == ["left4", "left5", "left6"]


def test_asking_for_an_upload_that_there_is_not_leaves_nothing(web: httpx.Client) -> None:
    """Gradio kept every name that was ever asked for."""
    assert web.get("gradio_api/upload_progress?upload_id=nothing").status_code == 404
    kept = routes.file_upload_statuses
    assert "nothing" not in {*kept._statuses, *kept._signals}


@pytest.mark.parametrize("name", ["a" * (MAX_SESSION_CHARS + 1), "a%0Ab"])
def test_the_name_of_an_upload_is_short_and_printable(web: httpx.Client, name: str) -> None:
    for answer in (web.get(f"gradio_api/upload_progress?upload_id={name}"),
                   web.post(f"gradio_api/upload?upload_id={name}", content=FILE + END,
                            headers=FORM)):
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith("An upload's name has at most")


# Bodies in memory ------------------------------------------------------------------------------

LARGE = b'{"a": "' + b"9" * (UNCOUNTED_BYTES + 2000) + b'"}'
DOORS = [("gradio_api/run/stop", JSON), ("v1/images/generations", JSON), ("v1/images/edits", FORM),
         ("sdapi/v1/txt2img", JSON), ("mcp", JSON)]


@pytest.fixture
def held(app: App) -> Iterator[HeldBodies]:
    """What the server counts, with room for a thousand bytes."""
    found = next(each.args[-1] for each in app.page.app.user_middleware
                 if each.cls is RequestCheck)
    assert isinstance(found, HeldBodies)
    most, found.most_bytes = found.most_bytes, 1000
    yield found
    found.most_bytes = most


def wait_until_released(held: HeldBodies) -> None:
    """The server ends a request after its client has the answer."""
    end = time.monotonic() + 90
    while held.held_bytes:
        assert time.monotonic() < end, "what was answered is held no more"
        time.sleep(0.02)


@pytest.mark.parametrize(("path", "headers"), DOORS, ids=[path for path, _ in DOORS])
def test_bodies_of_all_doors_count_together(web: httpx.Client, held: HeldBodies, path: str,
                                            headers: dict[str, str]) -> None:
    """The page's calls and MCP's messages did not."""
    answer = web.post(path, content=LARGE, headers=headers)
    assert answer.status_code == 503
    assert TOO_MUCH_NOW in answer.text
    wait_until_released(held)
    held.most_bytes = 10**6
    assert web.post(path, content=LARGE, headers=headers).status_code != 503
    wait_until_released(held)


def test_large_bodies_keep_no_ordinary_call_out(web: httpx.Client, held: HeldBodies) -> None:
    wait_until_released(held)
    held.held_bytes = held.most_bytes
    try:
        small = {"data": [], "session_hash": "small"}
        assert web.post("gradio_api/run/stop", json=small).status_code == 200
        assert web.post("v1/images/generations", json={}).status_code == 400
    finally:
        held.held_bytes = 0


# Fuzz ------------------------------------------------------------------------------------------


def _png() -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, "PNG")
    return data.getvalue()


NAMES = st.one_of(
    st.sampled_from([b"image", b"image[]", b"mask", b"prompt", b"options", b"n", b"files", b"size",
                     b"stream", b"model", b"", b"\xed\xa0\xbd", b"\\ud83d", b"a\0b", b'"', b"\\",
                     b"\xff\xfe", b"+2D0-", b"name*0", b"../x", b"a;b", "ä".encode()]),
    st.binary(max_size=8))
HEADS = st.one_of(
    st.builds(lambda name: b'Content-Disposition: form-data; name="' + name + b'"', NAMES),
    st.builds(lambda name, file: b'Content-Disposition: form-data; name="' + name
              + b'"; filename="' + file + b'"', NAMES, NAMES),
    st.builds(lambda name: b"content-disposition:form-data;name=" + name, NAMES),
    st.builds(lambda name: b"Content-Disposition: form-data; name*=utf-8''" + name, NAMES),
    st.sampled_from([b"", b":", b"X", b"X:", b"Content-Type: image/png",
                     b"Content-Type: text/plain; charset=utf-7", b"Content-Length: -1",
                     b"Content-Transfer-Encoding: base64", b"X: " + b"y" * 9000, b"\0: \0"]),
    st.binary(max_size=8))
VALUES = st.one_of(
    st.sampled_from([b"", b"a cat", b'{"steps": 1, "pause_s": 0}', b'{"\\ud83d": 1}',
                     b'{"steps": "\\ud83d"}', b'{"steps": NaN}', b'{"steps": 1e999}', b"[" * 5000,
                     b"9" * 5000, b"-1", b"true", b"\xed\xa0\xbd", b"\0", _png(), _png()[:40],
                     b"/etc/passwd", base64.b64encode(_png()), b"\r\n--b", b"\r\n--b--", b"--b "]),
    st.binary(max_size=40))
BREAKS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"", b"\r\n\r\n"])
PARTS = st.builds(
    lambda heads, value, line, end: b"--b" + line + b"".join(head + line for head in heads)
    + line + value + end,
    st.lists(HEADS, min_size=1, max_size=3), VALUES, BREAKS, BREAKS)
FORMS = st.builds(lambda parts, end: b"".join(parts) + end,
                  st.lists(st.one_of(PARTS, st.binary(max_size=12)), max_size=5),
                  st.sampled_from([b"--b--\r\n", b"--b--", b"", b"--b", b"--b--x"]))
KINDS = st.sampled_from(["multipart/form-data; boundary=b"] * 8 + [
    "multipart/form-data", 'multipart/form-data; boundary="b"', "multipart/form-data; boundary=",
    "multipart/mixed; boundary=b", "multipart/form-data; boundary=b; charset=ascii",
    "multipart/form-data; boundary=b; charset=utf-7",
    "multipart/form-data; boundary=b; boundary=c", "multipart/form-data;;;boundary=b",
    "Multipart/Form-Data; Boundary=b"])
SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)


@pytest.mark.parametrize("path", ["v1/images/edits", "v1/images/variations", "gradio_api/upload",
                                  "gradio_api/upload?upload_id=fuzz"])
def test_no_form_breaks_a_door(web: httpx.Client, path: str) -> None:
    """The same ones at every run."""
    def sent(form: bytes, kind: str) -> None:
        answer = web.post(path, content=form, headers={"content-type": kind})
        assert answer.status_code < 500, answer.text
        assert "Traceback" not in answer.text

    same = settings(max_examples=150, derandomize=True, database=None, deadline=None,
                    suppress_health_check=SLOW)
    same(given(FORMS, KINDS)(sent))()


def test_half_a_character_in_the_name_of_a_part_is_refused(web: httpx.Client) -> None:
    """UTF-7 can write one, which no answer that names the field can hold."""
    body = b'--b\r\nContent-Disposition: form-data; name="+2D0-"\r\n\r\na\r\n--b--\r\n'
    for charset in ("utf-7", "UTF7", "u7", '"utf-7"'):
        answer = web.post("v1/images/edits", content=body, headers={
            "content-type": f"multipart/form-data; boundary=b; charset={charset}"})
        assert (answer.status_code, answer.json()["error"]["message"]) == (400, ODD_FORM)


@pytest.mark.parametrize("value", [b'{"\\ud83d": 1}', b'{"steps": "\\ud83d"}'])
def test_half_a_character_in_a_forms_json_is_refused(web: httpx.Client, value: bytes) -> None:
    """The sentence that named it could not be written."""
    part = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    file = (b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
            + _png() + b"\r\n")
    body = part % (b"prompt", b"a cat") + file + part % (b"options", value) + b"--b--\r\n"
    answer = web.post("v1/images/edits", content=body, headers=FORM)
    assert answer.status_code == 400
    assert "half a character" in answer.json()["error"]["message"]


# The machine's own files -----------------------------------------------------------------------


@pytest.fixture(params=["/etc/passwd", "a picture", "a link in the data folder"])
def foreign(request: pytest.FixtureRequest, app: App, tmp_path: Path) -> str:
    """A path outside of what the server keeps for visitors."""
    if request.param == "/etc/passwd":
        return request.param
    path = tmp_path / "secret.png"
    path.write_bytes(_png())
    if request.param == "a picture":
        return str(path)
    link = Path(app.data.name) / f"{tmp_path.name}.png"
    link.symlink_to(path)
    return str(link)


def test_a_file_of_the_machine_is_no_picture_of_a_call(web: httpx.Client, app: App, foreign: str,
                                                       ) -> None:
    told = web.get("gradio_api/info").json()["named_endpoints"]["/generate"]["parameters"]
    file = {"path": foreign, "meta": {"_type": "gradio.FileData"}}
    known = {"prompt": "a cat", "pipelines": ["sketch"], "num_images": 1,
             "options": {"sketch": {"steps": 1, "pause_s": 0}}}
    names = [each["parameter_name"] for each in told]
    for field, value in (("init_image", file), ("mask", file), ("image_prompts", [file])):
        assert field in names
        data = [{**known, field: value}.get(name, each.get("parameter_default"))
                for name, each in zip(names, told, strict=True)]
        finished = app.sketch.finished
        call = web.post("gradio_api/call/generate", json={"data": data, "session_hash": "files"})
        answer = web.get(f"gradio_api/call/generate/{call.json()['event_id']}").text
        assert answer.startswith("event: error\n")
        assert strings.ODD_CALL in answer
        assert app.sketch.finished == finished


def test_a_file_of_the_machine_is_no_picture_of_a_door(web: httpx.Client, app: App, foreign: str,
                                                       ) -> None:
    finished = app.sketch.finished
    for address in (foreign, f"file://{foreign}"):
        for field in ("image", "mask"):
            form = {"prompt": (None, "a cat"), "image": ("a.png", _png())}
            said = web.post("v1/images/edits", files={**form, field: (None, address)})
            assert said.status_code == 400, said.text
            assert said.json()["error"]["message"].endswith(".")
            given_json = {"prompt": "a cat", "image": "data:image/png;base64,"
                          + base64.b64encode(_png()).decode(), field: address}
            said = web.post("v1/images/edits", json=given_json)
            assert said.status_code == 400, said.text
            assert said.json()["error"]["message"].endswith(".")
        for fields in ({"init_images": [address]}, {"init_images": [address], "mask": address}):
            said = web.post("sdapi/v1/img2img", json={"prompt": "a cat", **fields})
            assert said.status_code in (422, 500), "the original's own for what is no picture"
            assert set(said.json()) in ({"error", "detail", "body", "errors"}, {"detail"})
        for field in ("init_image", "mask", "image_prompts"):
            arguments = {"prompt": "a cat", field: [address] if field[-1] == "s" else address}
            said = web.post("mcp", json={
                "jsonrpc": "2.0", "id": 1, "method": "tools/call",
                "params": {"name": "generate", "arguments": arguments}},
                headers={"accept": "application/json, text/event-stream"})
            assert '"isError":true' in said.text, said.text
            assert "in base64" in said.text or "PNG, JPEG or WebP" in said.text
    assert app.sketch.finished == finished
