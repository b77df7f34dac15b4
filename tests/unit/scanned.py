"""Runs a scan over a fake web and keeps what came of it, as a consumer of its events would."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.scanning import scan, urls
from app.scanning.values import (
    Fetcher,
    Interrupted,
    Limits,
    Page,
    Resume,
    RobotsRead,
    ScanFinished,
    ScanOptions,
    Site,
    SitemapFile,
    SitemapRead,
    StoredFile,
    UrlEntry,
)
from tests.fakes import FakeFetcher, Resource

AGENT = "ScraperSky"
BASE = "https://example.com"


class FakeInventory:
    def __init__(self, *stored: StoredFile, candidates: Sequence[str] = ()) -> None:
        self.stored = {file.url: file for file in stored}
        self.candidates = candidates

    def stored_file(self, url: str) -> StoredFile | None:
        return self.stored.get(url)

    def page_candidates(self, limit: int) -> Sequence[str]:
        return self.candidates[:limit]


@dataclass
class Scanned:
    fetcher: Any  # the one given, or a fake over the web that was
    robots: RobotsRead | None = None
    files: list[SitemapFile] = field(default_factory=list)
    entries: list[UrlEntry] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)
    progress: list[tuple[int, int]] = field(default_factory=list)
    interrupted: Interrupted | None = None
    finished: ScanFinished | None = None
    error: BaseException | None = None

    @property
    def urls(self) -> set[str]:
        return {entry.url for entry in self.entries}

    @property
    def outcome(self) -> str | None:
        return self.finished and self.finished.outcome

    @property
    def statuses(self) -> dict[str, str]:
        """By URL, the last word on each file."""
        return {file.url: file.status for file in self.files}

    def file(self, url: str) -> SitemapFile:
        return [file for file in self.files if file.url == url][-1]

    def take(self, event: Any) -> None:
        if isinstance(event, SitemapRead):
            self.entries += event.entries
            self.files.append(event.file)
            self.progress.append((event.done, event.known))
        elif isinstance(event, RobotsRead):
            self.robots = event
        elif isinstance(event, Interrupted):
            self.interrupted = event
        elif isinstance(event, ScanFinished):
            self.finished = event
        else:
            self.pages.append(event.page)


def scanned(
    web: Mapping[str, Resource] | Fetcher,
    site: Site | str = BASE,
    *,
    stored: Sequence[StoredFile] = (),
    candidates: Sequence[str] = (),
    resume: Resume | None = None,
    limits: Limits | None = None,
    check: Callable[[], object] | None = None,
    raises: type[BaseException] | tuple[()] = (),
    **options: Any,
) -> Scanned:
    """Scan to the end. Without other word no pages are fetched; an error of the kind `raises` is kept."""
    fetcher: Any = FakeFetcher(web) if isinstance(web, Mapping) else web
    result = Scanned(fetcher)
    events = scan.run(
        urls.site(site, allow_special=True) if isinstance(site, str) else site,
        ScanOptions(**{"max_pages": 0, **options}),
        fetcher=fetcher,
        inventory=FakeInventory(*stored, candidates=candidates),
        agent=AGENT,
        resume=resume or Resume(),
        limits=limits or Limits(),
        check=check,
    )
    try:
        for event in events:
            result.take(event)
    except raises as error:
        result.error = error
    return result


def ok(body: str | bytes, **headers: str) -> Resource:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return 200, named, body.encode() if isinstance(body, str) else body


def urlset(*locs: str) -> str:
    return "<urlset>" + "".join(f"<url><loc>{loc}</loc></url>" for loc in locs) + "</urlset>"


def index(*locs: str) -> str:
    return "<sitemapindex>" + "".join(f"<sitemap><loc>{loc}</loc></sitemap>" for loc in locs) + "</sitemapindex>"


def robots(*sitemaps: str, rules: str = "") -> Resource:
    return ok("\n".join([f"User-agent: *\n{rules}", *(f"Sitemap: {url}" for url in sitemaps)]))
