"""A small cache whose entries die young: what it answers is never older than its time to live."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, Protocol, TypeVar

K = TypeVar("K", bound=Hashable)
K_contra = TypeVar("K_contra", bound=Hashable, contravariant=True)
V = TypeVar("V")


class Cache(Protocol[K_contra, V]):
    def get(self, key: K_contra) -> V | None: ...
    def put(self, key: K_contra, value: V) -> None: ...
    def drop(self, key: K_contra) -> None: ...


class TtlCache(Generic[K, V]):
    """In this process only.

    >>> now = [0.0]
    >>> cache = TtlCache[str, int](seconds=3, clock=lambda: now[0])
    >>> cache.put("a", 1)
    >>> cache.get("a")
    1
    >>> now[0] = 3.0
    >>> cache.get("a") is None
    True
    """

    def __init__(self, *, seconds: float, size: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._size, self._clock = seconds, size, clock
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()  # oldest first
        self._lock = Lock()

    def get(self, key: K) -> V | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or entry[0] <= self._clock():
                return None
            return entry[1]

    def put(self, key: K, value: V) -> None:
        with self._lock:
            self._entries.pop(key, None)
            self._entries[key] = (self._clock() + self._seconds, value)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)

    def drop(self, key: K) -> None:
        with self._lock:
            self._entries.pop(key, None)
