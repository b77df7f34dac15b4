"""Hostile URLs by the thousand: each is refused, or canonical and one that may be fetched.

They are made, not listed: every address nobody may reach in every spelling that some parser, resolver or Unicode
mapping takes for it, in every place of a URL where a host can be smuggled in.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import ada_url
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import FetchError, InvalidUrl
from app.fetching.guard import Guard
from app.scanning.urls import are_canonical, canonical, site

PRIVATE = [
    (127, 0, 0, 1),
    (10, 0, 0, 1),
    (169, 254, 169, 254),
    (192, 168, 1, 1),
    (172, 16, 0, 1),
    (0, 0, 0, 0),
    (100, 100, 100, 200),
    (168, 63, 129, 16),
    (192, 0, 0, 192),
    (255, 255, 255, 255),
]
DOTS = "。．｡․‧・"
DIGITS = [
    "０１２３４５６７８９",
    "٠١٢٣٤٥٦٧٨٩",
    "⓪①②③④⑤⑥⑦⑧⑨",
    "⁰¹²³⁴⁵⁶⁷⁸⁹",
    "₀₁₂₃₄₅₆₇₈₉",
    "𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗",
    "०१२३४५६७८९",
]
INVISIBLE = "\u00ad\u200b\u200c\u200d\u2060\ufeff\u180e\ufe0f"
INTERNAL_NAMES = ["localhost", "printer.local", "metadata.google.internal", "a.test", "b.onion", "router.home.arpa"]


def full_width(text: str) -> str:
    return "".join(chr(ord(char) + 0xFEE0) for char in text)


def numbers(a: int, b: int, c: int, d: int) -> Iterator[str]:
    """One address in the radices and groupings of `inet_aton`, and with digits too many."""
    whole = a << 24 | b << 16 | c << 8 | d
    yield from (f"{whole}", f"0x{whole:x}", f"0X{whole:X}", f"0{whole:o}", f"0{whole:014o}", f"{whole + (1 << 32)}")
    yield from (f"0x{whole + (1 << 64):x}", f"{a}.{b << 16 | c << 8 | d}", f"{a}.{b}.{c << 8 | d}")
    yield from (f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}", f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"0x{a:x}.{b}.0{c:o}.{d}")
    yield from (f"0x{a:02x}{b:02x}.{c << 8 | d}", f"{a:03}.{b:03}.{c:03}.{d:03}", f"{a}.{b}.{c}.0x{d:x}")
    yield from (f"{a + 256}.{b}.{c}.{d}", f"{a}.{b}.{c}.{d + 256}", f"{a}.{b}.{c}.{d}.0", f"{a}.{b}.{c}")
    yield from (f"{a}.{b}.{c}.{d}{end}" for end in (".", "..", "_", "e0", "h", "-", "%", ",", "\u3002", "\u00ad"))


def typographic(quad: str) -> Iterator[str]:
    """The same digits and dots as other characters, escaped, or with others between them that are dropped."""
    yield from (quad.replace(".", dot) for dot in DOTS)
    yield from (quad.translate(str.maketrans("0123456789", digits)) for digits in DIGITS)
    yield from (quad[:2] + char + quad[2:] for char in INVISIBLE)
    yield from (full_width(quad), quad.replace(".", "%2e"), "".join(f"%{ord(char):02X}" for char in quad))
    yield from (f"({quad})", f"+{quad}", f"{quad},example.com", f"{quad};example.com", f"'{quad}'", f"{quad} ")


def embedded(a: int, b: int, c: int, d: int) -> Iterator[str]:
    """The address within one of IPv6, in all the ways there are."""
    quad, high, low = f"{a}.{b}.{c}.{d}", f"{a << 8 | b:x}", f"{c << 8 | d:x}"
    yield from (f"[::ffff:{quad}]", f"[::FFFF:{high}:{low}]", f"[0:0:0:0:0:ffff:{quad}]", f"[::ffff:0:{quad}]")
    yield from (f"[::{quad}]", f"[64:ff9b::{quad}]", f"[64:ff9b:1::{high}:{low}]", f"[2002:{high}:{low}::1]")
    yield from (f"[2001:0:{high}:{low}::1]", f"[fe80::5efe:{quad}]", f"[fe80::1%25{d}]", f"[::ffff:{quad}%lo]")
    yield from (f"[::ffff:{a}.{b}.{c}.0{d}]", f"[{quad}]", f"[::ffff:{quad}", f"::ffff:{quad}", f"[v1.{quad}]")


def internal_hosts() -> Iterator[str]:
    for octets in PRIVATE:
        quad = ".".join(map(str, octets))
        yield from (quad, *numbers(*octets), *typographic(quad), *embedded(*octets))
    for name in INTERNAL_NAMES:
        yield from (name, name.upper(), f"{name}.", full_width(name), f"a.{name}", name[:1] + "\u00ad" + name[1:])
        yield from (name.replace("o", "ⓞ"), name.replace("l", "ℓ"), name.replace("a", "ª"))
    yield from ("[::1]", "[::]", "[fe80::1]", "[fc00::1]", "[ff02::1]", "[fd00:ec2::254]", "[::1%25eth0]", "[::１]")


PLACES = ["http://{}", "https://{}/", "http://{}:80/a?b#c", "HTTPS://{}:443", "http://example.com@{}/",
          "http://example.com\\@{}/", "http://{}\\@example.com/", "http://example.com%40{}/", "http://example.com#@{}\n"]  # fmt: skip


def fetchable(url: str) -> str | None:
    """The URL that would be fetched; None where it is refused."""
    try:
        found = canonical(url)
        Guard().check_url(found)
    except (InvalidUrl, FetchError):
        return None
    return found


@pytest.mark.parametrize("place", PLACES)
def test_no_spelling_of_an_internal_host_is_fetched(place):
    let_through = [url for host in internal_hosts() if fetchable(url := place.format(host))]
    assert let_through == []


def test_no_spelling_of_an_internal_host_is_submitted():
    def taken(host: str) -> str | None:
        try:
            found = site(host)
        except InvalidUrl:
            return None
        return fetchable(f"https://{found.authority}/")

    assert [host for host in [*internal_hosts(), "xn--a.com", "xn--localhost-.com"] if taken(host)] == []


@pytest.mark.parametrize(
    "url",
    [
        # no host at all, or not where it seems to be
        *("http:", "http:/", "http://", "http:///", "http:///a", "http:////a/", "http:a", "http:/a", "https:?a"),
        *("http://.", "http://..", "http://.a.com", "http://a..com", "http://a.com..", "http://:80", "http://@a.com"),
        *("///a.com", "\\\\a.com", "/\\a.com", "http:\\\\a.com", "http:/\\a.com", "http://a.com\\", "http://a.com\\b"),
        # schemes
        *("ftp://a.com", "file:///a", "gopher://a.com", "javascript://a.com/%0aalert(1)", "data:,a", "blob:http://a.com"),
        *("view-source:http://a.com", "jar:http://a.com!/", "http ://a.com", " http://a.com", "h\tttp://a.com"),
        *("http\u200b://a.com", "ｈttp://a.com", "httр://a.com", "://a.com", ":http://a.com", "ws://a.com", "http;//a.com"),
        # control characters and blanks
        *(f"http://a{char}b.com/" for char in "\0\x01\t\n\r\x1b \x7f\x85\u2028\u2029\ud800\ufffe"),
        *(f"http://a.com/{char}" for char in "\0\x01\x1b\x7f\x85\u2028\ud800\uffff"),
        # characters of the authority, as they are and as Unicode has them
        *(f"http://a{char}b.com/" for char in "@%|^`{}<>\"'*,;!$&()+=~℀㏂½／？＃＠：＼％［］‐"),
        *("http://a:b:80@c.com", "http://a.com:80:80", "http://a@b@c.com", "http://:@a.com", "http://a.com%2F@b.com"),
        # labels
        *("http://" + "a" * 64 + ".com", "http://" + ".".join(["a" * 63] * 4) + ".com", "http://a.com" + ".a" * 130),
        *("http://com", "http://a", "http://a.", "http://a.1", "http://a.0x1", "http://a.1b", "http://1.2.3.4.5", "http://a.①"),
        *("http://xn--.com", "http://xn--a.com", "http://xn--example-.com", "http://xn--99999999999.com"),
        *("http://a.xn--localhost-", "http://a\u200db.com", "http://a\u202eb.com", "http://\u0301a.com", "http://🔐.com"),
        # ports
        *(f"http://a.com:{port}" for port in ("0", "00", "080", "65536", "99999999999999999999", "-1", "+80", "80a")),
        *(f"http://a.com:{port}" for port in ("0x50", "８０", "٨٠", " 80", "80 ", "8_0", "1e1", "80.0", "80%20", "22")),
        # IPv6
        *("http://[]", "http://[", "http://]", "http://[:]", "http://[1:2]", "http://[::1::]", "http://[::g]", "http://[[::1]]"),
        *("http://[2606:4700::1]a", "http://a[2606:4700::1]", "http://[2606:4700::1%1]", "http://[2606:4700::1]:", "http://2606:4700::1"),
    ],
)  # fmt: skip
def test_what_is_no_url_is_refused(url):
    assert fetchable(url) in (None, "http://[2606:4700::1]/")


def test_urls_and_hosts_have_a_length():
    assert fetchable("http://example.com/" + "a" * 2_029)
    assert not fetchable("http://example.com/" + "a" * 2_030)
    assert not fetchable("http://example.com/" + "é" * 500)
    label = "a" * 49
    assert fetchable(f"http://{label}.{label}.{label}.{label}.{label}.com/")
    assert not fetchable(f"http://{label}.{label}.{label}.{label}.{label}.comm/")


ODD_HOSTS = st.lists(
    st.sampled_from(
        [*"abz019-._ßéñ日あ한жאع。．ＡⓐKſ½ª\u00ad\u200b\u200d\u0301", "xn--", "com", "example.", "..", "0x"]
    ),
    max_size=12,
).map("".join)
ODD_PATHS = st.lists(
    st.sampled_from(
        [*"aZ0-._~!$&'()*+,;=:@/?#[]%{}|^`\"<> é日😀", "%2e", "%2F", "%41", "%e9", "%00", "..", "./", "//", "&amp;"]
    ),
    max_size=25,
).map("".join)


def told_by_browsers(url: str, base: str | None = None) -> ada_url.URL | None:
    try:
        return ada_url.URL(url, base=base) if base else ada_url.URL(url)
    except ValueError:
        return None


@given(ODD_HOSTS)
@settings(max_examples=500)
def test_a_host_that_is_taken_is_the_one_that_browsers_see(host):
    try:
        found = canonical(f"https://{host}.example.com/")
    except InvalidUrl:
        return
    theirs = told_by_browsers(f"https://{host}.example.com/")
    assert theirs is not None
    assert found == f"https://{theirs.hostname}/"


@given(
    st.sampled_from(["http://example.com", "https://EXAMPLE.com:443", "https://bücher.de:8443", "", "../", "//"]),
    ODD_PATHS,
)
@settings(max_examples=500)
def test_what_browsers_make_of_a_url_is_the_same_url(head, rest):
    """Their serialisation and ours name one resource: no trailing slash, order or parameter was touched."""
    base = "https://example.com/dir/sub/page?q"
    url = f"{head}/{rest}" if "//" in head else head + rest
    theirs = told_by_browsers(url, base)
    try:
        ours = canonical(url, base=base)
    except InvalidUrl:
        return
    assert theirs is not None
    # in a query they escape the apostrophe, which RFC 3986 leaves to the site
    assert canonical(theirs.href.replace("%27", "'")) == ours.replace("%27", "'")


@given(st.lists(st.tuples(st.sampled_from(["a", "utm_source", "Z", "ü", ""]), st.sampled_from(["1", "", "a b", "%2F"])), max_size=5),
       st.sampled_from(["", "/", "/a", "/a/", "/a//", "/A/b.", "/;p"]), st.sampled_from(["", "#", "#/r"]))  # fmt: skip
def test_slashes_order_and_parameters_are_the_sites_business(pairs, path, fragment):
    query = "?" + "&".join(f"{name}={value}" for name, value in pairs)
    plain = query.replace("ü", "%C3%BC").replace(" ", "%20")
    assert (
        canonical(f"https://example.com{path}{query}{fragment}") == f"https://example.com{path or '/'}{plain}{fragment}"
    )


@pytest.mark.parametrize(
    ("one", "other"),
    list(product(["https://example.com/a"], ["http://example.com/a", "https://example.com/a/", "https://example.com/A",
            "https://www.example.com/a", "https://example.com/a?", "https://example.com/a#", "https://example.com/a%2F",
            "https://example.com//a", "https://example.com/a;b", "https://example.com/a%3B"])),
)  # fmt: skip
def test_what_a_server_may_tell_apart_stays_apart(one, other):
    assert canonical(one) != canonical(other)
    assert are_canonical([canonical(other)]) or "%" in other
