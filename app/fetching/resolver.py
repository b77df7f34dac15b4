"""Names to addresses, within a time budget.

`getaddrinfo` cannot be cancelled, so it runs in a bounded pool: a name server that never answers can hold the
pool's threads, never a worker's slot.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Final

from app.errors import FetchError
from app.fetching.control import Control
from app.fetching.failures import translate_dns
from app.fetching.guard import Address, parse_address

Resolve = Callable[[str], Sequence[str]]

THREADS: Final = 32
QUEUE_PER_THREAD: Final = 4
LOOK: Final = 0.2  # seconds between two looks at the control while waiting


def system_resolve(host: str) -> Sequence[str]:
    """Ask the system. The name goes with its final dot, so that no search suffix is ever tried."""
    found = socket.getaddrinfo(f"{host}.".encode("ascii"), None, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class Resolver:
    def __init__(self, *, resolve: Resolve = system_resolve, threads: int = THREADS) -> None:
        # Read by glibc before its first query: one lost packet must not eat the whole budget.
        os.environ.setdefault("RES_OPTIONS", "timeout:2 attempts:1")
        self._resolve = resolve
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="fetch-dns")
        self._room = threading.BoundedSemaphore(threads * QUEUE_PER_THREAD)

    def addresses(self, host: str, *, timeout: float, control: Control) -> tuple[Address, ...]:
        """All addresses of a name, families taking turns so that a dead one cannot use up every attempt.

        :raises FetchError: `dns_not_found`, `dns_timeout`, `dns_busy`
        :raises Aborted: the control says so
        """
        if not self._room.acquire(blocking=False):
            raise FetchError("dns_busy")
        future = self._pool.submit(self._resolve, host)
        future.add_done_callback(lambda _: self._room.release())
        try:
            texts = _awaited(future, timeout, control)
        except (OSError, UnicodeError) as error:
            raise translate_dns(error) from error
        addresses = dict.fromkeys(parse_address(text) for text in texts)
        if not addresses:
            raise FetchError("dns_not_found")
        return _taking_turns(list(addresses))

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _awaited(future: Future[Sequence[str]], timeout: float, control: Control) -> Sequence[str]:
    end = time.monotonic() + timeout
    while True:
        left = end - time.monotonic()
        try:
            return future.result(min(LOOK, max(left, 0.0)))
        except FutureTimeout:
            if future.done():
                raise  # the resolver's own timeout
        if future.running() and left <= 0:
            raise FetchError("dns_timeout")
        if left <= 0 and future.cancel():
            raise FetchError("dns_busy")  # its turn never came
        control.check()


def _taking_turns(addresses: list[Address]) -> tuple[Address, ...]:
    first = [a for a in addresses if a.version == addresses[0].version]
    other = [a for a in addresses if a.version != addresses[0].version]
    turns = [a for pair in zip(first, other, strict=False) for a in pair]
    shorter = min(len(first), len(other))
    return (*turns, *first[shorter:], *other[shorter:])
