"""What the broker holds, piece by piece: for comparing it with the truth, never for work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, cast
from uuid import UUID

from app.errors import Unavailable
from app.queueing import QUEUES, QueueName
from app.redis.connection import RedisError, connect
from app.redis.queue import opened

CHUNK = 1_000
FORGET_SECONDS = 120
WITHOUT_END = ("_kombu.binding",)  # which queues there are: a set a name, as many as there are queues
OUR_PREFIXES, OUR_SUFFIX = ("polite:", "LIMITS:", "cached:"), ".reply.celery.pidbox"


class Waiting(NamedTuple):
    """One message. `names` is (tenant, job, dispatch number), None where it cannot be read."""

    queue: QueueName
    payload: bytes
    names: tuple[UUID, UUID, int] | None


class Contents:
    """:raises Unavailable: of every method, when the broker cannot be reached"""

    def __init__(self, url: str) -> None:
        self._redis = connect(url, max_connections=2)

    def messages(self) -> list[Waiting]:
        with _translated():
            return [Waiting(queue, payload, opened(payload)) for queue in QUEUES for payload in self._payloads(queue)]

    def remove(self, message: Waiting) -> bool:
        """Take one such message out, the newest; False when a worker was faster."""
        with _translated():
            return bool(self._redis.lrem(message.queue, 1, cast("str", message.payload)))

    def lasting_keys(self) -> list[str]:
        """Keys that would never go by themselves, besides the queues."""
        with _translated():
            names = [
                name for name in self._redis.scan_iter(count=CHUNK) if not _may_last(name.decode(errors="replace"))
            ]
            pipeline = self._redis.pipeline(transaction=False)
            for name in names:
                pipeline.ttl(name)
            ends = pipeline.execute()
        return sorted(name.decode(errors="replace") for name, left in zip(names, ends, strict=True) if left == -1)

    def forget(self, key: str) -> bool:
        """Let a key of ours go in two minutes, as its like do; False when it is not ours."""
        if not (key.startswith(OUR_PREFIXES) or key.endswith(OUR_SUFFIX)):
            return False
        with _translated():
            return bool(self._redis.expire(key, FORGET_SECONDS))

    def close(self) -> None:
        self._redis.close()

    def _payloads(self, queue: QueueName) -> Iterator[bytes]:
        start = 0
        while chunk := cast("list[bytes]", self._redis.lrange(queue, start, start + CHUNK - 1)):
            yield from chunk
            start += CHUNK


def _text(key: bytes) -> str:
    return key.decode(errors="replace")


def _may_last(key: str) -> bool:
    return key in QUEUES or key.startswith(WITHOUT_END)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        raise Unavailable("the broker cannot be reached") from error
