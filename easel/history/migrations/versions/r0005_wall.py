"""The wall of a class, and the votes on it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the two tables."""
    op.create_table(
        "wall",
        sa.Column("picture", sa.String(32), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("label", sa.String(200), nullable=False),
        sa.Column("pinned", sa.Boolean, nullable=False),
        sa.Column("hands", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("picture", name="pk_wall"),
        sa.ForeignKeyConstraint(["picture"], ["pictures.id"], ondelete="CASCADE",
                                name="fk_wall_picture"))
    op.create_index("ix_wall_state", "wall", ["state"])
    op.create_table(
        "wall_votes",
        sa.Column("picture", sa.String(32), nullable=False),
        sa.Column("visitor", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("picture", "visitor", name="pk_wall_votes"),
        sa.ForeignKeyConstraint(["picture"], ["wall.picture"], ondelete="CASCADE",
                                name="fk_wall_votes_picture"))
