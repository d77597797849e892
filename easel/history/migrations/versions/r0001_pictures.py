"""Pictures, the weights that drew them, and what they were made from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

Counter = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the first three tables."""
    op.create_table(
        "pictures",
        sa.Column("number", Counter, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("created_s", sa.Float(53), nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("deleted_s", sa.Float(53)),
        sa.Column("job_id", sa.String(64), nullable=False),
        sa.Column("pipeline", sa.String(64), nullable=False),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("width_px", sa.Integer, nullable=False),
        sa.Column("height_px", sa.Integer, nullable=False),
        sa.Column("clip_score", sa.Float(53)),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_pictures"),
        sa.UniqueConstraint("id", name="uq_pictures_id"),
        sqlite_autoincrement=True)
    op.create_index("ix_pictures_sha256", "pictures", ["sha256"])
    op.create_index("ix_pictures_owner_deleted_number", "pictures", ["owner", "deleted", "number"])
    op.create_index("ix_pictures_owner_pipeline", "pictures", ["owner", "pipeline"])
    op.create_index("ix_pictures_owner_size_bytes", "pictures", ["owner", "size_bytes"])
    op.create_table(
        "weights",
        sa.Column("picture", sa.String(32), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("sha256", sa.String(64)),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("picture", "model", name="pk_weights"),
        sa.ForeignKeyConstraint(["picture"], ["pictures.id"], name="fk_weights_picture",
                                ondelete="CASCADE"))
    op.create_index("ix_weights_owner_model", "weights", ["owner", "model"])
    op.create_table(
        "links",
        sa.Column("child", sa.String(32), nullable=False),
        sa.Column("parent", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("child", "parent", name="pk_links"),
        sa.ForeignKeyConstraint(["child"], ["pictures.id"], name="fk_links_child",
                                ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["parent"], ["pictures.id"], name="fk_links_parent",
                                ondelete="CASCADE"))
    op.create_index("ix_links_parent", "links", ["parent"])
