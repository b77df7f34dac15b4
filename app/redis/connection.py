"""One way to reach the broker's Redis (or Valkey): short timeouts, no retries that pile up."""

from __future__ import annotations

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

# A dead broker must cost a request a moment, not its deadline.
SOCKET_SECONDS = 2.0

RedisError, RedisTimeout = redis.RedisError, redis.TimeoutError


def connect(url: str, *, max_connections: int = 64, seconds: float = SOCKET_SECONDS) -> redis.Redis:
    """:param seconds: for a connection, and for an answer"""
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=seconds,
        socket_timeout=seconds,
        socket_keepalive=True,
        health_check_interval=10,
        max_connections=max_connections,
        # A kept connection may be broken, so a second try; one that hangs would hang again.
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    )


def ping(url: str) -> str | None:
    """None when the broker answers, else why not, in a few words."""
    client = connect(url, max_connections=1)
    try:
        client.ping()
    except RedisError as error:
        return type(error).__name__
    finally:
        client.close()
    return None
