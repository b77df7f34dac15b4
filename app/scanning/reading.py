"""From an answer to a sitemap file: what became of it, and its entries as a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from app.errors import FETCH_FAILURES, FetchError
from app.scanning import sitemap
from app.scanning.asking import Outcome, http_failure
from app.scanning.encoding import Check
from app.scanning.entries import Entry
from app.scanning.frontier import Ask
from app.scanning.values import (
    ChildEntry,
    DocumentKind,
    FileStatus,
    Limits,
    Problem,
    Response,
    ScanOptions,
    ScanStats,
    SitemapFile,
    StoredFile,
    UrlEntry,
)

FOUND: Final[frozenset[FileStatus]] = frozenset({"read", "partial", "unchanged"})
NO_SITEMAP: Final[frozenset[DocumentKind]] = frozenset({"html", "empty", "unknown"})


@dataclass(slots=True)
class Opened:
    """A sitemap file whose entries are still to be drawn. Its status is settled but for `read` and `partial`."""

    file: SitemapFile
    batches: Iterable[Sequence[UrlEntry]] = ()
    is_duplicate: bool = False  # the document was read under another name

    @property
    def is_found(self) -> bool:
        return self.file.status in FOUND


class Reader:
    """Counts the URLs it hands on into `stats`, and stops at the caps of `options`, or where `check` raises."""

    def __init__(self, options: ScanOptions, limits: Limits, stats: ScanStats, *, check: Check | None) -> None:
        self._options = options
        self._limits = limits
        room = options.max_urls if limits.urls is None else limits.urls
        self._has_room = room >= options.max_urls
        self._most = min(options.max_urls, room)
        self._stats = stats
        self._check = check

    @property
    def is_full(self) -> bool:
        return self._stats.urls >= self._most

    @property
    def lacks_room(self) -> bool:
        """Full, and earlier than the caller wanted."""
        return self.is_full and not self._has_room

    def open(self, ask: Ask, outcome: Outcome, stored: StoredFile | None) -> Opened:
        """Tell what an answer is. Of a body no more is read here than shows whether it is a sitemap."""
        file = blank(ask)
        if isinstance(outcome, FetchError):
            return _failed(file, outcome.code, outcome.detail)
        file.final_url = outcome.url
        file.http_status = outcome.status
        file.bytes = outcome.body.size
        if outcome.status == 304 and stored is not None:
            return _unchanged(file, outcome, stored)
        if outcome.status in (404, 410):
            file.status = "gone"
            file.problem = Problem("http_4xx", f"the host says there is no such file ({outcome.status})")
            return Opened(file)
        if not 200 <= outcome.status < 300:
            return _failed(file, http_failure(outcome.status), None)
        return self._document(file, outcome, stored)

    def _document(self, file: SitemapFile, response: Response, stored: StoredFile | None) -> Opened:
        if stored is not None and self._is_same(response, stored):
            return _unchanged(file, response, stored)
        parsed = sitemap.parse(
            response.body.chunks(),
            url=response.url,
            limits=self._limits,
            truncated=response.truncated,
            check=self._check,
        )
        first = next(parsed.batches, None)
        file.kind = parsed.kind
        if first is None and parsed.problem is not None and parsed.problem.code == "not_a_sitemap":
            file.status = "not_a_sitemap"
            file.problem = parsed.problem
            return Opened(file)
        file.status = "read"
        return Opened(file, self._entries(file, response, parsed, () if first is None else (first,)))

    def _is_same(self, response: Response, stored: StoredFile) -> bool:
        if self._options.force or response.truncated or stored.kind in NO_SITEMAP:
            return False
        return stored.content_hash is not None and response.body.sha256 == stored.content_hash

    def _entries(
        self, file: SitemapFile, response: Response, parsed: sitemap.Parse, first: Iterable[Sequence[Entry]]
    ) -> Iterator[Sequence[UrlEntry]]:
        capped: Problem | None = None
        file.status = "partial"  # until its end was seen
        for batch in chain(first, parsed.batches):
            kept, capped = self._kept(file, batch)
            if kept:
                file.url_count += len(kept)
                self._stats.urls += len(kept)
                yield kept
            if capped:
                break
        _conclude(file, response, parsed, capped)

    def _kept(self, file: SitemapFile, batch: Sequence[Entry]) -> tuple[Sequence[UrlEntry], Problem | None]:
        """The URLs of a batch, up to the cap, which is told of if it was met; what names files goes to the file."""
        room = self._most - self._stats.urls
        kept: list[UrlEntry] = []
        for entry in batch:
            if isinstance(entry, ChildEntry):
                if len(file.children) >= self._options.max_sitemaps:
                    return kept, Problem("max_sitemaps", "the index names more files than are read of one site")
                file.children.append(entry)
            elif len(kept) >= room:
                return kept, self._capped()
            else:
                kept.append(entry)
        return kept, None

    def _capped(self) -> Problem:
        if not self._has_room:
            return Problem("quota_exceeded", "the tenant keeps as many URLs as it may")
        return Problem("max_urls", "as many URLs were read as are read of one site")


def _conclude(file: SitemapFile, response: Response, parsed: sitemap.Parse, capped: Problem | None) -> None:
    file.kind = parsed.kind
    file.rejected = dict(parsed.rejected)
    file.oversized = parsed.oversized
    file.problem = capped or parsed.problem
    file.complete = parsed.complete and capped is None
    file.status = "read" if file.complete else "partial"
    if capped is None and not response.truncated:
        # what was cut short by us or on the way must not look unchanged the next time
        file.etag = response.headers.get("etag")
        file.last_modified = response.headers.get("last-modified")
        file.content_hash = response.body.sha256


def blank(ask: Ask) -> SitemapFile:
    candidate = ask.candidate
    return SitemapFile(
        url=candidate.url,
        final_url=ask.url,
        discovered_by=candidate.discovered_by,
        parent=candidate.parent,
        depth=candidate.depth,
    )


def duplicate(ask: Ask, response: Response | None = None) -> Opened:
    """A file that proved to be one that was read under another name: nothing stands in it that is not there."""
    file = blank(ask)
    if response is not None:
        file.final_url, file.http_status, file.bytes = response.url, response.status, response.body.size
    file.status = "read"
    file.complete = True
    return Opened(file, is_duplicate=True)


def _failed(file: SitemapFile, code: str, detail: str | None) -> Opened:
    failure = FETCH_FAILURES[code]
    file.status = "failed"
    file.problem = Problem(code, detail or failure.text)
    file.retryable = failure.retryable
    return Opened(file)


def _unchanged(file: SitemapFile, response: Response, stored: StoredFile) -> Opened:
    file.status = "unchanged"
    file.kind = stored.kind
    file.complete = True
    file.url_count = stored.url_count
    file.children = [ChildEntry(url, url) for url in stored.children]
    file.etag = response.headers.get("etag") or stored.etag
    file.last_modified = response.headers.get("last-modified") or stored.last_modified
    file.content_hash = stored.content_hash
    return Opened(file)
