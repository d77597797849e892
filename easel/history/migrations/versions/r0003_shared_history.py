"""Who signed in to the shared history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table of members."""
    op.create_table(
        "members",
        sa.Column("visitor", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("since_s", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("visitor", name="pk_members"))
