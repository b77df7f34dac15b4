"""The politeness ledger: how many requests a host gets, and when, over all workers of all machines.

A hash and a sorted set a key (of a name, or of an address that names share), both gone two minutes after last use or
with the cool-down they hold. A request takes its places under all its keys in one round trip, and gives them back
in another. Only the server's clock counts. With Redis away the fallback, a ledger of this process alone, keeps its
manners.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol, cast
from uuid import uuid4

import structlog

from app.redis.connection import RedisError, connect

log = structlog.get_logger(__name__)

# The same figures as the fallback's; a conformance suite runs over both.
KEPT_MS = 120_000
MOST_ASTRAY = 10_000
FULL_MS = 50  # how soon to ask again while all of a host's places are taken
MAX_CONNECTIONS = 1_024  # more than a process has threads: one that finds none would take Redis for away
TRIP_AFTER = 5  # failures in a row that open the circuit
FIRST_COOL_MS, LONGEST_COOL_MS = 30_000, 900_000
LONGEST_RETRY_AFTER_MS = 3_600_000

# Tests say the time; else it is the server's.
_NOW = """
local now = tonumber(ARGV[1])
if now == 0 then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
"""

# Takes all places or none. Answers the milliseconds to wait, and whether the first key's host is in any trouble.
# Two keys a place, (state, places taken), and two arguments, (places there are, delay), from the sixth on.
_ENTER = (
    _NOW
    + """
local kept, held, full, token = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local wait, trouble = 0, 0
for i = 1, #KEYS, 2 do
  local state = redis.call('HMGET', KEYS[i], 'cool', 'next', 'fails', 'trips')
  if i == 1 and (state[3] or state[4]) then trouble = 1 end
  wait = math.max(wait, tonumber(state[1] or '0') - now, tonumber(state[2] or '0') - now)
  redis.call('ZREMRANGEBYSCORE', KEYS[i + 1], '-inf', now)
  if redis.call('ZCARD', KEYS[i + 1]) >= tonumber(ARGV[i + 5]) then wait = math.max(wait, full) end
end
if wait > 0 then return {math.ceil(wait), trouble} end
for i = 1, #KEYS, 2 do
  local delay = tonumber(ARGV[i + 6])
  redis.call('ZADD', KEYS[i + 1], now + held, token)
  redis.call('PEXPIRE', KEYS[i + 1], kept)
  if delay > 0 then
    redis.call('HSET', KEYS[i], 'next', now + delay)
    if redis.call('PTTL', KEYS[i]) < kept then redis.call('PEXPIRE', KEYS[i], kept) end
  end
end
return {0, trouble}
"""
)

_COOL = (
    _NOW
    + """
local cool = math.max(now + tonumber(ARGV[2]), tonumber(redis.call('HGET', KEYS[1], 'cool') or '0'))
redis.call('HSET', KEYS[1], 'cool', cool)
redis.call('PEXPIRE', KEYS[1], math.floor(cool - now) + tonumber(ARGV[3]))
"""
)

# One failure after a cool-down trips at once: the host has not recovered.
_FAILED = (
    _NOW
    + """
local limit, first, longest, kept = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local state = redis.call('HMGET', KEYS[1], 'cool', 'fails', 'trips')
local cool, fails, trips = tonumber(state[1] or '0'), tonumber(state[2] or '0') + 1, tonumber(state[3] or '0')
if fails >= limit or (trips > 0 and now >= cool) then
  fails, trips = 0, trips + 1
  cool = math.max(cool, now + math.min(first * 2 ^ math.min(trips - 1, 30), longest))
end
redis.call('HSET', KEYS[1], 'cool', cool, 'fails', fails, 'trips', trips)
redis.call('PEXPIRE', KEYS[1], math.floor(math.max(cool - now, 0)) + kept)
"""
)


Place = tuple[str, int, float]  # key, places there are, seconds between two starts


class Ledger(Protocol):
    """The same as `app.fetching`'s, said here again because this room may not look up to that one."""

    def enter(self, places: Sequence[Any]) -> float: ...
    def leave(self, places: Sequence[Any]) -> None: ...
    def cool_down(self, host: str, seconds: float) -> None: ...
    def failed(self, host: str) -> None: ...
    def succeeded(self, host: str) -> None: ...


class RedisLedger:
    """Politeness shared by all workers. Hosts and seconds as in `Ledger`; never raises for a Redis that is away.

    No request lasts longer than `longest_request` seconds: the places of a worker that died are free after that.
    """

    def __init__(
        self,
        url: str,
        *,
        fallback: Ledger,
        longest_request: float = KEPT_MS / 1000,
        prefix: str = "polite:",
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._held_ms = min(int(longest_request * 1000), KEPT_MS)
        self._redis = connect(url, max_connections=MAX_CONNECTIONS)
        self._fallback = fallback
        self._prefix = prefix
        self._clock = clock
        self._enter = self._redis.register_script(_ENTER)
        self._cool = self._redis.register_script(_COOL)
        self._failed = self._redis.register_script(_FAILED)
        self._lock = threading.Lock()
        self._tokens: dict[tuple[str, ...], list[str]] = {}  # of our places, by the keys they were taken under
        # Places that Redis may hold for us for two minutes though nobody is there: its answer, or our leave, was lost.
        self._astray: deque[tuple[tuple[str, ...], str]] = deque(maxlen=MOST_ASTRAY)
        self._troubled: set[str] = set()  # hosts whose failures a success has yet to clear

    def enter(self, places: Sequence[Place]) -> float:
        """Take a place under every key: 0.0 when all were got, else the seconds until asking again makes sense."""
        token = uuid4().hex
        keys = [key for name, _, _ in places for key in (self._key(name), self._taken(name))]
        arguments: list[int | str] = [self._now(), KEPT_MS, self._held_ms, FULL_MS, token]
        for _, concurrency, delay in places:
            arguments += [concurrency, int(delay * 1000)]
        try:
            wait, trouble = cast("list[int]", self._enter(keys=keys, args=arguments))
        except RedisError as error:
            log.warning("politeness ledger is away, using this process's own", error=type(error).__name__)
            self._astray.append((_names(places), token))
            return self._fallback.enter(places)
        self._give_back_astray()
        with self._lock:
            if trouble:
                self._troubled.add(places[0][0])
            if not wait:
                self._tokens.setdefault(_names(places), []).append(token)
        return wait / 1000

    def leave(self, places: Sequence[Place]) -> None:
        names = _names(places)
        with self._lock:
            tokens = self._tokens.get(names)
            token = tokens.pop() if tokens else None
            if not tokens:
                self._tokens.pop(names, None)
        if token is None:  # the places were the fallback's
            self._fallback.leave(places)
            return
        self._astray.append((names, token))
        self._give_back_astray()

    def _give_back_astray(self) -> None:
        """What fails is tried again with the next; after two minutes it expires by itself."""
        while self._astray:
            try:
                names, token = self._astray.popleft()
            except IndexError:  # another thread has just done it
                return
            try:
                with self._redis.pipeline(transaction=False) as pipeline:
                    for name in names:
                        pipeline.zrem(self._taken(name), token)
                    pipeline.execute()
            except RedisError:
                self._astray.append((names, token))
                return

    def cool_down(self, host: str, seconds: float) -> None:
        self._fallback.cool_down(host, seconds)
        pause = int(min(seconds * 1000, LONGEST_RETRY_AFTER_MS))
        with suppress(RedisError):  # the fallback knows
            self._cool(keys=[self._key(host)], args=[self._now(), pause, KEPT_MS])

    def failed(self, host: str) -> None:
        self._fallback.failed(host)
        with self._lock:
            self._troubled.add(host)
        with suppress(RedisError):
            self._failed(
                keys=[self._key(host)], args=[self._now(), TRIP_AFTER, FIRST_COOL_MS, LONGEST_COOL_MS, KEPT_MS]
            )

    def succeeded(self, host: str) -> None:
        """A round trip only where there is something to clear."""
        with self._lock:
            if host not in self._troubled:
                return
            self._troubled.discard(host)
        self._fallback.succeeded(host)
        with suppress(RedisError):
            self._redis.hdel(self._key(host), "fails", "trips")

    def close(self) -> None:
        self._redis.close()

    def _key(self, host: str) -> str:
        return f"{self._prefix}{{{host}}}"

    def _taken(self, name: str) -> str:
        return self._key(name) + ":in"

    def _now(self) -> int:
        return 0 if self._clock is None else int(self._clock() * 1000)


def _names(places: Sequence[Place]) -> tuple[str, ...]:
    return tuple(name for name, _, _ in places)
