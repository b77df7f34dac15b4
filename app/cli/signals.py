"""Signals outside the supervisor's own time: while servers start, and while they stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from app.stack.supervisor import STOP, heeded


class Told(BaseException):
    """SIGINT, SIGTERM or SIGHUP came; not an error, so no `except Exception` may take it for one."""


@contextmanager
def raising() -> Iterator[None]:
    """While inside, a stop signal raises `Told`: what was started is undone on the way out, undisturbed."""

    def tell(number: int, _frame: FrameType | None) -> NoReturn:
        _ignore()
        raise Told(number)

    before = {number: signal.signal(number, tell) for number in heeded()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ignored() -> Iterator[None]:
    """While inside, an impatient Ctrl-C does not cut an orderly end short; each step of it has its own limit."""
    before = {number: signal.getsignal(number) for number in STOP}
    _ignore()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore() -> None:
    for number in STOP:
        signal.signal(number, signal.SIG_IGN)
