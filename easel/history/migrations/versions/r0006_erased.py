"""What was deleted for good, until no copy of it can be left."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "erased",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("erased_s", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_erased"))
