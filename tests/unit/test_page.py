"""A page's metadata: what is read, what is left alone, and what hostile markup cannot do."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.scanning import html, page
from app.scanning.values import Limits, Page

URL = "https://www.example.com/"
CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
HTML = {"Content-Type": "text/html; charset=utf-8"}


def read(markup: str, **options) -> Page:
    options.setdefault("url", URL)
    options.setdefault("headers", HTML)
    return page.read(markup.encode(), **options)


def test_reads_the_head_of_an_ordinary_page():
    found = read(
        """<!doctype html><html lang="de-de"><head>
        <title> Möbel &amp; mehr
           | Acme </title>
        <meta name="Description" content="Stühle, Tische.">
        <link rel="canonical" href="/start?a=1">
        <link rel="shortcut icon" href="img/fav.ico">
        <meta property="og:title" content="Acme"><meta property="og:image" content="/a.png">
        <meta name="robots" content="noindex, follow">
        <link rel="alternate" type="application/rss+xml" href="/feed/">
        <link rel="alternate" type="application/rss+xml" href="/comments/feed/">
        <link rel="sitemap" href="/sitemap_index.xml">
        </head><body><h1>Hallo</h1></body></html>""",
        headers={**HTML, "X-Robots-Tag": "noarchive, noindex"},
        http_status=200,
    )
    assert found.title == "Möbel & mehr | Acme"
    assert found.description == "Stühle, Tische."
    assert found.language == "de-DE"
    assert found.canonical == "https://www.example.com/start?a=1"
    assert found.favicon == "https://www.example.com/img/fav.ico"
    assert found.open_graph == {"og:title": "Acme", "og:image": "/a.png"}
    assert found.robots_meta == "noindex, follow, noarchive"
    assert found.feeds == ["https://www.example.com/feed/"]
    assert found.sitemap_links == ["https://www.example.com/sitemap_index.xml"]
    assert (found.page_type, found.contact_form, found.partial, found.problem) == ("home", False, False, None)
    assert found.http_status == 200


def test_invents_nothing_for_a_bare_page():
    found = read("<html><body><p>Hello</p></body></html>")
    assert found == Page(url=URL, final_url=URL, contact_form=False, page_type="home")


def test_og_description_is_not_the_description():
    found = read('<meta property="og:description" content="x">')
    assert found.description is None
    assert found.open_graph == {"og:description": "x"}


@pytest.mark.parametrize(
    ("markup", "title"),
    [
        ("<svg><title>icon</title></svg><title>Page</title>", "Page"),
        ("<body><svg><title>icon</title></svg></body>", None),
        ("<title></title><title>Second</title>", "Second"),
        ("<title>javascript:alert(1)</title>", "javascript:alert(1)"),
        ("<title><svg/onload=alert(1)></title>", "<svg/onload=alert(1)>"),
        ("<title>\u202eevil\u202c</title>", "evil"),
        ("<title>\x1b[2J\x1b]0;x\x07</title>", "[2J]0;x"),
        ("<title>a\x00b&#0;</title>", "ab\ufffd"),
        ("<!-- <title>no</title> --><p>x", None),
        ("<title>First</title><title>Second</title>", "First"),
        ("<title> \n </title><p>x", None),
        ("<title>A <b>bold</b> name", "A <b>bold</b> name"),
        ("<body><title>Late</title>", "Late"),
    ],
)
def test_title_is_clean_text(markup, title):
    assert read(markup).title == title


def test_long_fields_are_cut_and_counts_are_capped():
    """Security P5"""
    many = "".join(f'<meta property="og:x{i}" content="1"><a href="/{i}">x</a>' for i in range(2_000))
    found = read(f"<title>{'a' * 50_000}</title>{many}", limits=Limits(text_length=100))
    assert found.title == "a" * 100
    assert len(found.open_graph) == page.MAX_OPEN_GRAPH
    assert len(found.links) == page.MAX_LINKS


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("<meta charset=windows-1251><title>Привет</title>".encode("cp1251"), "text/html"),
        ("<title>Привет</title>".encode("koi8-r"), "text/html; charset=KOI8-R"),
        ("\ufeff<title>Привет</title>".encode("utf-16-le"), "text/html; charset=iso-8859-1"),
        ("<title>Привет</title>".encode(), None),
        (("<title>Привет</title>" + "<p>Это обычный русский текст на странице. " * 9).encode("cp1251"), None),
        ("<meta charset=utf-16><title>Привет</title>".encode(), "text/html"),
        ("<meta charset=hex><title>Привет</title>".encode(), "text/html"),
    ],
)
def test_encodings(body, content_type):
    found = page.read(body, url=URL, headers={"content-type": content_type} if content_type else {})
    assert found.title == "Привет"


@pytest.mark.parametrize(
    ("markup", "description"),
    [
        ('<meta name="description" property="og:description" content="both">', "both"),
        ('<meta itemprop="description" content="of an item">', None),
        ('<meta name="description" content=""><meta name="DESCRIPTION" content=" second ">', "second"),
        ('<meta name="description">', None),
    ],
)
def test_description(markup, description):
    assert read(markup).description == description


@pytest.mark.parametrize(
    "markup",
    [
        '<link rel="icon" href="%PUBLIC_URL%/i.png"><link rel="canonical" href="{{ page.url }}">',
        '<link rel="icon" href="${base}/i.png"><link rel="canonical" href="&lt;%= url %&gt;">',
        '<link rel="icon" href=""><link rel="canonical">',
        '<link rel="icon" href="about:blank"><link rel="canonical" href="ftp://example.com/">',
        '<html lang="{{ lang }}"><base href="{{ base }}">',
    ],
)
def test_what_a_template_left_open_is_nothing(markup):
    assert read(markup) == read("<p>")


@pytest.mark.parametrize(
    ("base", "canonical"),
    [
        ("/shop/", "https://www.example.com/shop/a"),
        ("https://cdn.example.net", "https://cdn.example.net/a"),
        ("javascript:alert(1)//", "https://www.example.com/a"),
        ("data:text/html,x", "https://www.example.com/a"),
        ("http://[", "https://www.example.com/a"),
    ],
)
def test_relative_links_and_the_base(base, canonical):
    assert (
        read(f'<base target=_top><base href="{base}"><base href="/x/"><link rel=canonical href=a>').canonical
        == canonical
    )


def test_robots_directives_of_all_places_once_each():
    found = read(
        '<meta name="ROBOTS" content="NoIndex,  nofollow"><meta name="robots" content="nofollow, max-snippet:-1">',
        headers={**HTML, "X-Robots-Tag": "noindex, unavailable_after: 2027-01-01"},
    )
    assert found.robots_meta == "noindex, nofollow, max-snippet:-1, unavailable_after: 2027-01-01"


def test_open_graph_keeps_the_first_and_nothing_empty():
    found = read(
        '<meta property="og:image" content="/a.png"><meta property="og:image" content="/b.png"><meta property="og:title">'
        '<meta property="og:url" content=" "><meta name="og:site_name" content="Acme">'
    )
    assert found.open_graph == {"og:image": "/a.png", "og:site_name": "Acme"}


@pytest.mark.parametrize("stated", ['lang="pt-br"', 'xml:lang="pt_BR"'])
def test_language_from_the_root(stated):
    assert read(f"<html {stated}><p>x").language == "pt-BR"


def test_language_from_meta_then_header():
    assert read('<meta http-equiv="Content-Language" content="fr">').language == "fr"
    assert read("<p>x", headers={**HTML, "Content-Language": "en, fr"}).language == "en"
    assert read('<html lang=""><meta property="og:locale" content="nl_BE">').language == "nl-BE"


def test_links_resolve_against_the_base_but_stay_http():
    found = read(
        '<base href="https://cdn.example.net/x/"><link rel=icon href="a.ico">'
        '<link rel=canonical href="java&#10;script:alert(1)">'
    )
    assert found.favicon == "https://cdn.example.net/x/a.ico"
    assert found.canonical is None


def test_an_embedded_icon_has_no_url():
    assert read('<link rel="icon" href="data:image/png;base64,AAAA">').favicon is None


JSON_LD = {
    "@context": "https://schema.org",
    "@graph": [
        {"@type": ["Organization", "http://schema.org/Store"], "logo": {"@type": "ImageObject", "url": "/logo.png"},
         "sameAs": ["https://www.instagram.com/acme/"], "email": "mailto:shop@example.com",
         "telephone": "+49 30 901820", "address": {"addressCountry": "DE"}},
        {"@type": "WebSite"},
    ],
}  # fmt: skip


def test_json_ld():
    found = read(f'<script type="application/ld+json">{json.dumps(JSON_LD)}</script>')
    assert found.json_ld_types == ["Organization", "Store", "ImageObject", "WebSite"]
    assert found.logo == "https://www.example.com/logo.png"
    assert found.social_links == {"instagram": "https://www.instagram.com/acme/"}
    assert found.emails == ["shop@example.com"]
    assert found.phones == ["+4930901820"]


@pytest.mark.parametrize(
    "text",
    [
        '<!-- {"@type":"Thing"} -->',
        '{"@type":"Thing",}',
        '{"@type":"Thing","name":"a\nb"}',
        '//<![CDATA[\n[{"@type":"Thing"}]\n//]]>',
        "{&quot;@type&quot;:&quot;Thing&quot;}",
        '/* <![CDATA[ */ {"@type":"Thing"}; /* ]]> */',
        '{"@type":"Thing","name":"left, ]","list":[1,2,],}',
    ],
)
def test_json_ld_as_sites_write_it(text):
    assert read(f'<script type="application/ld+json">{text}</script>').json_ld_types == ["Thing"]


@pytest.mark.parametrize(
    "text",
    [
        "{nonsense",
        "[" * 200_000,
        '{"a":' * 100_000,
        "9" * 10_000,
        '"\\ud800"',
        "null",
        " " * 300_000 + "x" + " " * 300_000 + "y",
        "--> ; " * 100_000,
        ", " * 300_000,
    ],
)
def test_json_ld_that_is_none(text):
    assert read(f'<script type="application/ld+json">{text}</script>').json_ld_types == []


def test_logo_falls_back_to_what_the_page_marks():
    assert read('<meta property="og:logo" content="/l.svg">').logo == "https://www.example.com/l.svg"
    assert read('<img itemprop="logo" src="/m.svg">').logo == "https://www.example.com/m.svg"


@pytest.mark.parametrize(
    ("markup", "logo"),
    [
        ('<header><a href="/"><img class="custom-logo" src="/a.png"></a></header>', "a.png"),
        ('<a href="https://www.example.com/de/"><picture><img alt="Acme Logo" src="/b.svg"></picture></a>', "b.svg"),
        (
            '<a href="/"><img src="data:image/gif;base64,R0" data-src="/img/logo.webp" id="site-logo"></a>',
            "img/logo.webp",
        ),
        ('<a href="/"><img src="/img/acme-logo_2x.png"></a>', "img/acme-logo_2x.png"),
        # of somebody else, or of nothing
        ('<a href="https://partner.example/"><img class="logo" src="/partner.png"></a>', None),
        ('<a href="/clients"><img class="client-logo" src="/client.png"></a><img class="logo" src="/x.png">', None),
        ('<a href="/"><img class="hero" src="/logout.png" alt="Our catalogue of logotypes"></a>', None),
    ],
)
def test_a_logo_is_a_picture_called_so_that_leads_home(markup, logo):
    assert read(markup).logo == (URL + logo if logo else None)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"%PDF-1.7 <html>", "text/html"),
        (b'{"a": 1}', "application/json"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b'<?xml version="1.0"?><urlset><url/></urlset>', "text/html"),
        (b"This is a homepage.", None),
    ],
)
def test_what_is_no_html_yields_nothing(body, content_type):
    found = page.read(body, url=URL, headers={"content-type": content_type} if content_type else {})
    assert found.problem is not None
    assert found.problem.code == "not_html"
    assert found == Page(url=URL, final_url=URL, problem=found.problem)


@pytest.mark.parametrize("body", [b"", b" \n\t"])
def test_an_empty_answer(body):
    found = page.read(body, url=URL, headers=HTML)
    assert found.problem is not None
    assert (found.problem.code, found.contact_form) == ("empty", None)


def test_a_truncated_page_keeps_what_came():
    found = read("<title>Half</title><p>and th", truncated=True)
    assert (found.title, found.partial) == ("Half", True)
    assert found.problem is not None
    assert found.problem.code == "truncated"


def test_a_page_beyond_the_cap_is_cut():
    found = read("<title>T</title>" + "x" * 5_000, limits=Limits(page_bytes=1_000))
    assert (found.title, found.partial) == ("T", True)


@pytest.mark.parametrize("depth", [300, 100_000])
def test_too_deep_markup_is_marked_partial(depth):
    """Security P4"""
    found = read("<title>T</title>" + "<div>" * depth + "<a href=/after>x</a>")
    assert (found.title, found.partial) == ("T", True)
    assert found.problem is not None
    assert found.problem.code == "html_limit"


@pytest.mark.parametrize("cover", ["", '<!--<a b="-->', "<script>'<a b=\"</script>"])
def test_a_tag_with_half_a_million_attributes_costs_nothing(cover):
    attributes = " ".join(f"a{i}=1" for i in range(500_000))
    started = time.process_time()
    found = read(f'<title>T</title>{cover}<p {attributes} ">')
    assert time.process_time() - started < 10  # libxml2 alone: minutes
    assert (found.title, found.partial) == ("T", True)


def test_a_page_that_begins_with_such_a_tag_is_partial_not_empty():
    found = read(f"<p {'a=1 ' * 50_000}><title>T</title>")
    assert found.problem is not None
    assert (found.partial, found.problem.code, found.title) == (True, "html_limit", None)


@pytest.mark.parametrize(
    ("markup", "partial"),
    [
        ("<div>" * 250 + "<a href=/after>x</a>", False),
        ("<p>" + "x" * 7_000_000 + "<a href=/after>x</a>", False),
        ("<p>x<!--" + "x" * 7_000_000 + "--><a href=/after>x</a>", False),
        ("<!doctype " + "x" * 7_000_000 + "><p>x<a href=/after>x</a>", True),
        ("<p " + "/" * 4_000_000 + "><a href=/after>x</a>", False),
        ("<p>x<a hr\x00ef=/after>x</a>", False),
        ("<p>" + "< " * 1_000_000 + "<a href=/after>x</a>", False),
        ("<p>" + "&" * 4_000_000 + "<a href=/after>x</a>", False),
        ("<i></i>" * 290_000 + "<a href=/after>x</a>", False),
        ("<p " + " ".join(f"a{i}=1" for i in range(490)) + "><a href=/after>x</a>", False),
    ],
)
def test_large_and_odd_markup_is_read_to_its_end(markup, partial):
    found = read(markup)
    assert (found.links, found.partial) == ([URL + "after"], partial)


@pytest.mark.parametrize(
    "bomb",
    [
        "<p>x" * 2_000_000,
        "<br>y" * 1_600_000,
        "<a href=/x></a>" * 500_000,
        f"<p {' '.join(f'a{i:x}=1' for i in range(400))}>" * 3_000,
    ],
    ids=["elements", "void elements", "links", "attributes"],
)
def test_a_tree_that_would_fill_the_memory_is_cut_and_says_so(bomb):
    document = html.parse(f"<title>T</title>{bomb}".encode(), url=URL)
    assert document is not None
    assert document.problem is not None
    assert document.problem.code == "html_limit"
    assert sum(1 + len(node.attrib) for node in document.root.iter()) <= html.MAX_TAGS + html.MAX_VALUES + 10


@pytest.mark.parametrize("opened", ["<!-- ", "<script>", "<style>", "<textarea>", "<a title='", "<plaintext>"])
def test_what_is_never_closed_swallows_the_rest_as_in_a_browser(opened):
    found = read(f"<title>T</title><p>jane@example.org {opened}<a href=/after>x</a> joe@example.org")
    assert (found.title, found.links) == ("T", [])


def test_large_attributes_are_ordinary():
    image = "data:image/png;base64," + "A" * 300_000
    found = read(
        f'<title>T</title><img src="{image}"><div data-page="{"{&quot;a b=c " * 9_000}"></div><a href="/x">x</a>'
    )
    assert (found.partial, found.links) == (False, [URL + "x"])


def test_sitemaps_named_by_anchors_of_this_site_only():
    found = read(
        '<a href="/sitemap.xml">Sitemap</a><a href="/maps/Site-Map_de.xml.gz?x=1">m</a><a href="/sitemap.html">h</a>'
        '<a href="https://other.example/sitemap.xml">o</a>'
    )
    assert found.sitemap_links == [URL + "sitemap.xml", URL + "maps/Site-Map_de.xml.gz?x=1"]


def test_links_put_the_useful_first_and_leave_out_files_and_other_sites():
    found = read(
        '<a href="/">home</a><a href="/news#x">n</a><a href="/a.pdf">f</a><a href="https://b.example/">b</a>'
        '<a href="mailto:a@example.com">m</a><a href="/kontakt/">k</a><a href="/news">n</a>'
    )
    assert found.links == [URL + "kontakt/", URL + "news"]


# -- choosing further pages ---------------------------------------------------------------------------------


def home(**fields) -> Page:
    return Page(url="https://example.com/", final_url=URL, **fields)


def test_choose_ranks_contact_about_legal_then_sitemap_order():
    chosen = page.choose(
        home(),
        [URL + "impressum", URL + "ueber-uns", URL + "kontakt", URL + "b"],
        [URL + "z", URL + "a"],
        10,
    )
    assert chosen == [URL + path for path in ("kontakt", "ueber-uns", "impressum", "z", "a", "b")]
    assert page.choose(home(), [URL + "kontakt"], [URL + "z", URL + "a"], 2) == [URL + "kontakt", URL + "z"]
    assert page.choose(home(), [URL + "kontakt"], [], 0) == []


def test_choose_takes_each_page_once_and_never_the_home_page():
    chosen = page.choose(
        home(canonical=URL + "start"),
        [URL, "https://example.com", URL + "index.html", URL + "start", URL + "a/", URL + "a#top"],
        [
            "http://www.example.com/a",
            URL + "b.pdf",
            "https://other.example/c",
            "mailto:x@example.com",
            "https://[",
            URL + "d?p=1",
        ],
        10,
    )
    assert chosen == ["http://www.example.com/a", URL + "d?p=1"]


def test_choose_does_not_fill_up_with_one_kind():
    contacts = [f"{URL}{code}/contact" for code in ("en", "de", "fr", "it", "es")]
    chosen = page.choose(home(), [], [*contacts, URL + "about", URL + "x"], 4)
    assert chosen == [*contacts[:2], URL + "about", *contacts[2:3]]


def test_choose_takes_the_sites_own_contact_page_before_a_branchs():
    branches = [f"{URL}stores/{name}/contact" for name in ("aachen", "berlin", "celle")]
    assert page.choose(home(), [URL + "kontakt"], branches, 2) == [URL + "kontakt", branches[0]]


# -- hostile and real input ---------------------------------------------------------------------------------

SNIPPETS = (
    "<a href=' <form> <input type=email> <script type='application/ld+json'> {\"@type\": </script> <meta property=og:x "
    "content= <title> </svg> <svg> mailto:a@b.de tel:030 +49 30 901820 [at] @ <base href=// > \" ' <!-- --> &#0; "
    "\ud800 \x00 <template> <frameset> http://[::1 <link rel=canonical href= data-cfemail='zz"
)
PIECES = st.sampled_from(SNIPPETS.split())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(body=st.one_of(st.binary(max_size=400), st.lists(PIECES, max_size=40).map(lambda p: " ".join(p).encode("utf-8", "surrogatepass"))),
       typed=st.sampled_from(["text/html", "text/html; charset=utf-16", "text/html; charset=idna", "", "image/png"]))  # fmt: skip
def test_never_raises_and_keeps_nothing_a_database_refuses(body, typed):
    found = page.read(body, url=URL, headers={"Content-Type": typed}, country="DE")
    kept = repr(found)
    stored = json.dumps([found.title, found.open_graph, found.emails, found.links, found.technologies, found.json_ld_types],
                        ensure_ascii=False)  # fmt: skip
    assert "\\u0000" not in stored
    stored.encode()  # a surrogate would raise
    assert len(kept) < 1_000_000


def test_a_page_of_a_million_links_is_bounded():
    started = time.process_time()
    found = page.read(b"".join(b"<a href=/%d></a>" % i for i in range(300_000)), url=URL, headers=HTML)
    assert time.process_time() - started < 10
    assert len(found.links) == page.MAX_LINKS


def adversarial() -> list:
    file = CASES / "adversarial.json"
    if not file.exists():
        return []
    return [case for case in json.loads(file.read_text()) if case["area"] == "html"]


@pytest.mark.skipif(not adversarial(), reason="the shared adversarial cases are not here")
@pytest.mark.parametrize("case", adversarial(), ids=lambda case: case["id"])
def test_adversarial_cases_are_bounded(case):
    scope: dict = {}
    exec(case["input"]["gen"], scope)
    started = time.process_time()
    found = page.read(scope["body"](), url="https://example.com/", headers={"Content-Type": "text/html"})
    assert time.process_time() - started < 12
    assert all(link.startswith("https://example.com/") for link in found.links)


@pytest.mark.skipif(not (CASES / "sites").exists(), reason="the shared sites are not here")
def test_real_home_pages_have_sensible_titles():
    read_pages = {}
    for file in (CASES / "sites").glob("*/index.html"):
        read_pages[file.parent.name] = page.read(file.read_bytes(), url=f"https://{file.parent.name}/")
    assert all(found.title and "\n" not in found.title for found in read_pages.values())
    assert read_pages["hexo.io"].title == "Hexo"
    assert [found.partial for found in read_pages.values()] == [False] * len(read_pages)
