"""Many rows at once: COPY into a temporary table, from where one ordered statement takes them on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import points
from app.repositories import direct


def stage(session: Session, create: str, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
    """Create the session's temporary table if need be and COPY `rows` into it; returns how many there were.

    The table empties itself at commit and lives as long as the connection, so its catalogue rows are written once.

    :raises RuntimeError: the transaction has staged into this table before, and would mix the two
    """
    if table in session.info:
        raise RuntimeError(f"{table} holds this transaction's rows already")
    session.info[table] = True
    session.execute(sa.text(create))
    statement = psycopg.sql.SQL("COPY {} ({}) FROM STDIN").format(
        psycopg.sql.Identifier(table), psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, columns))
    )
    count = 0
    with direct.connection(session).cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)
            count += 1
        points.reached("copied")  # by us; PostgreSQL waits for more until the block ends
    return count


def affected(session: Session, statement: sa.TextClause, values: Mapping[str, Any]) -> int:
    """Run a statement and answer how many rows it touched."""
    result = session.execute(statement, dict(values))
    return int(getattr(result, "rowcount", 0))
