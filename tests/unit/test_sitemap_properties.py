"""What holds for every document: nothing raises, chunk boundaries never matter, what was written is read."""

from __future__ import annotations

import gzip
from dataclasses import asdict
from datetime import UTC, datetime
from html import escape
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from app.scanning.entries import Listing, SitemapReader
from app.scanning.plain import PlainReader
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
    read, kind, problem, complete, *_ = outcome([serialise(entries).encode()])
    assert (as_read(read), kind, problem, complete) == (as_read(entries), "urlset", None, True)


FIELD = st.sampled_from(
    ["/a", "https://example.com/b?c&amp;d", " x ", "&lt;&gt;&quot;&apos;", "", "é\u00a0", "\n", "a&b", "&#38;", "&#x1F600;", "&#0;",
     "&#160;", 'href="/x" hreflang="y"', "2024-01-01", "0.5", "a  b", "&amp;amp;lt;", "\ufeff/c", '"', "]]>"]
)  # fmt: skip
PREFIXES = {"image": "sitemap-image", "v": "sitemap-video", "xhtml": "http://www.w3.org/1999/xhtml"}
IMAGES = st.lists(st.tuples(st.sampled_from(["loc", "title", "caption", "else"]), FIELD), max_size=3)
VIDEOS = st.lists(st.tuples(st.sampled_from(["thumbnail_loc", "title", "tag", "price"]), FIELD), max_size=3)
LINKS = st.sampled_from(
    ['rel="alternate" hreflang="{0}" href="{1}"', "rel='alternate' hreflang='{0}' href='{1}'", 'rel="alternate" href="{1}"',
     'rel="alternate"\n href="{1}"  hreflang="{0}"', 'href="{1}" hreflang="{0}"', 'rel="x" hreflang="{0}" hreflang="{1}"']
)  # fmt: skip


def facts(tag, pairs):
    return "".join(f"<{tag}:{name}>{value}</{tag}:{name}>" for name, value in pairs)


EXTRAS = st.one_of(
    IMAGES.map(lambda pairs: f"<image:image>{facts('image', pairs)}</image:image>"),
    VIDEOS.map(lambda pairs: f"<v:video>\n{facts('v', pairs)}</v:video> "),
    st.tuples(LINKS, FIELD, FIELD, st.sampled_from(["/>", " />", "></xhtml:link>"])).map(
        lambda parts: f"<xhtml:link {parts[0].format(parts[1], parts[2])}{parts[3]}"
    ),
)
FIELDS = st.lists(
    st.one_of(
        EXTRAS,
        st.tuples(st.sampled_from(["lastmod", "changefreq", "priority"]), FIELD).map(
            lambda field: "<{0}>{1}</{0}>".format(*field)
        ),
    ),
    max_size=4,
).map("\n".join)


@given(
    st.lists(st.tuples(FIELD, FIELDS), min_size=1, max_size=4),
    st.sampled_from(["", "\n  ", "\x0b", "<!-- -->", "x"]),
    st.integers(10, 8_192),
)
@settings(max_examples=1_000)
def test_the_plain_grammar_and_the_parser_read_the_same(rows, blank, longest):
    text = "".join(f"{blank}<url><loc>{loc}</loc>{blank}{fields}</url>" for loc, fields in rows)
    limits = Limits(text_length=longest, extras_per_entry=2)
    plainly, parsed = Listing(URL, limits), Listing(URL, limits)
    entries = PlainReader(plainly, PREFIXES).read(text)
    if entries is None:
        assert not plainly.rejected
        return
    declared = "".join(f' xmlns:{prefix}="{uri}"' for prefix, uri in PREFIXES.items())
    root = etree.fromstring(f"<x{declared}>{text}</x>".encode())
    assert as_read(entries) == as_read(SitemapReader(parsed).read(root))
    assert plainly.rejected == parsed.rejected


def as_read(entries):
    """Entries as values: whether an entry without images has an empty list or tuple of them is nobody's business."""
    return [
        {
            **asdict(entry),
            **{name: list(getattr(entry, name)) for name in ("images", "videos", "alternates", "pagemap")},
        }
        for entry in entries
    ]


@pytest.mark.parametrize(
    "extras",
    [
        "<image:image><image:loc>/1.png</image:loc><image:title>One</image:title></image:image>" * 2,
        '<xhtml:link rel="alternate" hreflang="de" href="/de"/><xhtml:link rel="alternate" href="/fr" hreflang="fr" />',
        "<v:video> <v:thumbnail_loc>/t</v:thumbnail_loc><v:title>A &amp; B &#8217;</v:title></v:video>",
    ],
)
def test_the_plain_grammar_knows_what_most_sites_write(extras):
    plain = PlainReader(Listing(URL, Limits()), PREFIXES)
    for before, after in ((extras, ""), ("", extras)):
        text = f"<url>\n<loc>/a</loc>\n{before}<lastmod>2024-01-01</lastmod>{after}</url>"
        assert plain.read(text) is not None


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
