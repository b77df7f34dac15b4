"""Pages fetched for their metadata. A page that cannot be had is told as such; it never fails a scan."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing

from app.errors import FETCH_FAILURES, FetchError
from app.scanning import page
from app.scanning.asking import Asker, Outcome, http_failure
from app.scanning.values import Limits, Page, Problem, Request


class Visitor:
    def __init__(self, asker: Asker, limits: Limits, *, country: str | None) -> None:
        self._asker = asker
        self._limits = limits
        self._country = country

    def visit(self, urls: Sequence[str]) -> Generator[Page, None, None]:
        """Pages in the order of the URLs.

        :raises Postponed, Aborted: as the fetcher
        """
        size = self._asker.wave_size
        for start in range(0, len(urls), size):
            wave = urls[start : start + size]
            requests = [Request(url=url, purpose="page", max_bytes=self._limits.page_bytes) for url in wave]
            with closing(self._asker.wave(requests)) as outcomes:
                for url, outcome in zip(wave, outcomes, strict=False):
                    yield self._read(url, outcome)

    def _read(self, url: str, outcome: Outcome) -> Page:
        if isinstance(outcome, FetchError):
            return unread(url, outcome.code, outcome.detail)
        if not 200 <= outcome.status < 300:
            code = http_failure(outcome.status)
            found = unread(url, code, f"{FETCH_FAILURES[code].text} [{outcome.status}]")
            found.final_url, found.http_status = outcome.url, outcome.status
            return found
        return page.read(
            b"".join(outcome.body.chunks()),
            url=url,
            final_url=outcome.url,
            http_status=outcome.status,
            headers=outcome.headers,
            country=self._country,
            limits=self._limits,
            truncated=outcome.truncated,
        )


def unread(url: str, code: str, detail: str) -> Page:
    return Page(url=url, final_url=url, problem=Problem(code, detail))
