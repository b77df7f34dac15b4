"""Statements that every job runs, several times, handed to the driver itself.

SQLAlchemy takes longer over such a statement than PostgreSQL and the driver together. These run in the session's own
transaction and read nothing it holds back; all others go through SQLAlchemy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.orm import Session

_CONNECTION = "driver connection"
_DIALECT = PGDialect_psycopg()  # type: ignore[no-untyped-call]


def statement(text: str) -> str:
    """SQL with parameters as SQLAlchemy writes them, as the driver wants them.

    >>> statement("SELECT 1 FROM jobs WHERE id = :job")
    'SELECT 1 FROM jobs WHERE id = %(job)s'
    """
    return str(sa.text(text).compile(dialect=_DIALECT))


def connection(session: Session) -> psycopg.Connection[Any]:
    """The driver's connection in the session's transaction, which begins if it has not; looked up once a session."""
    if not session.in_transaction() or _CONNECTION not in session.info:
        raw = session.connection().connection.driver_connection
        if not isinstance(raw, psycopg.Connection):
            raise TypeError("the engine does not speak psycopg")
        session.info[_CONNECTION] = raw
    found: psycopg.Connection[Any] = session.info[_CONNECTION]
    return found


def run(session: Session, sql: str, values: Mapping[str, Any]) -> psycopg.Cursor[Any]:
    """Run what `statement` made."""
    return connection(session).execute(sql, values)
