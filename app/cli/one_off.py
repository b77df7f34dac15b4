"""One scan in this process: no servers, nothing stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from app.errors import Postponed, ScanFailed
from app.fetching.client import Transport
from app.fetching.control import Control
from app.scanning import scan
from app.scanning.values import (
    Candidate,
    FileStatus,
    Home,
    Interrupted,
    Page,
    PageRead,
    Resume,
    RobotsRead,
    ScanFinished,
    ScanOptions,
    ScanOutcome,
    ScanStats,
    Site,
    SitemapFile,
    SitemapRead,
    StoredFile,
    UrlEntry,
)

CANDIDATES = 5_000  # URLs remembered to choose further pages from
Take = Callable[[UrlEntry, SitemapFile], None]


@dataclass(slots=True, kw_only=True)
class Result:
    """What came of one domain: an outcome, or the failure that ended it."""

    domain: str
    outcome: ScanOutcome | None = None
    failure: ScanFailed | None = None
    robots: RobotsRead | None = None
    files: list[SitemapFile] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)
    home: Page | None = None
    stats: ScanStats = field(default_factory=ScanStats)

    @property
    def name(self) -> str:
        """The home page's title, if there is one."""
        return (self.home.title if self.home else None) or ""


class Memory:
    """`Inventory` without a past: it knows what this scan has listed so far."""

    def __init__(self) -> None:
        self.listed: dict[str, None] = {}

    def stored_file(self, url: str) -> StoredFile | None:  # noqa: ARG002 - the protocol's
        return None

    def page_candidates(self, limit: int) -> Sequence[str]:
        return list(self.listed)[:limit]


class OneOff:
    """`take` is given each URL as it is read, from the thread that runs the scan."""

    def __init__(
        self, site: Site, options: ScanOptions, *, transport: Transport, agent: str, control: Control, take: Take
    ) -> None:
        self.result = Result(domain=f"{site.authority}{site.path}".rstrip("/"))
        self._site = site
        self._options = options
        self._control = control
        self._agent = agent
        self._take = take
        self._memory = Memory()
        self._fetcher = transport.fetcher(
            host=site.host,
            control=control,
            concurrency=options.per_host_concurrency,
            crawl_delay=options.crawl_delay,
        )
        self._missed: frozenset[str] = frozenset()
        self._pending: tuple[Candidate, ...] = ()
        self._home: Home | None = None

    def run(self) -> Result:
        """:raises Aborted: the control says so"""
        while True:
            try:
                self._attempt()
            except Postponed as postponed:
                self._control.wait(postponed.seconds)  # nobody else wants this slot
            except ScanFailed as failure:
                self.result.failure = failure
                return self._finished()
            else:
                return self._finished()

    def _attempt(self) -> None:
        for event in scan.run(
            self._site,
            self._options,
            fetcher=self._fetcher,
            inventory=self._memory,
            agent=self._agent,
            resume=self._resume(),
            check=self._control.check,
        ):
            self._control.check()
            match event:
                case RobotsRead():
                    self.result.robots = event
                case SitemapRead():
                    self._sitemap(event)
                case PageRead():
                    self._page(event)
                case Interrupted():
                    self._missed, self._pending, self._home = event.missed, event.pending, event.home
                    self.result.stats = event.stats
                case ScanFinished():
                    self.result.outcome, self.result.stats = event.outcome, event.stats

    def _sitemap(self, event: SitemapRead) -> None:
        for entry in event.entries:
            if len(self._memory.listed) < CANDIDATES:
                self._memory.listed[entry.url] = None
            self._take(entry, event.file)
        self.result.files = [file for file in self.result.files if file.url != event.file.url]  # it may come again
        self.result.files.append(event.file)
        self.result.stats = event.stats

    def _page(self, event: PageRead) -> None:
        self.result.pages.append(event.page)
        if event.is_home:
            self.result.home = event.page

    def _resume(self) -> Resume:
        done: dict[str, FileStatus] = {file.url: file.status for file in self.result.files}
        return Resume(
            done=done,
            pending=self._pending,
            missed=self._missed,
            pages_done=frozenset(page.url for page in self.result.pages),
            home=self._home,
            stats=self.result.stats,
        )

    def _finished(self) -> Result:
        sent = self._fetcher.stats
        self.result.stats.requests = max(self.result.stats.requests, sent.requests)
        self.result.stats.bytes = max(self.result.stats.bytes, sent.wire_bytes)
        return self.result
