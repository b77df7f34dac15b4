"""The politeness ledger: how many requests a host gets, and when, over all workers of all machines.

A hash and a sorted set a host, both gone two minutes after last use or with the cool-down they hold. Only the
server's clock counts. With Redis away the fallback, a ledger of this process alone, keeps its manners.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import Protocol, cast
from uuid import uuid4

import structlog

from app.redis.connection import RedisError, connect

log = structlog.get_logger(__name__)

KEPT_MS = 120_000
FULL_MS = 50  # how soon to ask again while all of a host's places are taken
BREAK_AFTER = 5  # failures in a row that open the circuit
FIRST_BREAK_MS, LONGEST_BREAK_MS = 30_000, 900_000

_ENTER = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local delay, places, token = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local kept, full = tonumber(ARGV[4]), tonumber(ARGV[5])
local state = redis.call('HMGET', KEYS[1], 'cool', 'next')
local cool, next_start = tonumber(state[1] or '0'), tonumber(state[2] or '0')
if cool > now then return cool - now end
if next_start > now then return next_start - now end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
if redis.call('ZCARD', KEYS[2]) >= places then return full end
redis.call('ZADD', KEYS[2], now + kept, token)
redis.call('PEXPIRE', KEYS[2], kept)
if delay > 0 then
  redis.call('HSET', KEYS[1], 'next', now + delay)
  redis.call('PEXPIRE', KEYS[1], kept)
end
return 0
"""

_COOL = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local until_ms = now + tonumber(ARGV[1])
if until_ms > tonumber(redis.call('HGET', KEYS[1], 'cool') or '0') then
  redis.call('HSET', KEYS[1], 'cool', until_ms)
end
redis.call('PEXPIRE', KEYS[1], math.max(tonumber(ARGV[1]), tonumber(ARGV[2])))
return 1
"""

_FAILED = """
local fails = redis.call('HINCRBY', KEYS[1], 'fails', 1)
local kept = tonumber(ARGV[4])
if fails >= tonumber(ARGV[1]) then
  local t = redis.call('TIME')
  local now = t[1] * 1000 + math.floor(t[2] / 1000)
  local pause = math.min(tonumber(ARGV[2]) * 2 ^ (fails - tonumber(ARGV[1])), tonumber(ARGV[3]))
  redis.call('HSET', KEYS[1], 'cool', now + pause)
  kept = math.max(kept, pause * 2)
end
redis.call('PEXPIRE', KEYS[1], math.floor(kept))
return fails
"""


class Ledger(Protocol):
    """The same as `app.fetching`'s, said here again because this room may not look up to that one."""

    def enter(self, host: str, *, delay: float, concurrency: int) -> float: ...
    def leave(self, host: str) -> None: ...
    def cool_down(self, host: str, seconds: float) -> None: ...
    def failed(self, host: str) -> None: ...
    def succeeded(self, host: str) -> None: ...


class RedisLedger:
    """Politeness shared by all workers."""

    def __init__(self, url: str, *, fallback: Ledger, prefix: str = "polite:") -> None:
        self._redis = connect(url)
        self._fallback = fallback
        self._prefix = prefix
        self._enter = self._redis.register_script(_ENTER)
        self._cool = self._redis.register_script(_COOL)
        self._failed = self._redis.register_script(_FAILED)
        self._lock = threading.Lock()
        self._tokens: defaultdict[str, list[str]] = defaultdict(list)

    def enter(self, host: str, *, delay: float, concurrency: int) -> float:
        """Take one of the host's places: 0.0 when it was got, else the seconds until asking again makes sense."""
        token = uuid4().hex
        try:
            wait = self._enter(
                keys=[self._key(host), self._key(host) + ":in"],
                args=[int(delay * 1000), concurrency, token, KEPT_MS, FULL_MS],
            )
        except RedisError as error:
            log.warning("politeness ledger is away, using this process's own", error=type(error).__name__)
            return self._enter_fallback(host, delay, concurrency)
        if not wait:
            self._remember(host, token)
        return float(cast("int", wait)) / 1000

    def leave(self, host: str) -> None:
        token = self._forget(host)
        if token is None:
            self._fallback.leave(host)
            return
        try:
            self._redis.zrem(self._key(host) + ":in", token)
        except RedisError:
            return  # its place expires by itself

    def cool_down(self, host: str, seconds: float) -> None:
        self._fallback.cool_down(host, seconds)
        try:
            self._cool(keys=[self._key(host)], args=[int(seconds * 1000), KEPT_MS])
        except RedisError:
            return  # the fallback knows

    def failed(self, host: str) -> None:
        self._fallback.failed(host)
        try:
            self._failed(keys=[self._key(host)], args=[BREAK_AFTER, FIRST_BREAK_MS, LONGEST_BREAK_MS, KEPT_MS])
        except RedisError:
            return

    def succeeded(self, host: str) -> None:
        self._fallback.succeeded(host)
        try:
            self._redis.hdel(self._key(host), "fails")
        except RedisError:
            return

    def close(self) -> None:
        self._redis.close()

    def _key(self, host: str) -> str:
        return f"{self._prefix}{{{host}}}"

    def _enter_fallback(self, host: str, delay: float, concurrency: int) -> float:
        wait = self._fallback.enter(host, delay=delay, concurrency=concurrency)
        if not wait:
            self._remember(host, None)
        return wait

    def _remember(self, host: str, token: str | None) -> None:
        with self._lock:
            self._tokens[host].append(token or "")

    def _forget(self, host: str) -> str | None:
        """A place of this process at the host; None when it was the fallback's."""
        with self._lock:
            tokens = self._tokens.get(host)
            token = tokens.pop() if tokens else ""
            if not tokens:
                self._tokens.pop(host, None)
        return token or None
