"""The history through the real server: its endpoints, its addresses, and who may see what."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from easel.guard.visitors import COOKIE, HEADER, new_token
from easel.history.records import Filters
from pipelines.core.metadata import read_png
from tests.kept import new_picture
from tests.served import App
from tests.test_history_recall import A1111_FILES

DRAW = {"pipelines": ["sketch"], "options": {"sketch": {"steps": 1}}, "api_name": "/generate"}


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App()
    yield served
    served.close()


class Visitor:
    """Somebody with a token: through the client, and through addresses as a browser would."""

    def __init__(self, app: App) -> None:
        self.url, self.token = app.url, new_token()
        self.client = Client(app.url, verbose=False, analytics_enabled=False,
                             headers={HEADER: self.token})

    def draw(self, **fields: Any) -> list[str]:
        files, _ = self.client.predict(**{"prompt": "a red apple", "num_images": 1, **fields},
                                       **DRAW)
        return files

    def pictures(self, **filters: Any) -> list[dict[str, Any]]:
        return self.client.predict(filters, api_name="/history_list")["pictures"]

    def fetch(self, path: str, cookie: str | None = None) -> httpx.Response:
        cookies = {COOKIE: self.token if cookie is None else cookie}
        return httpx.get(self.url + path, cookies=cookies, timeout=30)

    def refusal(self, *args: Any, api_name: str) -> str:
        with pytest.raises(AppError) as caught:
            self.client.predict(*args, api_name=api_name)
        sentence = str(caught.value)
        assert sentence.endswith(".")
        assert "\n" not in sentence
        return sentence


@pytest.fixture(scope="module")
def anna(app: App) -> Visitor:
    return Visitor(app)


@pytest.fixture(scope="module")
def ben(app: App) -> Visitor:
    return Visitor(app)


def test_what_is_drawn_is_kept(anna: Visitor) -> None:
    [file] = anna.draw(prompt="a kept apple", seed=41)
    [kept] = anna.pictures(text="KEPT")
    facts = read_png(Path(file).read_bytes())["easel"]
    assert kept["facts"] == facts
    assert facts["picture_id"] == kept["id"]
    assert (kept["prompt"], kept["seed"], kept["pipeline"]) == ("a kept apple", 41, "sketch")
    answer = anna.fetch(f"history/{kept['id']}/picture")
    assert answer.content == Path(file).read_bytes()
    assert answer.headers["content-type"] == "image/png"
    assert "private" in answer.headers["cache-control"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    with Image.open(io.BytesIO(anna.fetch(f"history/{kept['id']}/thumbnail").content)) as small:
        assert small.format == "WEBP"


def test_two_visitors_never_see_each_others_pictures(anna: Visitor, ben: Visitor) -> None:
    anna.draw(prompt="annas secret")
    ben.draw(prompt="bens secret")
    [hers], [his] = (v.pictures(text="secret") for v in (anna, ben))
    assert (hers["prompt"], his["prompt"]) == ("annas secret", "bens secret")
    for kind in ("picture", "thumbnail"):
        address = f"history/{hers['id']}/{kind}"
        assert anna.fetch(address).status_code == 200
        for answer in (httpx.get(anna.url + address), anna.fetch(address, cookie="x")):
            assert answer.status_code == 401, "nobody"
        for answer in (ben.fetch(address), anna.fetch(address, cookie=new_token())):
            assert answer.status_code == 404
            assert answer.json() == {"detail": "There is no such picture in your history."}
    assert "no such picture" in ben.refusal(hers["id"], api_name="/history_show")
    assert "no such picture" in ben.refusal(hers["id"], 1, True, api_name="/history_rate")
    assert "no such picture" in ben.refusal([hers["id"]], api_name="/history_export")
    assert ben.client.predict([hers["id"]], api_name="/history_delete") == 0
    assert ben.client.predict([hers["id"]], True, api_name="/history_delete") == 0
    archive = zipfile.ZipFile(io.BytesIO(ben.fetch("history/export").content))
    index = json.loads(archive.read("history.json"))["pictures"]
    assert [each["prompt"] for each in index] == ["bens secret"]
    assert anna.pictures(text="secret") == [hers]


def test_a_program_without_a_token_is_one_visitor_for_its_session(app: App) -> None:
    one, other = app.client(), app.client()
    one.predict(prompt="of one session", num_images=1, **DRAW)
    assert one.predict(api_name="/history_list")["total"] == 1
    assert other.predict(api_name="/history_list")["total"] == 0


def test_the_page_gives_a_cookie_that_scripts_cannot_read(app: App) -> None:
    page = {"accept": "text/html"}
    first = httpx.get(app.url, headers=page)
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" not in cookie
    token = first.cookies[COOKIE]
    assert "set-cookie" not in httpx.get(app.url, headers=page, cookies={COOKIE: token}).headers
    forged = httpx.get(app.url, headers=page, cookies={COOKIE: "short"})
    assert forged.cookies[COOKIE] not in ("short", token)
    framed = httpx.get(app.url, headers={**page, "x-forwarded-proto": "https",
                                         "sec-fetch-dest": "iframe"})
    for word in ("Secure", "SameSite=None", "Partitioned", "HttpOnly"):
        assert word in framed.headers["set-cookie"]
    assert "set-cookie" not in httpx.get(f"{app.url}config").headers


def test_the_database_holds_no_token(app: App, anna: Visitor) -> None:
    anna.draw()
    database = Path(app.data.name) / "history" / "history.sqlite"
    stored = b"".join(path.read_bytes() for path in database.parent.glob("history.sqlite*"))
    assert b"a red apple" in stored
    assert anna.token.encode() not in stored


def test_delete_restore_rate_and_export(anna: Visitor) -> None:
    for seed in (1, 2):
        anna.draw(prompt=f"a chore {seed}", seed=seed)
    second, first = anna.pictures(text="chore")
    ids = [first["id"], second["id"]]
    call = anna.client.predict
    assert call(ids[0], 4, True, api_name="/history_rate")["rating"] == 4
    assert [p["id"] for p in anna.pictures(min_rating=3, favourite=True)] == [ids[0]]
    assert call(ids[0], 0, api_name="/history_rate")["rating"] is None
    assert call(ids[0], api_name="/history_rate")["favourite"] is True
    assert call(ids, api_name="/history_delete") == 2
    assert anna.pictures(text="chore") == []
    assert len(anna.pictures(text="chore", deleted=True)) == 2
    assert call([ids[0]], api_name="/history_restore") == 1
    assert call([ids[1]], True, api_name="/history_delete") == 1
    assert anna.pictures(text="chore", deleted=True) == []
    archive = zipfile.ZipFile(call([ids[0]], api_name="/history_export"))
    assert archive.namelist() == ["pictures/a-chore-1-sketch-1.png", "history.json"]
    listed = zipfile.ZipFile(call(None, {"text": "chore"}, api_name="/history_export"))
    assert listed.namelist() == archive.namelist()
    assert "nothing to export" in anna.refusal(None, {"text": "zzz"}, api_name="/history_export")


def test_the_init_image_is_the_parent(anna: Visitor) -> None:
    [start] = anna.draw(prompt="a seedling", seed=3)
    [parent] = anna.pictures(text="seedling")
    anna.draw(prompt="a tree", seed=4, init_image=handle_file(start))
    [child] = anna.pictures(text="tree")
    shown, facts = anna.client.predict(child["id"], api_name="/history_show")
    assert facts["ancestors"] == [parent["id"]]
    assert anna.fetch(f"history/{child['id']}/picture").content == Path(shown).read_bytes()
    _, facts = anna.client.predict(parent["id"], api_name="/history_show")
    assert facts["descendants"] == [child["id"]]


@pytest.mark.parametrize(("args", "endpoint", "says"), [
    (({"page": 1},), "list", "no filter called 'page'"), (("text",), "list", "must be an object"),
    (({"text": 5},), "list", "must be text"), (({"text": "a" * 501},), "list", "at most 500"),
    (({"since_s": "NaN"},), "list", "seconds since 1970"),
    (({"until_s": []},), "list", "seconds since 1970"),
    (({"since_s": True},), "list", "seconds since 1970"),
    ((None, True), "list", "Page must be"), ((None, 1, True), "list", "Size must be"),
    ((["x"], 1), "delete", "Forever must be true or false, not 1."),
    (("x", None, 1), "rate", "Favourite must be true or false, not 1."),
    (({"min_rating": 6},), "list", "0 to 5"), (({"min_rating": True},), "list", "0 to 5"),
    (({"min_rating": 2.5},), "list", "0 to 5"), (({"favourite": "yes"},), "list", "true or false"),
    ((None, 0), "list", "Page must be"), ((None, 1, 501), "list", "Size must be"),
    ((None, "NaN"), "list", "Page must be"), (("../../etc/passwd",), "show", "no such picture"),
    (("a\0b",), "show", "NUL character"), (("abc",), "delete", "list of texts"),
    (([],), "delete", "1 to 500 ids"), (([5],), "restore", "list of texts"),
    ((["x"] * 501,), "restore", "1 to 500 ids"), (("x", 9), "rate", "no such picture"),
])
def test_bad_input_is_one_sentence(anna: Visitor, args: tuple, endpoint: str, says: str) -> None:
    assert says in anna.refusal(*args, api_name=f"/history_{endpoint}")


@pytest.mark.parametrize("rating", [9, -1, 2.5, "5", True])
def test_a_bad_rating_is_one_sentence(anna: Visitor, rating: Any) -> None:
    anna.draw(prompt="rated badly")
    picture_id = anna.pictures(text="rated badly")[0]["id"]
    assert "1 to 5 stars" in anna.refusal(picture_id, rating, api_name="/history_rate")


@pytest.mark.parametrize(("path", "status"), [
    ("history/export?min_rating=many", 400), ("history/export?page=1", 400),
    ("history/..%2F..%2Fetc%2Fpasswd/picture", 404), ("history/x/picture", 404),
    ("history/x/other", 404)])
def test_bad_addresses(anna: Visitor, path: str, status: int) -> None:
    answer = anna.fetch(path)
    assert answer.status_code == status
    assert "Traceback" not in answer.text


def test_the_files_are_not_reached_around_the_history(app: App, anna: Visitor) -> None:
    anna.draw()
    folder = Path(app.data.name) / "history"
    for path in (folder / "history.sqlite", next(folder.glob("files/??/*.png"))):
        assert path.is_file()
        assert anna.fetch(f"gradio_api/file={path}").status_code in (403, 404)


def test_settings_come_back_from_a_file(anna: Visitor, tmp_path: Path) -> None:
    path = tmp_path / "castle.webp"
    path.write_bytes(A1111_FILES["webp"])
    found = anna.client.predict(handle_file(str(path)), api_name="/picture_settings")
    assert (found["tool"], found["seed"]) == ("A1111", 965400086)
    path.write_bytes(b"no picture")
    assert "not a PNG" in anna.refusal(handle_file(str(path)), api_name="/picture_settings")


def test_a_full_history_keeps_nothing_and_shows_the_picture_all_the_same(
        app: App, anna: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(anna.pictures())
    monkeypatch.setattr(app.history, "owner_quota_bytes", 10)
    files, details = anna.client.predict(prompt="too much", num_images=1, **DRAW)
    assert read_png(Path(files[0]).read_bytes())["easel"]["prompt"] == "too much"
    assert details["panels"][0]["message"].startswith("Your history is full at 0 kB, so this was")
    assert len(anna.pictures()) == before


def test_the_database_may_be_locked_while_others_look(app: App, anna: Visitor) -> None:
    [kept] = app.history.add("somebody", [new_picture()])
    with app.history.database.write():
        assert anna.fetch("history/export").status_code == 200
        assert app.history.page("somebody", Filters()).pictures == (kept,)
