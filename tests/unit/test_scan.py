"""What a scan does, step by step, over a fake web."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import replace
from itertools import pairwise

import pytest

from app.errors import Aborted, FetchError, Postponed, ScanFailed
from app.scanning import scan
from app.scanning.urls import site
from app.scanning.values import (
    BytesBody,
    Candidate,
    ChildEntry,
    Interrupted,
    Limits,
    Response,
    Resume,
    ScanOptions,
    ScanStats,
    Site,
    SitemapRead,
    StoredFile,
)
from tests.fakes import FakeFetcher
from tests.unit.scanned import AGENT, BASE, FakeInventory, Scanned, index, ok, robots, scanned, urlset

ROBOTS = f"{BASE}/robots.txt"
MAP = f"{BASE}/sitemap.xml"
PAGE = f"{BASE}/page"
HTML = ok("<!doctype html><title>Everything is fine</title><p>Not found", content_type="text/html")
REFUSED = FetchError("connect_refused")


class Sometimes:
    """Answers from a list, the last one for ever."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def __call__(self, request):
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Everywhere(FakeFetcher):
    """A site that answers everything it does not know with one page."""

    def __init__(self, resources, *, page=HTML):
        super().__init__(resources)
        self.page = page

    def _answer(self, url, request):
        self.urls.append(url)
        return self.resources.get(url, self.page)


def stored(url=MAP, body=b"", **values):
    values = {"kind": "urlset", "etag": None, "last_modified": None, "url_count": 1, **values}
    return StoredFile(url=url, content_hash=hashlib.sha256(body).digest(), **values)


# -- robots.txt and the scheme ------------------------------------------------------------------------------


def test_https_is_tried_first():
    result = scanned({MAP: ok(urlset(PAGE))}, "example.com")

    assert result.robots.scheme == "https"
    assert result.fetcher.urls[0] == ROBOTS
    assert result.urls == {PAGE}


@pytest.mark.parametrize(
    "code", ["connect_refused", "connect_timeout", "connect_failed", "tls_failed", "reset", "timeout", "bad_response"]
)
def test_a_site_without_https_is_scanned_over_http(code):
    web = {ROBOTS: FetchError(code), "http://example.com/sitemap.xml": ok(urlset("/page"))}

    result = scanned(web, "example.com")

    assert result.robots.scheme == "http"
    assert result.urls == {"http://example.com/page"}


def test_the_learnt_scheme_is_tried_first():
    learnt = Site(host="example.com", scheme="http")

    assert scanned({}, learnt).fetcher.urls[0] == "http://example.com/robots.txt"


def test_a_named_scheme_is_the_only_one():
    result = scanned({ROBOTS: REFUSED}, "https://example.com", raises=ScanFailed)

    assert result.error.code == "connect_refused"
    assert result.fetcher.urls == [ROBOTS]


def test_a_name_that_does_not_resolve_is_not_asked_for_twice():
    result = scanned({ROBOTS: FetchError("dns_not_found")}, "example.com", raises=ScanFailed)

    assert (result.error.code, result.fetcher.urls) == ("dns_not_found", [ROBOTS])


def test_of_two_failures_the_one_that_may_pass_is_told():
    web = {ROBOTS: FetchError("tls_failed"), "http://example.com/robots.txt": FetchError("timeout")}

    error = scanned(web, "example.com", raises=ScanFailed).error

    assert (error.code, error.retryable) == ("timeout", True)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_robots_4xx_forbids_nothing(status):
    """Security P1; RFC 9309, 2.3.1.3."""
    result = scanned({ROBOTS: (status, {}, b"User-agent: *\nDisallow: /"), MAP: ok(urlset(PAGE))})

    assert result.robots.http_status == status
    assert result.urls == {PAGE}


@pytest.mark.parametrize(
    ("status", "code"), [(500, "robots_unreachable"), (503, "robots_unreachable"), (429, "http_429")]
)
def test_robots_that_cannot_be_had_now_ends_the_scan_for_now(status, code):
    """Security P1; RFC 9309, 2.3.1.4: 5xx forbids everything."""
    result = scanned({ROBOTS: (status, {"Retry-After": "120"}, b""), MAP: ok(urlset(PAGE))}, raises=ScanFailed)

    assert (result.error.code, result.error.retryable, result.error.retry_after) == (code, True, 120.0)
    assert result.fetcher.urls == [ROBOTS]


def test_robots_5xx_stops_nobody_who_ignores_robots():
    result = scanned({ROBOTS: (500, {}, b""), MAP: ok(urlset(PAGE))}, respect_robots=False)

    assert result.urls == {PAGE}


def test_robots_that_broke_off_on_its_way_may_forbid_anything():
    """RFC 9309, 2.3.1.4: a network error is no permission."""
    web = BrokenOff({ROBOTS: robots(rules="Disallow: /a\nDisallow: /b"), MAP: ok(urlset(PAGE))})

    failed = scanned(web, raises=ScanFailed)

    assert (failed.error.code, failed.error.retryable, web.urls) == ("robots_unreachable", True, [ROBOTS])
    assert scanned(web, respect_robots=False).urls == {PAGE}


class BrokenOff(FakeFetcher):
    """robots.txt never arrives whole."""

    def fetch(self, request):
        response = super().fetch(request)
        if request.purpose != "robots":
            return response
        return replace(response, body=BytesBody(b"".join(response.body.chunks())[:-4]), truncated=True)


def test_robots_that_is_too_long_counts_as_far_as_it_is_read():
    """Security P1: and the line in which that ends is no rule."""
    head, half = b"User-agent: *\nDisallow: /sitemap.txt\n#", b"\nDisallow: /"
    body = head + b"-" * (Limits().robots_bytes - len(head + half)) + half + b"private\n"

    result = scanned({ROBOTS: ok(body), MAP: ok(urlset(PAGE)), f"{BASE}/sitemap.txt": ok(urlset("/b"))})

    assert result.urls == {PAGE}


@pytest.mark.parametrize("hops", [1, 5])
def test_robots_on_another_host_rules_the_one_it_was_asked_for(hops):
    """RFC 9309, 2.3.1.2."""
    path = [ROBOTS, *(f"https://host-{n}.example.net/robots.txt" for n in range(1, hops + 1))]
    web = {here: (302, {"location": there}, b"") for here, there in pairwise(path)}
    web |= {path[-1]: robots(rules="Disallow: /sitemap.xml"), MAP: ok(urlset(PAGE)), f"{BASE}/sitemap.txt": ok(PAGE)}

    result = scanned(web)

    assert MAP not in result.fetcher.urls
    assert result.files[0].url == f"{BASE}/sitemap.txt"


def test_robots_that_redirects_for_ever_counts_as_none():
    result = scanned({ROBOTS: (301, {"location": ROBOTS}, b""), MAP: ok(urlset(PAGE))})

    assert result.urls == {PAGE}


def test_a_web_page_in_place_of_robots_has_no_rules():
    result = scanned({ROBOTS: ok("<html><p>Disallow: /</p>"), MAP: ok(urlset(PAGE))})

    assert result.urls == {PAGE}
    assert not result.robots.disallows_all


def test_robots_lines_are_relative_to_where_it_was_found():
    web = {ROBOTS: (301, {"location": "https://www.example.com/robots.txt"}, b"")}
    web["https://www.example.com/robots.txt"] = ok("Sitemap: /map.xml")
    web["https://www.example.com/map.xml"] = ok(urlset("/page"))

    assert scanned(web).urls == {"https://www.example.com/page"}


@pytest.mark.parametrize(
    ("line", "asked", "delay"), [("7", None, 7.0), ("7", 9.0, 9.0), ("7", 1.0, 7.0), ("", 2.0, 2.0)]
)
def test_the_longer_crawl_delay_counts(line, asked, delay):
    result = scanned({ROBOTS: robots(rules=f"Crawl-delay: {line}")}, crawl_delay=asked)

    assert result.fetcher.delays == [delay]


def test_named_sitemaps_are_read_whatever_the_rules():
    result = scanned({ROBOTS: robots(MAP, rules="Disallow: /"), MAP: ok(urlset(PAGE))})

    assert (result.urls, result.outcome) == ({PAGE}, "sitemaps_found")


def test_a_site_that_disallows_everything_is_left_alone():
    result = scanned({ROBOTS: robots(rules="Disallow: /"), MAP: ok(urlset(PAGE))}, max_pages=1)

    assert result.outcome == "disallowed"
    assert result.fetcher.urls == [ROBOTS]
    assert [page.problem.code for page in result.pages] == ["disallowed"]


def test_rules_can_be_ignored_but_not_what_they_name():
    web = {ROBOTS: robots(f"{BASE}/a.xml", rules="Disallow: /"), f"{BASE}/a.xml": ok(urlset(PAGE)), f"{BASE}/": HTML}

    result = scanned(web, respect_robots=False, max_pages=1)

    assert result.urls == {PAGE}
    assert result.pages[0].title == "Everything is fine"


# -- discovery ----------------------------------------------------------------------------------------------


USUAL_NAMES = [
    "sitemap.xml",
    "sitemap_index.xml",
    "sitemap-index.xml",
    "wp-sitemap.xml",
    "sitemap.xml.gz",
    "sitemap_index.xml.gz",
    "sitemap-index.xml.gz",
    ".sitemap.xml",
    "sitemap",
    "sitemap.txt",
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
    "feed",
    "rss",
    "atom",
]


def test_the_usual_names_are_all_asked_for_and_no_other():
    asked = scanned({}).fetcher.urls

    assert sorted(asked) == sorted([ROBOTS, f"{BASE}/", *(f"{BASE}/{name}" for name in USUAL_NAMES)])


@pytest.mark.parametrize("name", USUAL_NAMES)
def test_every_usual_name_is_found(name):
    body = gzip.compress(urlset(PAGE).encode()) if name.endswith(".gz") else urlset(PAGE)

    result = scanned({f"{BASE}/{name}": ok(body)})

    assert result.urls == {PAGE}
    assert [(file.url, file.discovered_by) for file in result.files] == [(f"{BASE}/{name}", "well_known")]


def test_usual_names_are_not_guessed_where_robots_names_one():
    result = scanned({ROBOTS: robots(f"{BASE}/a.xml"), f"{BASE}/a.xml": ok(urlset(PAGE)), MAP: ok(urlset("/b"))})

    assert result.fetcher.urls == [ROBOTS, f"{BASE}/a.xml"]
    assert result.files[0].discovered_by == "robots"


def test_thorough_guesses_all_the_same():
    web = {ROBOTS: robots(f"{BASE}/a.xml"), f"{BASE}/a.xml": ok(urlset(PAGE)), f"{BASE}/sitemap1.xml": ok(urlset("/b"))}

    assert scanned(web, thorough=True).urls == {PAGE, f"{BASE}/b"}


def test_usual_names_are_guessed_where_robots_leads_nowhere():
    result = scanned({ROBOTS: robots(f"{BASE}/gone.xml"), MAP: ok(urlset(PAGE))})

    assert result.urls == {PAGE}
    assert result.statuses == {f"{BASE}/gone.xml": "gone", MAP: "read"}
    assert result.outcome == "sitemaps_found"


def test_a_site_may_have_several_of_the_usual_names():
    result = scanned({MAP: ok(urlset("/a")), f"{BASE}/sitemap-index.xml": ok(urlset("/b"))})

    assert result.urls == {f"{BASE}/a", f"{BASE}/b"}


def test_guesses_keep_to_the_rules():
    result = scanned({ROBOTS: robots(rules="Disallow: /sitemap"), MAP: ok(urlset(PAGE))})

    assert result.outcome == "no_sitemap"
    assert MAP not in result.fetcher.urls


def test_a_site_that_answers_everything_with_a_page_has_no_sitemap():
    result = scanned(Everywhere({ROBOTS: robots()}), max_pages=1)

    assert (result.files, result.outcome) == ([], "no_sitemap")


def test_a_named_file_that_is_a_page_is_recorded_as_such():
    result = scanned({ROBOTS: robots(MAP), MAP: HTML})

    assert result.statuses == {MAP: "not_a_sitemap"}
    assert result.file(MAP).problem.code == "not_a_sitemap"
    assert result.outcome == "no_sitemap"


def test_one_document_under_two_usual_names_is_one_file():
    web = {MAP: (301, {"location": "/wp-sitemap.xml"}, b""), f"{BASE}/wp-sitemap.xml": ok(urlset(PAGE))}

    result = scanned(web)

    assert [(file.url, file.final_url) for file in result.files] == [(MAP, f"{BASE}/wp-sitemap.xml")]
    assert len(result.entries) == 1


def test_a_site_that_answers_to_any_name_with_its_sitemap_has_one():
    result = scanned(Everywhere({ROBOTS: robots(), f"{BASE}/": HTML}, page=ok(urlset(PAGE))), thorough=True)

    assert [file.url for file in result.files] == [MAP]
    assert len(result.entries) == 1


def test_a_copy_that_was_a_file_of_its_own_stays_one():
    copy = f"{BASE}/sitemap_index.xml"
    web = {MAP: ok(urlset(PAGE)), copy: ok(urlset(PAGE))}

    result = scanned(web, stored=[stored(copy, b"what it was")])

    assert [(file.url, file.url_count) for file in result.files] == [(MAP, 1), (copy, 1)]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_site_that_leads_every_name_to_its_home_page_has_no_sitemap(status):
    web = Everywhere({ROBOTS: robots(), f"{BASE}/": HTML}, page=(status, {"location": "/"}, b""))

    assert scanned(web).outcome == "no_sitemap"


def test_a_path_on_a_host_has_sitemaps_of_its_own():
    web = {MAP: ok(urlset("/host")), f"{BASE}/shop/sitemap.xml": ok(urlset("/shop/a"))}

    assert scanned(web, f"{BASE}/shop/").urls == {f"{BASE}/shop/a"}


def test_a_path_without_a_sitemap_falls_back_to_the_host():
    assert scanned({MAP: ok(urlset("/shop/a"))}, f"{BASE}/shop/").urls == {f"{BASE}/shop/a"}


def test_robots_speaks_for_the_host_so_the_path_is_asked_as_well():
    web = {ROBOTS: robots(MAP), MAP: ok(urlset("/host")), f"{BASE}/shop/sitemap.xml": ok(urlset("/shop/a"))}

    assert scanned(web, f"{BASE}/shop/").urls == {f"{BASE}/host", f"{BASE}/shop/a"}


def test_robots_that_names_the_paths_own_sitemap_is_enough():
    own = f"{BASE}/shop/map.xml"

    result = scanned({ROBOTS: robots(own), own: ok(urlset("/shop/a"))}, f"{BASE}/shop/")

    assert result.fetcher.urls == [ROBOTS, own]


@pytest.mark.parametrize(
    ("markup", "named"),
    [
        ("<link rel='sitemap' href='/my-map.xml'>", f"{BASE}/my-map.xml"),
        ("<LINK REL='Sitemap Alternate' TYPE='application/xml' HREF='my-map'>", f"{BASE}/my-map"),
        ("<base href='/maps/'><link rel=sitemap href='all.xml'>", f"{BASE}/maps/all.xml"),
        ("<link rel=sitemap href='https://www.example.com/all.xml'>", "https://www.example.com/all.xml"),
        ("<a href='/about.xml'></a><a href='/my_sitemap.xml'>Map</a>", f"{BASE}/my_sitemap.xml"),
        ("<footer><a href='/sitemaps/all.xml.gz'>Map</a></footer>", f"{BASE}/sitemaps/all.xml.gz"),
        ("<a href='/sitemap.php?lang=en'>Map</a>", f"{BASE}/sitemap.php?lang=en"),
        ("<a href='/karte.xml'><span>Site map</span></a>", f"{BASE}/karte.xml"),
        ("<a href='/karte'>XML sitemap</a>", f"{BASE}/karte"),
    ],
)
def test_the_home_page_may_name_a_sitemap(markup, named):
    result = scanned({f"{BASE}/": ok(f"<!doctype html>{markup}"), named: ok(urlset(PAGE))})

    assert [entry.listed for entry in result.entries] == [PAGE]
    assert (result.files[0].url, result.files[0].discovered_by) == (named, "home_page")
    assert result.pages == []  # none was asked for


@pytest.mark.parametrize(
    "markup",
    [
        "<link rel=sitemap href='https://elsewhere.example.net/sitemap.xml'>",
        "<a href='https://elsewhere.example.net/sitemap.xml'>Map</a>",
        "<link rel=alternate type='application/rss+xml' href='https://elsewhere.example.net/sitemap.xml'>",
    ],
)
def test_a_home_page_vouches_for_no_other_host(markup):
    """Security P3: only robots.txt or an index hands a site's sitemaps to another host."""
    web = {f"{BASE}/": ok(f"<!doctype html>{markup}"), "https://elsewhere.example.net/sitemap.xml": ok(urlset(PAGE))}

    result = scanned(web)

    assert (result.outcome, result.files) == ("no_sitemap", [])
    assert not [url for url in result.fetcher.urls if "elsewhere" in url]


def test_where_the_home_page_has_moved_to_is_the_site():
    there = "https://brand.example.net"
    web = {
        f"{BASE}/": (301, {"location": f"{there}/"}, b""),
        f"{there}/": ok("<!doctype html><a href=/all-sitemap.xml>Map</a>"),
        f"{there}/all-sitemap.xml": ok(urlset("/page")),
    }

    assert scanned(web).urls == {f"{there}/page"}


def test_a_sitemap_named_on_the_fetched_home_page_is_read_beside_others():
    web = {
        ROBOTS: robots(MAP),
        MAP: ok(urlset("/a")),
        f"{BASE}/": ok("<!doctype html><link rel=sitemap href=/more.xml><link rel=sitemap href=/sitemap.xml>"),
        f"{BASE}/more.xml": ok(urlset("/b")),
    }

    result = scanned(web, max_pages=1)

    assert result.urls == {f"{BASE}/a", f"{BASE}/b"}
    assert result.fetcher.urls.count(MAP) == 1
    assert result.fetcher.urls.count(f"{BASE}/") == 1


def test_feeds_are_the_last_resort():
    feed = "<rss version='2.0'><channel><item><link>/news</link></item></channel></rss>"
    home = ok("<!doctype html><link rel=alternate type='application/rss+xml' href='/news.rss'>")
    web = {f"{BASE}/": home, f"{BASE}/news.rss": ok(feed)}

    alone = scanned(web)
    beside = scanned({**web, MAP: ok(urlset(PAGE))}, max_pages=1)

    assert (alone.urls, alone.files[0].kind) == ({f"{BASE}/news"}, "rss")
    assert beside.urls == {PAGE}


@pytest.mark.parametrize(
    "kind", ["application/atom+xml; charset=utf-8", "text/xml", "Application/RSS+XML", "application/rss"]
)
def test_a_feed_is_known_by_the_types_it_is_given(kind):
    feed = ok("<rss version='2.0'><channel><item><link>/news</link></item></channel></rss>")
    home = ok(f"<!doctype html><link rel=alternate type='{kind}' href='/news.rss'>")

    result = scanned({f"{BASE}/": home, f"{BASE}/news.rss": feed})

    assert (result.urls, result.files[0].discovered_by) == ({f"{BASE}/news"}, "home_page")


def test_no_feed_stands_in_for_a_sitemap_that_failed():
    feed = ok("<rss version='2.0'><channel><item><link>/news</link></item></channel></rss>")

    result = scanned({ROBOTS: robots(MAP), MAP: (503, {}, b""), f"{BASE}/feed": feed}, raises=ScanFailed)

    assert result.error.code == "sitemaps_failed"


def test_a_sitemap_that_never_will_be_had_does_not_keep_the_feed_out():
    feed = ok("<rss version='2.0'><channel><item><link>/news</link></item></channel></rss>")
    web = {ROBOTS: robots("http://localhost/map.xml"), "http://localhost/map.xml": FetchError("blocked_url")}

    result = scanned({**web, f"{BASE}/feed": feed})

    assert (result.urls, result.outcome) == ({f"{BASE}/news"}, "incomplete")


# -- the tree -----------------------------------------------------------------------------------------------


def test_another_hosts_file_is_followed_where_robots_or_an_index_names_it():
    """Cross-submission: and its URLs are kept, of whatever host they are."""
    cdn, third = "https://cdn.example.net/all.xml", "https://third.example.org/b.xml"
    web = {ROBOTS: robots(cdn), cdn: ok(index("a.xml", third)), third: ok(urlset(f"{BASE}/c"))}
    web["https://cdn.example.net/a.xml"] = ok(urlset(f"{BASE}/a", "https://shop.example.net/b"))

    result = scanned(web)

    assert result.urls == {f"{BASE}/a", f"{BASE}/c", "https://shop.example.net/b"}
    assert {file.url: (file.discovered_by, file.parent) for file in result.files} == {
        cdn: ("robots", None),
        "https://cdn.example.net/a.xml": ("index", cdn),
        third: ("index", cdn),
    }


def test_pages_of_another_host_are_listed_but_not_visited():
    web = {ROBOTS: robots(MAP, rules="Disallow: /$"), MAP: ok(urlset(PAGE))}

    result = scanned(web, candidates=["https://shop.example.net/b", PAGE], max_pages=3)

    assert pages_of(result) == [f"{BASE}/", PAGE]
    assert "https://shop.example.net/b" not in result.fetcher.urls


def test_an_index_is_followed_relative_children_and_all():
    web = {
        ROBOTS: robots(f"{BASE}/maps/index.xml"),
        f"{BASE}/maps/index.xml": ok(index("a.xml", "/b.xml", "https://cdn.example.net/c.xml")),
        f"{BASE}/maps/a.xml": ok(urlset("/a")),
        f"{BASE}/b.xml": ok(urlset("/b")),
        "https://cdn.example.net/c.xml": ok(urlset("https://example.com/c")),
    }

    result = scanned(web)

    assert result.urls == {f"{BASE}/a", f"{BASE}/b", f"{BASE}/c"}
    child = result.file(f"{BASE}/maps/a.xml")
    assert (child.parent, child.depth, child.discovered_by) == (f"{BASE}/maps/index.xml", 1, "index")


def test_what_an_index_lists_is_trimmed_and_what_is_no_url_is_counted():
    """Security P3."""
    listed = ["\n  /a.xml\t", "file:///etc/passwd", "javascript:alert(1)", "ftp://example.com/b.xml", "", "a" * 9_000]
    web = {ROBOTS: robots(MAP), MAP: ok(index(*listed)), f"{BASE}/a.xml": ok(urlset(PAGE))}

    result = scanned(web)

    assert result.fetcher.urls == [ROBOTS, MAP, f"{BASE}/a.xml"]
    assert sum(result.file(MAP).rejected.values()) >= 4


def test_every_request_says_how_much_it_takes():
    """Security P1 and P3."""
    web = {ROBOTS: robots(MAP), MAP: ok(index("/a.xml")), f"{BASE}/a.xml": ok(urlset(PAGE)), f"{BASE}/": HTML}
    limits = Limits()

    asked = {request.purpose: request.max_bytes for request in scanned(web, max_pages=1).fetcher.requests}

    assert asked == {"robots": limits.robots_bytes, "sitemap": limits.sitemap_bytes, "page": limits.page_bytes}


def test_a_sitemap_is_cut_where_it_is_longer_than_is_taken():
    """Security P3: the cap is of the decoded size, over all layers of compression."""
    body = gzip.compress(gzip.compress(urlset(*(f"/{n}" for n in range(9_000))).encode()))

    file = scanned({ROBOTS: robots(MAP), MAP: ok(body)}, limits=Limits(sitemap_bytes=4_000)).file(MAP)

    assert (file.status, file.complete) == ("partial", False)
    assert 0 < file.url_count < 200


def test_cycles_and_self_links_are_read_once():
    """Security P3."""
    web = {
        ROBOTS: robots(MAP),
        MAP: ok(index(MAP, "/b.xml", "/sitemap.xml#x")),
        f"{BASE}/b.xml": ok(index(MAP, "/b.xml")),
    }

    result = scanned(web)

    assert result.fetcher.urls == [ROBOTS, MAP, f"{BASE}/b.xml"]
    assert [file.url for file in result.files] == [MAP, f"{BASE}/b.xml"]


def test_depth_is_limited():
    """Security P3."""
    web = {ROBOTS: robots(f"{BASE}/0"), **{f"{BASE}/{n}": ok(index(f"/{n + 1}")) for n in range(9)}}

    assert [file.depth for file in scanned(web).files] == [0, 1, 2, 3, 4, 5]
    assert [file.depth for file in scanned(web, max_depth=1).files] == [0, 1]


def test_a_redirect_to_a_file_that_was_read_lists_nothing_again():
    web = {
        ROBOTS: robots(MAP, f"{BASE}/old.xml"),
        MAP: ok(urlset(PAGE)),
        f"{BASE}/old.xml": (301, {"location": MAP}, b""),
    }

    result = scanned(web)

    assert len(result.entries) == 1
    old = result.file(f"{BASE}/old.xml")
    assert (old.status, old.final_url, old.url_count) == ("read", MAP, 0)
    assert result.finished.stats.sitemaps == 1


def test_a_child_that_another_file_redirected_to_is_not_fetched_again():
    web = {
        ROBOTS: robots(f"{BASE}/old.xml", f"{BASE}/index.xml"),
        f"{BASE}/old.xml": (302, {"location": "/new.xml"}, b""),
        f"{BASE}/index.xml": ok(index("/new.xml")),
        f"{BASE}/new.xml": ok(urlset(PAGE)),
    }

    result = scanned(web)

    assert result.fetcher.urls.count(f"{BASE}/new.xml") == 1
    assert len(result.entries) == 1


@pytest.mark.parametrize(("named", "answers"), [("http", "https"), ("https", "http")])
def test_a_file_named_under_the_scheme_that_is_dead_is_read_under_the_other(named, answers):
    listed = f"{named}://example.com/map.xml"
    web = {
        f"{named}://example.com/robots.txt": REFUSED,
        f"{answers}://example.com/robots.txt": robots(listed),
        listed: REFUSED,
        f"{answers}://example.com/map.xml": ok(urlset("/page")),
    }

    result = scanned(web, f"{answers}://example.com")

    assert (result.urls, result.outcome) == ({f"{answers}://example.com/page"}, "sitemaps_found")
    assert result.file(listed).final_url == f"{answers}://example.com/map.xml"


def test_another_hosts_file_named_under_http_is_read_where_only_https_answers():
    web = {
        ROBOTS: robots("http://cdn.example.net/map.xml"),
        "http://cdn.example.net/map.xml": REFUSED,
        "https://cdn.example.net/map.xml": ok(urlset(PAGE)),
    }

    assert scanned(web).urls == {PAGE}


@pytest.mark.parametrize("code", ["blocked_url", "blocked_address", "dns_not_found"])
def test_a_host_that_may_not_be_asked_is_not_asked_under_the_other_scheme(code):
    """Security P1 and P3: what robots.txt names goes through the fetcher's guard like anything else."""
    named = "http://internal.example.net/map.xml"
    web = {ROBOTS: robots(named, MAP), named: FetchError(code), MAP: ok(urlset(PAGE))}

    result = scanned(web)

    assert (result.file(named).status, result.file(named).problem.code) == ("failed", code)
    assert not [url for url in result.fetcher.urls if url.startswith("https://internal")]
    assert (result.urls, result.outcome) == ({PAGE}, "incomplete")


def test_what_another_host_has_under_https_is_not_asked_for_in_the_clear():
    named = "https://cdn.example.net/map.xml"

    result = scanned({ROBOTS: robots(named), named: REFUSED}, raises=ScanFailed)

    assert not [url for url in result.fetcher.urls if url.startswith("http:")]


def test_a_file_named_under_http_is_read_there_if_https_has_another_page():
    web = {ROBOTS: robots("http://example.com/map.xml"), f"{BASE}/map.xml": HTML}
    web["http://example.com/map.xml"] = ok(urlset(PAGE))

    assert scanned(web).urls == {PAGE}


def test_a_file_missing_under_both_schemes_is_gone_and_has_not_failed():
    web = {ROBOTS: robots("http://example.com/map.xml"), "http://example.com/map.xml": REFUSED, MAP: ok(urlset(PAGE))}

    result = scanned(web)

    assert result.statuses == {"http://example.com/map.xml": "gone", MAP: "read"}


def test_a_dead_foreign_host_is_asked_once_a_pass():
    children = [f"https://dead.example.net/{n}.xml" for n in range(20)]
    web = {ROBOTS: robots(MAP), MAP: ok(index(*children, "/a.xml")), f"{BASE}/a.xml": ok(urlset(PAGE))}
    web.update(dict.fromkeys(children, REFUSED))

    result = scanned(web)

    assert sum(url.startswith("https://dead") for url in result.fetcher.urls) == 2
    assert all(result.statuses[url] == "failed" for url in children)
    assert (result.urls, result.outcome) == ({PAGE}, "incomplete")


def test_one_site_reads_no_more_files_than_allowed():
    """Security P3."""
    web = {ROBOTS: robots(MAP), MAP: ok(index(*(f"/{n}.xml" for n in range(9))))}
    web.update({f"{BASE}/{n}.xml": ok(urlset(f"/{n}")) for n in range(9)})

    result = scanned(web, max_sitemaps=3)

    assert len(result.files) == 3
    assert not result.file(MAP).complete  # it names more files than were kept
    assert result.file(MAP).status == "partial"


def test_one_site_lists_no_more_urls_than_allowed():
    """Security P3."""
    web = {ROBOTS: robots(MAP, f"{BASE}/b.xml"), MAP: ok(urlset(*(f"/{n}" for n in range(9))), etag='"1"')}
    web[f"{BASE}/b.xml"] = ok(urlset("/b"))

    result = scanned(web, max_urls=4, per_host_concurrency=1)

    capped = result.file(MAP)
    assert len(result.entries) == 4
    assert (capped.status, capped.complete, capped.problem.code) == ("partial", False, "max_urls")
    assert (capped.content_hash, capped.etag) == (None, None)  # or the rest would count as known the next time


def test_a_tenant_without_room_gets_what_fits_and_is_told():
    """Unlike the caller's own cap, which asks for no more."""
    result = scanned({MAP: ok(urlset(*(f"/{n}" for n in range(9))), etag='"1"')}, limits=Limits(urls=4))

    capped = result.file(MAP)
    assert len(result.entries) == 4
    assert (capped.status, capped.complete, capped.problem.code) == ("partial", False, "quota_exceeded")
    assert (capped.content_hash, capped.etag) == (None, None)
    assert result.outcome == "incomplete"


def test_files_that_are_not_read_for_want_of_room_make_a_scan_incomplete():
    web = {ROBOTS: robots(MAP, f"{BASE}/b.xml"), MAP: ok(urlset("/1", "/2")), f"{BASE}/b.xml": ok(urlset("/b"))}

    result = scanned(web, limits=Limits(urls=2), per_host_concurrency=1)

    assert (result.file(MAP).complete, len(result.files), result.outcome) == (True, 1, "incomplete")


def test_a_site_that_just_fits_the_room_is_whole():
    assert (
        scanned({ROBOTS: robots(MAP), MAP: ok(urlset("/1", "/2"))}, limits=Limits(urls=2)).outcome == "sitemaps_found"
    )


def test_without_any_room_a_site_is_not_said_to_have_no_sitemap():
    result = scanned({ROBOTS: robots(MAP), MAP: ok(urlset("/1", "/2"))}, limits=Limits(urls=0))

    assert (result.files, result.outcome) == ([], "incomplete")


def test_the_callers_own_cap_goes_before_a_room_that_is_larger():
    result = scanned({MAP: ok(urlset("/1", "/2"))}, max_urls=1, limits=Limits(urls=5))
    assert (result.file(MAP).problem.code, result.outcome) == ("max_urls", "sitemaps_found")


def test_a_file_that_just_fits_the_cap_is_whole():
    assert scanned({MAP: ok(urlset("/1", "/2"))}, max_urls=2).file(MAP).complete


def test_a_cool_down_set_off_by_the_first_scheme_does_not_hide_why():
    """Else the attempt would not count, and a dead host's job would wait for ever."""
    fetcher = FakeFetcher({ROBOTS: REFUSED, "http://example.com/robots.txt": _postpone})
    with pytest.raises(ScanFailed) as failed:
        list(scan.run(site("example.com"), ScanOptions(), fetcher=fetcher, inventory=FakeInventory(), agent=AGENT))
    assert failed.value.code == "connect_refused"


def _postpone(_):
    raise Postponed(seconds=30)


def test_a_file_read_in_part_makes_the_scan_incomplete():
    result = scanned({MAP: ok(urlset(f"{BASE}/1", f"{BASE}/2")[:-30])})
    assert (result.urls, result.outcome) == ({f"{BASE}/1"}, "incomplete")


def test_a_file_cut_off_by_the_callers_own_limit_does_not():
    result = scanned({MAP: ok(urlset(f"{BASE}/1", f"{BASE}/2"))}, max_urls=1)
    assert result.outcome == "sitemaps_found"


def test_a_damaged_file_is_partial():
    file = scanned({MAP: ok("<urlset><url><loc>/a</loc></url><url><lo")}).file(MAP)

    assert (file.status, file.complete, file.url_count) == ("partial", False, 1)
    assert file.content_hash  # it is what the site serves: it need not be read again until it changes


def test_what_a_transfer_cut_short_is_partial_and_read_again_the_next_time():
    class Cut(FakeFetcher):
        def fetch(self, request):
            response = super().fetch(request)
            if response.url != MAP:
                return response
            body = BytesBody(b"".join(response.body.chunks())[:-20])
            return Response(requested_url=MAP, url=MAP, status=200, headers=response.headers, body=body, truncated=True)

    file = scanned(Cut({MAP: ok(urlset("/a", "/b"), etag='"1"')})).file(MAP)

    assert (file.status, file.complete) == ("partial", False)
    assert (file.etag, file.content_hash) == (None, None)


# -- failures -----------------------------------------------------------------------------------------------


def test_a_child_that_fails_makes_the_scan_incomplete():
    web = {ROBOTS: robots(MAP), MAP: ok(index("/a.xml", "/b.xml")), f"{BASE}/a.xml": ok(urlset(PAGE))}
    web[f"{BASE}/b.xml"] = FetchError("body_too_large")

    result = scanned(web)

    failed = result.file(f"{BASE}/b.xml")
    assert (failed.status, failed.problem.code, failed.retryable) == ("failed", "body_too_large", False)
    assert (result.outcome, result.finished.stats.sitemaps_failed) == ("incomplete", 1)
    assert result.fetcher.urls.count(f"{BASE}/b.xml") == 1


@pytest.mark.parametrize(
    ("answer", "code", "retryable"),
    [
        ((503, {}, b""), "http_5xx", True),
        ((429, {}, b""), "http_429", True),
        ((403, {}, b""), "http_4xx", False),
        ((300, {}, b""), "bad_redirect", False),
        (FetchError("reset"), "reset", True),
    ],
)
def test_how_a_file_failed_is_told(answer, code, retryable):
    web = {ROBOTS: robots(MAP, f"{BASE}/a.xml"), f"{BASE}/a.xml": ok(urlset(PAGE)), MAP: answer}

    file = scanned(web).file(MAP)

    assert (file.status, file.problem.code, file.retryable) == ("failed", code, retryable)


def test_a_failure_that_passes_is_made_good_in_the_same_attempt():
    web = {ROBOTS: robots(MAP), MAP: ok(index("/a.xml", "/b.xml")), f"{BASE}/a.xml": ok(urlset("/a"))}
    web[f"{BASE}/b.xml"] = Sometimes((503, {}, b""), ok(index("/c.xml")))
    web[f"{BASE}/c.xml"] = ok(urlset("/c"))

    result = scanned(web)

    assert result.urls == {f"{BASE}/a", f"{BASE}/c"}
    assert (result.outcome, result.finished.stats.sitemaps_failed) == ("sitemaps_found", 0)


def test_a_failure_that_stays_is_asked_twice_and_no_more():
    web = {ROBOTS: robots(MAP), MAP: ok(index("/b.xml")), f"{BASE}/b.xml": (503, {}, b"")}

    result = scanned(web)

    assert result.fetcher.urls.count(f"{BASE}/b.xml") == 2
    assert (result.outcome, result.finished.stats.sitemaps_failed) == ("incomplete", 1)


@pytest.mark.parametrize(("answer", "retryable"), [((503, {}, b""), True), ((403, {}, b""), False)])
def test_a_scan_fails_when_every_sitemap_that_robots_names_did(answer, retryable):
    result = scanned({ROBOTS: robots(MAP), MAP: answer}, raises=ScanFailed)

    assert (result.error.code, result.error.retryable) == ("sitemaps_failed", retryable)
    assert result.statuses == {MAP: "failed"}


def test_a_missing_child_is_no_failure():
    result = scanned({MAP: ok(index("/a.xml", "/b.xml")), f"{BASE}/a.xml": ok(urlset(PAGE))})

    assert result.file(f"{BASE}/b.xml").status == "gone"
    assert result.outcome == "sitemaps_found"


def test_a_guess_that_fails_once_is_asked_again():
    assert scanned({MAP: Sometimes((503, {}, b""), ok(urlset(PAGE)))}).urls == {PAGE}


def test_a_host_that_answers_robots_only_has_not_been_shown_to_have_no_sitemap():
    class Ill(FakeFetcher):
        def _answer(self, url, request):
            self.urls.append(url)
            return self.resources.get(url, (503, {}, b""))

    failed = scanned(Ill({ROBOTS: robots()}), raises=ScanFailed)
    partly = scanned(Ill({ROBOTS: robots(), f"{BASE}/sitemap.txt": (404, {}, b"")}))

    assert scanned(Ill({ROBOTS: robots(), f"{BASE}/": HTML}), max_pages=1).outcome == "no_sitemap"
    assert (failed.error.code, failed.error.retryable) == ("http_5xx", True)
    assert partly.outcome == "no_sitemap"


# -- what earlier scans kept --------------------------------------------------------------------------------


def test_validators_are_sent_and_304_is_unchanged():
    web = {MAP: ok(urlset(PAGE), etag='"1"')}

    result = scanned(web, stored=[stored(etag='"1"', url_count=7)])

    file = result.file(MAP)
    assert (file.status, file.complete, file.url_count, file.etag) == ("unchanged", True, 7, '"1"')
    assert (result.entries, result.outcome) == ([], "unchanged")
    assert result.finished.stats.not_modified == 1


def test_the_same_bytes_are_unchanged():
    body = urlset(PAGE)

    result = scanned({MAP: ok(body, etag='"2"')}, stored=[stored(body=body.encode(), etag='"1"')])

    assert (result.file(MAP).status, result.file(MAP).etag, result.entries) == ("unchanged", '"2"', [])


def test_force_reads_all_the_same():
    body = urlset(PAGE)

    result = scanned({MAP: ok(body, etag='"1"')}, stored=[stored(body=body.encode(), etag='"1"')], force=True)

    assert (result.urls, result.outcome) == ({PAGE}, "sitemaps_found")


def test_children_of_an_unchanged_index_are_asked_all_the_same():
    a, b = f"{BASE}/a.xml", f"{BASE}/b.xml"
    web = {MAP: ok(index(a, b), etag='"1"'), a: ok(urlset("/a"), etag='"1"'), b: ok(urlset("/b"), etag='"2"')}
    kept = [stored(kind="index", etag='"1"', children=(a, b)), stored(a, etag='"1"'), stored(b, etag='"1"')]

    result = scanned(web, stored=kept)

    assert result.statuses == {MAP: "unchanged", a: "unchanged", b: "read"}
    assert result.file(MAP).children == [ChildEntry(a, a), ChildEntry(b, b)]
    assert (result.urls, result.outcome) == ({f"{BASE}/b"}, "sitemaps_found")


def test_a_page_that_was_no_sitemap_does_not_become_one_by_staying_the_same():
    kept = stored(body=HTML[2], kind="html")

    result = scanned({ROBOTS: robots(MAP), MAP: HTML}, stored=[kept])

    assert result.statuses == {MAP: "not_a_sitemap"}


def test_a_guessed_file_that_was_there_before_is_told_to_be_gone():
    result = scanned(
        {f"{BASE}/sitemap.txt": ok(PAGE, etag='"1"')}, stored=[stored(), stored(f"{BASE}/sitemap.txt", etag='"1"')]
    )

    assert result.file(MAP).status == "gone"
    assert result.outcome == "sitemaps_found"  # less than before is not unchanged


def test_what_is_needed_for_the_next_scan_is_kept():
    body = urlset(PAGE)
    web = {MAP: ok(body, etag='"1"', last_modified="Wed, 01 Jan 2025 00:00:00 GMT")}

    file = scanned(web).file(MAP)

    assert (file.etag, file.last_modified) == ('"1"', "Wed, 01 Jan 2025 00:00:00 GMT")
    assert file.content_hash == hashlib.sha256(body.encode()).digest()
    assert (file.bytes, file.http_status, file.kind, file.status) == (len(body), 200, "urlset", "read")


# -- pages --------------------------------------------------------------------------------------------------


def pages_of(result: Scanned) -> list[str]:
    return [page.url for page in result.pages]


def test_the_home_page_comes_first_then_the_most_useful():
    home = ok("<!doctype html><title>Home</title><a href='/contact'>Contact</a><a href='/x'>x</a>")
    web = {f"{BASE}/": home, MAP: ok(urlset("/one", "/two")), f"{BASE}/contact": HTML, f"{BASE}/one": HTML}

    result = scanned(web, candidates=[f"{BASE}/one", f"{BASE}/two"], max_pages=3)

    assert pages_of(result) == [f"{BASE}/", f"{BASE}/contact", f"{BASE}/one"]
    assert result.pages[0].title == "Home"
    assert result.finished.stats.pages == 3


def test_no_page_is_read_where_none_is_asked_for():
    result = scanned({f"{BASE}/": HTML, MAP: ok(urlset("/one"))}, candidates=[f"{BASE}/one"], max_pages=0)

    assert (result.pages, f"{BASE}/" in result.fetcher.urls) == ([], False)


def test_pages_keep_to_the_rules():
    web = {
        ROBOTS: robots(rules="Disallow: /contact"),
        f"{BASE}/": ok("<!doctype html><a href=/contact>c</a><a href=/b>b</a>"),
    }

    result = scanned(web, max_pages=3)

    assert f"{BASE}/contact" not in result.fetcher.urls
    assert pages_of(result) == [f"{BASE}/", f"{BASE}/b"]
    assert pages_of(scanned(web, max_pages=2)) == [f"{BASE}/", f"{BASE}/b"]  # it costs no other page its turn


@pytest.mark.parametrize(
    ("there", "visited"),
    [
        (ok("User-agent: *\nDisallow: /contact"), ["/b"]),
        (FetchError("timeout"), []),
        ((503, {}, b""), []),
        ((404, {}, b""), ["/contact", "/b"]),
    ],
)
def test_where_the_home_page_has_moved_to_that_hosts_rules_hold(there, visited):
    new = "https://brand.example.net"
    web = {
        ROBOTS: robots(rules="Disallow: /b"),
        f"{BASE}/": (301, {"location": f"{new}/"}, b""),
        f"{new}/": ok("<!doctype html><a href=/contact>c</a><a href=/b>b</a>"),
        f"{new}/robots.txt": there,
    }

    assert pages_of(scanned(web, max_pages=3)) == [f"{BASE}/", *(f"{new}{path}" for path in visited)]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (FetchError("timeout"), "timeout"),
        ((404, {}, b""), "http_4xx"),
        ((500, {}, b"<title>Oops</title>"), "http_5xx"),
        ((429, {}, b""), "http_429"),
        (ok(b"%PDF-1.7", content_type="application/pdf"), "not_html"),
    ],
)
def test_a_page_that_cannot_be_read_fails_no_scan(answer, code):
    result = scanned({f"{BASE}/": answer, MAP: ok(urlset(PAGE))}, max_pages=1)

    [page] = result.pages
    assert (page.problem.code, page.title) == (code, None)
    assert result.outcome == "sitemaps_found"


def test_the_home_page_of_a_path_is_the_paths():
    result = scanned({f"{BASE}/shop/": HTML}, f"{BASE}/shop/", max_pages=1)

    assert pages_of(result) == [f"{BASE}/shop/"]


def test_pages_of_a_path_lie_below_it():
    result = scanned(
        {f"{BASE}/shop/": HTML}, f"{BASE}/shop/", candidates=[f"{BASE}/blog", f"{BASE}/shop/a"], max_pages=3
    )

    assert pages_of(result) == [f"{BASE}/shop/", f"{BASE}/shop/a"]


# -- stopping and going on ----------------------------------------------------------------------------------


class Patient(FakeFetcher):
    """Answers one request beside robots.txt, then wants a pause: a host with a long crawl delay."""

    def fetch(self, request):
        if any(earlier.purpose != "robots" for earlier in self.requests):
            raise Postponed(seconds=10)
        return super().fetch(request)

    def fetch_all(self, requests, *, concurrency):
        for request in requests:
            try:
                yield self.fetch(request)
            except FetchError as error:
                yield error


def attempts(web, limit, **options) -> list[Scanned]:
    """Scan again and again as a worker would, carrying on what it keeps."""
    resume, done = Resume(), []
    while len(done) < limit:
        result = scanned(Patient(web), resume=resume, raises=Postponed, **options)
        done.append(result)
        if result.error is None:
            return done
        statuses = {**resume.done, **result.statuses}
        waiting = [
            Candidate(url=child.url, discovered_by="index", parent=file.url, depth=file.depth + 1)
            for past in done
            for file in past.files
            for child in file.children
            if child.url not in statuses
        ]
        resume = Resume(
            done=statuses,
            pending=[*waiting, *result.interrupted.pending],
            missed=result.interrupted.missed,
            pages_done=resume.pages_done | {page.url for page in result.pages},
            home=result.interrupted.home,
            stats=result.interrupted.stats,
        )
    raise AssertionError("the scan does not come to an end")


def test_a_scan_that_is_postponed_after_every_request_comes_to_its_end():
    web = {MAP: ok(index("/a.xml", "/b.xml", "/c.xml")), f"{BASE}/": HTML, f"{BASE}/b.xml": (503, {}, b"")}
    web.update({f"{BASE}/{name}.xml": ok(urlset(f"/{name}")) for name in "ac"})

    done = attempts(web, 20, max_pages=2, candidates=[f"{BASE}/a"])

    last = done[-1].finished
    assert {url for result in done for url in result.urls} == {f"{BASE}/a", f"{BASE}/c"}
    assert [page.url for result in done for page in result.pages] == [f"{BASE}/", f"{BASE}/a"]
    assert (last.outcome, last.stats.urls, last.stats.sitemaps, last.stats.sitemaps_failed) == ("incomplete", 2, 3, 1)
    asked = [url for result in done for url in result.fetcher.urls if url != ROBOTS]
    assert len(asked) - len(set(asked)) <= 1  # the failed one, once more


def test_pages_that_only_the_home_page_names_are_read_by_a_later_attempt():
    there = "https://www.example.com"
    home = ok("<!doctype html><a href=/x>x</a><a href=/contact>Contact</a>")
    web = {f"{BASE}/": (301, {"location": f"{there}/"}, b""), f"{there}/": home, MAP: ok(urlset(f"{there}/a"))}

    done = attempts(web, 20, max_pages=4, candidates=[f"{there}/a"])

    assert [page.url for result in done for page in result.pages] == [
        f"{BASE}/",
        f"{there}/contact",
        f"{there}/a",
        f"{there}/x",
    ]


@pytest.mark.parametrize("max_pages", [0, 1])
def test_a_site_without_a_sitemap_is_done_even_one_request_at_a_time(max_pages):
    feeds = "<!doctype html><link rel=alternate type='application/rss+xml' href='/gone.rss'>"

    done = attempts({f"{BASE}/": ok(feeds)}, 60, max_pages=max_pages)

    assert done[-1].finished.outcome == "no_sitemap"
    asked = [url for result in done for url in result.fetcher.urls if url != ROBOTS]
    assert f"{BASE}/gone.rss" in asked


def test_files_that_are_done_are_not_fetched_again():
    a, b = f"{BASE}/a.xml", f"{BASE}/b.xml"
    resume = Resume(
        done={MAP: "read", a: "read"},
        pending=[Candidate(url=b, discovered_by="index", parent=MAP, depth=1)],
        pages_done=frozenset({f"{BASE}/"}),
        stats=ScanStats(sitemaps=2, urls=1, requests=3),
    )

    result = scanned({ROBOTS: robots(MAP), b: ok(urlset("/b"))}, resume=resume, max_pages=1)

    assert result.fetcher.urls == [ROBOTS, b]
    assert (result.outcome, result.pages) == ("sitemaps_found", [])
    assert (result.finished.stats.sitemaps, result.finished.stats.urls, result.finished.stats.requests) == (3, 2, 5)
    assert resume.stats.requests == 3  # the caller's own stays as it was


def test_a_resumed_scan_that_finds_all_unchanged_says_so():
    resume = Resume(done={MAP: "unchanged"})

    assert scanned({ROBOTS: robots(MAP)}, resume=resume).outcome == "unchanged"


class Counting(FakeFetcher):
    """Knows how many bodies are open, and whether a fetch runs."""

    def __init__(self, resources):
        super().__init__(resources)
        self.open = self.most_open = 0

    def fetch(self, request):
        return self._counted(super().fetch(request))

    def _counted(self, response):
        fetcher = self

        class Body(BytesBody):
            closed = False

            def close(self):
                fetcher.open -= not self.closed
                self.closed = True

        self.open += 1
        self.most_open = max(self.most_open, self.open)
        body = Body(b"".join(response.body.chunks()))
        return Response(
            requested_url=response.requested_url,
            url=response.url,
            status=response.status,
            headers=response.headers,
            body=body,
        )


def big_site() -> dict:
    web = {ROBOTS: robots(MAP), MAP: ok(index(*(f"/{n}.xml" for n in range(40)))), f"{BASE}/": HTML}
    return web | {f"{BASE}/{n}.xml": ok(urlset(f"/{n}")) for n in range(40)}


def events_of(fetcher, **options):
    return scan.run(site(BASE), ScanOptions(**options), fetcher=fetcher, inventory=FakeInventory(), agent=AGENT)


def test_few_bodies_are_open_at_a_time_and_none_at_the_end():
    fetcher = Counting(big_site())

    result = scanned(fetcher, max_pages=1, per_host_concurrency=16)

    assert len(result.entries) == 40
    assert fetcher.most_open <= 8
    assert fetcher.open == 0


def test_closing_the_scan_closes_every_body():
    fetcher = Counting(big_site())
    events = events_of(fetcher)
    for event in events:
        if isinstance(event, SitemapRead) and event.file.depth == 1:
            next(iter(event.entries))
            break

    events.close()

    assert fetcher.open == 0


def test_nothing_is_fetched_while_entries_are_drawn():
    fetcher = Counting(big_site())
    for event in events_of(fetcher):
        if isinstance(event, SitemapRead):
            before = len(fetcher.requests)
            list(event.entries)
            assert len(fetcher.requests) == before


@pytest.mark.parametrize("stop", [Aborted(), Postponed(seconds=30)])
def test_a_stop_passes_through_and_leaves_no_body_open(stop):
    fetcher = Counting({**big_site(), f"{BASE}/7.xml": stop})

    result = scanned(fetcher, raises=type(stop))

    assert result.error is stop
    assert fetcher.open == 0
    assert isinstance(result.interrupted, Interrupted) == isinstance(stop, Postponed)


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(b"<urlset>" + b"</url>" * 1_000_000),
        gzip.compress(gzip.compress(b"<urlset><url>" + b"<a/>" * 2_000_000)),
        gzip.compress(gzip.compress(b"") * 50_000),
        b"<urlset><!-- " + b"never closed" * 100_000,
        b"\n".join([b"prose"] * 200_000),
    ],
)
def test_a_document_in_which_nothing_comes_can_be_stopped(body):
    looks = iter([None] * 5)

    def check():
        if next(looks, Aborted()):
            raise Aborted

    result = scanned({ROBOTS: robots(MAP), MAP: ok(body)}, check=check, raises=Aborted)

    assert isinstance(result.error, Aborted)


def test_what_came_before_a_pause_is_handed_on():
    web = {ROBOTS: robots(*(f"{BASE}/{n}.xml" for n in range(4))), f"{BASE}/0.xml": ok(urlset("/0"))}
    web |= {
        f"{BASE}/1.xml": ok(urlset("/1")),
        f"{BASE}/2.xml": ok(urlset("/2")),
        f"{BASE}/3.xml": Postponed(seconds=30),
    }

    result = scanned(web, raises=Postponed)

    assert result.urls == {f"{BASE}/0", f"{BASE}/1", f"{BASE}/2"}


def test_progress_is_told_with_every_file():
    result = scanned(big_site())

    assert result.progress[0] == (1, 1)
    assert result.progress[-1] == (41, 41)
    assert all(done <= known for done, known in result.progress)


def test_everything_is_counted():
    web = {ROBOTS: robots(MAP), MAP: (301, {"location": "/real.xml"}, b""), f"{BASE}/real.xml": ok(urlset("/a", "/b"))}
    web[f"{BASE}/"] = HTML

    stats = scanned(web, max_pages=1).finished.stats

    assert (stats.sitemaps, stats.urls, stats.pages) == (1, 2, 1)
    assert stats.requests == 4  # robots.txt, the redirect and where it leads, the home page
    assert stats.bytes == sum(len(answer[2]) for answer in web.values())
