from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.scanning.robots import Robots, parse
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
        "Site-map: /map.xml",
        "Sitemaps: /map.xml",
        "  sItEmAp:\t/map.xml   # the map",
        "Sitemap: map.xml",
        "Sitemap: //example.com/map.xml",
        "Sitemap: <https://example.com/map.xml>",
        "Sitemap: HTTPS://EXAMPLE.COM:443/map.xml",
    ],
)
def test_a_sitemap_line_is_read_in_every_common_spelling(line):
    assert robots(f"User-agent: *\n{line}\nDisallow: /x").sitemaps == ("https://example.com/map.xml",)


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


def test_several_urls_on_one_line_and_repeats():
    found = robots("Sitemap: https://example.com/a.xml, https://example.com/b.xml\nSitemap: /a.xml")
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
        "\n <html>\nUser-agent: *\nDisallow: /\nSitemap: /x.xml\n</html>",
        "\ufeff<?xml version='1.0'?>\nUser-agent: *\nDisallow: /",
    ],
)
def test_a_web_page_served_as_robots_txt_has_no_rules_and_names_no_sitemap(page):
    found = robots(page)
    assert found.sitemaps == ()
    assert found.allowed("https://example.com/", AGENT)
    assert not found.disallows_all(AGENT)


def test_the_own_group_outranks_the_star_and_the_longest_rule_wins():
    found = robots("User-agent: *\nDisallow: /\n\nUser-agent: scrapersky\nDisallow: /private\nAllow: /private/open\n")
    assert found.allowed("https://example.com/page", AGENT)
    assert not found.allowed("https://example.com/private/x", AGENT)
    assert found.allowed("https://example.com/private/open/y", AGENT)
    assert not found.allowed("https://example.com/page", "OtherBot/2")


def test_a_group_of_several_agents_binds_each_of_them():
    found = robots("User-agent: a\nUser-agent: scrapersky\nUser-agent: b\nDisallow: /x\nUser-agent: c\nDisallow: /")
    assert not found.allowed("https://example.com/x", AGENT)
    assert found.allowed("https://example.com/y", AGENT)
    assert not found.allowed("https://example.com/y", "c")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("5", 5.0), ("0.2", 0.2), ("99999999999999", 60.0), ("-5", None), ("nan", None), ("inf", None), ("0x10", None)],
)
def test_crawl_delay_is_clamped_or_ignored(value, seconds):
    assert robots(f"User-agent: *\nCrawl-delay: {value}").crawl_delay(AGENT) == seconds


@pytest.mark.parametrize(
    ("rules", "closed"),
    [
        ("Disallow: /", True),
        ("Disallow: /*", True),
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
    text = b"User-agent: *\nDisallow: /x\n" + b"#" * Limits().robots_bytes + b"\nSitemap: /late.xml"
    assert robots(text).sitemaps == ()
    assert not robots(text).allowed("https://example.com/x", AGENT)


def test_many_agents_times_many_rules_stay_cheap():
    hostile = b"".join(b"User-agent: b%d\n" % n for n in range(12_000)) + b"Disallow: /abc\n" * 20_000
    began = time.perf_counter()
    found = robots(hostile)
    assert found.allowed("https://example.com/abc", AGENT)
    assert time.perf_counter() - began < 3


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
    began = time.perf_counter()
    found = robots(generated(case))
    found.allowed("https://example.com/" + "a" * 2_000, AGENT)
    assert (found.crawl_delay(AGENT) or 0) <= 60
    assert not any(url.startswith("file:") for url in found.sitemaps)
    assert time.perf_counter() - began < 5
