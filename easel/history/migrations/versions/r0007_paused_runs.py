"""Paused runs, whose states lie beside the pictures' files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "paused_runs",
        sa.Column("run_id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(32), nullable=False),
        sa.Column("key", sa.String(100), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("saved_s", sa.Float(53), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("interrupted", sa.Boolean, nullable=False),
        sa.Column("header", sa.JSON, nullable=False),
        sa.Column("frame", sa.LargeBinary, nullable=True),
        sa.Column("holder", sa.String(32), nullable=False),
        sa.Column("lease_until_s", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name="pk_paused_runs"))
    op.create_index("ix_paused_runs_owner", "paused_runs", ["owner"])
