"""Statements that every job runs, several times, handed to the driver itself.

SQLAlchemy takes longer over such a statement than PostgreSQL and the driver together. These run in the session's own
transaction and read nothing it holds back; all others go through SQLAlchemy, which joins in when it is first asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import psycopg
import sqlalchemy as sa
from psycopg.abc import RV, PQGen
from psycopg.errors import _WaitTimeout
from psycopg.generators import execute
from psycopg.pq import Escaping, ExecStatus
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.orm import Session

GRACE_SECONDS = 5.0  # from a statement's time limit to the end of our patience
LONG_SECONDS = 900
Row = tuple[Any, ...]
T = TypeVar("T")
_CONNECTION = "driver connection"
_DIALECT = PGDialect_psycopg()  # type: ignore[no-untyped-call]


class NoAnswer(psycopg.OperationalError):
    """PostgreSQL has not answered in time."""


class Connection(psycopg.Connection[Any]):
    """Waits for an answer as long as PostgreSQL may take for a statement, and a moment longer: `patience`, in seconds.

    PostgreSQL itself ends what takes too long. One that stands still does not, while its machine acknowledges all it is
    sent, so no time limit of TCP is of help; and whoever waits here cannot be interrupted.
    """

    patience: float | None = None

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """:raises NoAnswer: the connection is given up"""
        try:
            return super().wait(gen, interval, self.patience if timeout is None else timeout)
        except _WaitTimeout:
            self.pgconn.finish()  # the answer to this might be taken for that to the next
            raise NoAnswer("PostgreSQL has not answered in time") from None


@dataclass(frozen=True, slots=True)
class Question(Generic[T]):
    """A statement that changes nothing, and what its rows mean."""

    sql: str
    values: Mapping[str, Any]
    answer: Callable[[Sequence[Row]], T]


def statement(sql: str | sa.Select[Any]) -> str:
    """SQL with parameters as SQLAlchemy writes them, as the driver wants them.

    >>> statement("SELECT 1 FROM jobs WHERE id = :job")
    'SELECT 1 FROM jobs WHERE id = %(job)s'
    """
    return str((sa.text(sql) if isinstance(sql, str) else sql).compile(dialect=_DIALECT))


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


def ask(over: sa.Connection, settings: Mapping[str, str], question: Question[T]) -> T:
    """Have a question answered in a transaction of its own, with settings of its own, in one round trip."""
    driver = _driver(over)
    with driver.pipeline():
        for setting in settings.items():
            driver.execute("SELECT set_config(%s, %s, true)", setting)
        found = driver.execute(question.sql, question.values)
        driver.rollback()  # here all of it is sent, and the answers waited for
    return question.answer(found.fetchall())


def lost(over: sa.Connection) -> bool:
    """Whether a connection is no more."""
    return bool(_driver(over).closed)


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


def take_time(session: Session) -> None:
    """Let the statements of this transaction take as long as a million rows do: a quarter of an hour each."""
    driver = connection(session)
    driver.execute("SELECT set_config('statement_timeout', %s, true)", [str(LONG_SECONDS * 1000)])
    if isinstance(driver, Connection):
        driver.patience = LONG_SECONDS + GRACE_SECONDS


def run(session: Session, sql: str, values: Mapping[str, Any]) -> psycopg.Cursor[Any]:
    """Run what `statement` made."""
    return connection(session).execute(sql, values)
