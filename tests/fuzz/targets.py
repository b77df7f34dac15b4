"""What must hold of any bytes at all. `python -m tests.fuzz` looks for some that break it; the suite replays its seeds.

A target takes bytes and asserts. It raises nothing of its own: whatever leaves it is a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Final

from app.errors import FetchError, InvalidUrl
from app.fetching.coding import BROKEN, decoder_for
from app.fetching.guard import Guard
from app.scanning import page, robots, sitemap
from app.scanning.entries import Entry
from app.scanning.urls import canonical
from app.scanning.values import Limits, Page, UrlEntry

URL: Final = "https://example.com/dir/sitemap.xml"
LIMITS: Final = Limits(sitemap_bytes=4 << 20, entries_per_file=20_000, extras_per_entry=50, text_length=1_024)
CODINGS: Final = ("gzip", "deflate", "br", "zstd")


def of_sitemap(data: bytes) -> None:
    """Read alike however it is cut; every URL is canonical; nothing is longer or more than the limits."""
    whole = list(_facts([data]))
    cut = data[0] + 1 if data else 1
    assert list(_facts([data[:cut], data[cut:]])) == whole
    for entry in whole:
        if isinstance(entry, UrlEntry):
            assert len(entry.images) <= LIMITS.extras_per_entry
            assert entry.priority is None or 0 <= entry.priority <= 1
            assert not any("\0" in text for text in _texts(entry))


def _facts(chunks: list[bytes]) -> Iterator[Entry | tuple[object, ...]]:
    parsed = sitemap.parse(chunks, url=URL, limits=LIMITS)
    for entry in parsed:
        assert canonical(entry.url, allow_special=True) == entry.url
        assert len(entry.listed) <= LIMITS.text_length
        yield entry
    assert parsed.complete is (parsed.problem is None)
    yield parsed.kind, parsed.problem, parsed.complete, tuple(parsed.rejected.items()), parsed.size


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(key)
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, UrlEntry | Page):
        for named in fields(value):
            yield from _texts(getattr(value, named.name))


def of_robots(data: bytes) -> None:
    """Every question has an answer, and every sitemap it names is a URL."""
    rules = robots.parse(data, url="https://example.com/robots.txt")
    for url in rules.sitemaps:
        assert canonical(url, allow_special=True) == url
    delay = rules.crawl_delay("ScraperSky")
    assert delay is None or 0 <= delay <= robots.MAX_CRAWL_DELAY
    path = data[-40:].decode("latin-1")
    try:
        asked = canonical("/" + path, base="https://example.com/")
    except InvalidUrl:
        asked = "https://example.com/"
    if rules.disallows_all("ScraperSky"):
        assert not rules.allowed(asked, "ScraperSky")


def of_page(data: bytes) -> None:
    """What a page gives can be stored: no NUL, no lone surrogate; and its links are URLs."""
    found = page.read(data, url="https://example.com/", http_status=200, headers={"content-type": "text/html"})
    for text in _texts(found):
        assert "\0" not in text
        text.encode()
    for url in (*found.links, *found.feeds, *found.sitemap_links):
        assert canonical(url, allow_special=True) == url


def of_url(data: bytes) -> None:
    """Canonical once is canonical for good, and what the guard lets through it takes apart as it stands."""
    text = data.decode("utf-8", "surrogateescape")  # lone surrogates are among what must be refused
    try:
        url = canonical(text, base=URL)
    except InvalidUrl:
        return
    assert url.isascii()
    assert canonical(url) == url
    try:
        target = Guard().check_url(url)
    except FetchError:
        return
    host = f"[{target.host}]" if ":" in target.host else target.host
    assert url.partition("#")[0] in (
        f"{target.scheme}://{host}{target.path}",
        f"{target.scheme}://{host}:{target.port}{target.path}",
    )


def of_coding(data: bytes) -> None:
    """A body undone in pieces is what it is at once; an error of its library ends it, nothing else."""
    coding = CODINGS[data[0] % len(CODINGS)] if data else "gzip"
    body, at = data[1:], len(data) // 2
    whole = _undone(coding, [body])
    assert whole == _undone(coding, [body[:at], body[at:]]) or whole[1] == "broken"  # what broke may have got further


def _undone(coding: str, chunks: list[bytes]) -> tuple[bytes, str]:
    decoder, out = decoder_for(coding), bytearray()
    try:
        for chunk in chunks:
            for piece in decoder.feed(chunk):
                out += piece
                if len(out) > LIMITS.sitemap_bytes:
                    return b"", "capped"
    except BROKEN:
        return b"", "broken"
    return bytes(out), "whole" if decoder.finished else "cut"


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "sitemap": of_sitemap,
    "robots": of_robots,
    "page": of_page,
    "url": of_url,
    "coding": of_coding,
}
