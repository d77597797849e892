"""Lists of words of a visitor's own: kept, bounded, exchanged, and nobody else's."""

from __future__ import annotations

import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from gradio_client.exceptions import AppError

from easel.compare import word_lists
from easel.compare.wildcards import MAX_WORD_CHARS, Wildcards, suggestions, wildcard_words
from easel.compare.word_lists import MAX_LISTS, MAX_WORDS, WordListStore, read_lists, write_lists
from easel.guard.visitors import HEADER, new_token, visitor_named
from easel.own_files import MAX_FILE_BYTES
from pipelines.core.errors import EaselError, InvalidRequest
from tests.served import App

OWNER = "a" * 40


@pytest.fixture
def store(tmp_path: Path) -> WordListStore:
    return WordListStore(tmp_path, OWNER)


def test_a_list_is_kept_changed_and_forgotten(store: WordListStore) -> None:
    assert store.own() == {}
    assert store.save(" __My Mood__ ", "# remark\nquiet\n very  calm \nquiet\n") == (
        "my-mood", ("quiet", "very calm"))
    store.save("fruit", "uva\nmaçã")
    assert store.own() == {"my-mood": ("quiet", "very calm"), "fruit": ("uva", "maçã")}
    store.save("my-mood", "wild")
    assert store.own()["my-mood"] == ("wild",)
    store.delete("my-mood")
    assert set(store.own()) == {"fruit"}
    with pytest.raises(InvalidRequest, match="no list of yours called 'my-mood'"):
        store.delete("my-mood")


def test_every_visitor_has_their_own(tmp_path: Path, store: WordListStore) -> None:
    store.save("mood", "quiet")
    other = WordListStore(tmp_path, "b" * 40)
    assert other.own() == {}
    with pytest.raises(InvalidRequest, match="no list of yours"):
        other.delete("mood")
    for owner in ("", "../x", "a/b", "."):
        with pytest.raises(ValueError, match="no visitor"):
            WordListStore(tmp_path, owner)


def test_ones_own_go_before_the_operators_and_these_before_the_worlds(tmp_path: Path) -> None:
    folder = tmp_path / "wildcards"
    folder.mkdir()
    (folder / "mood.txt").write_text("quiet\n")
    (folder / "color.txt").write_text("teal\n")
    words = Wildcards(folder, {"mood": ("wild",), "mine": ("a",)})
    assert (words["mood"], words["color"], words["mine"]) == (("wild",), ("teal",), ("a",))
    assert words["place"] == wildcard_words()["place"]
    assert set(words) == {*wildcard_words(), "mood", "mine"}
    assert len(words) == len(set(words))
    assert "mine" in words
    assert "nobody" not in words


def test_ones_own_are_offered_while_they_are_typed() -> None:
    assert suggestions("a __mo", mine=["mood"])[0] == "__mood__"
    assert suggestions("a __mood__", mine=["mood"]) == []
    assert "__mood__" not in suggestions("a __mo")


@pytest.mark.parametrize(("name", "text", "says"), [
    ("", "quiet", "The name of a list"), ("1st", "quiet", "begins with a letter"),
    ("a_b", "quiet", "unlike 'a_b'"), ("x" * 41, "quiet", "1 to 40"), ("é", "quiet", "a to z"),
    ("mood", "", "holds no words"), ("mood", "# a\n\n", "holds no words"),
    ("mood", "x" * (MAX_WORD_CHARS + 1), "more than 200 characters"),
    ("mood", "\n".join(map(str, range(MAX_WORDS + 1))), "has 501 words; 500 is the most"),
    ("mood", "qui\0et", "holds a NUL"), ("mood", "\ud83d", "half a character")])
def test_what_is_no_list_is_told_and_changes_nothing(store: WordListStore, name: str, text: str,
                                                     says: str) -> None:
    store.save("kept", "as it was")
    with pytest.raises(InvalidRequest, match=says):
        store.save(name, text)
    assert store.own() == {"kept": ("as it was",)}


@pytest.mark.parametrize(("name", "data", "says"), [
    ("a.toml", b"mood = [", "not TOML"), ("a.toml", b"\xff", "not TOML"),
    ("a.toml", b"mood = 'quiet'", "something else than lists"),
    ("a.toml", b"mood = [1]", "something else than lists"),
    ("a.toml", b"[mood]\na = ['b']", "something else than lists"),
    ("a.toml", b"mood = []", "holds no words"), ("a.toml", b"'no name' = ['a']", "unlike"),
    ("a.toml", b"a." * 200 + b"a = []", "more than 100 dots"),
    ("a.toml", b"#" * (MAX_FILE_BYTES + 1), "larger than 256 KB"),
    ("mood.txt", b"\xff", "not text in UTF-8"), ("mood.txt", b"", "holds no words"),
    ("1.txt", b"quiet", "unlike '1'"), ("mood.png", b"\x89PNG", "not TOML")])
def test_a_file_of_something_else_changes_nothing(store: WordListStore, name: str, data: bytes,
                                                  says: str) -> None:
    store.save("kept", "as it was")
    with pytest.raises(InvalidRequest, match=says):
        store.add(name, data)
    assert store.own() == {"kept": ("as it was",)}


def test_files_of_both_kinds_are_taken_over(store: WordListStore, tmp_path: Path) -> None:
    assert store.add("My Mood.TXT", "\ufeff# moods\r\nquiet\r\n".encode()) == {
        "my-mood": ("quiet",)}
    store.add("lists.toml", b'my-mood = ["wild"]\nfruit = ["uva", "  a  b ", "#1"]\n')
    assert store.own() == {"my-mood": ("wild",), "fruit": ("uva", "a b", "#1")}
    other = WordListStore(tmp_path, "b" * 40)
    other.add("wildcards.toml", write_lists(store.own()).encode())
    assert other.own() == store.own()


def test_any_word_is_written_as_it_is_read() -> None:
    text = "".join(map(chr, (*range(33, 160), 0x2028, 0xffff, 0x1f600))).replace("\x85", "")
    [word] = read_lists(write_lists({"mood": (text,)}).encode())["mood"][:1] or [""]
    assert word == " ".join(text.split())[:len(word)]
    assert read_lists(b'mood = ["qui\\u0000et"]') == {"mood": ("quiet",)}


def test_there_are_only_so_many_and_so_large(store: WordListStore,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {f"n{number}": ("a",) for number in range(MAX_LISTS)}
    store.add("a.toml", write_lists(whole).encode())
    with pytest.raises(InvalidRequest, match="50 lists of words are the most"):
        store.save("more", "a")
    store.save("n0", "b")
    assert len(store.own()) == MAX_LISTS
    long = "\n".join(f"{number:03} " + "x" * 190 for number in range(400))
    for number in range(3):
        store.save(f"n{number}", long)
    with pytest.raises(InvalidRequest, match="larger than 256 KB"):
        store.save("n3", long)
    assert store.own()["n3"] == ("a",)
    monkeypatch.setattr(word_lists, "MAX_LISTS", MAX_LISTS + 24)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.save(f"m{number}", "a"), range(24)))
    assert len(store.own()) == MAX_LISTS + 24, "of changes at once none is lost"


def test_a_file_that_cannot_be_read_is_told(store: WordListStore) -> None:
    store.file.path.mkdir(parents=True)
    with pytest.raises(EaselError, match="Your lists of words cannot be read"):
        store.own()
    with pytest.raises(EaselError, match="Your lists of words cannot be read"):
        store.save("mood", "quiet")


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App()
    yield served
    served.close()


def test_a_grid_knows_the_words_of_whoever_draws_it(app: App) -> None:
    mine, other = new_token(), new_token()
    app.playground.word_lists(visitor_named(mine)).save("mood", "quiet")
    asked = ("a __mood__ cat", "sketch", {"name": "steps", "values": [2]}, None, 7, None)
    _, details = app.client(**{HEADER: mine}).predict(*asked, api_name="/sweep")
    assert [cell["prompt"] for cell in details["cells"]] == ["a quiet cat"]
    with pytest.raises(AppError, match="no wildcard called __mood__"):
        app.client(**{HEADER: other}).predict(*asked, api_name="/sweep")


def test_the_address_gives_everybody_their_own(app: App) -> None:
    token = new_token()
    app.playground.word_lists(visitor_named(token)).save("mood", "quiet")

    def asked(**headers: str) -> str:
        request = urllib.request.Request(f"{app.url}wildcards/export", headers=headers)
        with urllib.request.urlopen(request) as answer:
            assert answer.headers["content-disposition"] == 'attachment; filename="wildcards.toml"'
            assert answer.headers["cache-control"] == "no-store"
            return answer.read().decode()

    assert tomllib.loads(asked(**{HEADER: token})) == {"mood": ["quiet"]}
    assert asked(**{HEADER: new_token()}) == ""
    with pytest.raises(urllib.error.HTTPError, match="401"):
        asked()
