from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidUrl
from app.scanning.urls import REASONS, are_canonical, canonical, home_url, same_site, site
from tests.unit.replay import adversarial_cases, needs_cases

BASE = "https://example.com/dir/sitemap.xml?x=1"


@pytest.mark.parametrize(
    ("listed", "wanted"),
    [
        ("https://example.com", "https://example.com/"),
        ("https://example.com?q", "https://example.com/?q"),
        ("page", "https://example.com/dir/page"),
        ("./page", "https://example.com/dir/page"),
        ("../page", "https://example.com/page"),
        ("../../../page", "https://example.com/page"),
        ("/page", "https://example.com/page"),
        ("?y=2", "https://example.com/dir/sitemap.xml?y=2"),
        ("#part", "https://example.com/dir/sitemap.xml?x=1#part"),
        ("//other.example.com/x", "https://other.example.com/x"),
        ("https://example.com/a%2fb%7e%e4", "https://example.com/a%2Fb~%E4"),
        ("https://example.com/100%", "https://example.com/100%25"),
        ("https://example.com/a b?c d#e f", "https://example.com/a%20b?c%20d#e%20f"),
        ("https://example.com/日本", "https://example.com/%E6%97%A5%E6%9C%AC"),
        ("https://example.com/a//b///", "https://example.com/a//b///"),
        ("https://example.com/?b=2&a=1&utm_source=x", "https://example.com/?b=2&a=1&utm_source=x"),
        ("https://example.com/?list[]=1|2", "https://example.com/?list[]=1%7C2"),
        ("https://example.com/?", "https://example.com/?"),
        ("https://example.com/#/route", "https://example.com/#/route"),
        ("https://example.com./x", "https://example.com/x"),
        ("http://[2001:DB8:0::1]:80/", "http://[2001:db8::1]/"),
        ("https://example.com:08443/".replace("08", "8"), "https://example.com:8443/"),
    ],
)
def test_resolving_and_normal_form(listed, wanted):
    assert canonical(listed, base=BASE) == wanted


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "empty"),
        ("https://example.com/" + "a" * 2_048, "too_long"),
        ("https://example.com/" + "é" * 400, "too_long"),
        ("https://example.com/a\x00b", "control_character"),
        ("https://example.com/a\nb", "control_character"),
        ("https://example.com/\ud800", "control_character"),
        (" https://example.com/", "whitespace"),
        ("https://example.com\\@evil.example/", "backslash"),
        ("ftp://example.com/", "scheme"),
        ("mailto:a@example.com", "scheme"),
        ("httр://example.com/", "scheme"),
        ("http:/example.com/", "malformed"),
        ("https://user:pw@example.com/", "userinfo"),
        ("https://exa mple.com/", "host"),
        ("https://example..com/", "host"),
        ("https://ex%61mple.com/", "host"),
        ("https:///path", "host"),
        ("https://[::1%25eth0]/", "host"),
        ("https://intranet/", "special_use"),
        ("https://myhost/", "single_label"),
        ("https://printer.local/", "special_use"),
        ("https://127.1/", "ip"),
        ("https://0x7f.0.0.1/", "ip"),
        ("https://１２7.0.0.1/", "ip"),
        ("https://2130706433/", "ip"),
        ("https://example.com:0/", "port"),
        ("https://example.com:65536/", "port"),
        ("https://example.com:8o/", "port"),
    ],
)
def test_what_is_refused_and_why(url, reason):
    with pytest.raises(InvalidUrl) as caught:
        canonical(url)
    assert caught.value.reason == reason
    assert caught.value.reason in REASONS
    assert len(str(caught.value)) < 200


def test_a_relative_url_needs_a_base():
    with pytest.raises(InvalidUrl) as caught:
        canonical("/page")
    assert caught.value.reason == "relative"


def test_names_without_public_meaning_pass_only_where_they_are_merely_recorded():
    assert canonical("http://localhost:4000/a", allow_special=True) == "http://localhost:4000/a"
    assert canonical("http://e/s.xml", allow_special=True) == "http://e/s.xml"


@given(st.text(max_size=120) | st.from_regex(r"https?://[a-z0-9.]{1,20}/[ -~]{0,60}", fullmatch=True))
def test_canonical_form_is_ascii_and_its_own_canonical_form(text):
    try:
        once = canonical(text, base=BASE)
    except InvalidUrl:
        return
    assert once.isascii()
    assert " " not in once
    assert canonical(once) == once


@given(st.lists(st.from_regex(r"https://example\.com/[a-zA-Z0-9./?#%& é\n-]{0,30}", fullmatch=True), min_size=1))
def test_the_look_at_all_never_vouches_for_what_one_look_would_change(urls):
    def unchanged(url):
        try:
            return canonical(url) == url
        except InvalidUrl:
            return False

    if are_canonical(urls):
        assert all(map(unchanged, urls))


def test_the_look_at_all_takes_a_sitemaps_worth():
    urls = [f"https://example.com/p/{n}?a=b&c=%20d" for n in range(1_000)]
    assert are_canonical(urls)
    assert not are_canonical([*urls, "https://other.example.com/"])
    assert not are_canonical([*urls, "https://example.com/a\nhttps://example.com/b"])


@pytest.mark.parametrize(
    ("text", "host", "port", "path", "scheme"),
    [
        ("example.com", "example.com", None, "/", None),
        ("  WWW.Example.COM/ ", "www.example.com", None, "/", None),
        ("HTTPS://Example.com:8443/shop/page?x", "example.com", 8443, "/shop/", "https"),
        ("http://example.com/shop", "example.com", None, "/", "http"),
        ("example.com/shop/", "example.com", None, "/shop/", None),
        ("example.com:8080", "example.com", 8080, "/", None),
        ("example.com:443", "example.com", None, "/", "https"),
        ("example.com:80/a/", "example.com", None, "/a/", "http"),
        ("bücher.example", "xn--bcher-kva.example", None, "/", None),
        ("93.184.216.34", "93.184.216.34", None, "/", None),
    ],
)
def test_what_users_submit(text, host, port, path, scheme):
    found = site(text)
    assert (found.host, found.port, found.path, found.scheme) == (host, port, path, scheme)
    assert found.scheme_named is (scheme is not None)


@pytest.mark.parametrize(
    "text",
    ["", "   ", "example", "foo bar.com", "user:pw@example.com", "ftp://example.com", "mailto:x@example.com", "/etc/passwd",
     "//example.com", "exa\x00mple.com", "http:/example.com", "javascript:alert(1)", "example.com:99999", "localhost:8000"],
)  # fmt: skip
def test_junk_is_refused_in_words(text):
    with pytest.raises(InvalidUrl) as caught:
        site(text)
    assert str(caught.value) == REASONS[caught.value.reason]


def test_ten_megabytes_are_refused_and_not_repeated():
    with pytest.raises(InvalidUrl) as caught:
        site("a" * 10_000_000)
    assert len(str(caught.value)) < 200


def test_home_and_membership():
    shop = site("https://example.com:8443/shop/")
    assert home_url(shop, "https") == "https://example.com:8443/shop/"
    assert same_site("https://example.com:8443/shop/a", shop)
    assert not same_site("https://example.com/shop/a", shop)
    assert not same_site("https://example.com:8443/blog", shop)
    assert not same_site("https://www.example.com/", site("example.com"))


@needs_cases
@pytest.mark.parametrize("case", adversarial_cases("url-allow"))
def test_hostile_looking_urls_that_are_fine(case):
    found = canonical(case["input"])
    assert case["normalised"] in (None, found)


def judged_by_the_fetcher(case):
    """Well-formed URLs that only the guard on addresses and ports may refuse."""
    try:
        return canonical(case["input"])
    except InvalidUrl:
        return None


@needs_cases
@pytest.mark.parametrize("case", adversarial_cases("url-reject"))
def test_hostile_urls_are_refused_or_left_to_the_guard_as_plain_literals(case):
    found = judged_by_the_fetcher(case)
    if found is None:
        return
    host = found.split("/")[2]
    is_literal = host.startswith("[") or host.replace(".", "").isdigit()
    assert is_literal or host.rpartition(":")[2] in ("22", "25", "6379")
