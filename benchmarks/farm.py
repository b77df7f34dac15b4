"""Web sites by the thousand in one process on loopback: whatever the host's name, there is a site.

    python -m benchmarks.farm          # prints its port

Names have no port, as real sites' have none: whoever asks is sent here by other means (CONNECT_TO, and what
`benchmarks.crawlers` does to names). A site is asked six times and lists 3,000 URLs: robots.txt, a sitemap index,
three files of 100, 900 and 2,000 URLs, and a home page of 20 kB. Each answer takes 50 to 200 ms, longer for the one
host than for the other. What a host is named decides how it takes a second visit: below `tagged.example` it knows
ETag and Last-Modified, elsewhere it sends everything again. `Farm.move_on` makes all sites change in 1 % of their
URLs: a third each changed, gone or back, and new.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import requests

from tests.running import ROOT

FILES = (100, 900, 2_000)
URLS = sum(FILES)
ASKED = 6
TAGGED = "tagged.example"
PLAIN = "plain.example"
LATENCY = (0.050, 0.200)
SELF = "farm.example"
HOME_BYTES = 20_000
SITE = "@@"  # stands for scheme and authority in a body until it is known

_HEAD = re.compile(rb"GET (\S+) HTTP/1\.1\r\n(.*)\r\n\r\n", re.DOTALL)
_FIELD = re.compile(rb"^(host|if-none-match|if-modified-since): *([^\r\n]*)", re.IGNORECASE | re.MULTILINE)


# What the sites say


@lru_cache(maxsize=64)
def body(path: str, generation: int) -> bytes | None:
    """What any site answers, with `SITE` for its own address; None: there is no such thing."""
    if path == "/robots.txt":
        text = f"User-agent: *\nDisallow: /private/\nSitemap: {SITE}/sitemap_index.xml\n"
    elif path == "/sitemap_index.xml":
        files = "".join(f"<sitemap><loc>{SITE}/sitemap-{n}.xml</loc></sitemap>\n" for n in range(len(FILES)))
        text = f'<sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{files}</sitemapindex>'
    elif found := re.fullmatch(r"/sitemap-(\d)\.xml", path):
        text = _sitemap(int(found[1]), generation)
    elif path == "/":
        text = _home()
    else:
        return None
    return text.encode()


def _sitemap(number: int, generation: int) -> str:
    entries = "".join(_entry(number, n, generation) for n in range(FILES[number]))
    return f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{entries}</urlset>'


def _entry(number: int, n: int, generation: int) -> str:
    """The 1 %: every hundredth entry moves on, each third of them another way."""
    name, day = f"item-{n:05}", n % 28 + 1
    if n % 100 == 7 and generation:
        if n % 3 == 0 and generation % 2:
            return ""
        name = f"new-{n:05}-{generation}" if n % 3 == 1 else name
        day = (day + generation) % 28 + 1 if n % 3 == 2 else day
    return (
        f"<url><loc>{SITE}/catalogue/section-{number}/{name}.html?ref=sitemap&amp;page={n}</loc>"
        f"<lastmod>2026-{n % 12 + 1:02}-{day:02}T08:00:00+00:00</lastmod>"
        "<changefreq>weekly</changefreq><priority>0.5</priority></url>\n"
    )


def _home() -> str:
    head = (
        '<!doctype html><html lang="en"><head><title>A shop of many things</title>'
        '<meta name="description" content="All you need"></head><body>\n'
    )
    row = '<div class="card"><a href="/catalogue/section-0/item-{0:05}.html"><img src="/{0}.png">Item {0}</a></div>\n'
    rows = "".join(row.format(n) for n in range(HOME_BYTES // len(row)))
    return f"{head}{rows}</body></html>"


# How they say it


class Site(asyncio.Protocol):
    """One connection. Requests come one after another: nobody here sends ahead."""

    generation = 0
    asked = 0
    sent = 0
    conditional = 0  # answers without a body, because nothing changed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if found := _HEAD.match(self._buffer):
            self._buffer = b""
            fields = {name.lower(): value for name, value in _FIELD.findall(found[2])}
            self._take(found[1].decode(), fields)

    def _take(self, path: str, fields: dict[bytes, bytes]) -> None:
        host = fields[b"host"].decode()
        if host == SELF:
            self._transport.write(_answer(200, _told(path)))
            return
        answer = self._answer(host, path, fields)
        Site.asked += 1
        Site.sent += len(answer)
        asyncio.get_running_loop().call_later(latency(host, path), self._send, answer)

    def _answer(self, host: str, path: str, fields: dict[bytes, bytes]) -> bytes:
        is_tagged = host.endswith(TAGGED)
        generation = Site.generation if path.startswith("/sitemap-") else 0
        found = body(path, generation)
        if found is None:
            return _answer(404, b"not found")
        if not is_tagged:
            return _answer(200, _of(found, host), path)
        tag = f'"{zlib.crc32(path.encode()):x}-{generation}"'
        if fields.get(b"if-none-match", b"").decode() == tag:
            Site.conditional += 1
            return _answer(304, b"", path, tag)
        return _answer(200, _of(found, host), path, tag)

    def _send(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


def latency(host: str, path: str) -> float:
    """Seconds, the same for everyone who asks for the same."""
    least, most = LATENCY
    return least + (most - least) * (zlib.crc32(f"{host.partition('.')[0]}{path}".encode()) % 1000) / 1000


def _of(text: bytes, host: str) -> bytes:
    return text.replace(SITE.encode(), f"http://{host}".encode())


def _answer(status: int, content: bytes, path: str = "", tag: str = "") -> bytes:
    kind = "application/xml" if path.endswith(".xml") else "text/plain" if path.endswith(".txt") else "text/html"
    more = f"ETag: {tag}\r\nLast-Modified: Mon, 04 May 2026 08:00:00 GMT\r\n" if tag else ""
    length = "" if status == 304 else f"Content-Length: {len(content)}\r\n"
    return f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{length}{more}\r\n".encode() + content


def _told(path: str) -> bytes:
    if path == "/move-on":
        Site.generation += 1
    return f"{Site.asked} {Site.sent} {Site.conditional}".encode()


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Site, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# For those who use it


class Farm:
    """A running one. `environment` sends the platform's requests there."""

    def __init__(self, port: int, pid: int) -> None:
        self.port, self.pid = port, pid

    @property
    def environment(self) -> dict[str, str]:
        return {"SCRAPERSKY_CONNECT_TO": f"*:80:127.0.0.1:{self.port}"}

    def sites(self, name: str, count: int, *, kind: str = PLAIN) -> list[str]:
        """Names that nobody has used yet, if `name` is new."""
        return [f"{name}-{n}.{kind}" for n in range(count)]

    def move_on(self) -> None:
        self._ask("/move-on")

    def counted(self) -> tuple[int, int, int]:
        """Requests, bytes sent, and answers that said `unchanged`, since the start."""
        asked, sent, conditional = self._ask("/counted").split()
        return int(asked), int(sent), int(conditional)

    def _ask(self, path: str) -> str:
        return requests.get(f"http://127.0.0.1:{self.port}{path}", headers={"Host": SELF}, timeout=30).text


@contextmanager
def running() -> Iterator[Farm]:
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.farm"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Farm(int(process.stdout.readline()), process.pid)
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    asyncio.run(serve())
