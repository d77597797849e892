"""What keeps a history of a million pictures fast: kept numbers of pictures, an index of texts.

Triggers keep both, in the very transaction that changes a picture and whichever program does. A
later migration that makes ``pictures`` anew has to make them anew as well.
"""

from __future__ import annotations

import logging

import sqlalchemy as sa
from alembic import op
from sqlalchemy.exc import DBAPIError

revision = "0008"
down_revision = "0007"

logger = logging.getLogger(__name__)

SQLITE_TOTALS = tuple(
    f"CREATE TRIGGER totals_{name} AFTER {when} ON pictures BEGIN {does} END"
    for name, when, does in (
        ("come", "INSERT", "{more}"), ("go", "DELETE", "{fewer}"),
        ("change", "UPDATE OF owner, deleted, size_bytes", "{more} {fewer}")))
SQLITE_MORE = """
    INSERT INTO totals VALUES (new.owner, new.deleted, 1, new.size_bytes)
    ON CONFLICT (owner, deleted) DO UPDATE SET pictures = pictures + 1,
        size_bytes = size_bytes + excluded.size_bytes;"""
SQLITE_FEWER = """
    UPDATE totals SET pictures = pictures - 1, size_bytes = size_bytes - old.size_bytes
    WHERE owner = old.owner AND deleted = old.deleted;
    DELETE FROM totals WHERE owner = old.owner AND deleted = old.deleted AND pictures = 0;"""

# By statement, whatever its rows: a row's trigger would write the total again for each of them.
# Owners in order, so that two statements over the same ones never wait for each other.
POSTGRESQL_TOTALS = """
    CREATE FUNCTION count_pictures() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            INSERT INTO totals AS kept
            SELECT owner, deleted, count(*), sum(size_bytes) FROM added
            GROUP BY owner, deleted ORDER BY owner, deleted
            ON CONFLICT (owner, deleted) DO UPDATE SET
                pictures = kept.pictures + excluded.pictures,
                size_bytes = kept.size_bytes + excluded.size_bytes;
        ELSIF TG_OP = 'DELETE' THEN
            INSERT INTO totals AS kept
            SELECT owner, deleted, -count(*), -sum(size_bytes) FROM gone
            GROUP BY owner, deleted ORDER BY owner, deleted
            ON CONFLICT (owner, deleted) DO UPDATE SET
                pictures = kept.pictures + excluded.pictures,
                size_bytes = kept.size_bytes + excluded.size_bytes;
        ELSE
            INSERT INTO totals AS kept
            SELECT owner, deleted, sum(pictures), sum(size_bytes) FROM (
                SELECT owner, deleted, 1 AS pictures, size_bytes FROM added
                UNION ALL SELECT owner, deleted, -1, -size_bytes FROM gone) AS changes
            GROUP BY owner, deleted HAVING sum(pictures) <> 0 OR sum(size_bytes) <> 0
            ORDER BY owner, deleted
            ON CONFLICT (owner, deleted) DO UPDATE SET
                pictures = kept.pictures + excluded.pictures,
                size_bytes = kept.size_bytes + excluded.size_bytes;
        END IF;
        IF TG_OP <> 'INSERT' THEN
            DELETE FROM totals USING gone WHERE totals.pictures = 0
                AND totals.owner = gone.owner AND totals.deleted = gone.deleted;
        END IF;
        RETURN NULL;
    END $$"""
POSTGRESQL_TRIGGERS = (
    ("come", "INSERT", "NEW TABLE AS added"), ("go", "DELETE", "OLD TABLE AS gone"),
    ("change", "UPDATE", "NEW TABLE AS added OLD TABLE AS gone"))

# Each three letters of a text, from each of its places on, as the hexadecimal digits of their
# UTF-8, so that the index takes every letter for what it is; at the end there are two and one.
# And whose picture it is, "x" where deleted and "k" where not, which no digit is.
SQLITE_GRAMS = """
    CREATE VIEW pictures_grams AS
    SELECT number, (CASE WHEN deleted THEN 'x' ELSE 'k' END) || hex(owner) || ' ' || coalesce((
        WITH RECURSIVE places (place) AS (
            SELECT 1 UNION ALL SELECT place + 1 FROM places WHERE place < length(search))
        SELECT group_concat(hex(substr(search, place, 3)), ' ') FROM places), '') AS grams
    FROM pictures"""
# One and two letters are looked for as the beginning of three; the prefixes make that as fast for
# letters of one byte, and for one of two.
SQLITE_TEXT = """
    CREATE VIRTUAL TABLE pictures_text USING fts5(
        grams, content='pictures_grams', content_rowid='number', detail=none, columnsize=0,
        tokenize='ascii', prefix='2 4')"""
SQLITE_KNOWN = """
    INSERT INTO pictures_text (rowid, grams)
    SELECT number, grams FROM pictures_grams WHERE number = new.number;"""
SQLITE_FORGOTTEN = """
    INSERT INTO pictures_text (pictures_text, rowid, grams)
    SELECT 'delete', number, grams FROM pictures_grams WHERE number = old.number;"""
SQLITE_TEXTS = (
    f"CREATE TRIGGER text_comes AFTER INSERT ON pictures BEGIN {SQLITE_KNOWN} END",
    f"CREATE TRIGGER text_goes BEFORE DELETE ON pictures BEGIN {SQLITE_FORGOTTEN} END",
    "CREATE TRIGGER text_changes BEFORE UPDATE OF owner, deleted, search ON pictures "
    f"BEGIN {SQLITE_FORGOTTEN} END",
    "CREATE TRIGGER text_changed AFTER UPDATE OF owner, deleted, search ON pictures "
    f"BEGIN {SQLITE_KNOWN} END",
    "INSERT INTO pictures_text (pictures_text) VALUES ('rebuild')",
    "INSERT INTO pictures_text (pictures_text) VALUES ('optimize')")

POSTGRESQL_TEXTS = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    "CREATE INDEX ix_pictures_search_grams ON pictures USING gin (search gin_trgm_ops)")

# SQLite without FTS5; PostgreSQL without the extension, its file or the right to make it.
SQLITE_REFUSALS = ("no such module", "not authorized")
POSTGRESQL_REFUSALS = ("42501", "0A000", "58P01", "42704")


def upgrade() -> None:
    """Make the table, the triggers and, where the database can, the index."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    op.create_table(
        "totals",
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("pictures", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("owner", "deleted", name="pk_totals"))
    # The triggers first: PostgreSQL then lets nobody write before the rows are counted.
    if sqlite:
        for trigger in SQLITE_TOTALS:
            op.execute(trigger.format(more=SQLITE_MORE, fewer=SQLITE_FEWER))
    else:
        op.execute(POSTGRESQL_TOTALS)
        for name, when, tables in POSTGRESQL_TRIGGERS:
            op.execute(f"CREATE TRIGGER totals_{name} AFTER {when} ON pictures REFERENCING {tables}"
                       " FOR EACH STATEMENT EXECUTE FUNCTION count_pictures()")
    op.execute("INSERT INTO totals SELECT owner, deleted, count(*), sum(size_bytes) "
               "FROM pictures GROUP BY owner, deleted")
    _index((SQLITE_GRAMS, SQLITE_TEXT, *SQLITE_TEXTS) if sqlite else POSTGRESQL_TEXTS)


def _index(statements: tuple[str, ...]) -> None:
    """Make the index of texts, or nothing where the database has no such thing to offer.

    A search without it only takes longer. Any other error, as of a full disk, ends the upgrade.
    """
    connection = op.get_bind()
    try:
        with connection.begin_nested():
            for statement in statements:
                connection.exec_driver_sql(statement)
    except DBAPIError as error:
        if not (getattr(error.orig, "sqlstate", None) in POSTGRESQL_REFUSALS
                or any(each in str(error.orig) for each in SQLITE_REFUSALS)):
            raise
        logger.warning("searching the history stays slow where it is long: %s", error.orig)
