"""A cache that all processes share: JSON under a seal, gone within seconds.

It is never more than a short cut. With Redis away or slow nothing is found, and after the first who waited nobody asks
it for a while. What another could have written there is not believed: each entry is sealed with the platform's secret
and tells its own age, so that neither a forged nor a hoarded one gives anybody a right.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Collection, Hashable
from typing import Any, Final, Generic, TypeVar, cast

import structlog

from app.redis.connection import RedisError, connect

log = structlog.get_logger(__name__)
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

ANSWER_SECONDS: Final = 0.25  # it saves a question to PostgreSQL; it must not cost more than one
PAUSE_SECONDS: Final = 5.0
MAX_CONNECTIONS: Final = 1_024  # more than a process has threads: one that finds none would take Redis for away
SEAL_BYTES: Final = 32
SKEW_SECONDS: Final = 1.0  # by which another machine's clock may be ahead

# Everything under the tag goes, and the list of it.
_DROP_TAGGED = """
for _, key in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do redis.call('DEL', key) end
redis.call('DEL', KEYS[1])
"""


class RedisCache(Generic[K, V]):
    """A `Cache` of `app.services.caching`, said here again because this room may not look up to that one.

    :param dump: a value as JSON has it; `load` reads it back, and may raise KeyError, TypeError or ValueError
    :param seal: the secret that entries are sealed with, the same in all processes
    :param clock: the time of day, by which an entry's age is told
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str,
        seconds: float,
        dump: Callable[[V], dict[str, Any]],
        load: Callable[[dict[str, Any]], V],
        seal: Callable[[], bytes],
        name: Callable[[K], str] = str,
        tags: Callable[[K], Collection[str]] = lambda _key: (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._redis = connect(url, max_connections=MAX_CONNECTIONS, seconds=ANSWER_SECONDS)
        self._prefix, self._seconds = prefix, seconds
        self._dump, self._load, self._seal = dump, load, seal
        self._name, self._tags, self._clock = name, tags, clock
        self._drop_tagged = self._redis.register_script(_DROP_TAGGED)
        self._circuit = Circuit()

    def get(self, key: K) -> V | None:
        entry = self._tried(lambda: cast("bytes | None", self._redis.get(self._key(key))))
        return None if entry is None else self._opened(self._key(key), entry)

    def put(self, key: K, value: V, *, age: float = 0.0) -> None:
        left = int((self._seconds - age) * 1000)
        if left <= 0:
            return
        name, entry = self._key(key), self._sealed(self._key(key), value, age)
        self._tried(lambda: self._write(name, entry, left, [self._tag(tag) for tag in self._tags(key)]))

    def drop(self, key: K) -> None:
        self._tried(lambda: self._redis.delete(self._key(key)))

    def drop_tagged(self, tag: str) -> None:
        self._tried(lambda: self._drop_tagged(keys=[self._tag(tag)]))

    def close(self) -> None:
        self._redis.close()

    def _tried(self, ask: Callable[[], Any]) -> Any:
        if not self._circuit.lets_through():
            return None
        try:
            answer = ask()
        except RedisError as error:
            self._circuit.open()
            log.warning("cache is away, asking the database instead", error=type(error).__name__)
            return None
        self._circuit.close()
        return answer

    def _write(self, name: str, entry: bytes, left: int, tags: Collection[str]) -> None:
        now = self._clock()
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.set(name, entry, px=left)
            for tag in tags:
                # A list of names that is kept no longer than what they stand for.
                pipeline.zremrangebyscore(tag, "-inf", now)
                pipeline.zadd(tag, {name: now + 2 * self._seconds})
                pipeline.pexpire(tag, int(self._seconds * 2000))
            pipeline.execute()

    def _sealed(self, name: str, value: V, age: float) -> bytes:
        text = json.dumps({"asked": self._clock() - age, "value": self._dump(value)}, separators=(",", ":")).encode()
        return self._mac(name, text) + text

    def _opened(self, name: str, entry: bytes) -> V | None:
        mac, text = entry[:SEAL_BYTES], entry[SEAL_BYTES:]
        if not hmac.compare_digest(mac, self._mac(name, text)):
            return None
        try:
            kept = json.loads(text)
            # The server's own time limit starts when it gets to the entry, which it may have been late for.
            if not -SKEW_SECONDS <= self._clock() - kept["asked"] < self._seconds:
                return None
            return self._load(kept["value"])
        except (KeyError, TypeError, ValueError):
            return None  # of another release

    def _mac(self, name: str, text: bytes) -> bytes:
        return hmac.digest(self._seal(), name.encode() + b"\0" + text, hashlib.sha256)

    def _key(self, key: K) -> str:
        return self._prefix + self._name(key)

    def _tag(self, tag: str) -> str:
        return f"{self._prefix}all:{tag}"


class Circuit:
    """Open after a failure: for a while nobody goes through, then one to try."""

    def __init__(self, *, pause: float = PAUSE_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._pause, self._clock = pause, clock
        self._again_at: float | None = None
        self._lock = threading.Lock()

    def lets_through(self) -> bool:
        """
        >>> now = [0.0]
        >>> circuit = Circuit(pause=5, clock=lambda: now[0])
        >>> circuit.open()
        >>> circuit.lets_through()
        False
        >>> now[0] = 5.0
        >>> circuit.lets_through(), circuit.lets_through()
        (True, False)
        """
        with self._lock:
            if self._again_at is None:
                return True
            if self._clock() < self._again_at:
                return False
            self._again_at = self._clock() + self._pause
            return True

    def open(self) -> None:
        with self._lock:
            self._again_at = self._clock() + self._pause

    def close(self) -> None:
        with self._lock:
            self._again_at = None
