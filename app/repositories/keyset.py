"""Keyset pages: `WHERE key > last ORDER BY key LIMIT n`, so that page 1,000 costs what page 1 does."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar
from uuid import UUID

from app.errors import FieldError, InvalidInput

T = TypeVar("T")
Key = tuple[int | str | UUID, ...]
DEFAULT_LIMIT = 100
MAX_LIMIT = 1_000


class PageOf(Generic[T]):
    """One page of a list. `next_cursor` is None on the last one."""

    def __init__(self, items: Sequence[T], next_cursor: str | None) -> None:
        self.items = items
        self.next_cursor = next_cursor

    def map(self, change: Callable[[T], Any]) -> PageOf[Any]:
        return PageOf([change(item) for item in self.items], self.next_cursor)


def page(rows: Sequence[T], limit: int, key: Callable[[T], Key]) -> PageOf[T]:
    """Cut `limit + 1` fetched rows to a page.

    >>> page([1, 2, 3], 2, lambda n: (n,)).items
    [1, 2]
    >>> page([1, 2], 2, lambda n: (n,)).next_cursor is None
    True
    """
    kept = rows[:limit]
    return PageOf(kept, encode(key(kept[-1])) if len(rows) > limit else None)


def encode(key: Key) -> str:
    """
    >>> decode(encode(("a", 2)), (str, int))
    ('a', 2)
    """
    return base64.urlsafe_b64encode(json.dumps(key, separators=(",", ":"), default=str).encode()).decode().rstrip("=")


def decode(cursor: str | None, types: tuple[type, ...]) -> Key | None:
    """Read a cursor back, its parts checked against `types` (str, int, UUID).

    :raises InvalidInput: the cursor was not made by `encode` for this list
    """
    if cursor is None:
        return None
    try:
        parts = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        if not isinstance(parts, list) or len(parts) != len(types):
            raise _bad_cursor()
        return tuple(_part(part, wanted) for part, wanted in zip(parts, types, strict=True))
    except (binascii.Error, ValueError, RecursionError):
        raise _bad_cursor() from None


def _part(part: Any, wanted: type) -> int | str | UUID:
    if wanted is UUID and isinstance(part, str):
        return UUID(part)
    if wanted is int and type(part) is int and -(2**63) <= part < 2**63:
        return part
    if wanted is str and isinstance(part, str) and "\0" not in part and part.isprintable():
        return part
    raise _bad_cursor()


def _bad_cursor() -> InvalidInput:
    return InvalidInput(
        "the cursor is not one of this list", errors=(FieldError("cursor", "not one of this list's cursors"),)
    )
