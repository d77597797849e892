"""The database of the history: connections, migrations, and errors as sentences.

SQLite writes ahead (WAL), so that readers never wait for a writer, and takes the write lock when
a writing transaction begins: taken in its middle, SQLite would refuse it instead of waiting.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Float,
    create_engine,
    event,
    inspect,
    literal_column,
    text,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.orm import Session

from easel.history import grams
from easel.history.records import HistoryError, HistoryInUse
from pipelines.core.errors import InvalidRequest
from pipelines.core.texts import HALF

logger = logging.getLogger(__name__)
MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_S = 5.0
MIGRATION_LOCK = 0x_EA5E1  # any number, the same in all processes, for PostgreSQL's advisory lock
CLOCKS = {"sqlite": "(julianday('now') - 2440587.5) * 86400.0",
          "postgresql": "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS double precision)"}
VERSION_TABLE = "alembic_version"  # alembic's own name for it
IN_USE = "The history's database is in use by another program: try again in a moment."
OUT_OF_REACH = ("The history's database cannot be reached: check EASEL_DATABASE_URL and "
                "EASEL_DATA_DIR.")
# What databases say, and what it means to a person; the first match counts.
SENTENCES = (
    (("disk is full", "no space left", "diskfull", "53100"),
     "The disk is full: nothing can be added to the history until there is room."),
    (("database is locked", "lock timeout", "locknotavailable", "deadlock"),
     IN_USE),
    (("readonly database", "read-only"),
     "The history's database cannot be written to: check its permissions."),
    (("not a database", "malformed", "corrupt"),
     "The history's database is damaged or is another kind of file: move it away, or name another "
     "one with EASEL_DATABASE_URL."),
    (("unable to open", "connection", "could not translate", "does not exist"),
     OUT_OF_REACH),
)


class Database:
    """An open database whose tables are those of this code.

    Args:
        url: SQLAlchemy's address of it, "sqlite:///FILE" or "postgresql://…".
        busy_timeout_s: how long to wait for another program's lock.

    Attributes:
        indexes_text: whether it has an index to be asked for words, see ``grams``.

    Raises:
        HistoryError: it cannot be opened, or is newer than this code.
    """

    def __init__(self, url: str | URL, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        with database_errors():
            self.engine = _engine(url, busy_timeout_s)
            self._writer = self.engine.execution_options(writes=True)
            with self._writer.begin() as connection:
                upgrade(connection)
                self.indexes_text = grams.has_index(connection)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that only reads; its objects stay readable after its end."""
        with database_errors(), Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session in one transaction: all of it is kept, or nothing after an error."""
        with (database_errors(), Session(self._writer, expire_on_commit=False) as session,
              session.begin()):
            yield session

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def take_turns(session: Session, number: int) -> None:
    """Let all other transactions that take turns by this number wait until this one has ended.

    Args:
        session: one that writes; of SQLite's only one does at a time in any case.
        number: the same for all of them.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text(f"SELECT pg_advisory_xact_lock({number})"))


def now_s(session: Session) -> ColumnElement[float]:
    """Unix time by the database's own clock, which is the same one for all who ask it.

    SQLite has its machine's, PostgreSQL that of its server.
    """
    return literal_column(f"({CLOCKS[session.get_bind().dialect.name]})", Float(53))


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn what a database says into one sentence.

    Raises:
        HistoryError: in place of any error of SQLAlchemy.
        InvalidRequest: a text cannot be said in UTF-8.
    """
    try:
        yield
    except UnicodeEncodeError:
        raise InvalidRequest(HALF, "The text") from None
    except DBAPIError as error:
        said = f"{type(error.orig).__name__} {getattr(error.orig, 'sqlstate', '')} {error.orig}"
        for signs, sentence in SENTENCES:
            if any(sign in said.lower() for sign in signs):
                kind = HistoryInUse if sentence in (IN_USE, OUT_OF_REACH) else HistoryError
                raise kind(sentence) from error
        logger.exception("the history's database failed")
        raise HistoryError("The history's database failed; the log has the details.") from error
    except (ArgumentError, NoSuchModuleError, ImportError):
        # Not the address itself: it may hold a password.
        raise HistoryError("EASEL_DATABASE_URL is not the address of a SQLite or PostgreSQL "
                           "database, such as postgresql://name:password@host/easel.") from None
    except SQLAlchemyError as error:
        logger.exception("the history failed")
        raise HistoryError("The history's database failed; the log has the details.") from error


def _engine(url: str | URL, busy_timeout_s: float) -> Engine:
    address = make_url(url)
    if address.get_backend_name() == "sqlite":
        engine = create_engine(address, connect_args={"timeout": busy_timeout_s})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if address.get_backend_name() != "postgresql":
        raise ArgumentError("another kind of database")
    milliseconds = round(busy_timeout_s * 1000)
    return create_engine(
        address.set(drivername="postgresql+psycopg"), pool_pre_ping=True,
        connect_args={"connect_timeout": 10, "options": f"-c lock_timeout={milliseconds}"})


def _prepare_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # Python's driver would begin transactions of its own
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Bring the tables to a revision, in the transaction that the connection is in.

    Args:
        connection: of a database of any age, or an empty one.
        revision: which one; the newest by default.

    Raises:
        HistoryError: the database is newer than this code.
    """
    if revision == "head" and _is_newest(connection):
        return  # without alembic, which takes a while to import
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    if connection.dialect.name == "postgresql":  # several servers may start at once
        connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    script = ScriptDirectory.from_config(config)
    known = {each.revision for each in script.walk_revisions()}
    present = set(MigrationContext.configure(connection).get_current_heads())
    if present - known:
        raise HistoryError("The history's database was written by a newer Easel (revision {}): "
                           "use that version, or name another database with EASEL_DATABASE_URL.",
                           min(present - known)[:20])
    if present != set(script.get_heads()):
        command.upgrade(config, revision)


def _is_newest(connection: Connection) -> bool:
    """Whether the tables are of the newest revision, which the names of the scripts tell."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return False
    found = connection.scalars(text(f"SELECT version_num FROM {VERSION_TABLE}")).all()
    return found == [max(path.name[1:5] for path in (MIGRATIONS / "versions").glob("r*_*.py"))]
