"""The reins of one piece of work: when it must end, and how it is told to end at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.errors import Aborted


class Control:
    """Held by whoever runs a scan; its fetcher looks at it before, between and during requests.

    `deadline` is in the clock's seconds (monotonic); past it, work aborts itself.
    """

    def __init__(self, *, deadline: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.deadline = deadline
        self.reason: str | None = None
        self.seen = clock()  # when its worker last looked, as a sign that it gets on
        self._clock = clock
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._cutters: set[Callable[[], None]] = set()

    @property
    def aborted(self) -> bool:
        return self._stopped.is_set()

    def abort(self, reason: str) -> None:
        """End the work: waits end, sockets in flight are shut down. The first reason stays."""
        with self._lock:
            if self.reason is not None:
                return
            self.reason = reason
            cutters = tuple(self._cutters)
            self._stopped.set()
        for cut in cutters:
            cut()

    def check(self) -> None:
        """:raises Aborted: the work must end"""
        self.seen = self._clock()
        if self.deadline is not None and self.seen >= self.deadline:
            self.abort("deadline")
        if self.aborted:
            raise Aborted(self.reason)

    def wait(self, seconds: float) -> None:
        """Sleep, waking at once when the work must end.

        :raises Aborted: as `check`
        """
        if self.deadline is not None:
            seconds = min(seconds, max(self.deadline - self._clock(), 0.0))
        self._stopped.wait(seconds)
        self.check()

    @contextmanager
    def cutting(self, cut: Callable[[], None]) -> Iterator[None]:
        """While inside, an abort calls `cut` (from the aborting thread; it must not block)."""
        with self._lock:
            self._cutters.add(cut)
            late = self.reason is not None
        if late:
            cut()
        try:
            yield
        finally:
            with self._lock:
                self._cutters.discard(cut)
