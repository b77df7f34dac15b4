from __future__ import annotations

import gzip
import json
import time
import tracemalloc
import zlib
from datetime import UTC, datetime

import pytest

from app.scanning.sitemap import Parse, parse
from app.scanning.values import BytesBody, ChildEntry, Limits, UrlEntry

URL = "https://example.com/sitemap.xml"
NS = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


def read(body: str | bytes, **options) -> tuple[list[UrlEntry | ChildEntry], Parse]:
    data = body.encode() if isinstance(body, str) else body
    parsed = parse(BytesBody(data).chunks(), url=URL, **options)
    return list(parsed), parsed


def urls(body: str | bytes, **options) -> list[str]:
    return [entry.url for entry in read(body, **options)[0]]


def urlset(*locs: str, head: str = "", attributes: str = NS) -> str:
    inside = "".join(f"<url><loc>{loc}</loc></url>\n" for loc in locs)
    return f'{head}<?xml version="1.0" encoding="UTF-8"?>\n<urlset {attributes}>\n{inside}</urlset>'


A, B, C = (f"https://example.com/{name}" for name in "abc")


# Recognised by content


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("urlset", urlset(A)),
        ("text", f"\n{A}\n"),
        ("rss", f"<rss version='2.0'><channel><link>/</link><item><link>{A}</link></item></channel></rss>"),
        (
            "rdf",
            (
                "<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#' xmlns='http://purl.org/rss/1.0/'>"
                f"<channel><link>/</link></channel><item rdf:about='{A}'><link>{A}</link></item></rdf:RDF>"
            ),
        ),
        (
            "atom",
            f"<feed xmlns='http://www.w3.org/2005/Atom'><link href='/'/><entry><link href='{A}'/></entry></feed>",
        ),
        ("atom", f"<feed version='0.3' xmlns='http://purl.org/atom/ns#'><entry><link rel='alternate' href='{A}'/></entry></feed>"),
        ("jsonfeed", json.dumps({"version": "https://jsonfeed.org/version/1", "items": [{"url": A}, {"id": "x"}]})),
    ],
)  # fmt: skip
def test_every_kind_is_recognised_by_its_content(kind, body):
    entries, parsed = read(body)
    assert [entry.url for entry in entries] == [A]
    assert (parsed.kind, parsed.problem, parsed.complete) == (kind, None, True)


def test_an_index_gives_children():
    entries, parsed = read(
        f"<sitemapindex {NS}><sitemap><loc>/one.xml</loc><lastmod>2024-05-06</lastmod></sitemap>"
        "<sitemap><loc>two.xml.gz</loc></sitemap></sitemapindex>"
    )
    assert parsed.kind == "index"
    assert [type(entry) for entry in entries] == [ChildEntry, ChildEntry]
    assert [entry.url for entry in entries] == ["https://example.com/one.xml", "https://example.com/two.xml.gz"]
    assert entries[0].lastmod.at == datetime(2024, 5, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("<!DOCTYPE html><html><body><a href='/a'>a</a></body></html>", "html"),
        ("\n<!-- x --><HTML><urlset><url><loc>/a</loc></url></urlset></HTML>", "html"),
        ("<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "unknown"),
        ("Not found", "unknown"),
        ('{"error": "no such page"}', "unknown"),
        ('{"items": [{"url": "/a"}]}', "unknown"),
        ("{" * 100_000, "unknown"),
        ("", "empty"),
        (" \n\ufeff", "empty"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "unknown"),
        ("<!-- " + "x" * 100, "unknown"),
    ],
)
def test_what_is_no_sitemap_says_so_and_invents_nothing(body, kind):
    entries, parsed = read(body)
    assert entries == []
    assert (parsed.kind, parsed.problem.code, parsed.complete) == (kind, "not_a_sitemap", False)
    assert parsed.rejected in ({}, {"relative": 0})


@pytest.mark.parametrize(
    "doctype",
    [
        '<!DOCTYPE x [<!ENTITY a "z">]>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]>',
        '<!DOCTYPE x [<!ENTITY % p SYSTEM "http://127.0.0.1/p"> %p;]>',
        '<!DOCTYPE x [<!ENTITY a "]>"> ]>',
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>',
        '<!DOCTYPE x [<!ELEMENT x ANY><!-- ]> --><!ENTITY a PUBLIC "p" "http://127.0.0.1/">]>',
        '<!DOCTYPE x SYSTEM "http://127.0.0.1/x.dtd" [<!ENTITY % a "<!ENTITY b \'c\'>"> %a;]>',
        "<!doctype X\n[\n<!ENTITY\na\n'z'>\n]\n>",
        "<!DOCTYPE x [ <!ENTIT ]>",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_declared_entities_are_refused_in_any_encoding(doctype, encoding):
    """Security P2"""
    body = f"{doctype}<urlset {NS}><url><loc>{A}</loc></url><url><loc>&a;</loc></url></urlset>"
    entries, parsed = read(body.encode(encoding))
    assert entries == []
    assert "xml_dtd_refused" in parsed.problem.detail


@pytest.mark.parametrize(
    "doctype",
    [
        "<!DOCTYPE urlset>",
        '<!DOCTYPE urlset SYSTEM "http://127.0.0.1/sitemap.dtd">',  # named, and never asked for
        '<!DOCTYPE urlset PUBLIC "-//X//Y" "file:///etc/passwd" [<!ELEMENT urlset ANY><!ATTLIST urlset a CDATA "b">]>',
        "<!DOCTYPE urlset [ %undeclared; ]>",
    ],
)
def test_a_doctype_without_entities_is_harmless(doctype):
    """Security P2: and nothing it names is asked for."""
    assert urls(f"{doctype}{urlset(A)}") == [A]


def test_a_declaration_of_entities_where_none_may_stand_declares_nothing():
    body = f"<urlset><!DOCTYPE x [<!ENTITY a 'z'>]><url><loc>{A}/&a;</loc></url></urlset>"
    assert urls(body) == [f"{A}/&a;"]


# gzip


def gzipped(body: str) -> bytes:
    return gzip.compress(body.encode(), mtime=0)


def test_gzip_is_undone_by_magic_once_and_twice_and_member_by_member():
    body = urlset(A, B)
    assert urls(gzipped(body)) == [A, B]
    assert urls(gzip.compress(gzipped(body))) == [A, B]
    assert urls(gzipped(body[:100]) + gzipped(body[100:])) == [A, B]
    assert urls(gzipped(body) + b"\x00" * 20) == [A, B]


def many(count: int) -> list[str]:
    return [f"https://example.com/{n * 7919 % 1_000_003:x}/{n}" for n in range(count)]


def test_truncated_gzip_keeps_whole_entries():
    locs = many(3_000)
    body = gzipped(urlset(*locs))
    entries, parsed = read(body[: len(body) // 2])
    found = [entry.url for entry in entries]
    assert 1_000 < len(found) < 3_000
    assert found == locs[: len(found)]
    assert (parsed.problem.code, parsed.complete) == ("partial", False)


def test_damaged_gzip_keeps_what_came_before_the_damage():
    locs = many(3_000)
    body = bytearray(gzipped(urlset(*locs)))
    body[len(body) * 2 // 3] ^= 0xFF
    entries, parsed = read(bytes(body))
    found = [entry.url for entry in entries]
    assert found[:1_000] == locs[:1_000]
    assert not parsed.complete


@pytest.mark.parametrize("layers", [1, 2])
def test_a_bomb_stops_at_the_cap(layers):
    body = b"<urlset>" + b" " * (64 << 20)
    for _ in range(layers):
        body = gzip.compress(body)
    entries, parsed = read(body, limits=Limits(sitemap_bytes=1 << 20))
    assert entries == []
    assert parsed.size <= 1 << 20
    assert (parsed.oversized, parsed.complete, parsed.problem.code) == (True, False, "partial")


# Encodings


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_unicode_encodings(encoding):
    assert urls(urlset("https://example.com/grün?a=1&amp;b").encode(encoding)) == [
        "https://example.com/gr%C3%BCn?a=1&b"
    ]


@pytest.mark.parametrize("label", ["iso-8859-1", "windows-1251", "gb2312", "shift_jis", "euc-kr"])
def test_declared_legacy_encodings(label):
    letter = {"iso-8859-1": "é", "windows-1251": "ж", "gb2312": "中", "shift_jis": "あ", "euc-kr": "한"}[label]
    body = f"<?xml version='1.0' encoding='{label}'?><urlset><url><loc>{A}/{letter}</loc></url></urlset>"
    (entry,), parsed = read(body.encode(label))
    assert entry.listed == f"{A}/{letter}"
    assert parsed.complete


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("latin-1", "é"),
        ("cp1252", "catégorie/été-à-la-plage"),
        ("cp1252", "straße/größe/öl"),
        ("cp1252", "año-niño/españa"),
        ("cp1252", "não/ação"),
        ("cp1250", "życie/łódź/święta"),
        ("cp1250", "příliš/žluťoučký/kůň"),
        ("cp1254", "hakkımızda/ürünler/şık"),
        ("cp1251", "новости/О-Нас/товар"),
        ("koi8-r", "о-компании/контакты"),
        ("cp1253", "ελληνικά/προϊόντα"),
        ("cp1255", "עברית/מוצרים"),
        ("cp1256", "منتجات/عربي"),
        ("cp874", "ภาษาไทย/สินค้า"),
        ("shift_jis", "会社概要/アクセス"),
        ("euc_jp", "日本語のページ"),
        ("big5", "關於我們/最新消息"),
        ("gbk", "中文产品/关于我们"),
        ("euc_kr", "회사소개/고객센터"),
    ],
)
def test_undeclared_legacy_encodings_are_told_by_their_letters(encoding, words):
    body = urlset(f"https://example.com/{words}", B).encode(encoding)
    entries, parsed = read(body)
    assert [entry.listed for entry in entries] == [f"https://example.com/{words}", B]
    assert parsed.complete


def test_stray_octets_in_utf_8_cost_only_themselves():
    body = urlset(f"{A}/é", f"{A}/@", f"{A}/ü-€").encode().replace(b"@", b"\xe9")
    assert [entry.listed for entry in read(body)[0]] == [f"{A}/é", f"{A}/é", f"{A}/ü-€"]


def test_a_declaration_does_not_overrule_a_byte_order_mark():
    body = urlset(f"{A}/é").replace("UTF-8", "windows-1251").encode("utf-8-sig")
    assert [entry.listed for entry in read(body)[0]] == [f"{A}/é"]


def test_an_encoding_that_could_hide_markup_is_not_honoured():
    body = b'<?xml version="1.0" encoding="UTF-7"?>+ADw-urlset+AD4APA-url+AD4-'
    entries, parsed = read(body)
    assert entries == []
    assert parsed.problem.code == "not_a_sitemap"


# Namespaces


@pytest.mark.parametrize(
    "body",
    [
        urlset(A, attributes=""),
        urlset(A, attributes='xmlns="https://www.sitemaps.org/schemas/sitemap/0.9"'),
        urlset(A, attributes='xmlns="http://www.google.com/schemas/sitemap/0.84"'),
        urlset(A, attributes='xmlns="http://www.sitemaps.org/schemes/sitmap/0.9/"'),
        f'<sit:urlset xmlns:sit="http://x"><sit:url><sit:loc>{A}</sit:loc></sit:url></sit:urlset>',
        urlset(A, attributes='xmlns="http://www.sitemaps.org/schemas/sitemap/0.9 " xmlns:é="urn:é"'),  # no URIs
        f'<urlset {NS}><url xmlns=""><loc>{A}</loc></url></urlset>',
        f"<urlset {NS}><url><é:loc>{A}</é:loc></url></urlset>",
        f"<sit:urlset><sit:url><sit:loc>{A}</sit:loc></sit:url></sit:urlset>",
    ],
)
def test_namespaces_do_not_matter(body):
    entries, parsed = read(body)
    assert [entry.url for entry in entries] == [A]
    assert parsed.complete


def test_an_undeclared_extension_prefix_is_read_all_the_same():
    (entry,), parsed = read(
        f"<urlset><url><loc>{A}</loc><image:image><image:loc>/i.png</image:loc></image:image></url></urlset>"
    )
    assert entry.images == [{"loc": "/i.png"}]
    assert parsed.complete


def test_thousands_of_undeclared_prefixes_cost_nothing():
    locs = many(3_000)
    body = "".join(f"<url><loc>{loc}</loc><p{n}:x/></url>" for n, loc in enumerate(locs))
    entries, parsed = read(f"<urlset>{body}</urlset>")
    assert [entry.url for entry in entries] == locs
    assert parsed.complete


# Damage that loses nothing


@pytest.mark.parametrize(
    "head",
    ["\n", "   ", "\ufeff\n", "<br />\n<b>Warning</b>: x on line 1<br />\n", "<!-- made by hand -->", "<?php ?>"],
)
def test_what_stands_before_the_declaration_is_cut_off(head):
    entries, parsed = read(urlset("https://example.com/?x=1&amp;y=2", B, head=head))
    assert [entry.url for entry in entries] == ["https://example.com/?x=1&y=2", B]
    assert parsed.complete


@pytest.mark.parametrize("junk", ["\n", "junk", "<!-- cached -->", "<script>x</script>", "\x00\x00"])
def test_what_stands_behind_the_root_is_ignored(junk):
    entries, parsed = read(urlset(A, B) + junk)
    assert [entry.url for entry in entries] == [A, B]
    assert parsed.complete


def test_documents_one_after_the_other_are_all_read():
    assert urls(urlset(A) + "\n" + urlset(B) + urlset(C)) == [A, B, C]


@pytest.mark.parametrize(
    ("loc", "url"),
    [
        ("/?a=1&b=2", "/?a=1&b=2"),
        ("/?a=1&amp;b=2", "/?a=1&b=2"),
        ("/?a=1&#38;b=2&#x26;c", "/?a=1&b=2&c"),
        ("/caf&eacute;&nbsp;", "/caf%C3%A9"),
        ("/?a&unknown;b", "/?a&unknown;b"),
        ("/?a&b=&amp;amp;", "/?a&b=&amp;"),
        ("<![CDATA[/?a=1&b=2]]>", "/?a=1&b=2"),
        ("/x<![CDATA[?a&amp;b]]>", "/x?a&amp;b"),
        ("/x<!-- a comment -->y", "/xy"),
        ("\n  /x\n  ", "/x"),
        ("\u00a0/x\u2003", "/x"),
        ("https://example.com/very/\n   long", "/very/long"),
        ("/a'b&quot;c&apos;&lt;", "/a'b%22c'%3C"),
    ],
)
def test_characters_are_exact(loc, url):
    later = "https://example.com/later?x=1&amp;y=2"
    entries, parsed = read(urlset(loc, later))
    assert [entry.url for entry in entries] == [f"https://example.com{url}", "https://example.com/later?x=1&y=2"]
    assert parsed.complete


def test_entries_in_comments_and_cdata_are_not_entries():
    body = f"<urlset><!-- <url><loc>{A}</loc></url> --><url><loc>{B}</loc></url><x><![CDATA[<url><loc>{C}</loc></url>]]></x></urlset>"
    assert urls(body) == [B]


def test_a_comment_longer_than_a_block_hides_what_it_holds():
    hidden = f"<url><loc>{A}</loc></url>" * 5_000
    assert urls(f"<urlset><url><loc>{B}</loc></url><!-- {hidden} --><url><loc>{C}</loc></url></urlset>") == [B, C]


# Damage that loses something


def test_a_control_character_is_dropped_and_told():
    entries, parsed = read(f"<urlset>\n<url><loc>{A}</loc></url>\n<url><loc>{B}\x03</loc></url></urlset>")
    assert [entry.url for entry in entries] == [A, B]
    assert (parsed.problem.code, parsed.problem.line, parsed.complete) == ("partial", 3, False)


@pytest.mark.parametrize(
    "middle",
    [
        f"<url><loc>{B}</url>",
        f"<url><loc>{B}</loc>",
        f"<url><loc>{B}</lok></url>",
        f"<url><loc>{B}</loc></url></div>",
        f"<url><loc>{B}<lastmod>2024</lastmod></url>",
        f"<url><b><loc>{B}</loc></url>",
    ],
)
def test_mismatched_tags_cost_nothing_around_them(middle):
    entries, parsed = read(f"<urlset><url><loc>{A}</loc></url>{middle}<url><loc>{C}</loc></url></urlset>")
    found = [entry.url for entry in entries]
    assert found[0] == A
    assert found[-1] == C
    assert set(found) <= {A, B, C}
    assert parsed.problem.code == "partial"
    assert parsed.problem.line == 1


def test_thousands_of_unclosed_entries_are_all_read():
    locs = many(3_000)
    body = "<urlset>" + "".join(f"<url><loc>{loc}</loc>" for loc in locs) + "</urlset>"
    assert urls(body) == locs


def test_a_truncated_document_never_gives_half_a_url():
    body = urlset("https://example.com/one", "https://example.com/two", "https://example.com/three")
    for length in range(len(body)):
        entries, parsed = read(body[:length])
        assert [entry.url for entry in entries] == [
            f"https://example.com/{name}" for name in ("one", "two", "three")[: len(entries)]
        ]
        assert not parsed.complete


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32-be"])
def test_one_octet_at_a_time(encoding):
    body = f"\n{urlset(f'{A}?a&b', f'{B}/é')}<!-- -->".encode(encoding)
    for data in (body, gzip.compress(body)):
        parsed = parse((data[n : n + 1] for n in range(len(data))), url=URL)
        assert [entry.listed for entry in parsed] == [f"{A}?a&b", f"{B}/é"]
        assert parsed.complete


def test_the_transfer_ended_early():
    entries, parsed = read(f"{A}\n{B}\nhttps://example.com/ha", truncated=True)
    assert [entry.url for entry in entries] == [A, B]
    assert (parsed.problem.code, parsed.complete) == ("partial", False)


@pytest.mark.parametrize(
    "body", [b"", b" ", gzip.compress(b"<urlset>", mtime=0)[:12], b"<?xml version='1.0'?><!-- made by"]
)
def test_what_never_came_is_not_taken_for_a_refusal(body):
    entries, parsed = read(body, truncated=True)
    assert entries == []
    assert (parsed.problem.code, parsed.complete) == ("partial", False)


# Odd structure


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (f"<urlset><urlset><url><loc>{A}</loc></url></urlset></urlset>", [A]),
        (f"<urlset><url><loc>{A}</loc><loc>{B}</loc></url></urlset>", [A, B]),
        (f"<urlset><url><loc></loc></url><url><loc>{B}</loc></url></urlset>", [B]),
        (f"<urlset><url>\n{A}\n</url></urlset>", [A]),
        (f"<urlset><loc>{A}</loc><loc>{B}</loc></urlset>", [A, B]),
        (f"<sitemapindex><url><loc>{A}</loc></url></sitemapindex>", [A]),
        (f"<urlset><sitemap><loc>{A}</loc></sitemap><url><loc>{B}</loc></url></urlset>", [A, B]),
        (f"<sitemap><loc>{A}</loc><loc>{B}</loc></sitemap>", [A, B]),
        (f"<urlset><url><loc>{A}</loc><url><loc>{B}</loc></url></url></urlset>", [A, B]),
        (f"<urlset><url><loc>{A}</loc><urlset><url><loc>{B}</loc></url></urlset></url></urlset>", [A, B]),
        (f"<urlset><entries><url><loc>{A}</loc></url></entries><url><loc>{B}</loc></url></urlset>", [A, B]),
        (f"<urlset><map:map xmlns:map='m'><map:loc>{A}</map:loc></map:map><url><loc>{B}</loc></url></urlset>", [B]),
        (f"<url><loc>{A}</loc></url>", [A]),
        ("<urlset/>", []),
        (f"<urlset {NS}></urlset>", []),
    ],
)
def test_odd_structure_is_read_as_crawler_commons_reads_it(body, found):
    entries, parsed = read(body)
    assert [entry.url for entry in entries] == found
    assert parsed.complete


def test_what_is_no_url_is_counted_by_reason():
    entries, parsed = read(
        urlset(
            A,
            "mailto:x@example.com",
            "javascript:void(0)",
            "https://example.com/" + "x" * 3_000,
            "",
            "http://localhost:4000/b",
        )
    )
    assert [entry.url for entry in entries] == [A, "http://localhost:4000/b"]
    assert parsed.rejected == {"scheme": 2, "too_long": 1, "empty": 1}


def test_the_listed_form_is_kept_beside_the_identity():
    (entry,), _ = read(urlset(" ../grün "))
    assert (entry.listed, entry.url) == ("../grün", "https://example.com/gr%C3%BCn")


# Fields


def fields(inside: str) -> UrlEntry:
    (entry,), _ = read(f"<urlset><url><loc>{A}</loc>{inside}</url></urlset>")
    return entry


@pytest.mark.parametrize("markup", ["<priority>{}</priority>", "<x/><priority>{}</priority>"])
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5", 0.5),
        (" 1 ", 1.0),
        (".5", 0.5),
        ("0", 0.0),
        ("1.1", None),
        ("-1", None),
        ("NaN", None),
        ("inf", None),
        ("0,5", None),
        ("0_1", None),
        ("80%", None),
        ("", None),
        ("high", None),
    ],
)
def test_priority_is_a_number_from_0_to_1_or_null(markup, text, value):
    assert fields(markup.format(text)).priority == value


@pytest.mark.parametrize("markup", ["<changefreq>{}</changefreq>", "<x/><changefreq>{}</changefreq>"])
@pytest.mark.parametrize(
    ("text", "value"), [("daily", "daily"), (" Weekly\n", "weekly"), ("sometimes", None), ("", None)]
)
def test_changefreq_is_one_of_seven_words_or_null(markup, text, value):
    assert fields(markup.format(text)).changefreq == value


def test_absent_fields_are_null():
    entry = fields("")
    assert (entry.lastmod, entry.changefreq, entry.priority, entry.news, entry.mobile) == (
        None,
        None,
        None,
        None,
        False,
    )
    assert not any((entry.images, entry.videos, entry.alternates, entry.pagemap))


EXTENDED = """<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"
  xmlns:image="http://www.google.com/schemas/sitemap-image/1.1" xmlns:video="http://www.google.com/schemas/sitemap-video/1.1"
  xmlns:news="http://www.google.com/schemas/sitemap-news/0.9" xmlns:xhtml="http://www.w3.org/1999/xhtml"
  xmlns:mobile="http://www.google.com/schemas/sitemap-mobile/1.0">
<url><loc>https://example.com/a</loc>
  <image:image><image:loc>https://example.com/1.png</image:loc><image:title>One &amp; only</image:title></image:image>
  <image:image><image:loc>https://example.com/2.png</image:loc></image:image>
  <video:video><video:title>Film</video:title><video:tag>x</video:tag><video:tag>y</video:tag>
    <video:uploader info="https://example.com/u">Ann
      Other</video:uploader><video:price currency="EUR">1.99</video:price></video:video>
  <news:news><news:publication><news:name>Daily</news:name><news:language>en</news:language></news:publication>
    <news:title>News</news:title></news:news>
  <xhtml:link rel="alternate" hreflang="de" href="https://example.com/de"/><xhtml:link rel="alternate" hreflang="fr"/>
  <mobile:mobile/>
  <PageMap xmlns="http://www.google.com/schemas/sitemap-pagemap/1.0"><DataObject type="document" id="x">
    <Attribute name="name" value="Dragon"/><Attribute name="review">3.5</Attribute></DataObject></PageMap>
  <lastmod>2024-01-02T03:04:05Z</lastmod>
</url></urlset>"""


def test_extensions_are_kept():
    (entry,), parsed = read(EXTENDED)
    assert parsed.complete
    assert entry.images == [
        {"loc": "https://example.com/1.png", "title": "One & only"},
        {"loc": "https://example.com/2.png"},
    ]
    assert entry.videos == [
        {"title": "Film", "tag": ["x", "y"], "uploader": "Ann Other", "uploader_info": "https://example.com/u",
         "price": [{"value": "1.99", "currency": "EUR"}]}
    ]  # fmt: skip
    assert entry.news == {"publication_name": "Daily", "publication_language": "en", "title": "News"}
    assert entry.alternates == [{"hreflang": "de", "href": "https://example.com/de"}]
    assert entry.mobile
    assert entry.pagemap == [{"type": "document", "id": "x", "attributes": {"name": "Dragon", "review": "3.5"}}]
    assert entry.lastmod.at == datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_extensions_survive_repair():
    (whole,), _ = read(EXTENDED)
    (mended,), _ = read(EXTENDED.replace("</xhtml:", "</").replace("<mobile:mobile/>", "<mobile:mobile>"))
    assert (mended.images, mended.videos, mended.news) == (whole.images, whole.videos, whole.news)


def test_extras_and_texts_are_capped():
    """Security P5"""
    images = "".join(f"<image:image><image:loc>/{n}</image:loc></image:image>" for n in range(20))
    limits = Limits(extras_per_entry=5, text_length=10)
    (entry,), _ = read(
        f"<urlset><url><loc>/a</loc>{images}<news:news><news:title>{'x' * 99}</news:title></news:news></url></urlset>",
        limits=limits,
    )
    assert len(entry.images) == 5
    assert entry.news == {"title": "x" * 10}


# Feeds


def test_rss_takes_links_of_items_only_and_their_dates():
    entries, parsed = read(
        "<?xml version='1.0'?><rss version='2.0' xmlns:atom='http://www.w3.org/2005/Atom'><channel><title>t</title>"
        "<link>https://example.com/</link><atom:link href='https://example.com/feed' rel='self'/>"
        "<image><url>https://example.com/logo.png</url><link>https://example.com/</link></image>"
        f"<item><atom:link href='/no'/><link>{A}</link><pubDate>Tue, 10 Aug 2010 20:43:53 +0200</pubDate></item>"
        f"<item><guid>{B}</guid><description><![CDATA[<item><link>/no</link></item>]]></description></item>"
        # said not to be permanent, but the only address there is: crawler-commons takes it, and it leads to the page
        "<item><guid isPermaLink='false'>https://example.com/?p=3</guid></item>"
        "<item><guid isPermaLink='false'>7bd204c6-1655</guid></item></channel></rss>"
    )
    assert [entry.url for entry in entries] == [A, B, "https://example.com/?p=3"]
    assert entries[0].lastmod.at == datetime(2010, 8, 10, 18, 43, 53, tzinfo=UTC)
    assert parsed.rejected == {"empty": 1}
    assert parsed.complete


def test_atom_takes_the_link_without_rel_then_the_alternate_and_the_latest_date():
    entries, _ = read(
        "<feed xmlns='http://www.w3.org/2005/Atom'>"
        f"<entry><link rel='edit' href='/no'/><link rel='alternate' href='{B}'/><link href='{A}'/>"
        "<published>2003-12-12T00:00:00Z</published><updated>2003-12-13T18:30:02Z</updated></entry>"
        f"<entry><link rel='self' href='/no'/><link rel='alternate' href='{C}'/></entry></feed>"
    )
    assert [entry.url for entry in entries] == [A, C]
    assert entries[0].lastmod.at == datetime(2003, 12, 13, 18, 30, 2, tzinfo=UTC)


def test_json_feed_text_is_made_storable():
    body = r'{"version":"https://jsonfeed.org/version/1","items":[{"url":"/a","date_modified":"soon\u0000\ud800"}]}'
    (entry,), _ = read(body)
    assert entry.lastmod.raw == "soon?"


def test_a_text_sitemap_with_every_line_end_and_prose():
    entries, parsed = read(f"\ufeffOur pages:\r{A}\r\n\r\n  {B}\t\njavascript:1\n{C}")
    assert [entry.url for entry in entries] == [A, B, C]
    assert parsed.complete
    assert parsed.rejected == {"relative": 2}


def test_a_text_sitemap_is_taken_literally():
    assert urls("https://example.com/?a=1&amp;b=2\n") == ["https://example.com/?a=1&amp;b=2"]


def test_an_endless_line_costs_no_memory_and_no_neighbour():
    def chunks():
        yield f"{A}\n".encode()
        for _ in range(320):
            yield b"a" * 65_536
        yield f"\n{B}\n".encode()

    tracemalloc.start()
    found = [entry.url for entry in parse(chunks(), url=URL)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == [A, B]
    assert peak < 8 << 20


# Size


def big(count: int):
    yield f"<urlset {NS}>".encode()
    for start in range(0, count, 500):
        yield "".join(
            f"<url><loc>https://example.com/{n}?a=1&amp;b=2</loc><lastmod>2024-01-{n % 28 + 1:02}</lastmod></url>"
            for n in range(start, start + 500)
        ).encode()
    yield b"</urlset>"


def test_beyond_the_protocols_limit_it_reads_on_and_says_so():
    parsed = parse(big(50_500), url=URL)
    assert sum(1 for _ in parsed) == 50_500
    assert (parsed.oversized, parsed.complete, parsed.problem) == (True, True, None)


def test_beyond_the_protocols_size_too():
    def chunks():
        yield f"<urlset><url><loc>{A}</loc></url>".encode()
        for _ in range(50):
            yield b"\n" * (1 << 20)
        yield f"<url><loc>{B}</loc></url></urlset>".encode()

    parsed = parse(chunks(), url=URL)
    assert [entry.url for entry in parsed] == [A, B]
    assert (parsed.oversized, parsed.complete, parsed.size > 52_428_800) == (True, True, True)


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        ("<urlset>", "<!-- a comment of some length, so that there are not too many for a test -->"),
        ("<urlset>", "<?a processing instruction of some length, for the same reason?>"),
        ("<urlset><url ", "a='b' "),
        ("<urlset><url><loc>/a</loc>", "<image:image><image:loc>/i</image:loc></image:image>"),
        ('{"version":"https://jsonfeed.org/version/1","items":[', '{"url":"/a"},'),
        ('{"version":"https://jsonfeed.org/version/1","items":', "["),
    ],
)
def test_what_never_ends_is_not_held(head, piece):
    def chunks():
        yield head.encode()
        for _ in range(40):
            yield piece.encode() * (65_536 // len(piece))

    tracemalloc.start()
    parsed = parse(chunks(), url=URL)
    for _ in parsed:
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20
    assert not parsed.complete


def test_the_cap_on_entries_ends_the_reading():
    parsed = parse(big(5_000), url=URL, limits=Limits(entries_per_file=1_234))
    assert sum(1 for _ in parsed) == 1_234
    assert (parsed.oversized, parsed.complete, parsed.problem.code) == (True, False, "partial")


@pytest.mark.parametrize("count", [5_000, 50_000])
def test_memory_does_not_grow_with_the_file(count):
    """Security P2"""
    tracemalloc.start()
    for _ in parse(big(count), url=URL):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 << 20


def test_a_url_broken_over_lines_and_padded_is_not_quadratic():
    loc = "https://example.com/\n" + " " * 900 + "a" + " " * 400 + "b"
    began = time.process_time()
    entries, _ = read(f"<urlset>{f'<url><loc>{loc}</loc></url>' * 1_000}</urlset>")
    assert time.process_time() - began < 4
    assert [entry.url for entry in entries] == ["https://example.com/a" + "%20" * 400 + "b"] * 1_000


def test_an_entry_that_never_ends_is_let_go():
    def chunks():
        yield f"<urlset><url><loc>{A}</loc></url><url><x>".encode()
        for _ in range(200):
            yield b"y" * 65_536
        yield f"</x></url><url><loc>{B}</loc></url></urlset>".encode()

    parsed = parse(chunks(), url=URL)
    assert [entry.url for entry in parsed] == [A, B]
    assert parsed.problem.code == "partial"


def test_an_endless_comment_hides_its_content_without_being_held():
    def chunks():
        yield f"<urlset><url><loc>{A}</loc></url><!-- ".encode()
        for _ in range(200):
            yield f"<url><loc>{C}</loc></url>".encode() * 2_000
        yield f"--><url><loc>{B}</loc></url></urlset>".encode()

    parsed = parse(chunks(), url=URL)
    assert [entry.url for entry in parsed] == [A, B]


def test_nothing_is_read_before_it_is_asked_for():
    taken = []

    def chunks():
        for chunk in big(20_000):
            taken.append(len(chunk))
            yield chunk

    parsed = parse(chunks(), url=URL)
    assert taken == []
    next(parsed)
    assert sum(taken) < 300_000


def test_raw_deflate_is_not_taken_for_text_with_urls():
    assert urls(zlib.compress(urlset(A).encode())) == []


@pytest.mark.parametrize(
    "piece",
    [
        "<!DOCTYPE x [",
        "<!--",
        "<![CDATA[",
        "<?x ",
        "<a b='",
        "<url><loc>",
        "</url>",
        "<urlset>",
        "&",
        "&a",
        "]]>",
        "<",
        "\n",
        "x:",
        "x",
        "x ",
        "x=",
        " ",
        "<a>",
        "<loc/>",
        "<!-- -->",
    ],
)
@pytest.mark.parametrize(
    "head", ["", "<", "</", "<urlset>", "<urlset><", "<urlset></", "<urlset><url ", "<urlset><url><loc>/a</loc></url>"]
)
def test_no_repeated_piece_makes_reading_quadratic(head, piece):
    body = (head + piece * (400_000 // len(piece))).encode()
    began = time.process_time()
    list(parse(BytesBody(body).chunks(), url=URL))
    assert time.process_time() - began < 4
