"""What makes a long history fast, kept numbers and an index of texts, says what plain Python says.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from easel.history.database import Database
from easel.history.export import pictures_of
from easel.history.files import FileStore
from easel.history.queries import Passing
from easel.history.records import Filters, HistoryError, KeptPicture
from easel.history.store import History
from easel.history.tables import Picture, Total
from easel.ui.history.render import render_gallery
from easel.words.language import speaking
from pipelines.registry import Registry
from tests.kept import new_picture, opened
from tests.test_history_database import KINDS, at_revision, postgres_server, raw, url

__all__ = ["postgres_server", "url"]  # fixtures
PARTS = ("a", "ab", "cat", "CATS", "catacat", "%", "_", "0%", "a_b", "/", "\\", "'", '"', '""', "*",
         "NEAR(", "AND", "-", "^", ":", "猫", "りんご", "🍎", "👩‍🚀", "é", "e\u0301", "É", "ß", "İ",
         "ı", "Ω", "ж", "жук", "\u00a0", "\t", "\n", " ", "  ", ", ", "6b", "k6d65", "x", "41", "☃")
OWNERS = ("me", "you", "k", "🍎")


def made_up(chance: random.Random, most: int) -> str:
    return "".join(chance.choice(PARTS) for _ in range(chance.randint(0, most)))


def looked_for(chance: random.Random, prompts: list[str]) -> str:
    """Pieces of prompts, in another case now and then, or anything."""
    words = []
    for _ in range(chance.randint(1, 3)):
        prompt = chance.choice([*prompts, made_up(chance, 4)])
        first = chance.randint(0, len(prompt))
        word = prompt[first:first + chance.randint(1, 6)]
        words.append(chance.choice([word, word.upper(), word.lower()]))
    return chance.choice([" ", "\u2003"]).join(words)


def counted(history: History) -> dict[tuple[str, bool], tuple[int, int]]:
    """What there is, by counting."""
    with history.database.read() as session:
        return {(owner, deleted): (pictures, size) for owner, deleted, pictures, size in
                session.execute(sa.select(
                    Picture.owner, Picture.deleted, sa.func.count(),
                    sa.func.sum(Picture.size_bytes)).group_by(Picture.owner, Picture.deleted))}


def kept_totals(history: History) -> dict[tuple[str, bool], tuple[int, int]]:
    """What there is, as the triggers know it."""
    with history.database.read() as session:
        return {(each.owner, each.deleted): (each.pictures, each.size_bytes)
                for each in session.scalars(sa.select(Total))}


def check_index(history: History) -> None:
    """SQLite compares its index with the texts."""
    if history.database.engine.dialect.name == "sqlite":
        assert history.database.indexes_text
        with history.database.write() as session:
            session.execute(sa.text("INSERT INTO pictures_text (pictures_text, rank) "
                                    "VALUES ('integrity-check', 1)"))


def change(chance: random.Random, history: History, known: list[KeptPicture]) -> None:
    """One thing that people do, in the history and in the list, the oldest first."""
    owner = chance.choice(OWNERS)
    mine = [each for each in known if each.owner == owner]
    some = {each.id for each in chance.sample(mine, min(len(mine), chance.randint(0, 4)))}
    gone = {each.id for each in mine if each.deleted}
    what = chance.choice(["add", "add", "add", "delete", "delete", "restore", "purge", "rate"])
    if what == "add":
        known += history.add(owner, [new_picture(made_up(chance, 9), chance.randint(0, 99))
                                     for _ in range(chance.randint(1, 5))])
    elif what == "delete":
        assert history.delete(owner, some) == len(some - gone)
    elif what == "restore":
        assert history.restore(owner, some) == len(some & gone)
    elif what == "purge":
        assert history.purge(owner, some) == len(some & gone)
        known[:] = [each for each in known if each.id not in some & gone]
    else:
        for each in some:
            history.rate(owner, each, chance.randint(1, 5))
            history.set_favourite(owner, each, chance.random() < 0.5)
    known[:] = [history.get(each.owner, each.id) for each in known]


def compare(history: History, known: list[KeptPicture], owner: str, filters: Filters) -> None:
    """Every way to ask for the same pictures, beside a loop over all of them."""
    words = filters.text.casefold().split()
    expected = [
        each for each in reversed(known)
        if each.owner == owner and each.deleted == filters.deleted
        and (each.rating or 0) >= filters.min_rating
        and all(word in each.prompt.casefold() for word in words)]
    ids = [each.id for each in expected]
    assert history.ids(owner, filters) == ids, filters
    for number in (1, 2, 3, 9):
        exact = history.page(owner, filters, number, 3)
        assert (exact.total, exact.pages) == (len(ids), max(1, -(-len(ids) // 3)))
        assert list(exact.pictures) == expected[3 * exact.number - 3:3 * exact.number]
        for count_to in (0, 4, 7):
            page = history.page(owner, filters, number, 3, count_to)
            assert (page.pictures, page.number) == (exact.pictures, exact.number)
            assert page.is_last == exact.is_last
            assert page.total == exact.total if not page.more else (
                max(count_to, 3 * page.number) <= page.total < exact.total)
    for place in {0, len(ids) // 2, len(ids) - 1} if ids else ():
        each = expected[place]
        assert history.beside(each, filters) == (
            ids[place - 1] if place else None, ids[place + 1] if place + 1 < len(ids) else None)


@pytest.mark.parametrize("url", KINDS, indirect=True)
@pytest.mark.parametrize("seed", range(3))
def test_a_search_finds_what_a_loop_over_the_pictures_finds(url: str, seed: int,
                                                            tmp_path: Path) -> None:
    chance, known = random.Random(seed), list[KeptPicture]()
    with opened(tmp_path, url=url) as history:
        for _ in range(8):
            for _ in range(5):
                change(chance, history, known)
            texts = ["", *(looked_for(chance, [each.prompt for each in known])
                           for _ in range(5))]
            for text in texts:
                compare(history, known, chance.choice(OWNERS), Filters(
                    text, min_rating=chance.choice([0, 0, 3]), deleted=chance.random() < 0.3))
            assert kept_totals(history) == counted(history)
            for owner in OWNERS:
                assert history.used_bytes(owner) == sum(
                    each.size_bytes for each in known if each.owner == owner)
            assert history.used_bytes() == sum(each.size_bytes for each in known)
            assert history.owners() == sorted(
                {each.owner for each in known}, key=str.encode)
        check_index(history)


@pytest.mark.parametrize("url", KINDS, indirect=True)
def test_every_piece_of_a_prompt_finds_it(url: str, tmp_path: Path) -> None:
    prompt = "Ein 50%_Äpfelchen, 猫🍎 o'neil \"x\"y*"
    with opened(tmp_path, url=url) as history:
        history.add("me", [new_picture("another one", 1), new_picture(prompt, 2)])
        words = prompt.casefold().split()
        for word in words:
            for first in range(len(word)):
                for last in range(first + 1, len(word) + 1):
                    found = history.page("me", Filters(text=word[first:last]), count_to=9)
                    assert prompt in [each.prompt for each in found.pictures], word[first:last]
        for text in ("äpfelchen猫", "n50", "🍎o", "é", "xx", "yy", "apfel", "-äpfel"):
            assert history.page("me", Filters(text=text)).total == 0, text


def test_letters_that_a_word_has_in_another_order_are_no_match(tmp_path: Path) -> None:
    """The index alone cannot tell: each three letters are there."""
    with opened(tmp_path) as history:
        history.add("me", [new_picture("abcd bcde", 1)])
        assert history.page("me", Filters(text="abcde")).total == 0
        assert history.page("me", Filters(text="abcde"), count_to=9).total == 0
        assert history.page("me", Filters(text="abcd")).total == 1


@pytest.mark.parametrize("url", KINDS, indirect=True)
def test_an_older_history_is_searched_and_counted_as_well(url: str, tmp_path: Path) -> None:
    at_revision(url, "0007")
    engine = raw(url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE pictures SET search = 'maçã verde' "
                                   "WHERE prompt = 'Maçã VERDE'"))
        connection.execute(sa.text("UPDATE pictures SET search = 'b' WHERE prompt = 'b'"))
    engine.dispose()
    with opened(tmp_path, url=url) as history:
        assert [each.prompt for each in history.page("me", Filters(text="ÇÃ verd")).pictures] == [
            "Maçã VERDE"]
        assert [each.prompt for each in history.page("me", Filters(text="b")).pictures] == ["b"]
        assert history.page("me").total == 2
        assert history.used_bytes("me") == 18
        assert kept_totals(history) == counted(history)
        check_index(history)


@pytest.mark.parametrize("url", KINDS, indirect=True)
def test_texts_and_owners_that_another_program_changes_are_followed(url: str, tmp_path: Path,
                                                                    ) -> None:
    with opened(tmp_path, url=url) as history:
        a, b = history.add("me", [new_picture("a dog", 1), new_picture("a cat", 2)])
        with history.database.write() as session:
            session.execute(sa.update(Picture).where(Picture.id == a.id).values(search="an owl"))
            session.execute(sa.update(Picture).where(Picture.id == b.id).values(
                owner="you", size_bytes=5))
        assert history.ids("me", Filters(text="owl")) == [a.id]
        assert history.ids("me", Filters(text="dog")) == []
        assert history.ids("me", Filters(text="cat")) == []
        assert history.ids("you", Filters(text="cat")) == [b.id]
        assert history.used_bytes("you") == 5
        assert kept_totals(history) == counted(history)
        check_index(history)


@pytest.mark.parametrize("url", KINDS, indirect=True)
def test_numbers_are_right_whoever_writes_at_once(url: str, tmp_path: Path) -> None:
    Database(url).close()

    def work(number: int) -> None:
        history = History(Database(url, busy_timeout_s=120), FileStore(tmp_path / str(number)))
        for turn in range(6):
            kept = history.add("me", [new_picture(f"w{number} t{turn} p{n}", 10 * turn + n)
                                      for n in range(3)])
            history.delete("me", [each.id for each in kept[:2]])
            history.restore("me", [kept[0].id])
            history.purge("me", [each.id for each in kept])
        history.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    with opened(tmp_path, url=url) as history:
        assert history.page("me").total == 4 * 6 * 2
        assert history.page("me", Filters(deleted=True)).total == 0
        assert history.page("me", Filters(text="w2 p2")).total == 6
        assert history.page("me", Filters(text="p1")).total == 0
        assert kept_totals(history) == counted(history)
        check_index(history)


@contextmanager
def without_virtual_tables() -> Iterator[None]:
    """SQLite refuses them, as one does that was built without FTS5."""
    def prepare(connection: Any, record: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.set_authorizer(lambda action, *_: (
                sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_CREATE_VTABLE
                else sqlite3.SQLITE_OK))

    event.listen(sa.Engine, "connect", prepare)
    try:
        yield
    finally:
        event.remove(sa.Engine, "connect", prepare)


def check_unindexed(history: History) -> None:
    """All of it goes on, by looking at each picture."""
    assert not history.database.indexes_text
    a, b = history.add("me", [new_picture("a red Apple", 1), new_picture("a blue car", 2)])
    assert history.ids("me", Filters(text="APPLE re")) == [a.id]
    assert history.delete("me", [b.id]) == 1
    assert history.page("me", Filters(text="a"), count_to=1).total == 1
    assert kept_totals(history) == counted(history)


def test_sqlite_without_such_an_index_searches_as_before(tmp_path: Path) -> None:
    with without_virtual_tables(), opened(tmp_path) as history:
        check_unindexed(history)
        assert not sa.inspect(history.database.engine).has_table("pictures_grams")


@pytest.mark.parametrize("url", KINDS[1:], indirect=True)
def test_who_may_not_add_to_postgresql_searches_as_before(url: str, tmp_path: Path) -> None:
    engine = raw(url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE ROLE plain LOGIN"))
        connection.execute(sa.text("GRANT ALL ON SCHEMA public TO plain"))
    try:
        with opened(tmp_path, url=url.replace("easel@", "plain@")) as history:
            check_unindexed(history)
        assert "ix_pictures_search_grams" not in {
            each["name"] for each in sa.inspect(engine).get_indexes("pictures")}
    finally:
        with engine.begin() as connection:
            connection.execute(sa.text("DROP OWNED BY plain"))
            connection.execute(sa.text("DROP ROLE plain"))
        engine.dispose()


@pytest.mark.parametrize("url", KINDS[1:], indirect=True)
def test_postgresql_has_its_own_index(url: str) -> None:
    Database(url).close()
    engine = raw(url)
    assert "ix_pictures_search_grams" in {
        each["name"] for each in sa.inspect(engine).get_indexes("pictures")}
    engine.dispose()


def test_sqlite_asks_the_index_first_and_the_pictures_by_number(tmp_path: Path) -> None:
    """Or a search goes through every picture, which no answer tells."""
    with opened(tmp_path) as history:
        found = Passing("me", Filters(text="apple 42"), True)
        for chosen in (found.newest(9), found.newest(9, 9), found.newer(1), found.older(1)):
            statement = chosen.compile(history.database.engine,
                                       compile_kwargs={"literal_binds": True})
            with history.database.read() as session:
                plan = [row.detail for row in session.execute(
                    sa.text("EXPLAIN QUERY PLAN " + str(statement).replace(":", "\\:")))]
            assert len(plan) == 2, plan
            assert "pictures_text VIRTUAL TABLE" in plan[0]
            assert "pictures USING INTEGER PRIMARY KEY" in plan[1]


@contextmanager
def full_disk() -> Iterator[None]:
    """SQLite says that the disk is full as soon as a file is to grow."""
    def prepare(connection: sa.Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count=1")

    event.listen(sa.Engine, "begin", prepare)
    try:
        yield
    finally:
        event.remove(sa.Engine, "begin", prepare)


def test_a_failed_upgrade_leaves_the_older_history(tmp_path: Path) -> None:
    at_revision(f"sqlite:///{tmp_path / 'history.sqlite'}", "0007")
    with (full_disk(), pytest.raises(HistoryError, match=r"^The disk is full"),
          opened(tmp_path)):
        pass
    with sqlite3.connect(tmp_path / "history.sqlite") as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [("0007",)]
        assert database.execute("SELECT name FROM sqlite_master WHERE name IN "
                                "('totals', 'pictures_text')").fetchall() == []
    with opened(tmp_path) as history:
        assert history.page("me").total == 2
        check_index(history)


def test_the_page_says_that_it_counted_no_further(tmp_path: Path) -> None:
    with opened(tmp_path) as history:
        history.add("me", [new_picture("a cat", seed) for seed in range(7)])
        filters = Filters(text="cat")
        page = history.page("me", filters, 2, 3, count_to=4)
        assert "More than 6 pictures, page 2 ·" in render_gallery(page, filters, Registry())
        with speaking("pt"):
            assert "Mais de 6 imagens, página 2 ·" in render_gallery(page, filters, Registry())
        page = history.page("me", filters, 3, 3, count_to=4)
        assert "7 pictures, page 3 of 3 ·" in render_gallery(page, filters, Registry())
        assert len(list(pictures_of(history, "me", filters))) == 7
