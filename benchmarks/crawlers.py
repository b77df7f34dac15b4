"""Other people's ways of reading sites' sitemaps: `python crawlers.py NAME THREADS DSN PORT`, where they are
installed.

Says "ready"; takes a line of JSON, a list of sites' names, reads them all, and answers {"done": …}; asked once more it
answers with how many URLs it found and the sum of their hashes, which is not part of the work measured. Stands alone:
it imports nothing of ours. Names below `.example` are at that port of loopback, as the platform is told by CONNECT_TO.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
import socket
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any, Self
from urllib.parse import urlsplit

AT_ONCE = 64  # sites, as the platform has slots
COLUMNS = "url, lastmod, changefreq, priority"
Row = tuple[str, str, str, str]


def to_loopback(farm: int) -> None:
    """Names of the farm's sites need no DNS; all those who ask take the port from the answer too."""
    asked = socket.getaddrinfo

    def answered(host: Any, port: Any, *more: Any, **named: Any) -> Any:
        is_site = (host.decode() if isinstance(host, bytes) else str(host)).endswith(".example")
        return asked("127.0.0.1", farm, *more, **named) if is_site else asked(host, port, *more, **named)

    socket.getaddrinfo = answered


def _tsv(rows: Iterable[Iterable[str]]) -> bytes:
    return "".join("\t".join(row) + "\n" for row in rows).encode()


# Scrapy, with a COPY a file: an item a URL would cost it many times as much


def scrapy(_: int, dsn: str) -> Callable[[list[str]], None]:
    from scrapy import Request, Spider  # noqa: PLC0415
    from scrapy.crawler import AsyncCrawlerRunner  # noqa: PLC0415
    from scrapy.utils.reactor import install_reactor  # noqa: PLC0415
    from scrapy.utils.sitemap import Sitemap, sitemap_urls_from_robots  # noqa: PLC0415

    install_reactor("twisted.internet.asyncioreactor.AsyncioSelectorReactor")
    from twisted.internet import reactor  # noqa: PLC0415

    class Sites(Spider):
        name = "sites"

        def __init__(self, sites: list[str], pool: Connections) -> None:
            super().__init__()
            self._sites, self._pool = sites, pool

        async def start(self) -> Any:
            for site in self._sites:
                yield Request(f"http://{site}/robots.txt", self.robots)
                yield Request(f"http://{site}/", self.home)

        def robots(self, response: Any) -> Any:
            for url in sitemap_urls_from_robots(response.body, base_url=response.url):
                yield Request(url, self.sitemap)

        async def sitemap(self, response: Any) -> Any:
            found = Sitemap(response.body)
            if found.type == "sitemapindex":
                for entry in found:
                    yield Request(entry["loc"], self.sitemap)
                return
            file = f"{response.url}\t"
            keys = ("loc", "lastmod", "changefreq", "priority")
            rows = "".join(file + "\t".join([entry.get(key, r"\N") for key in keys]) + "\n" for entry in found)
            async with self._pool.one() as connection:
                statement = f"COPY peer.scrapy_urls (file, {COLUMNS}) FROM STDIN"
                async with connection.cursor() as cursor, cursor.copy(statement) as copy:
                    await copy.write(rows.encode())

        async def home(self, response: Any) -> None:
            row = (response.url, response.css("title::text").get())
            async with self._pool.one() as connection:
                await connection.execute("INSERT INTO peer.scrapy_pages VALUES (%s, %s)", row)

    settings = {
        "CONCURRENT_REQUESTS": 2 * AT_ONCE,
        "CONCURRENT_REQUESTS_PER_DOMAIN": 2,
        "COOKIES_ENABLED": False,
        "DNS_RESOLVER": "scrapy.resolver.CachingHostnameResolver",
        "DOWNLOAD_DELAY": 0,
        "DUPEFILTER_CLASS": "scrapy.dupefilters.BaseDupeFilter",
        "LOG_ENABLED": False,
        "REACTOR_THREADPOOL_MAXSIZE": 64,
        "ROBOTSTXT_OBEY": False,
        "SCHEDULER_PRIORITY_QUEUE": "scrapy.pqueues.DownloaderAwarePriorityQueue",
        "TELNETCONSOLE_ENABLED": False,
    }

    def crawl(sites: list[str]) -> None:
        async def all_of_it() -> None:
            async with Connections(dsn, 4) as pool:
                await AsyncCrawlerRunner(settings).crawl(Sites, sites=sites, pool=pool)

        asyncio.get_event_loop().run_until_complete(all_of_it())

    reactor.startRunning(installSignalHandlers=False)
    return crawl


# A bare client of our own: the least that the same writes can be had for


def bare(_: int, dsn: str) -> Callable[[list[str]], None]:
    from lxml import etree, html  # noqa: PLC0415

    space = "{http://www.sitemaps.org/schemas/sitemap/0.9}"
    tags = [f"{space}{name}" for name in ("loc", "lastmod", "changefreq", "priority")]

    async def scan(site: str, pool: Connections) -> None:
        async with Http(site) as http:
            robots = await http.get("/robots.txt")
            domain = await pool.execute(_CLAIM, (site,))
            waiting = re.findall(r"^Sitemap: (\S+)", robots.decode(), re.MULTILINE)
            while waiting:
                url = waiting.pop(0)
                root = etree.fromstring(await http.get(urlsplit(url).path))
                if root.tag == f"{space}sitemapindex":
                    waiting += [loc.text for loc in root.iter(tags[0])]
                    rows = b""
                else:
                    rows = _tsv(map(_row, root))
                await land(pool, domain, url, rows)
            title = html.fromstring(await http.get("/")).findtext(".//title")
            home = f"http://{site}/"
            await pool.execute(_END, (domain, site, home, home, title))

    def _row(entry: Any) -> list[str]:
        found = {child.tag: child.text for child in entry}
        return [found.get(tag, r"\N") for tag in tags]

    async def land(pool: Connections, domain: str, url: str, rows: bytes) -> None:
        async with pool.one() as connection, connection.transaction(), connection.cursor() as cursor:
            await cursor.execute(_STAGE)
            async with cursor.copy(f"COPY staged ({COLUMNS}) FROM STDIN") as copy:
                await copy.write(rows)
            await cursor.execute(_LAND, (domain, url, url))

    async def all_of_it(sites: list[str]) -> None:
        slots = asyncio.Semaphore(AT_ONCE)
        async with Connections(dsn, 8) as pool:

            async def one(site: str) -> None:
                async with slots:
                    await scan(site, pool)

            await asyncio.gather(*map(one, sites))

    return lambda sites: asyncio.run(all_of_it(sites))


_STAGE = f"CREATE TEMP TABLE IF NOT EXISTS staged ({COLUMNS.replace(',', ' text,')} text) ON COMMIT DELETE ROWS"
# As a job is claimed and ended, with its domain, and each file with what was met at it: in tables like the platform's.
_CLAIM = """
    WITH site AS (INSERT INTO peer.domains (tenant_id, host, scan_count) VALUES (peer.nobody(), %s, 1) RETURNING id)
    INSERT INTO peer.jobs (tenant_id, domain_id, status, lease_token, lease_until, started_at, scan_no)
    SELECT peer.nobody(), id, 'running', gen_random_uuid(), now() + interval '1 minute', now(), 1 FROM site
    RETURNING domain_id"""
_LAND = """
    WITH file AS (
        INSERT INTO peer.sitemap_files (tenant_id, domain_id, url_hash, url, last_scan)
        VALUES (peer.nobody(), %s, md5(%s)::uuid, %s, 1) RETURNING id, domain_id
    ), met AS (
        INSERT INTO peer.sitemap_reads (tenant_id, job_id, file_id, discovered_by, depth, status)
        SELECT peer.nobody(), j.id, file.id, 'robots', 0, 'read' FROM file JOIN peer.jobs j USING (domain_id)
    )
    INSERT INTO peer.sitemap_urls (tenant_id, file_id, url_hash, from_scan, url, lastmod, changefreq, priority)
    SELECT DISTINCT ON (md5(s.url)::uuid) peer.nobody(), file.id, md5(s.url)::uuid, 1, s.url, s.lastmod::timestamptz,
           s.changefreq, s.priority::real
    FROM staged s, file ORDER BY md5(s.url)::uuid"""
_END = """
    WITH ended AS (
        UPDATE peer.jobs SET status = 'complete', outcome = 'sitemaps_found', lease_token = NULL, lease_until = NULL,
               finished_at = now() WHERE domain_id = %s RETURNING id, domain_id
    ), seen AS (
        UPDATE peer.domains d SET url_count = 3000, last_scanned_at = now() FROM ended
        WHERE d.host = %s AND d.id = ended.domain_id
    ), page AS (
        INSERT INTO peer.pages (tenant_id, domain_id, url_hash, url, title)
        SELECT peer.nobody(), domain_id, md5(%s)::uuid, %s, %s FROM ended RETURNING id
    )
    INSERT INTO peer.page_reads (tenant_id, job_id, page_id, is_home)
    SELECT peer.nobody(), ended.id, page.id, true FROM ended, page"""


class Http:
    """One kept connection to a site; knows GET, and bodies with a length."""

    def __init__(self, site: str) -> None:
        self._site = site

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._site, 80, limit=1 << 20)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def get(self, path: str) -> bytes:
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: {self._site}\r\nAccept: */*\r\n\r\n".encode())
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if not head.startswith(b"HTTP/1.1 200 ") or length is None:
            raise RuntimeError(f"{self._site}{path}: {head!r}")
        return await self._reader.readexactly(int(length[1]))


class Connections:
    """To PostgreSQL, lent out one at a time."""

    def __init__(self, dsn: str, size: int) -> None:
        self._dsn, self._size = dsn, size

    async def __aenter__(self) -> Self:
        import psycopg  # noqa: PLC0415

        made = [await psycopg.AsyncConnection.connect(self._dsn, autocommit=True) for _ in range(self._size)]
        self._free: asyncio.Queue[Any] = asyncio.Queue()
        for connection in made:
            self._free.put_nowait(connection)
        self._all = made
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self._all:
            await connection.close()

    def one(self) -> _Lent:
        return _Lent(self._free)

    async def execute(self, statement: str, values: tuple[Any, ...]) -> Any:
        """The first column of the first row, if there is one."""
        async with self.one() as connection:
            cursor = await connection.execute(statement, values)
            row = await cursor.fetchone() if cursor.description else None
            return row and row[0]


class _Lent:
    def __init__(self, free: asyncio.Queue[Any]) -> None:
        self._free = free

    async def __aenter__(self) -> Any:
        self._connection = await self._free.get()
        return self._connection

    async def __aexit__(self, *_: object) -> None:
        self._free.put_nowait(self._connection)


# Two that keep nothing


def usp(threads: int, _: str) -> Callable[[list[str]], list[str]]:
    from usp.tree import sitemap_tree_for_homepage  # noqa: PLC0415

    def read(site: str) -> list[str]:
        tree = sitemap_tree_for_homepage(f"http://{site}/", use_known_paths=False)
        return [page.url for page in tree.all_pages()]

    return _in_threads(read, threads)


def advertools(threads: int, _: str) -> Callable[[list[str]], list[str]]:
    from advertools import sitemap_to_df  # noqa: PLC0415

    def read(site: str) -> list[str]:
        return list(sitemap_to_df(f"http://{site}/robots.txt")["loc"].dropna())

    return _in_threads(read, threads)


def _in_threads(read: Callable[[str], list[str]], threads: int) -> Callable[[list[str]], list[str]]:
    def read_all(sites: list[str]) -> list[str]:
        with ThreadPoolExecutor(threads) as pool:
            return list(chain.from_iterable(pool.map(read, sites)))

    return read_all


CRAWLERS: dict[str, Callable[[int, str], Callable[[list[str]], list[str] | None]]] = {
    "Scrapy": scrapy,
    "asyncio": bare,
    "ultimate-sitemap-parser": usp,
    "advertools": advertools,
}


def main() -> None:
    name, threads, dsn, port = sys.argv[1:]
    logging.disable(logging.CRITICAL)
    to_loopback(int(port))
    crawl = CRAWLERS[name](int(threads), dsn)
    print("ready", flush=True)
    for line in sys.stdin:
        found = crawl(json.loads(line)) or []
        print(json.dumps({"done": len(found)}), flush=True)
        sys.stdin.readline()
        digest = sum(int(hashlib.md5(url.encode()).hexdigest()[:15], 16) for url in found)
        print(json.dumps({"urls": len(found), "digest": digest}), flush=True)


if __name__ == "__main__":
    main()
