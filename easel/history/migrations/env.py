"""What alembic runs: the migrations, on the connection and in the transaction that it is given."""

from __future__ import annotations

from alembic import context

from easel.history.tables import Base


def migrate() -> None:
    """Run the migrations that alembic chose."""
    context.configure(connection=context.config.attributes["connection"],
                      target_metadata=Base.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


migrate()
