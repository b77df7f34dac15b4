"""What holds for every document: nothing raises, chunk boundaries never matter, what was written is read."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from html import escape
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from app.scanning.entries import Listing, SitemapReader, plain_entries
from app.scanning.repair import Shape, mend, mend_references
from app.scanning.sitemap import parse
from app.scanning.values import Lastmod, Limits, UrlEntry

URL = "https://example.com/sitemap.xml"
SHAPE = Shape(frozenset({"urlset"}), frozenset({"url", "sitemap"}))

MARKUP = st.sampled_from(
    ["<urlset>", "</urlset>", "<url>", "</url>", "<loc>", "</loc>", "<lastmod>", "</lastmod>", "<sitemap>", "</sitemap>",
     "<sitemapindex>", "<image:image>", "</image:image>", "<!--", "-->", "<![CDATA[", "]]>", "&amp;", "&", "&nbsp;", "&#0;",
     "<a b='c' b=\"d\">", "<a", ">", "'", "<?x", "?>", "<!DOCTYPE x [", "\x00", "\x0b", "\ufffe", "\n", "/page", "https://x.example/a",
     "2024-01-01", "<rss>", "<channel>", "<item>", "<link>", "</link>", "</item>", "<feed>", "<entry>", "é", "😀", "{", "\ud800"]
)  # fmt: skip
SOUP = st.lists(MARKUP | st.text(max_size=5), max_size=40).map("".join)
DOCUMENTS = st.binary(max_size=300) | SOUP.map(lambda text: text.encode("utf-8", "surrogatepass"))


def outcome(chunks):
    parsed = parse(chunks, url=URL)
    return list(parsed), parsed.kind, parsed.problem, parsed.complete, parsed.rejected, parsed.size


@given(DOCUMENTS)
@settings(max_examples=500)
def test_any_bytes_are_read_without_an_exception(body):
    for data in (
        body,
        b"<urlset>" + body,
        b"<urlset><url><loc>/a</loc></url>" + body + b"</urlset>",
        gzip.compress(body)[:-5],
    ):
        entries, kind, problem, complete, _, _ = outcome([data])
        assert complete is (problem is None)
        assert all(entry.url.isascii() and entry.url.startswith("http") for entry in entries)
        assert not (entries and kind in ("html", "empty", "unknown"))


@given(DOCUMENTS, st.lists(st.integers(0, 400), max_size=6), st.booleans())
def test_chunk_boundaries_never_matter(body, cuts, zipped):
    data = b"<urlset><url><loc>https://x.example/a?b=1&c</loc></url>" + body + b"</urlset>"
    if zipped:
        data = gzip.compress(data, mtime=0)
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    pieces = [data[start:end] for start, end in pairwise(edges)]
    assert outcome(pieces) == outcome([data])


def test_boundaries_of_blocks_never_matter():
    entry = "<url><loc>https://example.com/{n}?a&amp;b</loc><!-- </url> --><lastmod>2024-01-01</lastmod></url>"
    for pad in range(0, 200, 7):
        body = f"<urlset>{' ' * pad}" + "".join(entry.format(n=n) for n in range(900)) + "</urlset>"
        entries, _, problem, *_ = outcome([body.encode()])
        assert [one.url for one in entries] == [f"https://example.com/{n}?a&b" for n in range(900)]
        assert problem is None


LASTMODS = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda at: Lastmod(at.replace(microsecond=0), "second", at.replace(microsecond=0).isoformat())
)
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=20)
ENTRIES = st.builds(
    UrlEntry,
    url=st.from_regex(r"https://example\.com/[a-z0-9&=?'!()*+,;:@~_-]{0,20}", fullmatch=True),
    listed=st.just(""),
    lastmod=st.none() | LASTMODS,
    changefreq=st.sampled_from([None, "always", "daily", "never"]),
    priority=st.none() | st.integers(0, 10).map(lambda tenths: tenths / 10),
    images=st.lists(st.fixed_dictionaries({"loc": WORDS}, optional={"title": WORDS}), max_size=2),
    videos=st.lists(
        st.fixed_dictionaries({"title": WORDS}, optional={"tag": st.lists(WORDS, min_size=1, max_size=3)}), max_size=2
    ),
    news=st.none() | st.fixed_dictionaries({"title": WORDS}),
    alternates=st.lists(st.fixed_dictionaries({"hreflang": st.just("de"), "href": WORDS}), max_size=2),
    mobile=st.booleans(),
)


def tag(name, text):
    return "" if text is None else f"<{name}>{escape(str(text), quote=False)}</{name}>"


def extension(prefix, name, facts):
    inside = "".join(
        tag(f"{prefix}:{key}", one)
        for key, value in facts.items()
        for one in (value if isinstance(value, list) else [value])
    )
    return f"<{prefix}:{name}>{inside}</{prefix}:{name}>"


def serialise(entries):
    out = ['<?xml version="1.0"?><urlset xmlns="s" xmlns:image="i-image" xmlns:video="v-video" xmlns:news="n-news" ',
           'xmlns:xhtml="xhtml" xmlns:mobile="m-mobile">']  # fmt: skip
    for entry in entries:
        out += ["\n<url>", tag("loc", entry.url), tag("lastmod", entry.lastmod and entry.lastmod.raw)]
        out += [tag("changefreq", entry.changefreq), tag("priority", entry.priority)]
        out += [extension("image", "image", image) for image in entry.images]
        out += [extension("video", "video", video) for video in entry.videos]
        out += [extension("news", "news", entry.news)] if entry.news else []
        out += [
            f'<xhtml:link rel="alternate" hreflang="de" href="{escape(link["href"])}"/>' for link in entry.alternates
        ]
        out += ["<mobile:mobile/>" if entry.mobile else "", "</url>"]
    return "".join([*out, "\n</urlset>"])


@given(st.lists(ENTRIES, max_size=8))
def test_what_was_written_is_read(entries):
    for entry in entries:
        entry.listed = entry.url
    assert outcome([serialise(entries).encode()])[:4] == (entries, "urlset", None, True)


FIELD = st.sampled_from(
    [
        "/a",
        "https://example.com/b?c&amp;d",
        " x ",
        "&lt;&gt;&quot;&apos;",
        "",
        "é\u00a0",
        "\n",
        "a&b",
        "&#38;",
        "2024-01-01",
        "0.5",
    ]
)


@given(
    st.lists(st.tuples(FIELD, FIELD, FIELD, FIELD), max_size=5), st.sampled_from(["", "\n  ", "\x0b", "<!-- -->", "x"])
)
def test_the_plain_grammar_and_the_parser_read_the_same(rows, blank):
    text = "".join(
        f"{blank}<url><loc>{loc}</loc>{blank}<lastmod>{date}</lastmod><changefreq>{often}</changefreq><priority>{much}</priority></url>"
        for loc, date, often, much in rows
    )
    plainly, parsed = Listing(URL, Limits()), Listing(URL, Limits())
    entries = plain_entries(text, plainly)
    if entries is not None:
        root = etree.fromstring(f"<x>{text}</x>".encode())
        assert entries == SitemapReader(parsed).read(root)
        assert plainly.rejected == parsed.rejected


@given(SOUP, st.booleans())
@settings(max_examples=500)
def test_what_is_mended_is_well_formed(text, cut):
    mended = mend(text, SHAPE, cut=cut)
    declared = "".join(f' xmlns:{prefix}="urn:{prefix}"' for prefix in mended.prefixes)
    etree.fromstring(f"<x{declared}>{mended.text}</x>".encode())


@given(SOUP)
def test_mending_references_leaves_what_is_well_formed_alone(text):
    sound = escape(text.encode("utf-8", "replace").decode())
    assert mend_references(sound) == sound
