"""Where a site's sitemaps may be: what robots.txt says, and the names that sites use without saying so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from app.errors import FetchError, Postponed, ScanFailed
from app.scanning import robots
from app.scanning.asking import Asker
from app.scanning.frontier import origin
from app.scanning.robots import Robots
from app.scanning.urls import site as parse_site
from app.scanning.values import Limits, Request, Response, RobotsRead, Site

# Names of which a site often has more than one (a sitemap and its compressed twin, an index beside a urlset),
# so all of them are asked for.
FREQUENT: Final = (
    "sitemap.xml",
    "sitemap_index.xml",
    "sitemap-index.xml",
    "wp-sitemap.xml",
    "sitemap.xml.gz",
    "sitemap_index.xml.gz",
    "sitemap-index.xml.gz",
    "sitemap.txt",
)
# Asked for only where none of those is: most of them are parts of something larger.
RARE: Final = (
    ".sitemap.xml",
    "sitemap",
    "sitemaps.xml",
    "sitemap1.xml",
    "sitemapindex.xml",
    "sitemap-0.xml",
    "admin/config/search/xmlsitemap",
    "sitemap/sitemap-index.xml",
    "sitemap_news.xml",
    "sitemap-news.xml",
    "sitemap_news.xml.gz",
    "sitemap-news.xml.gz",
)
FEEDS: Final = ("feed", "rss", "atom")

# Nothing usable speaks on that port: the other scheme may. A name that does not resolve is the same for both, and
# an answer of whatever status is an answer. Time-outs are among them because hosts without TLS often drop port 443.
OTHER_SCHEME: Final = frozenset(
    {"connect_refused", "connect_timeout", "connect_failed", "tls_failed", "reset", "timeout", "bad_response"}
)
NO_RULES: Final = frozenset({"too_many_redirects", "bad_redirect"})  # RFC 9309, 2.3.1.2: unavailable, as by a 404

Scheme = Literal["http", "https"]


@dataclass(frozen=True, slots=True)
class Settled:
    """robots.txt as it was found, and the scheme that the site answers."""

    rules: Robots
    scheme: Scheme
    http_status: int | None

    def event(self, agent: str) -> RobotsRead:
        return RobotsRead(
            url=self.rules.url,
            http_status=self.http_status,
            sitemaps=self.rules.sitemaps,
            crawl_delay=self.rules.crawl_delay(agent),
            disallows_all=self.rules.disallows_all(agent),
            scheme=self.scheme,
        )


def settle(site: Site, asker: Asker, limits: Limits, *, respect: bool) -> Settled:
    """Read robots.txt under the scheme the site answers. `respect` False: an unreadable one forbids nothing.

    :raises ScanFailed: the host is unreachable, or its robots.txt is (RFC 9309, 2.3.1.4: then nothing is allowed)
    """
    errors: list[FetchError] = []
    for scheme in schemes(site):
        url = f"{scheme}://{site.authority}/robots.txt"
        try:
            outcome = asker.one(Request(url=url, purpose="robots", max_bytes=limits.robots_bytes))
        except Postponed:
            if not errors:
                raise
            break  # the first scheme's failure set off the host's cool-down: it is the answer, and costs an attempt
        if isinstance(outcome, Response):
            with outcome:
                return _read(outcome, scheme, limits, respect=respect)
        if outcome.code in NO_RULES:
            return Settled(Robots("", url=url), scheme, None)
        errors.append(outcome)
        if outcome.code not in OTHER_SCHEME:
            break
    # a failure that may pass is worth more to know than one that will not: the scan can be tried again
    error = next((error for error in errors if error.retryable), errors[0])
    raise ScanFailed(error.code, error.detail, retry_after=error.retry_after)


def rules_of(url: str, asker: Asker, limits: Limits) -> Robots:
    """The rules of another host, that of `url`. If they cannot be had, nothing is allowed there.

    :raises Postponed, Aborted: as the fetcher
    """
    of = parse_site(origin(url), allow_special=True)
    try:
        return settle(of, asker, limits, respect=True).rules
    except ScanFailed:
        return Robots("User-agent: *\nDisallow: /", url=f"{origin(url)}/robots.txt")


def schemes(site: Site) -> tuple[Scheme, ...]:
    """The schemes to try, in order.

    >>> schemes(Site(host="a.example")), schemes(Site(host="a.example", scheme="http"))
    (('https', 'http'), ('http', 'https'))
    >>> schemes(Site(host="a.example", scheme="http", scheme_named=True))
    ('http',)
    """
    first = site.scheme or "https"
    if site.scheme_named:
        return (first,)
    return (first, "http" if first == "https" else "https")


def _read(response: Response, scheme: Scheme, limits: Limits, *, respect: bool) -> Settled:
    status = response.status
    if status == 429 and respect:
        raise ScanFailed("http_429", retry_after=retry_after(response))
    if status >= 500 and respect:
        raise ScanFailed("robots_unreachable", retry_after=retry_after(response))
    has_rules = 200 <= status < 300
    if has_rules and respect and response.truncated and response.body.size < limits.robots_bytes:
        # what did not arrive may forbid anything: a network error, as if nothing had come
        raise ScanFailed("robots_unreachable", "robots.txt broke off on its way, so nothing may be fetched (RFC 9309)")
    body = b"".join(response.body.chunks()) if has_rules else b""
    rules = robots.parse(body, url=response.url, limits=limits, truncated=response.truncated)
    return Settled(rules, scheme, status)


def retry_after(response: Response) -> float | None:
    """The pause a host asks for, where it says it in seconds; dates need a clock and are the fetcher's business."""
    said = response.headers.get("retry-after", "").strip()
    return float(said) if said.isascii() and said.isdigit() and len(said) < 7 else None


def guesses(site: Site, scheme: Scheme, names: Iterable[str]) -> Iterator[list[str]]:
    """Well-known URLs, one list a directory: the site's own path speaks of it more closely than the host's root.

    >>> list(guesses(Site(host="a.example", path="/shop/"), "https", ["s.xml"]))
    [['https://a.example/shop/s.xml'], ['https://a.example/s.xml']]
    """
    names = tuple(names)
    for directory in dict.fromkeys((site.path, "/")):
        yield [f"{scheme}://{site.authority}{directory}{name}" for name in names]


def authority(url: str) -> str:
    """Host and port.

    >>> authority("https://www.example.com/a"), authority("http://example.com:8080/")
    ('www.example.com', 'example.com:8080')
    """
    return url.split("/", 3)[2]


def bare_host(url: str) -> str:
    """Host and port without `www.`: a site and its `www` twin are one.

    >>> bare_host("https://www.example.com/a"), bare_host("http://example.com:8080/")
    ('example.com', 'example.com:8080')
    """
    return authority(url).removeprefix("www.")
