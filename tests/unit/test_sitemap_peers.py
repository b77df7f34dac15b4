"""What the tests of other parsers, and reports by their users, expect of a reader of sitemaps: on input of our own.

Where this one differs on purpose the case says why.
"""

from __future__ import annotations

import gzip

import pytest

from app.scanning.dates import parse_lastmod
from app.scanning.sitemap import Parse, parse
from app.scanning.values import BytesBody, ChildEntry, UrlEntry

URL = "https://shop.example/maps/all.xml"
NS = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'
VIDEO = 'xmlns:video="http://www.google.com/schemas/sitemap-video/1.1"'
BOM = "\ufeff"


def read(body: str | bytes) -> tuple[list[UrlEntry | ChildEntry], Parse]:
    data = body.encode() if isinstance(body, str) else body
    parsed = parse(BytesBody(data).chunks(), url=URL)
    return list(parsed), parsed


def entry(body: str) -> UrlEntry:
    (found,), _ = read(f"<urlset {NS} {VIDEO}><url>{body}</url></urlset>")
    assert isinstance(found, UrlEntry)
    return found


def paths(body: str | bytes) -> list[str]:
    return [found.url.removeprefix("https://shop.example") for found in read(body)[0]]


READ = {
    # crawler-commons
    "a URL in an element within loc": (
        (f"<urlset {NS}><url><loc><url><![CDATA[https://shop.example/p?id=7&v=2]]></url></loc><lastmod>2020-02-02</lastmod>"
        "</url><url><loc>/q</loc></url></urlset>"),
        ["/p?id=7&v=2", "/q"],
    ),
    "an end tag too many": (
        f"<urlset {NS}><url><!-- none --></url><url><loc> /p </loc></url></url></urlset>",
        ["/p"],
    ),
    "an index whose entries have no loc": (
        f"<sitemapindex {NS}><sitemap>\n/m?a=1&amp;b=2\n</sitemap><sitemap>/n</sitemap></sitemapindex>",
        ["/m?a=1&b=2", "/n"],
    ),
    "blanks of Unicode within and around CDATA": (
        "<sitemapindex><sitemap><loc>\n <![CDATA[\u00a0/m ]]> \u2000\n</loc></sitemap></sitemapindex>",
        ["/m"],
    ),
    "CDATA for a part of a URL": (f"<urlset {NS}><url><loc>/p<![CDATA[?a=1&b=2]]></loc></url></urlset>", ["/p?a=1&b=2"]),
    "an index cut off within a tag": (f"<sitemapindex {NS}><sitemap><loc>/m.xml.gz</loc><lastm", ["/m.xml.gz"]),
    "cut off within the end tag of loc": (f"<urlset {NS}><url><loc>/p</lo", ["/p"]),
    "a mark and blanks before the declaration": (
        f"{BOM}\n \t\r\n<?xml version='1.0' encoding='UTF-8'?><urlset {NS}><url><loc>/p</loc></url></urlset>",
        ["/p"],
    ),
    "an include that nobody follows": (
        ("<urlset xmlns:xi='http://www.w3.org/2001/XInclude'><url><loc>/p</loc></url>"
        "<url><loc><xi:include href='file:///etc/passwd' parse='text'/></loc></url></urlset>"),
        ["/p"],
    ),
    "a feed that begins with a line feed and a comment": (
        ("\n<!-- ours -->\n<rss version='2.0'><channel><link>/</link><item><guid isPermaLink='false'>https://shop.example/g</guid>"
        "</item><item><link>/p<![CDATA[?a=1&b=2]]></link></item></channel></rss>"),
        ["/g", "/p?a=1&b=2"],
    ),
    "RSS 1.0 has links of its channel and its image too": (
        ("<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#' xmlns='http://purl.org/rss/1.0/'>"
        "<channel rdf:about='/feed'><link>/</link><items><rdf:Seq><rdf:li resource='/p'/></rdf:Seq></items></channel>"
        "<image rdf:about='/i.gif'><link>/home</link><url>/i.gif</url></image>"
        "<item rdf:about='/about'><link>/p</link></item></rdf:RDF>"),
        ["/p"],
    ),
    "text with a mark": (f"{BOM}https://shop.example/p\nhttps://shop.example/q", ["/p", "/q"]),
    # ultimate-sitemap-parser
    "text among prose, indented": (
        "\n\n    https://shop.example/p\n\n  All that we have, and https://shop.example/not-this\nhttps://shop.example/q",
        ["/p", "/q"],
    ),
    "a URL that has no end tag, nor has anything": (
        f"<urlset {NS}><url><loc>/p</loc></url><url>\n<loc>https://shop.example/q",
        ["/p"],
    ),
    "no end of the root": (f"<urlset {NS}><url><loc>/p</loc></url>\n<url><loc>/q</loc></url>\n", ["/p", "/q"]),
    "Atom: the link without rel before the alternate one, never the one for editors": (
        ("<feed xmlns='http://www.w3.org/2005/Atom'><link href='/feed' rel='self'/><link href='/'/><entry><link href='/p'/>"
        "<link rel='alternate' type='text/html' href='/p?alt'/><link rel='edit' href='/p?edit'/></entry></feed>"),
        ["/p"],
    ),
    "Atom: links are relative to the nearest base, and that to the one around it": (
        ("<feed xmlns='http://www.w3.org/2005/Atom' xml:base='/blog/'><entry><link href='p'/></entry>"
        "<entry xml:base='2024/'><link href='q'/></entry><entry xml:base='https://'><link href='r?a=1&b'/></entry></feed>"),
        ["/blog/p", "/blog/2024/q", "/blog/r?a=1&b"],
    ),
    "RSS: titles whose end is missing or misspelt": (
        ("<rss><channel><item><title>a & b</tilte><link>/p</link></item><item><title>c<link>/q</link></item>"
        "<item><title>d</title><link>/r</lnk><description>e</description></item></channel></rss>"),
        ["/p", "/q", "/r"],
    ),
    "Atom: markup in a title that is damaged": (
        ("<feed><entry><title type='xhtml'><div>a & <b>b</div></title><link href='/p'><updated>2024</updated></entry>"
        "<entry><link href='/q'></entry></feed>"),
        ["/p", "/q"],
    ),
    "an end tag that is none of anything's": (
        f"<urlset {NS}><url><loc>/p</lco><lastmod>2024</lastmod></url><url></br><loc>/q</loc></br></url></urlset>",
        ["/p", "/q"],
    ),
    "RSS: a base": ("<rss xml:base = 'https://shop.example/news/'><channel><item><link>p</link></item></channel></rss>", ["/news/p"]),
    "a feed without entries": ("<feed xmlns='http://www.w3.org/2005/Atom'><link href='/'/><title>t</title></feed>", []),
    # Refused on purpose: whoever fetched these would send a password, or ask a private address in disguise
    "user names and octal addresses": (
        f"<urlset {NS}><url><loc>https://u:p@shop.example/p</loc></url><url><loc>http://127.0.00000000.1/p</loc></url></urlset>",
        [],
    ),
    "a slash that was forgotten": (f"<urlset {NS}><url><loc>http:/shop.example/p</loc></url></urlset>", []),
    # Scrapy
    "blanks around, and fields without content": (
        "<urlset xmlns='http://www.google.com/schemas/sitemap/0.84'><url xmlns=''><loc> /p\n</loc><lastmod /></url></urlset>",
        ["/p"],
    ),
    "comments between entries of an index": (
        f"\n<?xml version='1.0'?>\n<sitemapindex {NS}>\n<!-- cached -->\n<sitemap><loc>/m</loc></sitemap><!-- end --></sitemapindex>",
        ["/m"],
    ),
    "an entity that is nothing, in a document that is nothing": ("<url>&k;", []),
    # trafilatura
    "prose before URLs": ("Pages\nhttps://shop.example/1\nhttps://shop.example/2", ["/1", "/2"]),
    "two octets of gzip and junk": (b"\x1f\x8bABC", []),
    "no namespace, all in one line": ("<?xml version='1.0'?><urlset><url><loc>/p</loc></url></urlset>", ["/p"]),
    # reports by users of these and others
    "an urlset in an urlset": ("<urlset><urlset><url><loc>/p</loc></url></urlset></urlset>", ["/p"]),
    "a prefix on the root only": (
        "<ns0:sitemapindex xmlns:ns0='http://www.sitemaps.org/schemas/sitemap/0.9'><sitemap><loc> /m </loc></sitemap></ns0:sitemapindex>",
        ["/m"],
    ),
    "names in capitals": ("<URLSET><URL><LOC>/p</LOC></URL><Url><Loc>/q</Loc></Url></URLSET>", ["/p", "/q"]),
    "names in capitals, and damage": ("<URLSET><URL><LOC>/p?a&b</LOC><URL><Loc>/q</loc></URL></URLSET>", ["/p?a&b", "/q"]),
    "a link that an editor made": ("<urlset><url><loc><a href='/x'>https://shop.example/p</a></loc></url></urlset>", ["/p"]),
    "a relative namespace": ("<urlset xmlns='//www.sitemaps.org/schemas/sitemap/0.9'><url><loc>/p</loc></url></urlset>", ["/p"]),
    "namespaces of several versions": (
        f"<urlset {NS}><url xmlns='http://www.google.com/schemas/sitemap/0.84'><loc>/p</loc></url><url><loc>/q</loc></url></urlset>",
        ["/p", "/q"],
    ),
    "a comment of a cache behind the gzip data": (
        gzip.compress(b"<urlset><url><loc>/p</loc></url></urlset>") + b"\n<!-- served from cache -->",
        ["/p"],
    ),
    "NULs that fill up a text file": (b"https://shop.example/p\n\0\0\0\0\nhttps://shop.example/q\0\0\0\0\0", ["/p", "/q"]),
    "loc of an image only": (
        ("<urlset xmlns:image='http://www.google.com/schemas/sitemap-image/1.1'><url><image:image><image:loc>/i.png</image:loc>"
        "</image:image></url><url><loc>/p</loc></url></urlset>"),
        ["/p"],
    ),
    "a style sheet for browsers": (
        "<?xml version='1.0'?><?xml-stylesheet type='text/xsl' href='/s.xsl'?><urlset><url><loc>/p</loc></url></urlset>",
        ["/p"],
    ),
    "a page that is well-formed XML": (
        ("<?xml version='1.0'?><!DOCTYPE html PUBLIC '-//W3C//DTD XHTML 1.0 Strict//EN' 'x.dtd'>"
        "<html xmlns='http://www.w3.org/1999/xhtml'><body><loc>/p</loc></body></html>"),
        [],
    ),
    "XML that is something else": ("<?xml version='1.0'?><project><url>https://shop.example/p</url></project>", []),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_the_urls_that_are_read(name):
    body, wanted = READ[name]
    assert paths(body) == wanted


def test_no_field_leaks_from_one_entry_into_the_next():
    index = "<sitemapindex><sitemap><loc>/1</loc><lastmod>2004-10-01</lastmod><loc>/2</loc><loc>/3</loc><lastmod>2005-11-02</lastmod></sitemap></sitemapindex>"
    assert [found.lastmod and found.lastmod.raw for found in read(index)[0]] == ["2004-10-01", None, "2005-11-02"]
    urlset = f"<urlset {NS}><url><lastmod>2004-10-01</lastmod><priority>0.9</priority></url><url><loc>/p</loc></url></urlset>"
    (only,), parsed = read(urlset)
    assert (only.lastmod, only.priority, parsed.rejected) == (None, None, {"empty": 1})


@pytest.mark.parametrize(
    ("written", "instant"),
    [
        ("2004-12-23T18:00:15&#43;00:00", "2004-12-23T18:00:15+00:00"),
        ("<![CDATA[2004-12-23T18:00:15+00:00]]>", "2004-12-23T18:00:15+00:00"),
        ("\n 2024-05-08 08:53:11 AM ", "2024-05-08T08:53:11+00:00"),
        (" 2021-10-19 19:25:50.620909 ", "2021-10-19T19:25:50.620909+00:00"),
    ],
)
def test_dates_in_markup(written, instant):
    assert entry(f"<loc>/p</loc><lastmod>{written}</lastmod>").lastmod.at.isoformat() == instant


def test_two_dates_in_one_field_are_none():
    raw = "2015-10-08T07:18:53.846344Z 2015-06-15T15:33:55.288302Z"
    assert entry(f"<loc>/p</loc><lastmod>{raw}</lastmod>").lastmod == parse_lastmod(raw)
    assert parse_lastmod(raw).at is None


def test_a_date_without_a_zone_is_read_as_utc_also_in_feeds():
    """crawler-commons gives none, for RFC 822 demands a zone; half a day at most is a better answer than nothing."""
    body = "<rss><channel><item><link>/p</link><pubDate>Thu, 05 Jan 2017 12:34:50</pubDate></item></channel></rss>"
    assert read(body)[0][0].lastmod.at.isoformat() == "2017-01-05T12:34:50+00:00"


def test_a_video_in_full_and_before_its_loc():
    found = entry(
        "<video:video><video:title>Steaks &amp; co</video:title><video:duration>2459.1</video:duration>"
        "<video:player_loc allow_embed='yes' autoplay='ap=1'>\n  https://shop.example/v?x=1</video:player_loc>"
        "<video:tag>a</video:tag><video:tag>b</video:tag><video:restriction relationship='allow'>IE GB</video:restriction>"
        "<video:platform relationship='deny'>tv</video:platform><video:gallery_loc title='More'>/g</video:gallery_loc>"
        "<video:price currency='EUR'>1,99</video:price><video:price type='rent'/><video:price/>"
        "<video:uploader info='/u'>Ann\n</video:uploader><video:live>no</video:live>"
        "<video:tvshow><video:show_title>Show</video:show_title><video:season_number>2</video:season_number></video:tvshow>"
        "</video:video><loc>/p</loc>"
    )
    assert found.videos == [
        {
            "title": "Steaks & co",
            "duration": "2459.1",
            "player_loc": "https://shop.example/v?x=1",
            "player_loc_allow_embed": "yes",
            "player_loc_autoplay": "ap=1",
            "tag": ["a", "b"],
            "live": "no",
            "restriction": "IE GB",
            "restriction_relationship": "allow",
            "platform": "tv",
            "platform_relationship": "deny",
            "gallery_loc": "/g",
            "gallery_loc_title": "More",
            # as written: whether 1,99 is a price is for those to say who sell something
            "price": [{"value": "1,99", "currency": "EUR"}, {"type": "rent"}, {}],
            "uploader": "Ann",
            "uploader_info": "/u",
            "tvshow_show_title": "Show",
            "tvshow_season_number": "2",
        }
    ]


def test_alternates_are_those_in_a_language():
    found = entry(
        "<loc>/en</loc><link rel='alternate' hreflang='x-default' href='/en'/><link hreflang='de-CH' href=' /ch '/>"
        "<link rel='alternate' hreflang='fr'/><link rel='alternate' media='only screen' href='/m'/>"
    )
    assert found.alternates == [{"hreflang": "x-default", "href": "/en"}, {"hreflang": "de-CH", "href": "/ch"}]


def test_mobile_is_said_of_the_pages_that_say_so():
    entries, _ = read(
        "<urlset xmlns:mobile='http://www.google.com/schemas/sitemap-mobile/1.0'>"
        "<url><loc>/m</loc><mobile:mobile/></url><url><loc>/p</loc></url></urlset>"
    )
    assert [found.mobile for found in entries] == [True, False]


def test_news_of_both_forms_of_publication():
    found = entry(
        "<loc>/p</loc><news:news xmlns:news='http://www.google.com/schemas/sitemap-news/0.9'><news:publication>"
        "<news:name>The Day</news:name><news:language>en</news:language></news:publication><news:genres>Blog, Opinion</news:genres>"
        "<news:publication_date>2008-11-23</news:publication_date><news:title>A &lt; B</news:title>"
        "<news:keywords>a, b</news:keywords><news:stock_tickers>NASDAQ:A</news:stock_tickers></news:news>"
    )
    assert found.news == {
        "publication_name": "The Day",
        "publication_language": "en",
        "genres": "Blog, Opinion",
        "title": "A < B",
        "publication_date": "2008-11-23",
        "keywords": "a, b",
        "stock_tickers": "NASDAQ:A",
    }


def test_several_objects_of_a_page_map():
    found = entry(
        "<loc>/p</loc><PageMap xmlns='http://www.google.com/schemas/sitemap-pagemap/1.0'><DataObject type='document' id='one'>"
        "<Attribute name='name'>Doc</Attribute><Attribute name='review'>3.5</Attribute></DataObject>"
        "<DataObject type='image'><Attribute name='image_src' value='/i.gif'/></DataObject></PageMap>"
    )
    assert found.pagemap == [
        {"type": "document", "id": "one", "attributes": {"name": "Doc", "review": "3.5"}},
        {"type": "image", "attributes": {"image_src": "/i.gif"}},
    ]
