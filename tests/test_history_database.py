"""The history's database: of every age, locked, full, damaged, on SQLite and on PostgreSQL."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event
from sqlalchemy.exc import InvalidRequestError

from app import main
from easel.compare.votes import Vote, VoteError, VoteStore
from easel.history.build import open_history
from easel.history.database import MIGRATIONS, Database, database_errors, upgrade
from easel.history.records import Filters, HistoryError
from easel.history.tables import Base
from easel.settings import Settings
from pipelines.core.errors import EaselError
from tests import postgres
from tests.kept import new_picture, opened
from tests.test_votes import OLD_TABLE

REASON = postgres.why_not()
KINDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.skipif(bool(REASON),
                                                                       reason=REASON))]


def revisions() -> list[str]:
    """Every revision, the oldest first."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    return [each.revision for each in ScriptDirectory.from_config(config).walk_revisions()][::-1]


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[str]:
    with postgres.server() as url:
        yield url


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database of the asked kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'history.sqlite'}"
    server = request.getfixturevalue("postgres_server")
    engine = sa.create_engine(server.replace("postgresql:", "postgresql+psycopg:"),
                              isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        name = "easel_" + str(len(connection.execute(sa.text(
            "SELECT 1 FROM pg_database")).all()))
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.replace("/postgres", f"/{name}") if server.endswith("/postgres") else server


def raw(url: str) -> sa.Engine:
    """The database without anything of ours."""
    return sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))


def at_revision(url: str, revision: str) -> None:
    """A database as that revision left it, with two pictures in it."""
    engine = raw(url)
    with engine.begin() as connection:
        upgrade(connection, revision)
        tables = sa.MetaData()
        tables.reflect(connection)
        row = {"owner": "me", "sha256": "ab" * 32, "size_bytes": 9, "created_s": 5.5,
               "deleted": False, "job_id": "j", "pipeline": "dalle", "seed": 2**32 - 1,
               "width_px": 8, "height_px": 8, "facts": {"prompt": "x", "scores": {}}}
        connection.execute(tables.tables["pictures"].insert(), [
            {**row, "id": "a" * 32, "prompt": "Maçã VERDE"},
            {**row, "id": "b" * 32, "prompt": "b"}])
        connection.execute(tables.tables["links"].insert(), [{"child": "b" * 32,
                                                              "parent": "a" * 32}])
        connection.execute(tables.tables["weights"].insert(), [
            {"picture": "a" * 32, "model": "m", "sha256": None, "owner": "me"}])
        row = {"comparison_id": "c1", "cast_s": 5.5, "voter": "me", "prompt": "two cats",
               "kind": "counts", "blind": True, "choice": "1"}
        panes = [{"pipeline": "a", "clip": 0.25}, {"pipeline": "b", "clip": None}]
        if revision < "0004":  # votes had a table of their own, which no migration knew
            connection.execute(sa.text(OLD_TABLE))
            connection.execute(sa.Table("easel_votes", sa.MetaData(), autoload_with=connection
                                        ).insert(), [{**row, "panes": json.dumps(panes)}])
        else:
            connection.execute(tables.tables["votes"].insert(), [{**row, "panes": panes}])
    engine.dispose()


@pytest.mark.parametrize("url", KINDS, indirect=True)
@pytest.mark.parametrize("revision", revisions())
def test_a_database_of_any_age_is_brought_up_to_date(url: str, revision: str,
                                                     tmp_path: Path) -> None:
    at_revision(url, revision)
    with opened(tmp_path, url=url) as history:
        page = history.page("me")
        assert [picture.prompt for picture in page.pictures] == ["b", "Maçã VERDE"]
        assert page.pictures[-1].seed == 2**32 - 1
        if revision == "0001":  # from before there was a column to search
            assert history.page("me", Filters(text="maçã verde")).total == 1
        assert history.models("me") == ["m"]
        assert [p.prompt for p in history.family("me", "b" * 32).ancestors] == ["Maçã VERDE"]
        history.add("me", [new_picture(parents=("a" * 32,))])
        assert history.rate("me", "a" * 32, 4).rating == 4
        [vote] = VoteStore(history.database).votes()
        assert (vote.choice, vote.kind, vote.panes[0]["clip"]) == (1, "counts", 0.25)
        assert not sa.inspect(history.database.engine).has_table("easel_votes")
        with pytest.raises(VoteError, match="voted on already"):
            VoteStore(history.database).cast(Vote("c1", "x", vote.panes, 0))


@pytest.mark.parametrize("url", KINDS, indirect=True)
def test_migrations_make_the_tables_that_the_code_maps(url: str) -> None:
    Database(url).close()
    engine = raw(url)
    with engine.connect() as connection:
        # What triggers and searches use beside the tables; no code names it as one.
        context = MigrationContext.configure(connection, opts={
            "include_object": lambda thing, name, *_: not str(name).startswith(
                ("pictures_text", "ix_pictures_search_grams"))})
        assert compare_metadata(context, Base.metadata) == []
        assert context.get_current_heads() == (revisions()[-1],)
    engine.dispose()


@pytest.mark.parametrize("url", KINDS, indirect=True)
def test_a_newer_database_is_left_alone(url: str, tmp_path: Path) -> None:
    Database(url).close()
    engine = raw(url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(HistoryError, match=r"^The history's database was written by a newer Easel "
                                           r"\(revision 9999\): use that version, .*\.$"):
        Database(url)
    with engine.begin() as connection:
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")
                                  ).scalar() == "9999"
    engine.dispose()


def test_the_server_does_not_start_on_a_newer_database_and_says_why(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
        ) -> None:
    open_history(Settings(data_dir=tmp_path)).close()
    with sqlite3.connect(tmp_path / "history" / "history.sqlite") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main([])
    # Python says on standard error what the process ends with, and its status is 1.
    assert str(ended.value).startswith("The history's database was written by a newer Easel")
    assert "\n" not in str(ended.value)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("url", KINDS, indirect=True)
def test_servers_that_start_at_once_migrate_once(url: str) -> None:
    failures: list[Exception] = []

    def start() -> None:
        try:
            Database(url, busy_timeout_s=120).close()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert failures == []
    Database(url).close()


@pytest.mark.parametrize("url", KINDS, indirect=True)
def test_the_history_works_there(url: str, tmp_path: Path) -> None:
    """The rest of the history's tests run on SQLite; these are its statements that differ."""
    with opened(tmp_path, url=url, password="hush") as history:
        assert history.members is not None
        history.members.sign_in("anna", "hush")
        assert history.owner_of("anna") == "shared"
        a, b = history.add("me", [new_picture("50% MAÇÃ", 1), new_picture("🍎", 2)])
        [child] = history.add("me", [new_picture("pear", 3, parents=(a.id,))])
        assert [p.seed for p in history.page("me", size=2).pictures] == [3, 2]
        assert [p.seed for p in history.page("me", Filters(text="0% maçã")).pictures] == [1]
        assert [p.seed for p in history.page("me", Filters(model="embedded/dalle")).pictures] == [
            3, 2, 1]
        assert history.family("me", child.id).ancestors == (a,)
        assert history.family("me", a.id).descendants == (child,)
        assert history.rate("me", b.id, 3).rating == 3
        assert [p.id for p in history.page("me", Filters(min_rating=3)).pictures] == [b.id]
        assert history.starting_with("me", a.id[:12]) == [a]
        assert history.delete("me", [a.id]) == 1
        assert history.purge("me") == 1
        assert history.used_bytes("me") == history.used_bytes() == b.size_bytes + child.size_bytes
        history.sweep()


def test_sqlite_writes_ahead(tmp_path: Path) -> None:
    with opened(tmp_path) as history:
        history.add("me", [new_picture()])
        with sqlite3.connect(tmp_path / "history.sqlite") as other:
            assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert other.execute("SELECT count(*) FROM pictures").fetchone() == (1,)


def test_a_locked_database_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    with opened(tmp_path) as history:
        [kept] = history.add("me", [new_picture()])
        other = sqlite3.connect(tmp_path / "history.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for write in (lambda: history.add("me", [new_picture(seed=2)]),
                      lambda: history.rate("me", kept.id, 5)):
            with pytest.raises(HistoryError, match=r"^The history's database is in use by another "
                                                   r"program: try again in a moment\.$"):
                write()
        assert history.page("me").total == 1, "reading goes on"
        other.execute("ROLLBACK")
        other.close()
        assert history.rate("me", kept.id, 5).rating == 5


def test_a_short_lock_is_waited_for(tmp_path: Path) -> None:
    Database(f"sqlite:///{tmp_path / 'history.sqlite'}").close()
    other = sqlite3.connect(tmp_path / "history.sqlite", isolation_level=None,
                            check_same_thread=False)
    with opened(tmp_path) as history:
        history.database.close()
        history.database = Database(f"sqlite:///{tmp_path / 'history.sqlite'}", 20.0)
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.3, lambda: other.execute("ROLLBACK"))
        release.start()
        history.add("me", [new_picture()])
        release.join()
        assert history.page("me").total == 1
    other.close()


def test_a_full_database_is_told_and_reads_go_on(tmp_path: Path) -> None:
    with opened(tmp_path) as history:
        history.add("me", [new_picture()])
        # SQLite's own error of a full disk, brought about by its limit of pages.
        event.listen(history.database.engine, "begin", lambda connection: (
            connection.exec_driver_sql("PRAGMA max_page_count=1")))
        many = [new_picture("long " * 500, seed) for seed in range(50)]
        with pytest.raises(HistoryError, match=r"^The disk is full: nothing can be added to the "):
            history.add("me", many)
        assert history.page("me").pictures[-1].prompt == "a red apple"


def test_a_full_disk_is_told_and_leaves_no_row(tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as history:
        history.add("me", [new_picture()])

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(HistoryError, match=r"^The picture could not be kept in the history:"
                                                   r" no space left on device\.$"):
                history.add("me", [new_picture(seed=2)])
        assert history.page("me").total == 1
        assert len(list(tmp_path.glob("files/??/*"))) == 1
        history.add("me", [new_picture(seed=2)])


@pytest.mark.parametrize(("content", "says"), [
    (b"this is no database, " * 200, "damaged or is another kind of file"),
    (b"SQLite format 3\0" + b"\xff" * 4000, "damaged or is another kind of file"),
])
def test_a_damaged_database_is_told(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "history.sqlite").write_bytes(content)
    with pytest.raises(HistoryError, match=says), opened(tmp_path):
        pass
    assert (tmp_path / "history.sqlite").read_bytes() == content


@pytest.mark.parametrize(("url", "says"), [
    ("nonsense", "is not the address of a SQLite or PostgreSQL database"),
    ("mysql://me:secret@host/easel", "is not the address of a SQLite or PostgreSQL database"),
    ("postgresql://me:secret@127.0.0.1:1/easel", "cannot be reached"),
    ("sqlite:////proc/nowhere/history.sqlite", "cannot be reached"),
])
def test_a_wrong_address_is_told_without_its_password(url: str, says: str) -> None:
    with pytest.raises(EaselError, match=says) as caught:
        Database(url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_choose_the_place(tmp_path: Path) -> None:
    history = open_history(Settings(data_dir=tmp_path / "data"))
    assert (tmp_path / "data" / "history" / "history.sqlite").is_file()
    assert history.members is None
    history.close()
    (tmp_path / "file").touch()
    with pytest.raises(HistoryError, match=r"^The folder of EASEL_DATA_DIR cannot be used: "):
        open_history(Settings(data_dir=tmp_path / "file"))
    settings = Settings.model_validate({"database_url": "postgresql://me:secret@host/x"})
    assert "secret" not in repr(settings)


def test_what_is_not_foreseen_is_one_sentence_too() -> None:
    with (pytest.raises(HistoryError, match=r"^The history's database failed; the log has"),
          database_errors()):
        raise InvalidRequestError("inside")
