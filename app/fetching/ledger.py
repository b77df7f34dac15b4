"""Politeness: who may ask a host now, and who must wait.

`Ledger` is what the fetcher talks to. A request takes a place under its host's name, and one under every address it
may go to: ten thousand names on one machine are one machine. A name has its pauses and its failures; an address only
has a number of places. It has no circuit breaker of its own, because one that opens would send the jobs of all its
names back unspent, again and again, and a dead machine's batch would never end; nor would one bad site speak for the
others. One ledger in Redis serves all workers and tenants; `LocalLedger` serves
one process, or stands in while Redis is away.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

FAILURES_TO_TRIP: Final = 5
FIRST_COOL_DOWN: Final = 30.0  # seconds; doubles with every further trip
LONGEST_COOL_DOWN: Final = 15 * 60.0
LONGEST_RETRY_AFTER: Final = 60 * 60.0  # no host can lock itself out for longer
FORGET: Final = 120.0  # seconds after the last use, or after a cool-down's end
BUSY_PAUSE: Final = 0.1  # seconds until a host at its concurrency is worth another try


class Place(NamedTuple):
    """What a request may want one of: `key` is a name in ASCII, lower case, or `@` and an address."""

    key: str
    concurrency: int  # places there are
    delay: float = 0.0  # seconds between two starts


class Ledger(Protocol):
    """Thread-safe; never raises for want of its backend. A host is the key of a name; times in seconds."""

    def enter(self, places: Sequence[Place]) -> float:
        """Ask to send one request: 0.0 = go now (all places are taken: `leave` gives them back), else how long to
        wait before asking again (none is taken).
        """

    def leave(self, places: Sequence[Place]) -> None: ...

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
    """`share`: the part that this process takes of what all together may do, while it knows nothing of the others."""

    def __init__(self, *, share: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._clock = clock
        self._lock = threading.Lock()
        self._hosts: OrderedDict[str, _Host] = OrderedDict()  # the least lately used first

    @property
    def known_hosts(self) -> int:
        return len(self._hosts)

    def enter(self, places: Sequence[Place]) -> float:
        with self._lock:
            entries = [(self._ours(place), *self._use(place.key)) for place in places]
            wait = max(_wait(place, entry, now) for place, now, entry in entries)
            if not wait:
                for place, now, entry in entries:
                    entry.inside += 1
                    entry.next_start = now + place.delay
            return wait

    def leave(self, places: Sequence[Place]) -> None:
        with self._lock:
            for place in places:
                _, entry = self._use(place.key)
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

    def _ours(self, place: Place) -> Place:
        return Place(place.key, max(int(place.concurrency * self._share), 1), place.delay / self._share)

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


def _wait(place: Place, entry: _Host, now: float) -> float:
    start = max(entry.cool_until, entry.next_start)
    if start > now:
        return start - now
    return BUSY_PAUSE if entry.inside >= place.concurrency else 0.0
