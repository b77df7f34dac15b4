"""One deadline for a whole request.

Timeouts of single reads never fire on dripped headers or an endless `100 Continue`, and no thread can be
interrupted from outside. But a socket can: shut down from another thread, whatever waits on it returns.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal

from app.errors import FetchError

TICK = 0.05  # seconds by which a deadline may be late

Cut = Literal["timeout", "aborted"]


class Lifeline:
    """The socket a request is using, and the hand that can shut it down from another thread."""

    def __init__(self, *, deadline: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.deadline = deadline
        self.cut: Cut | None = None
        self._clock = clock
        self._lock = threading.Lock()
        self._wire: socket.socket | None = None

    def remaining(self) -> float:
        """Seconds left.

        :raises FetchError: `timeout`, there are none
        """
        left = self.deadline - self._clock()
        if left <= 0 or self.cut:
            raise FetchError("timeout")
        return left

    def attach(self, wire: socket.socket) -> None:
        with self._lock:
            self._wire = wire
            if self.cut:
                _shut_down(wire)

    def detach(self) -> None:
        """Let go of the socket: from here on another request may own it."""
        with self._lock:
            self._wire = None

    def sever(self, why: Cut) -> None:
        with self._lock:
            self.cut = self.cut or why
            if self._wire is not None:
                _shut_down(self._wire)


def _shut_down(wire: socket.socket) -> None:
    with suppress(OSError):  # not connected yet, or closed already: either way nothing waits on it for long
        wire.shutdown(socket.SHUT_RDWR)


class Watchdog:
    """The one thread of a process that severs lifelines past their deadline. Started when first needed."""

    def __init__(self, *, tick: float = TICK, clock: Callable[[], float] = time.monotonic) -> None:
        self._tick = tick
        self._clock = clock
        self._lock = threading.Lock()
        self._busy = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._lines: set[Lifeline] = set()

    @contextmanager
    def watching(self, line: Lifeline) -> Iterator[None]:
        with self._lock:
            self._lines.add(line)
            self._busy.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="fetch-deadlines", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._lines.discard(line)

    def close(self) -> None:
        self._closed.set()
        self._busy.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._busy.wait()
            self._closed.wait(self._tick)
            with self._lock:
                lines = tuple(self._lines)
                if not lines:
                    self._busy.clear()
            now = self._clock()
            for line in lines:
                if line.deadline <= now:
                    line.sever("timeout")
