from __future__ import annotations

import gzip
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.scanning.robots import MAX_SITEMAPS, Robots, parse
from app.scanning.values import Limits
from tests.unit.replay import adversarial_cases, body_of, generated, needs_cases, replay_cases

URL = "https://example.com/robots.txt"
AGENT = "ScraperSky/1.0"


def robots(text: str | bytes) -> Robots:
    return parse(text.encode() if isinstance(text, str) else text, url=URL)


@pytest.mark.parametrize(
    "line",
    [
        "Sitemap: https://example.com/map.xml",
        "sitemap:https://example.com/map.xml",
        "Sitemap : https://example.com/map.xml",
        "Sitemap https://example.com/map.xml",
        "Sitemaps https://example.com/map.xml",
        "Sitemap\thttps://example.com/map.xml",
        "Sitemap /map.xml",
        "Sitemap map.xml",
        "Sitemap=https://example.com/map.xml",
        "Sitemap:= https://example.com/map.xml",
        "Sitemap:: https://example.com/map.xml",
        "Sitemap\uff1ahttps://example.com/map.xml",
        "Sitemap:\u00a0https://example.com/map.xml\u00a0",
        "\u200bSitemap: https://example.com/map.xml",
        "\ufeffSitemap: https://example.com/map.xml",
        "Sitemap: \u200bhttps://example.com/map.xml\u200b",
        "Site-map: /map.xml",
        "Site_map: /map.xml",
        "Site map: /map.xml",
        "SITEMAPS: /map.xml",
        "Sitemap-URL: /map.xml",
        "Sitemap index: /map.xml",
        "Sitemap (XML): /map.xml",
        "XML Sitemap: /map.xml",
        "  sItEmAp:\t/map.xml   # the map",
        "Sitemap: /map.xml#the map",
        "Sitemap: map.xml",
        "Sitemap: ./maps/../map.xml",
        "Sitemap: //example.com/map.xml",
        "Sitemap: example.com/map.xml",
        "Sitemap: HTTPS://EXAMPLE.COM:443/map.xml",
        "Sitemap: https:/example.com/map.xml",
        "Sitemap: https//example.com/map.xml",
        "Sitemap: <https://example.com/map.xml>",
        'Sitemap: "https://example.com/map.xml"',
        "Sitemap: '/map.xml'",
        "Sitemap: \u201chttps://example.com/map.xml\u201d",
        "Sitemap: https://example.com/map.xml;",
        "Sitemap: https://example.com/map.xml (the map)",
        "Sitemap: https://example.com/map.xml the map of all pages",
        "Sitemap: of all pages: https://example.com/map.xml",
        "Sitemap: [https://example.com/map.xml]",
        "Sitemap: [https://example.com/map.xml](https://example.com/map.xml)",
        "Sitemap: [the map](/map.xml)",
        "Sitemap: https://example.com/map.xml<br>",
        "Sitemap: <b>https://example.com/map.xml</b>",
    ],
)
def test_a_sitemap_line_is_read_in_every_common_spelling(line):
    assert robots(f"User-agent: *\n{line}\nDisallow: /x").sitemaps == ("https://example.com/map.xml",)


def test_a_sitemap_line_without_its_key_is_one_if_it_says_so():
    found = robots("User-agent: *\nhttps://example.com/news-sitemap.xml\nhttps://example.com/about.html")
    assert found.sitemaps == ("https://example.com/news-sitemap.xml",)


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("https://www.example.com/map.xml", "https://www.example.com/map.xml"),
        ("www.example.com/map.xml", "https://www.example.com/map.xml"),
        ("https://cdn.example.net/map.xml", "https://cdn.example.net/map.xml"),
        ("http://example.com/map.xml", "http://example.com/map.xml"),
        ("https://example.com/my map.xml", "https://example.com/my%20map.xml"),
        ("my map.xml", "https://example.com/my%20map.xml"),
        ("https://example.com/map?a=1&b=x,y", "https://example.com/map?a=1&b=x,y"),
        ("https://example.com/a:b.xml", "https://example.com/a:b.xml"),
        ("https://example.com/karte-\u00fc.xml", "https://example.com/karte-%C3%BC.xml"),
        ("https://m\u00fcnchen.example/map.xml", "https://xn--mnchen-3ya.example/map.xml"),
        ("sitemap", "https://example.com/sitemap"),
        ("?xpage=sitemap", "https://example.com/robots.txt?xpage=sitemap"),
    ],
)
def test_what_a_sitemap_line_names_is_kept_as_it_is(value, url):
    assert robots(f"Sitemap: {value}").sitemaps == (url,)


def test_sitemaps_without_a_files_ending_may_stand_on_one_line():
    found = robots("Sitemap: https://example.com/a Sitemap: https://example.com/b https://example.com/c")
    assert found.sitemaps == ("https://example.com/a", "https://example.com/b", "https://example.com/c")


def test_a_sitemap_line_in_another_encoding_keeps_its_octets():
    assert robots(b"Sitemap: /karte-\xfc.xml").sitemaps == ("https://example.com/karte-%FC.xml",)


@pytest.mark.parametrize("place", range(5))
def test_a_sitemap_line_counts_wherever_it_stands(place):
    lines = ["User-agent: a", "Disallow: /x", "", "User-agent: *"]
    found = robots("\n".join([*lines[:place], "Sitemap: /map.xml", *lines[place:]]))
    assert found.sitemaps == ("https://example.com/map.xml",)
    assert found.allowed("https://example.com/x", AGENT)


@pytest.mark.parametrize(
    "line",
    [
        "# Sitemap: /map.xml",
        "#Sitemap: /map.xml",
        "Sitemap:",
        "Sitemap: # none yet",
        "Sitemap: none",
        "Sitemap",
        "Sitemap for search engines and people",
        "Disallow: /sitemap.xml",
        "Allow: /sitemap.xml",
        "See the Sitemap: /map.xml",
        "Nositemap: /map.xml",
    ],
)
def test_a_line_that_names_no_sitemap(line):
    assert robots(f"User-agent: *\n{line}\nDisallow: /x").sitemaps == ()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_system(end):
    found = robots(end.join(["User-agent: *", "Disallow: /x", "Sitemap: /a.xml", "Sitemap: /b.xml"]))
    assert found.sitemaps == ("https://example.com/a.xml", "https://example.com/b.xml")
    assert not found.allowed("https://example.com/x", AGENT)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings(encoding):
    text = "User-agent: *\nDisallow: /x\nSitemap: https://example.com/map.xml\n"
    found = robots(text.encode(encoding))
    assert found.sitemaps == ("https://example.com/map.xml",)
    assert not found.allowed("https://example.com/x", AGENT)


def test_gzip_is_known_by_its_first_octets_and_counts_within_the_cap():
    rules = b"User-agent: *\nDisallow: /x\nSitemap: /map.xml\n"
    found = robots(gzip.compress(rules))
    assert found.sitemaps == ("https://example.com/map.xml",)
    assert not found.allowed("https://example.com/x", AGENT)
    bomb = robots(gzip.compress(rules + b"#" * (500 << 10) + b"\nDisallow: /"))
    assert bomb.sitemaps == found.sitemaps
    assert bomb.allowed("https://example.com/y", AGENT)


@pytest.mark.parametrize(
    "between", [" ", ", ", ",", "; ", "\t", "> <", '" "', "\r\nSitemap: ", " Sitemap: ", " and ", "<br>", " \u00a0"]
)
def test_one_line_may_name_several(between):
    found = robots(f"Sitemap: https://example.com/a.xml{between}https://example.com/b.xml\nSitemap: /a.xml")
    assert found.sitemaps == ("https://example.com/a.xml", "https://example.com/b.xml")


@pytest.mark.parametrize(
    "value", ["http:///map.xml", "javascript:alert(1)", "file:///etc/passwd", "httр://example.com/x", ""]
)
def test_what_is_no_url_is_left_out(value):
    assert robots(f"Sitemap: {value}").sitemaps == ()


@pytest.mark.parametrize(
    "page",
    [
        "<!DOCTYPE html><html><body>Disallow: / Sitemap: /x.xml",
        "<html><p>Disallow: /</p>\n<a href='/sitemap'>Sitemap</a>\n<h2>Sitemap: all our pages</h2></html>",
        "\ufeff<?xml version='1.0'?>\n<rules>User-agent: none</rules>",
        "<html><script>\nuserAgent: *\ndisallow: /\nsitemapUrl: '/map.xml'</script><style>a{}</style><script>sitemap:/x",
    ],
)
def test_a_web_page_served_as_robots_txt_has_no_rules_and_names_no_sitemap(page):
    found = robots(page)
    assert found.sitemaps == ()
    assert found.allowed("https://example.com/", AGENT)
    assert not found.disallows_all(AGENT)


def test_lines_that_stand_on_a_web_page_are_lines():
    """RFC 9309, 2.3.1.5: whatever can be parsed must be; robots.txt written with an editor for pages looks so."""
    found = robots("<html><pre>User-agent: *<br>Disallow: /x<br>\nSitemap: /map.xml<br></pre></html>")
    assert not found.allowed("https://example.com/x", AGENT)
    assert found.sitemaps == ("https://example.com/map.xml",)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5.0),
        ("0.2", 0.2),
        (".5", 0.5),
        ("0,5", 0.5),
        ("0", 0.0),
        ("10s", 10.0),
        ("10 seconds # please", 10.0),
        ("61", 60.0),
        ("99999999999999", 60.0),
        ("9" * 400, 60.0),
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("0x10", None),
        ("1_0", None),
        ("1e3", None),
        ("\u0665", None),
        ("soon", None),
        ("", None),
    ],
)
def test_crawl_delay_is_clamped_or_ignored(value, seconds):
    """Security P1."""
    assert robots(f"User-agent: *\nCrawl-delay: {value}").crawl_delay(AGENT) == seconds


def test_the_crawl_delay_is_the_own_groups_and_of_several_the_longest():
    found = robots(
        f"User-agent: *\nCrawl-delay: 9\n\nUser-agent: {AGENT}\nCrawl-delay: 2\nCrawl-delay: 3\n\n"
        f"User-agent: a\nDisallow: /\n\nUser-agent: {AGENT}\nCrawl-delay: 1"
    )
    assert [found.crawl_delay(agent) for agent in (AGENT, "a", "b")] == [3.0, None, 9.0]


@pytest.mark.parametrize(
    ("rules", "closed"),
    [
        ("Disallow: /", True),
        ("Disallow: /*", True),
        ("Disallow: *", True),
        ("Disallow: /\nAllow: /robots.txt", True),
        ("Disallow: /\nAllow:", True),
        ("Disallow: /\nAllow: *.css$", False),
        ("Disallow:", False),
        ("Disallow: /\nAllow: /public/", False),
        ("Disallow: /$", False),
        ("Disallow: /shop", False),
        ("", False),
    ],
)
def test_disallows_all_means_all(rules, closed):
    assert robots(f"User-agent: *\n{rules}").disallows_all(AGENT) is closed


def test_only_the_first_500_kib_count():
    """Security P1."""
    text = b"User-agent: *\nDisallow: /x\n" + b"#" * Limits().robots_bytes + b"\nSitemap: /late.xml\n#\n"
    assert robots(text).sitemaps == ()
    assert not robots(text).allowed("https://example.com/x", AGENT)


def filled(line, head=b"User-agent: *\n") -> bytes:
    """500 KiB of lines, each made with its number."""
    size = Limits().robots_bytes - len(head)
    return head + b"".join(line % n for n in range(size // len(line % 0)))[:size]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(filled(b"User-agent: b%d\nDisallow: /x\n"), id="groups"),
        pytest.param(b"User-agent: *\n" * 15_000 + filled(b"Disallow: /%d\n"), id="one name, again and again"),
        pytest.param(b"User-agent: " + b"*," * 200_000 + b"\nDisallow: /", id="names on one line"),
        pytest.param(filled(b"Allow: /%d*b\n", head=b"User-agent: *\nDisallow: /\n"), id="allow lines"),
        pytest.param(filled(b"Disallow: /a%d\n"), id="disallow lines"),
        pytest.param(filled(b"Disallow: /*a*%db\n"), id="wildcards"),
        pytest.param(
            filled(b"Disallow: /*%db" + b"a" * 50 + b"b" + b"a" * 49 + b"*z\n"), id="wildcards that half match"
        ),
        pytest.param(b"User-agent: *\nDisallow: /" + b"*a" * 250_000 + b"*b$", id="one line of wildcards"),
        pytest.param(filled(b"Sitemap: https://example.com/%d.xml\n"), id="sitemap lines"),
        pytest.param(b"Sitemap:" + b"".join(b" https://example.com/%d" % n for n in range(18_000)), id="on one line"),
        pytest.param(b"http://" + b"sitemap" * 70_000 + b" x", id="a line that is nearly a sitemap"),
        pytest.param(b"Sitemap: " + b"<a " * 160_000, id="tags that do not end"),
        pytest.param(b"Sitemap: " + b".xml?" * 100_000 + b" x", id="a name that ends again and again"),
        pytest.param(b"sitemap" + b" " * 500_000 + b"x", id="white space"),
        pytest.param(b"allow" + b"-" * 500_000, id="a key without an end"),
        pytest.param(b"<" * 500_000, id="an unfinished page"),
        pytest.param(b"Sitemap: " + b"[" * 500_000, id="brackets"),
        pytest.param(b"<script" * 70_000, id="unfinished scripts"),
        pytest.param(b"Crawl-delay: " + b"9" * 500_000, id="a number without an end"),
    ],
)
def test_hostile_files_cost_little(body):
    """Security P1: whatever 500 KiB hold is read, and the longest URLs are judged. What backtracks, or goes over all
    of it again for each line, takes hours and not the time a test has.
    """
    found = robots(body)
    for url in ("a" * 2_000, "/".join("ab" * 600), "x?" + "a=b&" * 400):
        found.allowed(f"https://example.com/{url}", AGENT)
    found.disallows_all(AGENT)
    found.crawl_delay(AGENT)
    assert len(found.sitemaps) <= MAX_SITEMAPS


def test_many_names_times_many_rules_take_little_memory():
    """Security P1: no rule is kept for each of the names above it."""
    names = b"".join(b"User-agent: b%d\nUser-agent: *\n" % n for n in range(8_000))
    body = names + filled(b"Disallow: /%d\n", head=b"")[: Limits().robots_bytes - len(names)]
    tracemalloc.start()
    assert not robots(body).allowed("https://example.com/1", AGENT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20


@given(st.binary(max_size=400))
def test_any_bytes_give_an_answer(body):
    found = robots(body)
    found.allowed("https://example.com/a?b", AGENT)
    found.disallows_all(AGENT)
    delay = found.crawl_delay(AGENT)
    assert delay is None or 0 <= delay <= 60
    assert all(url.isascii() and url.startswith("http") for url in found.sitemaps)


@needs_cases
@pytest.mark.parametrize("case", replay_cases("robots"))
def test_replay(case):
    resource = case["resources"][0]
    found = parse(body_of(resource), url=resource["url"]).sitemaps
    accepted = case.get("alternatives_sitemaps", [case["expected_sitemaps"]])
    assert sorted(found) in [sorted(wanted) for wanted in accepted]


@needs_cases
@pytest.mark.parametrize("case", [c for c in adversarial_cases("robots") if "gen" in c.values[0]["input"]])
def test_hostile_robots_are_bounded(case):
    """Security P1."""
    found = robots(generated(case))
    found.allowed("https://example.com/" + "a" * 2_000, AGENT)
    assert (found.crawl_delay(AGENT) or 0) <= 60
    assert not any(url.startswith("file:") for url in found.sitemaps)
