"""What `scan` prints: rows while it reads, or documents and a table at the end."""

from __future__ import annotations

import csv
import json
import sys
import threading
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Protocol

from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.cli.one_off import Result
from app.scanning.values import Lastmod, SitemapFile, UrlEntry
from app.services.spreadsheets import safe_cell

COLUMNS = ("domain", "url", "lastmod", "changefreq", "priority", "sitemap_url")
PRECISIONS = {"year": "%Y", "month": "%Y-%m", "day": "%Y-%m-%d"}
GOOD, BAD = "green", "red"


class Output(Protocol):
    def take(self, domain: str, entry: UrlEntry, file: SitemapFile) -> None:
        """One URL; from any thread."""

    def finish(self, results: Iterable[Result]) -> None: ...


class Rows:
    """One URL a line as it is read, CSV or JSON, in constant memory."""

    def __init__(self, *, as_csv: bool) -> None:
        self._lock = threading.Lock()
        self._csv = csv.writer(sys.stdout, lineterminator="\n") if as_csv else None
        if self._csv is not None:
            self._csv.writerow(COLUMNS)

    def take(self, domain: str, entry: UrlEntry, file: SitemapFile) -> None:
        with self._lock:
            if self._csv is not None:
                row = {"domain": domain, "sitemap_url": file.url, **url_view(entry)}
                self._csv.writerow([safe_cell(row[name]) for name in COLUMNS])
            else:
                row = {"domain": domain, **url_view(entry), "sitemap_url": file.url}
                sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")

    def finish(self, results: Iterable[Result]) -> None:  # noqa: ARG002 - the protocol's
        sys.stdout.flush()


class Document:
    """All that was found, as one JSON array with an object a domain."""

    def __init__(self) -> None:
        self._urls: dict[str, list[dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def take(self, domain: str, entry: UrlEntry, file: SitemapFile) -> None:
        row = {**url_view(entry), "sitemap_url": file.url}
        with self._lock:
            self._urls.setdefault(domain, []).append(row)

    def finish(self, results: Iterable[Result]) -> None:
        document = [{**result_view(result), "urls": self._urls.get(result.domain, [])} for result in results]
        json.dump(document, sys.stdout, ensure_ascii=False, indent=2)
        sys.stdout.write("\n")


class Summary:
    """A table, a line a domain."""

    def take(self, domain: str, entry: UrlEntry, file: SitemapFile) -> None:
        """The scan counts by itself."""

    def finish(self, results: Iterable[Result]) -> None:
        table = domain_table()
        for result in results:
            failure = result.failure
            table.add_row(
                result.domain,
                f"[{BAD}]failed[/]" if failure else f"[{GOOD}]{result.outcome}[/]",
                f"{result.stats.sitemaps:,}",
                f"{result.stats.urls:,}",
                plain(failure.detail if failure else result.name),
            )
        wide_console().print(table)


def domain_table() -> Table:
    table = Table(header_style="bold", pad_edge=False)
    table.add_column("domain", overflow="fold")
    table.add_column("result")
    table.add_column("sitemaps", justify="right")
    table.add_column("URLs", justify="right")
    table.add_column("title or error", overflow="fold")
    return table


def wide_console() -> Console:
    """Standard output; in a file or a pipe lines are not broken at 80 columns."""
    return Console(width=None if sys.stdout.isatty() else 160)


def plain(text: str) -> Text:
    r"""Foreign text for a table: no markup, no line breaks, no escape sequences.

    >>> plain("a [red]b\n\x1b[2J").plain
    'a [red]b ?[2J'
    """
    return Text("".join(char if char.isprintable() else "?" for char in " ".join(text.split())))


def url_view(entry: UrlEntry) -> dict[str, Any]:
    """A URL as the API shows it, empty extensions left out."""
    view: dict[str, Any] = {
        "url": entry.url,
        "lastmod": moment(entry.lastmod),
        "changefreq": entry.changefreq,
        "priority": entry.priority,
    }
    extras = {
        "images": entry.images,
        "videos": entry.videos,
        "news": entry.news,
        "alternates": entry.alternates,
    }
    return {**view, **{name: value for name, value in extras.items() if value}}


def moment(lastmod: Lastmod | None) -> str | None:
    """As precise as the site said it: a year is not its first of January.

    >>> from datetime import UTC, datetime
    >>> moment(Lastmod(datetime(2014, 1, 1, tzinfo=UTC), "year", "2014"))
    '2014'
    """
    if lastmod is None or lastmod.at is None:
        return None
    return lastmod.at.strftime(PRECISIONS.get(lastmod.precision or "", "%Y-%m-%dT%H:%M:%SZ"))


def result_view(result: Result) -> dict[str, Any]:
    failure = result.failure
    return {
        "domain": result.domain,
        "status": "failed" if failure else "complete",
        "outcome": result.outcome,
        "error": {"code": failure.code, "detail": failure.detail, "retryable": failure.retryable} if failure else None,
        "stats": asdict(result.stats),
        "sitemaps": [_file_view(file) for file in result.files],
        "pages": [asdict(page) for page in result.pages],
    }


def _file_view(file: SitemapFile) -> dict[str, Any]:
    return {
        "url": file.url,
        "parent": file.parent,
        "discovered_by": file.discovered_by,
        "type": file.kind,
        "status": file.status,
        "http_status": file.http_status,
        "bytes": file.bytes,
        "url_count": file.url_count,
        "error": asdict(file.problem) if file.problem else None,
    }
