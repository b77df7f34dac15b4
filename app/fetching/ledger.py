"""Politeness: who may ask a host now, and who must wait.

`Ledger` is what the fetcher talks to. One ledger in Redis serves all workers and tenants; `LocalLedger` serves
one process, or stands in while Redis is away.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

FAILURES_TO_TRIP: Final = 5
FIRST_COOL_DOWN: Final = 30.0  # seconds; doubles with every further trip
LONGEST_COOL_DOWN: Final = 15 * 60.0
LONGEST_RETRY_AFTER: Final = 60 * 60.0  # no host can lock itself out for longer
FORGET: Final = 120.0  # seconds after the last use, or after a cool-down's end
BUSY_PAUSE: Final = 0.1  # seconds until a host at its concurrency is worth another try


class Ledger(Protocol):
    """Thread-safe; never raises for want of its backend. A host is a name in ASCII, lower case; times in seconds."""

    def enter(self, host: str, *, delay: float, concurrency: int) -> float:
        """Ask to send one request: 0.0 = go now (a place is taken: `leave` gives it back), else how long to wait
        before asking again.
        """

    def leave(self, host: str) -> None: ...

    def cool_down(self, host: str, seconds: float) -> None:
        """The host asked for a pause (Retry-After). A longer one that runs already stays."""

    def failed(self, host: str) -> None:
        """The host did not answer, or answered 5xx or 429. After `FAILURES_TO_TRIP` in a row it cools down."""

    def succeeded(self, host: str) -> None: ...


def next_cool_down(trips: int) -> float:
    """Seconds of pause at the n-th trip in a row, counted from 1.

    >>> [next_cool_down(n) for n in (1, 2, 5, 6, 99)]
    [30.0, 60.0, 480.0, 900.0, 900.0]
    """
    return min(FIRST_COOL_DOWN * 2.0 ** min(trips - 1, 30), LONGEST_COOL_DOWN)


@dataclass(slots=True)
class _Host:
    used: float
    inside: int = 0
    next_start: float = 0.0
    cool_until: float = 0.0
    failures: int = 0
    trips: int = 0


class LocalLedger:
    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._hosts: OrderedDict[str, _Host] = OrderedDict()  # the least lately used first

    @property
    def known_hosts(self) -> int:
        return len(self._hosts)

    def enter(self, host: str, *, delay: float, concurrency: int) -> float:
        with self._lock:
            now, entry = self._use(host)
            start = max(entry.cool_until, entry.next_start)
            if start > now:
                return start - now
            if entry.inside >= concurrency:
                return BUSY_PAUSE
            entry.inside += 1
            entry.next_start = now + delay
            return 0.0

    def leave(self, host: str) -> None:
        with self._lock:
            _, entry = self._use(host)
            entry.inside = max(entry.inside - 1, 0)

    def cool_down(self, host: str, seconds: float) -> None:
        with self._lock:
            now, entry = self._use(host)
            entry.cool_until = max(entry.cool_until, now + min(seconds, LONGEST_RETRY_AFTER))

    def failed(self, host: str) -> None:
        with self._lock:
            now, entry = self._use(host)
            entry.failures += 1
            # one failure after a cool-down trips at once: the host has not recovered
            if entry.failures >= FAILURES_TO_TRIP or (entry.trips and now >= entry.cool_until):
                entry.failures = 0
                entry.trips += 1
                entry.cool_until = max(entry.cool_until, now + next_cool_down(entry.trips))

    def succeeded(self, host: str) -> None:
        with self._lock:
            _, entry = self._use(host)
            entry.failures = entry.trips = 0

    def _use(self, host: str) -> tuple[float, _Host]:
        now = self._clock()
        entry = self._hosts.pop(host, None) or _Host(used=now)
        entry.used = now
        self._hosts[host] = entry
        self._forget(now)
        return now, entry

    def _forget(self, now: float) -> None:
        """Look at the two least lately used: more leave than can come. One that must stay goes to the back."""
        for _ in range(2):
            host, entry = next(iter(self._hosts.items()))
            if entry.used + FORGET > now:
                return
            if entry.inside or max(entry.cool_until, entry.next_start) + FORGET > now:
                self._hosts.move_to_end(host)
            else:
                del self._hosts[host]
