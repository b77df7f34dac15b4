"""Alembic's entry. Runs as the owner role; the names of the runtime roles are taken from their URLs.

Reached through `app.repositories.schema`, which hands over the connection URL and the role names; there is no
alembic.ini to drift from the settings.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, pool

from models import Base

MIGRATION_LOCK = 0x5C2A9E  # two starting containers must not migrate at once


def run() -> None:
    engine = create_engine(context.config.get_main_option("sqlalchemy.url") or "", poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            compare_type=True,
            compare_server_default=True,
            transaction_per_migration=False,
        )
        with context.begin_transaction():
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
            connection.exec_driver_sql("SET LOCAL lock_timeout = '30s'")
            context.run_migrations()
    engine.dispose()


run()
