"""Requests of one scan: sent in waves, counted, and every body closed whatever happens."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Final

from app.errors import FetchError, Postponed
from app.scanning.values import Fetcher, Request, Response, ScanStats

MAX_OPEN: Final = 8  # bodies at rest at a time: large ones lie on the disk that all scans of a process share

Outcome = Response | FetchError


class Asker:
    """Counts into the given `stats`."""

    def __init__(self, fetcher: Fetcher, stats: ScanStats, *, concurrency: int) -> None:
        self._fetcher = fetcher
        self._stats = stats
        self._concurrency = max(concurrency, 1)
        self.wave_size = min(2 * self._concurrency, MAX_OPEN)

    def one(self, request: Request) -> Outcome:
        """:raises Postponed, Aborted: as the fetcher"""
        try:
            outcome: Outcome = self._fetcher.fetch(request)
        except FetchError as error:
            outcome = error
        self._count(outcome)
        return outcome

    def wave(self, requests: Sequence[Request]) -> Generator[Outcome, None, None]:
        """Outcomes in the order of the requests; a body is closed when the next outcome is asked for.

        The whole wave is received before its first outcome is handed on, so no request runs while the caller works
        (or holds a transaction open). When the host asks for a pause in its midst, what came before is handed on
        first: a scan that is postponed again and again still moves forward.

        :raises Postponed, Aborted: as the fetcher
        """
        received: list[Outcome] = []
        try:
            postponed = self._receive(requests, received)
            for outcome in received:
                yield outcome
                _close(outcome)
        finally:
            for outcome in received:
                _close(outcome)
        if postponed is not None:
            raise postponed

    def _receive(self, requests: Sequence[Request], received: list[Outcome]) -> Postponed | None:
        try:
            for outcome in self._fetcher.fetch_all(requests, concurrency=self._concurrency):
                received.append(outcome)
                self._count(outcome)
        except Postponed as postponed:
            return postponed
        return None

    def _count(self, outcome: Outcome) -> None:
        self._stats.requests += 1
        if isinstance(outcome, Response):
            self._stats.requests += len(outcome.redirects)
            self._stats.bytes += outcome.wire_bytes
            self._stats.not_modified += outcome.status == 304


def _close(outcome: Outcome) -> None:
    if isinstance(outcome, Response):
        outcome.body.close()


def http_failure(status: int) -> str:
    """The code of `FETCH_FAILURES` for a status that brings no document.

    >>> http_failure(403), http_failure(429), http_failure(503), http_failure(300)
    ('http_4xx', 'http_429', 'http_5xx', 'bad_redirect')
    """
    if status == 429:
        return "http_429"
    if status >= 500:
        return "http_5xx"
    return "http_4xx" if status >= 400 else "bad_redirect"
