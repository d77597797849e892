"""Votes on comparisons, and those of the table that they were in before."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

BEFORE = "easel_votes"


def upgrade() -> None:
    """Make the table of votes; move what stands in the older table of the same database."""
    votes = op.create_table(
        "votes",
        sa.Column("comparison_id", sa.String(64), nullable=False),
        sa.Column("cast_s", sa.Float(53), nullable=False),
        sa.Column("voter", sa.String(128), nullable=False),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("blind", sa.Boolean, nullable=False),
        sa.Column("choice", sa.String(8), nullable=False),
        sa.Column("panes", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("comparison_id", name="pk_votes"))
    op.create_index("ix_votes_kind_blind", "votes", ["kind", "blind"])
    connection = op.get_bind()
    if not sa.inspect(connection).has_table(BEFORE):
        return
    before = sa.Table(BEFORE, sa.MetaData(), autoload_with=connection)
    rows = connection.execute(sa.select(before)).mappings().all()
    if rows:
        connection.execute(votes.insert(), [
            {**row, "blind": bool(row["blind"]), "panes": json.loads(row["panes"])}
            for row in rows])
    op.drop_table(BEFORE)
