"""Many rows at once: COPY into a temporary table, from where one ordered statement takes them on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

import psycopg
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import points
from app.repositories import direct

MANY: Final = 1_000  # rows, from which on they are worth plans of their own
NULL: Final = "\\N"
_ESCAPES: Final = (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"))

T = TypeVar("T")
Row = Sequence[Any]  # of texts, None, and whatever PostgreSQL reads as Python writes it: numbers, instants, UUIDs


def stage(session: Session, create: str, table: str, columns: Sequence[str], batches: Iterable[Sequence[Row]]) -> int:
    """Create the session's temporary table if need be and COPY rows into it; returns how many there were.

    Rows come in batches as they are made: what is held of them is one batch.

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
        for batch in batches:
            if batch:
                copy.write(_lines(batch))
                count += len(batch)
        points.reached("copied")  # by us; PostgreSQL waits for more until the block ends
    if count >= MANY:
        # What was planned for a dozen rows, foreign keys' checks of a small table too, would go through all of these
        # for each of them: minutes for a hundred thousand.
        direct.connection(session).execute("DISCARD PLANS")
    return count


def batched(rows: Iterable[T], size: int = 500) -> Iterable[list[T]]:
    """
    >>> list(batched([(1,), (2,), (3,)], 2))
    [[(1,), (2,)], [(3,)]]
    """
    left = iter(rows)
    while batch := list(islice(left, size)):
        yield batch


def _lines(batch: Sequence[Row]) -> str:
    r"""Rows as COPY reads them, column by column: value by value, as the driver does it, takes three times as long.

    >>> print(_lines([("C:\\", 1, None), ("c", 2, 0.5)]).replace("\t", " | "))
    C:\\ | 1 | \N
    c | 2 | 0.5
    <BLANKLINE>
    """
    columns = map(_texts, zip(*batch, strict=True))
    return "\n".join([*map("\t".join, zip(*columns, strict=True)), ""])


def _texts(values: tuple[Any, ...]) -> Sequence[str]:
    """One column. Values that are not all texts are few and come again and again, as in sitemaps they do."""
    try:
        together = "".join(values)
    except TypeError:
        known = {value: NULL if value is None else _escaped(str(value)) for value in set(values)}
        return list(map(known.__getitem__, values))
    if any(sign in together for sign, _ in _ESCAPES):
        return [_escaped(value) for value in values]
    return values


def _escaped(text: str) -> str:
    for sign, escape in _ESCAPES:
        text = text.replace(sign, escape)
    return text


def affected(session: Session, statement: sa.TextClause, values: Mapping[str, Any]) -> int:
    """Run a statement and answer how many rows it touched."""
    result = session.execute(statement, dict(values))
    return int(getattr(result, "rowcount", 0))
