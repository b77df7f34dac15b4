"""Statements that every job runs, several times, handed to the driver itself.

SQLAlchemy takes longer over such a statement than PostgreSQL and the driver together. These run in the session's own
transaction and read nothing it holds back; all others go through SQLAlchemy, which joins in when it is first asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.generators import execute
from psycopg.pq import Escaping, ExecStatus
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


def begin(session: Session, over: sa.Connection, settings: Mapping[str, str]) -> None:
    """Begin the transaction of a session over one connection, with settings of its own, in one round trip.

    They are local to it, so that a pooled connection can never carry one on. SQLAlchemy's own part of the transaction
    begins when the session itself is first used, if it is.
    """
    driver = session.info[_CONNECTION] = _driver(over)
    literal = Escaping(driver.pgconn).escape_literal
    local = [b"SET LOCAL %b TO %b" % (name.encode(), literal(value.encode())) for name, value in settings.items()]
    driver.pgconn.send_query(b"; ".join([b"BEGIN", *local]))
    for result in driver.wait(execute(driver.pgconn)):
        if result.status != ExecStatus.COMMAND_OK:
            raise psycopg.errors.error_from_result(result)


def commit(session: Session) -> None:
    """Commit what went through the session, and what went past it."""
    if session.in_transaction():
        session.commit()
    if _CONNECTION in session.info:
        session.info[_CONNECTION].commit()


def connection(session: Session) -> psycopg.Connection[Any]:
    """The driver's connection in the session's transaction."""
    found: psycopg.Connection[Any] | None = session.info.get(_CONNECTION)
    return found or _driver(session.connection())


def _driver(connection: sa.Connection) -> psycopg.Connection[Any]:
    found = connection.connection.driver_connection
    if not isinstance(found, psycopg.Connection):
        raise TypeError("the engine does not speak psycopg")
    return found


def run(session: Session, sql: str, values: Mapping[str, Any]) -> psycopg.Cursor[Any]:
    """Run what `statement` made."""
    return connection(session).execute(sql, values)
