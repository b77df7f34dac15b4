"""Answers that take their time: whoever takes them must still be allowed to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from app.api.security import recheck

T = TypeVar("T")
RECHECK_SECONDS: Final = 3.0


def while_allowed(
    parts: Iterable[T], *permissions: str, every: float = RECHECK_SECONDS, clock: Callable[[], float] = time.monotonic
) -> Iterator[T]:
    """Hand `parts` on for as long as the caller of this request may have them. Call it in the view.

    No part leaves more than `every` seconds after her rights were last seen in the database. Once they are gone, or
    cannot be looked up, an error is raised: the server then breaks the answer off, so that no client takes the half
    for the whole.

    :param permissions: those she was shown them by, where the view lets in by one of several
    :raises AuthenticationFailed, PermissionDenied, Unavailable: at once, and while iterating
    """
    check = recheck(*permissions)
    check()  # what let the request in may be seconds old
    return _checked(parts, check, every, clock)


def _checked(parts: Iterable[T], check: Callable[[], None], every: float, clock: Callable[[], float]) -> Iterator[T]:
    seen = clock()
    for part in parts:
        if clock() - seen >= every:
            check()
            seen = clock()
        yield part
