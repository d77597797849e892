"""A column that the text filter looks through, and what a person thinks of a picture."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

BATCH = 500


def upgrade() -> None:
    """Add rating, favourite and search; fill search from the prompts of pictures kept before."""
    op.add_column("pictures", sa.Column("rating", sa.Integer))
    op.add_column("pictures", sa.Column("favourite", sa.Boolean, nullable=False,
                                        server_default=sa.false()))
    op.add_column("pictures", sa.Column("search", sa.Text, nullable=False, server_default=""))
    pictures = sa.table("pictures", sa.column("number", sa.BigInteger), sa.column("prompt"),
                        sa.column("search"))
    connection = op.get_bind()
    last = -1
    # Lower case by Python: databases differ in what they do to letters outside of ASCII.
    while rows := connection.execute(
            sa.select(pictures.c.number, pictures.c.prompt).where(pictures.c.number > last)
            .order_by(pictures.c.number).limit(BATCH)).all():
        connection.execute(
            sa.update(pictures).where(pictures.c.number == sa.bindparam("key")).values(
                search=sa.bindparam("text")),
            [{"key": number, "text": prompt.casefold()} for number, prompt in rows])
        last = rows[-1][0]
