"""Caches whose entries die young: what one answers is never older than its time to live.

An entry may be dropped before that, by its key or with all that share a tag. Both are best efforts where a cache is
shared: what holds in any case is the time to live, counted from when its value was asked for, not from when it came.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable
from threading import Lock
from typing import Generic, Protocol, TypeVar

K = TypeVar("K", bound=Hashable)
K_contra = TypeVar("K_contra", bound=Hashable, contravariant=True)
V = TypeVar("V")


class Cache(Protocol[K_contra, V]):
    """`app.redis.cache` has one for several processes. None of its methods raises for a server that is away."""

    def get(self, key: K_contra) -> V | None: ...
    def put(self, key: K_contra, value: V, *, age: float = 0.0) -> None:
        """Keep a value that was asked for `age` seconds ago."""

    def drop(self, key: K_contra) -> None: ...
    def drop_tagged(self, tag: str) -> None: ...


class TtlCache(Generic[K, V]):
    """In this process only.

    >>> now = [0.0]
    >>> cache = TtlCache[str, int](seconds=3, clock=lambda: now[0])
    >>> cache.put("a", 1)
    >>> cache.put("b", 2, age=2.5)
    >>> now[0] = 1.0
    >>> cache.get("a"), cache.get("b")
    (1, None)
    """

    def __init__(
        self,
        *,
        seconds: float,
        tags: Callable[[K], Collection[str]] = lambda _key: (),
        size: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds, self._tags, self._size, self._clock = seconds, tags, size, clock
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()  # oldest first
        self._lock = Lock()

    def get(self, key: K) -> V | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or entry[0] <= self._clock():
                return None
            return entry[1]

    def put(self, key: K, value: V, *, age: float = 0.0) -> None:
        with self._lock:
            self._entries.pop(key, None)
            self._entries[key] = (self._clock() + self._seconds - age, value)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)

    def drop(self, key: K) -> None:
        with self._lock:
            self._entries.pop(key, None)

    def drop_tagged(self, tag: str) -> None:
        with self._lock:
            for key in [key for key in self._entries if tag in self._tags(key)]:
                del self._entries[key]


class Tiered(Generic[K, V]):
    """A cache of this process before a shared one. A value is at most as old as both their times together."""

    def __init__(self, front: Cache[K, V], back: Cache[K, V], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._front, self._back, self._clock = front, back, clock

    def get(self, key: K) -> V | None:
        found = self._front.get(key)
        if found is not None:
            return found
        asked = self._clock()
        found = self._back.get(key)
        if found is not None:
            self._front.put(key, found, age=self._clock() - asked)
        return found

    def put(self, key: K, value: V, *, age: float = 0.0) -> None:
        self._back.put(key, value, age=age)
        self._front.put(key, value, age=age)

    def drop(self, key: K) -> None:
        self._back.drop(key)
        self._front.drop(key)

    def drop_tagged(self, tag: str) -> None:
        self._back.drop_tagged(tag)
        self._front.drop_tagged(tag)
