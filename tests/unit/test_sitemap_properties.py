"""What holds for every document: nothing raises, chunk boundaries never matter, what was written is read."""

from __future__ import annotations

import gzip
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from html import escape
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lxml import etree

from app.scanning.entries import CHANGEFREQS, Listing, SitemapReader
from app.scanning.plain import PlainReader
from app.scanning.repair import Shape, mend, mend_references
from app.scanning.sitemap import parse
from app.scanning.values import ChildEntry, Lastmod, Limits, UrlEntry

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
URLS = st.from_regex(r"https://example\.com/[a-z0-9&=?'!()*+,;:@~_-]{0,20}", fullmatch=True)
IMAGE_FACTS = st.fixed_dictionaries(
    {"loc": WORDS}, optional=dict.fromkeys(["title", "caption", "geo_location", "license"], WORDS)
)
VIDEO_FACTS = st.fixed_dictionaries(
    {"title": WORDS},
    optional={
        **dict.fromkeys(
            ["thumbnail_loc", "description", "duration", "family_friendly", "uploader", "restriction"], WORDS
        ),
        "tag": st.lists(WORDS, min_size=1, max_size=3),
        "price": st.lists(st.fixed_dictionaries({"value": WORDS, "currency": WORDS}), min_size=1, max_size=2),
        "uploader_info": WORDS,
        "restriction_relationship": st.sampled_from(["allow", "deny"]),
        "tvshow_show_title": WORDS,
    },
)
NEWS_FACTS = st.fixed_dictionaries(
    {"title": WORDS},
    optional=dict.fromkeys(["publication_name", "publication_language", "publication_date", "keywords"], WORDS),
)
PAGEMAP_ITEMS = st.fixed_dictionaries(
    {"type": WORDS, "id": WORDS, "attributes": st.dictionaries(WORDS, WORDS, max_size=2)},
)
ENTRIES = st.builds(
    lambda url, **fields: UrlEntry(url, url, **fields),
    url=URLS,
    lastmod=st.none() | LASTMODS,
    changefreq=st.sampled_from([None, *sorted(CHANGEFREQS)]),
    priority=st.none() | st.integers(0, 10).map(lambda tenths: tenths / 10),
    images=st.lists(IMAGE_FACTS, max_size=2),
    videos=st.lists(VIDEO_FACTS, max_size=2),
    news=st.none() | NEWS_FACTS,
    alternates=st.lists(st.fixed_dictionaries({"hreflang": WORDS, "href": WORDS}), max_size=2),
    mobile=st.booleans(),
    pagemap=st.lists(PAGEMAP_ITEMS, max_size=2),
)
CHILDREN = st.builds(lambda url, lastmod: ChildEntry(url, url, lastmod), url=URLS, lastmod=st.none() | LASTMODS)
NAMESPACES = {
    "image": "http://www.google.com/schemas/sitemap-image/1.1",
    "video": "http://www.google.com/schemas/sitemap-video/1.1",
    "news": "http://www.google.com/schemas/sitemap-news/0.9",
    "mobile": "http://www.google.com/schemas/sitemap-mobile/1.0",
    "xhtml": "http://www.w3.org/1999/xhtml",
}
WAYS_TO_WRITE_TEXT = {
    "references": lambda text: escape(text, quote=False),
    "numbers": lambda text: "".join(f"&#{ord(char)};" for char in text),
    "hexadecimal": lambda text: "".join(f"&#x{ord(char):X};" for char in text),
    "CDATA": lambda text: "<![CDATA[" + text.replace("]]>", "]]]]><![CDATA[>") + "]]>",
    "comments": lambda text: escape(text[:1], quote=False) + "<!-- </url> -->" + escape(text[1:], quote=False),
}


@dataclass
class Writer:
    """Writes the same entries in one of the many ways in which sites write them."""

    own: str  # the prefix of the sitemap's own elements, with its colon
    way: str
    gap: str
    encoding: str
    fields_first: bool

    def document(self, entries):
        root, declared = ("sitemapindex" if entries and isinstance(entries[0], ChildEntry) else "urlset"), NAMESPACES
        spaces = "".join(f" xmlns:{prefix}='{uri}'" for prefix, uri in declared.items())
        own = f" xmlns{':' if self.own else ''}{self.own[:-1]}='http://www.sitemaps.org/schemas/sitemap/0.9'"
        inside = "".join(self.gap + self.entry(entry) for entry in entries)
        label = self.encoding.removesuffix("-sig")
        return (
            f"<?xml version='1.0' encoding='{label}'?>{self.gap}<{self.own}{root}{own}{spaces}>{inside}</{self.own}{root}>"
        ).encode(self.encoding)

    def tag(self, name, text, **attributes):
        given = "".join(f' {key}="{escape(value)}"' for key, value in attributes.items() if value is not None)
        return f"<{name}{given}>{WAYS_TO_WRITE_TEXT[self.way](text)}</{name}>{self.gap}" if text or given else ""

    def around(self, name, inside):
        return f"<{name}>{self.gap}{inside}</{name}>{self.gap}"

    def entry(self, entry):
        fields = self.tag(f"{self.own}lastmod", entry.lastmod.raw) if entry.lastmod else ""
        if isinstance(entry, ChildEntry):
            return self.around(f"{self.own}sitemap", self.tag(f"{self.own}loc", entry.url) + fields)
        fields += self.tag(f"{self.own}changefreq", entry.changefreq or "")
        fields += self.tag(f"{self.own}priority", "" if entry.priority is None else str(entry.priority))
        extensions = "".join(self.around("image:image", self.facts("image", image)) for image in entry.images)
        extensions += "".join(self.around("video:video", self.facts("video", video)) for video in entry.videos)
        extensions += self.around("news:news", self.facts("news", entry.news)) if entry.news else ""
        extensions += "".join(self.tag("xhtml:link", "", rel="alternate", **link) for link in entry.alternates)
        extensions += "<mobile:mobile/>" if entry.mobile else ""
        extensions += "".join(map(self.pagemap, entry.pagemap))
        parts = [self.tag(f"{self.own}loc", entry.url), fields, extensions]
        return self.around(f"{self.own}url", "".join(parts if self.fields_first else reversed(parts)))

    def facts(self, prefix, facts):
        out = ""
        for name, value in facts.items():
            if name == "tag":
                out += "".join(self.tag(f"{prefix}:tag", one) for one in value)
            elif name == "price":
                out += "".join(self.tag(f"{prefix}:price", one["value"], currency=one["currency"]) for one in value)
            elif name.startswith(("publication_n", "publication_l", "tvshow_")):
                outer, _, inner = name.partition("_")
                out += self.around(f"{prefix}:{outer}", self.tag(f"{prefix}:{inner}", value))
            elif name == "uploader_info":
                out += "" if "uploader" in facts else self.tag("video:uploader", "", info=value)
            elif name == "restriction_relationship":
                out += "" if "restriction" in facts else self.tag("video:restriction", "", relationship=value)
            else:
                attributes = {"uploader": "info", "restriction": "relationship"}
                beside = {attributes[name]: facts.get(f"{name}_{attributes[name]}")} if name in attributes else {}
                out += self.tag(f"{prefix}:{name}", value, **beside)
        return out

    def pagemap(self, item):
        attributes = "".join(
            f'<Attribute name="{escape(name)}">{WAYS_TO_WRITE_TEXT[self.way](value)}</Attribute>'
            for name, value in item["attributes"].items()
        )
        return (
            "<PageMap xmlns='http://www.google.com/schemas/sitemap-pagemap/1.0'>"
            f'<DataObject type="{escape(item["type"])}" id="{escape(item["id"])}">{attributes}</DataObject></PageMap>'
        )


WRITERS = st.builds(
    Writer,
    own=st.sampled_from(["", "sm:"]),
    way=st.sampled_from(sorted(WAYS_TO_WRITE_TEXT)),
    gap=st.sampled_from(["", "\n", "\r\n\t"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-32-le", "gb18030"]),
    fields_first=st.booleans(),
)


@given(st.lists(ENTRIES, max_size=6) | st.lists(CHILDREN, min_size=1, max_size=6), WRITERS, st.booleans())
@example([UrlEntry(URL, URL, changefreq="always", priority=0.5)], Writer("", "hexadecimal", "", "utf-8", True), False)
@settings(max_examples=200)
def test_what_was_written_is_read(entries, writer, zipped):
    body = writer.document(entries)
    kind = "index" if entries and isinstance(entries[0], ChildEntry) else "urlset"
    read, *rest = outcome([gzip.compress(body, mtime=0) if zipped else body])
    assert rest[:3] == [kind, None, True]
    assert [type(entry) for entry in read] == [type(entry) for entry in entries]
    assert as_read(read) == as_read(entries)


@given(
    st.lists(URLS, min_size=1),
    st.sampled_from(["\n", "\r", "\r\n", "\n\n \n"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_what_was_written_line_by_line_is_read(urls, end, encoding):
    body = (end.join(urls) + end).encode(encoding)
    read, *rest = outcome([body])
    assert rest[:3] == ["text", None, True]
    assert as_read(read) == as_read([UrlEntry(url, url) for url in urls])


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
            **{name: list(getattr(entry, name, ())) for name in ("images", "videos", "alternates", "pagemap")},
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
@example("<a¹><b-²/></c¼>", False)  # digits to Python, no names to XML
@example("<·a><a·><ª:b>", False)
@settings(max_examples=500)
def test_what_is_mended_is_well_formed(text, cut):
    mended = mend(text, SHAPE, cut=cut)
    declared = "".join(f' xmlns:{prefix}="urn:x"' for prefix in mended.prefixes)
    etree.fromstring(f"<x{declared}>{mended.text}</x>".encode())


@given(SOUP)
def test_mending_references_leaves_what_is_well_formed_alone(text):
    sound = escape(text.encode("utf-8", "replace").decode())
    assert mend_references(sound) == sound
