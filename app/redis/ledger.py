"""The politeness ledger: how many requests a host gets, and when, over all workers of all machines.

A hash and a sorted set a host, both gone two minutes after last use or with the cool-down they hold. Only the
server's clock counts. With Redis away the fallback, a ledger of this process alone, keeps its manners.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, cast
from uuid import uuid4

import structlog

from app.redis.connection import RedisError, connect

log = structlog.get_logger(__name__)

# The same figures as the fallback's; a conformance suite runs over both.
KEPT_MS = 120_000
FULL_MS = 50  # how soon to ask again while all of a host's places are taken
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

# Answers the milliseconds to wait, and whether the host is in any trouble.
_ENTER = (
    _NOW
    + """
local delay, places, token = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local kept, full = tonumber(ARGV[5]), tonumber(ARGV[6])
local state = redis.call('HMGET', KEYS[1], 'cool', 'next', 'fails', 'trips')
local trouble = (state[3] or state[4]) and 1 or 0
local start = math.max(tonumber(state[1] or '0'), tonumber(state[2] or '0'))
if start > now then return {math.ceil(start - now), trouble} end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
if redis.call('ZCARD', KEYS[2]) >= places then return {full, trouble} end
redis.call('ZADD', KEYS[2], now + kept, token)
redis.call('PEXPIRE', KEYS[2], kept)
if delay > 0 then
  redis.call('HSET', KEYS[1], 'next', now + delay)
  if redis.call('PTTL', KEYS[1]) < kept then redis.call('PEXPIRE', KEYS[1], kept) end
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


class Ledger(Protocol):
    """The same as `app.fetching`'s, said here again because this room may not look up to that one."""

    def enter(self, host: str, *, delay: float, concurrency: int) -> float: ...
    def leave(self, host: str) -> None: ...
    def cool_down(self, host: str, seconds: float) -> None: ...
    def failed(self, host: str) -> None: ...
    def succeeded(self, host: str) -> None: ...


class RedisLedger:
    """Politeness shared by all workers. Hosts and seconds as in `Ledger`; never raises for a Redis that is away."""

    def __init__(
        self, url: str, *, fallback: Ledger, prefix: str = "polite:", clock: Callable[[], float] | None = None
    ) -> None:
        self._redis = connect(url)
        self._fallback = fallback
        self._prefix = prefix
        self._clock = clock
        self._enter = self._redis.register_script(_ENTER)
        self._cool = self._redis.register_script(_COOL)
        self._failed = self._redis.register_script(_FAILED)
        self._lock = threading.Lock()
        self._tokens: dict[str, list[str]] = {}  # our places at each host
        self._troubled: set[str] = set()  # hosts whose failures a success has yet to clear

    def enter(self, host: str, *, delay: float, concurrency: int) -> float:
        """Take one of the host's places: 0.0 when it was got, else the seconds until asking again makes sense."""
        token = uuid4().hex
        key = self._key(host)
        arguments: list[int | str] = [self._now(), int(delay * 1000), concurrency, token, KEPT_MS, FULL_MS]
        try:
            wait, trouble = cast("list[int]", self._enter(keys=[key, key + ":in"], args=arguments))
        except RedisError as error:
            log.warning("politeness ledger is away, using this process's own", error=type(error).__name__)
            return self._fallback.enter(host, delay=delay, concurrency=concurrency)
        with self._lock:
            if trouble:
                self._troubled.add(host)
            if not wait:
                self._tokens.setdefault(host, []).append(token)
        return wait / 1000

    def leave(self, host: str) -> None:
        with self._lock:
            tokens = self._tokens.get(host)
            token = tokens.pop() if tokens else None
            if not tokens:
                self._tokens.pop(host, None)
        if token is None:  # the place was the fallback's
            self._fallback.leave(host)
            return
        with suppress(RedisError):  # else the place expires by itself
            self._redis.zrem(self._key(host) + ":in", token)

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

    def _now(self) -> int:
        return 0 if self._clock is None else int(self._clock() * 1000)
