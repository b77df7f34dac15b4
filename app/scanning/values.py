"""The values that scanning takes and gives. Nothing here does anything: no I/O, no clock."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from types import TracebackType
from typing import Any, Literal, NamedTuple, Protocol, Self

from app.errors import FetchError

MIB = 1 << 20

Purpose = Literal["robots", "sitemap", "page"]
DocumentKind = Literal["urlset", "index", "text", "rss", "rdf", "atom", "jsonfeed", "html", "empty", "unknown"]
DiscoveredBy = Literal["robots", "well_known", "home_page", "index", "stored"]
FileStatus = Literal["pending", "read", "partial", "unchanged", "not_a_sitemap", "failed", "gone"]
LastmodPrecision = Literal["year", "month", "day", "minute", "second"]
ScanOutcome = Literal["sitemaps_found", "incomplete", "no_sitemap", "unchanged", "disallowed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Caps that keep one site from taking the machine. Sizes in bytes, decoded unless said otherwise."""

    robots_bytes: int = 500 * 1024
    sitemap_bytes: int = 512 * MIB
    page_bytes: int = 8 * MIB
    entries_per_file: int = 2_000_000
    extras_per_entry: int = 1_000  # images, videos or alternates of one URL
    text_length: int = 8_192  # of any one field that is kept
    url_length: int = 2_048
    urls: int | None = None  # of this site, that its tenant has room for; nobody asked for no more


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanOptions:
    """What a caller may ask of one scan; names and meaning as in docs/api.md."""

    max_pages: int = 1
    max_urls: int = 5_000_000
    max_sitemaps: int = 5_000
    max_depth: int = 5
    respect_robots: bool = True
    force: bool = False
    per_host_concurrency: int = 2
    crawl_delay: float | None = None
    timeout_seconds: int = 3_600
    thorough: bool = False
    country: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What is scanned: a host (ASCII, lower case) with an optional non-default port and base path.

    `scheme` is set when the user named one, or when an earlier scan learnt it; None means https, then http.
    `path` starts and ends with `/`.
    """

    host: str
    port: int | None = None
    path: str = "/"
    scheme: Literal["http", "https"] | None = None
    scheme_named: bool = False  # the user named it: no falling back to the other one

    @property
    def authority(self) -> str:
        return self.host if self.port is None else f"{self.host}:{self.port}"


class Body(Protocol):
    """A received body, complete and at rest (in memory or in an unlinked file), read as often as wanted."""

    @property
    def size(self) -> int:
        """Bytes after the content coding was undone."""

    @property
    def sha256(self) -> bytes:
        """Digest of those bytes."""

    def chunks(self, size: int = 65_536) -> Iterator[bytes]: ...

    def close(self) -> None: ...


class BytesBody:
    """A body held in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size(self) -> int:
        return len(self._data)

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(self._data).digest()

    def chunks(self, size: int = 65_536) -> Iterator[bytes]:
        for start in range(0, len(self._data), size):
            yield self._data[start : start + size]

    def close(self) -> None:
        return


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One thing to fetch. `max_bytes` caps the decoded body: what lies beyond is not read (`truncated`)."""

    url: str
    purpose: Purpose
    max_bytes: int
    etag: str | None = None
    last_modified: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An HTTP answer of any status, after redirects. Header names are lower case.

    `url` is the final one; `truncated` tells that the body ended early (cap reached, or the connection broke
    after a part had come): what came is usable as a part, never as the whole.
    """

    requested_url: str
    url: str
    status: int
    headers: Mapping[str, str]
    body: Body
    wire_bytes: int = 0
    redirects: tuple[str, ...] = ()
    truncated: bool = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.body.close()


class Fetcher(Protocol):
    """The way out, handed in by the caller. Politeness and the address guard live behind it."""

    def fetch(self, request: Request) -> Response:
        """Fetch one thing.

        :raises FetchError: typed, with a stable code
        :raises Postponed: the host wants a longer pause than a slot may sleep
        :raises Aborted: the scan must end
        """

    def fetch_all(self, requests: Sequence[Request], *, concurrency: int) -> Iterator[Response | FetchError]:
        """Fetch several, `concurrency` at a time; outcomes in the order of the requests.

        :raises Postponed, Aborted: as `fetch`
        """

    def set_crawl_delay(self, seconds: float) -> None:
        """Hold requests to this scan's host at least this far apart from now on."""


class Lastmod(NamedTuple):
    """An instant in UTC and how precisely it was said; `raw` is kept when it could not be understood."""

    at: datetime | None
    precision: LastmodPrecision | None
    raw: str


@dataclass(slots=True)
class UrlEntry:
    """One URL a sitemap lists: `url` is its identity (canonical, absolute), `listed` what stood there.

    Extension values are dicts of strings, keyed by the extension's local tag names (`loc`, `title`, …), nested names
    and attributes joined with `_`; lists where something is said several times.
    """

    url: str
    listed: str
    lastmod: Lastmod | None = None
    changefreq: str | None = None
    priority: float | None = None
    images: Sequence[dict[str, Any]] = ()
    videos: Sequence[dict[str, Any]] = ()
    news: dict[str, Any] | None = None
    alternates: Sequence[dict[str, str]] = ()  # {"hreflang", "href"}
    mobile: bool = False
    pagemap: Sequence[dict[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class ChildEntry:
    """One sitemap file an index lists."""

    url: str
    listed: str
    lastmod: Lastmod | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a document was read only in part, or not at all. `line` counts from 1 where it is known.

    A sitemap's `code` is `partial` or `not_a_sitemap`; a file's may also be one of `errors.FETCH_FAILURES`, or the cap
    of the scan that ended it.
    """

    code: str
    detail: str
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A sitemap file to fetch, and how it came to be known."""

    url: str
    discovered_by: DiscoveredBy
    parent: str | None = None
    depth: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """What an earlier scan kept of a sitemap file, for conditional requests and the content-hash skip."""

    url: str
    kind: DocumentKind
    etag: str | None
    last_modified: str | None
    content_hash: bytes | None
    url_count: int
    children: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class SitemapFile:
    """One fetched document of the sitemap tree. Filled while `SitemapRead.entries` is consumed.

    `complete` is True only if the document was read whole: only then may missing URLs count as removed.
    """

    url: str
    final_url: str
    discovered_by: DiscoveredBy
    parent: str | None
    depth: int
    kind: DocumentKind = "unknown"
    status: FileStatus = "pending"
    http_status: int | None = None
    content_hash: bytes | None = None
    bytes: int = 0
    url_count: int = 0  # entries handed on, duplicates within the file included
    rejected: dict[str, int] = field(default_factory=dict)  # reason → how many entries were no URLs
    children: list[ChildEntry] = field(default_factory=list)
    problem: Problem | None = None
    retryable: bool = False  # of a failed file
    etag: str | None = None
    last_modified: str | None = None
    complete: bool = False
    oversized: bool = False


@dataclass(slots=True, kw_only=True)
class ScanStats:
    """What a scan did, counted over all its attempts."""

    sitemaps: int = 0
    sitemaps_failed: int = 0
    urls: int = 0
    pages: int = 0
    requests: int = 0
    bytes: int = 0
    not_modified: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RobotsRead:
    """robots.txt was settled (also when there is none)."""

    url: str
    http_status: int | None
    sitemaps: tuple[str, ...]
    crawl_delay: float | None
    disallows_all: bool
    scheme: Literal["http", "https"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SitemapRead:
    """A sitemap file came in. The consumer draws `entries`, or `batches` of them, to the end, then reads `file`, and
    goes on.

    A file that failed may come a second time, when it was tried again. `done` of `known` files have come so far.
    """

    file: SitemapFile
    batches: Iterable[Sequence[UrlEntry]]  # as they are read: some hundreds at a time
    stats: ScanStats = field(default_factory=ScanStats)  # live: grows with the scan
    done: int = 0
    known: int = 0

    @property
    def entries(self) -> Iterator[UrlEntry]:
        return chain.from_iterable(self.batches)


@dataclass(slots=True, kw_only=True)
class Page:
    """The metadata of one HTML page. What was not found is None or empty: nothing is invented."""

    url: str
    final_url: str
    http_status: int | None = None
    title: str | None = None
    description: str | None = None
    language: str | None = None
    canonical: str | None = None
    favicon: str | None = None
    logo: str | None = None
    open_graph: dict[str, str] = field(default_factory=dict)
    json_ld_types: list[str] = field(default_factory=list)
    emails: list[str] = field(default_factory=list)
    phones: list[str] = field(default_factory=list)
    social_links: dict[str, str] = field(default_factory=dict)  # network → URL
    technologies: list[dict[str, str | None]] = field(default_factory=list)  # name, category, version
    contact_form: bool | None = None
    robots_meta: str | None = None
    feeds: list[str] = field(default_factory=list)
    sitemap_links: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)  # same-site pages worth reading, the most useful first, capped
    page_type: str | None = None
    partial: bool = False
    problem: Problem | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRead:
    """A page was fetched (or could not be: then `page.problem` says why and all else is empty)."""

    page: Page
    is_home: bool
    stats: ScanStats = field(default_factory=ScanStats)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanFinished:
    """The last event of a scan that did not fail."""

    outcome: ScanOutcome
    stats: ScanStats


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """What choosing further pages takes of the home page. `links` are those worth reading, the best first."""

    url: str
    final_url: str
    canonical: str | None = None
    links: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """Comes just before `Postponed` leaves the scan: what only the scan itself can tell its next attempt.

    A host with a long crawl delay answers about one request an attempt. If what was asked in vain were forgotten,
    it would be asked again for ever.
    """

    missed: frozenset[str]
    pending: tuple[Candidate, ...]
    home: Home | None
    stats: ScanStats


Event = RobotsRead | SitemapRead | PageRead | Interrupted | ScanFinished


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Where an earlier attempt of the same scan got to: `done` files are not fetched again, failed ones included.

    To have failures tried again in a new attempt, leave them out of `done` and put them into `pending`.
    `missed`, `home` (and the rest of `pending`) come from `Interrupted`.
    """

    done: Mapping[str, FileStatus] = field(default_factory=dict)
    pending: Sequence[Candidate] = ()
    missed: frozenset[str] = frozenset()
    pages_done: frozenset[str] = frozenset()
    home: Home | None = None
    stats: ScanStats = field(default_factory=ScanStats)


class Inventory(Protocol):
    """What earlier scans of the site kept, asked for while scanning. Answers come from short transactions."""

    def stored_file(self, url: str) -> StoredFile | None: ...

    def page_candidates(self, limit: int) -> Sequence[str]:
        """URLs of the site in sitemap order, to choose further pages from."""
