"""From the bytes a server sent to an HTML tree: hostile markup, resolving links, clean text.

Nothing here raises, whatever the bytes. What could not be read whole says so in `Document.problem`.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from lxml import etree
from w3lib.encoding import read_bom, to_unicode

from app.errors import InvalidUrl
from app.scanning import urls
from app.scanning.page_encoding import decode
from app.scanning.values import Problem

Element = Any  # lxml's stubs know neither its iterators nor its XPath results precisely

MAX_ATTRIBUTES: Final = 500  # of one tag: libxml2 needs quadratic time for them
MAX_TAGS: Final = 300_000  # a tree takes some 300 bytes an element
MAX_VALUES: Final = 500_000  # signs of equality: 250 bytes an attribute
TRUSTED_BYTES: Final = 16 * 1024  # too short to hold enough attributes to matter
MAX_NODES: Final = 2_000  # of one kind of element in the head that are looked at
MAX_TEXT: Final = 1_000_000  # characters of visible text that are searched


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """An HTML page as a tree. `url` is where it came from, `base` what its links are relative to."""

    root: Element
    url: str
    base: str
    markup: str  # decoded, as sent
    problem: Problem | None = None

    def resolve(self, link: str | None) -> str | None:
        """The canonical http(s) URL a link leads to, or None if it is no such link."""
        return resolve(link, self.base)

    def metas(self) -> Iterator[tuple[str, str]]:
        """Every `<meta>` as (lower-case name or property, cleaned content), none of them empty."""
        for meta in islice(self.root.iter("meta"), MAX_NODES):
            content = clean(meta.get("content"))
            # one element may be both: <meta name="description" property="og:description">
            names = {(meta.get(key) or "").strip().lower() for key in ("name", "property")} - {""}
            if content:
                yield from ((name, content) for name in sorted(names))

    def links(self, rel: str) -> Iterator[Element]:
        """`<link>` elements whose `rel` holds this word."""
        for link in islice(self.root.iter("link"), MAX_NODES):
            if rel in (link.get("rel") or "").lower().split():
                yield link


_CONTROLS: Final = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]+"
)


def clean(text: str | None, limit: int = 8_192) -> str | None:
    r"""White space collapsed; NUL, control characters, surrogates and text-direction overrides removed.

    PostgreSQL stores no NUL and no surrogates, and a terminal or a table must not be redrawn by a title.

    >>> clean(" A\x00\n  title\x1b[2J ")
    'A title[2J'
    >>> clean("  ") is None
    True
    """
    if not text:
        return None
    # collapsing first what will surely be cut away would cost time on hostile lengths
    return " ".join(_CONTROLS.sub("", text[: 4 * limit]).split())[:limit].rstrip() or None


_LINK_BLANKS: Final = str.maketrans("", "", "\t\n\r")
# what a template would have filled in: {{ url }}, ${url}, <%= url %>, %PUBLIC_URL%
_PLACEHOLDER: Final = re.compile(r"\{\{|\$\{|\{%|<[%?]|%[A-Z][A-Z_]{3,}%")


def resolve(link: str | None, base: str) -> str | None:
    r"""The canonical http(s) URL a link leads to; None for other schemes and for what is no URL.

    >>> resolve(" /a b", "https://example.com/x/")
    'https://example.com/a%20b'
    >>> [resolve(link, "https://example.com/") for link in ("java\nscript:alert(1)", "{{ link }}", "%PUBLIC_URL%/a")]
    [None, None, None]
    """
    if not link or len(link) > 4 * urls.MAX_LENGTH:
        return None
    # as browsers do (URL standard, basic URL parser): line breaks within a link do not count
    link = link.translate(_LINK_BLANKS).strip(" \x0b\x0c").replace(" ", "%20")
    if not link or _PLACEHOLDER.search(link):
        return None
    if link[0] == "/" and link[1:2] != "/":
        link = base[: base.index("/", 8)] + link  # already absolute: the canonicaliser's fast path
    try:
        return urls.canonical(link, base=base, allow_special=True)
    except InvalidUrl:
        return None


_TAGS: Final = (
    rb"!doctype\s+html|html|head|body|title|meta|link|script|style|base|iframe|div|main|header|nav|section|article"
    rb"|table|h[1-6]|p|a|br|ul|ol|form|img|span|b|i|font|center|noscript"
)
_MARKUP: Final = re.compile(rb"<(?:" + _TAGS + rb")(?=[\s/>])", re.IGNORECASE)
_OTHER_XML: Final = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<([A-Za-z][\w:.-]*)", re.DOTALL)
_BINARY: Final = (b"%PDF", b"\x1f\x8b", b"\x89PNG", b"GIF8", b"\xff\xd8\xff", b"PK\x03\x04", b"RIFF", b"\x7fELF")
_HTML_TYPES: Final = ("text/html", "application/xhtml+xml")


def is_html(body: bytes, content_type: str | None) -> bool:
    """Tell HTML by its content; the declared type decides only for text without telling tags.

    >>> is_html(b"<!doctype html><p>x", "text/plain"), is_html(b"%PDF-1.7", "text/html")
    (True, False)
    >>> is_html(b"<rss version='2.0'><channel/></rss>", "text/html"), is_html(b"Hello", "text/html; charset=x")
    (False, True)
    """
    if body.startswith(_BINARY):
        return False
    head = _as_ascii(body[:8_192])
    root = _OTHER_XML.match(head)
    if root:
        name = root[1].lower().rpartition(b":")[2]
        if name in {b"rss", b"rdf", b"feed", b"urlset", b"sitemapindex", b"opml"}:
            return False
    declared = (content_type or "").partition(";")[0].strip().lower()
    if declared in _HTML_TYPES:
        # a JSON answer behind an HTML type is common; so is a page that begins with plain text
        return head.lstrip()[:1] not in (b"{", b"[") or bool(_MARKUP.search(head))
    if declared.startswith(("image/", "video/", "audio/", "font/")) or declared.endswith("json"):
        return False
    return _starts_as_markup(head) and bool(_MARKUP.search(head))


def _starts_as_markup(head: bytes) -> bool:
    return head.lstrip(b" \t\r\n\x0c\x00\xef\xbb\xbf").startswith(b"<")


def _as_ascii(head: bytes) -> bytes:
    """UTF-16 and UTF-32 seen as their ASCII characters."""
    encoding, mark = read_bom(head)
    if not encoding or not mark or encoding == "utf-8":
        return head.removeprefix(codecs.BOM_UTF8)
    return to_unicode(head[len(mark) :], encoding).encode("ascii", "replace")


def parse(body: bytes, *, url: str, content_type: str | None = None) -> Document | None:
    """Read a page into a tree; None if there is nothing to make a tree of."""
    markup = decode(body, content_type, url=url).replace("\x00", "")
    data, overgrown = _within_bounds(markup.encode("utf-8", "replace"))
    data, overloaded = _without_monster_tags(data)
    overloaded = overloaded or overgrown
    parser = etree.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, huge_tree=False, no_network=True)
    if overloaded and not data.strip():
        data = b"<html></html>"  # nothing before the tag: there is a page all the same, of which nothing was read
    try:
        root: Element = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError):
        return None
    if root is None:
        return None
    problem = overloaded or _resource_problem(parser)
    return Document(root=root, url=url, base=_base(root, url), markup=markup, problem=problem)


def _resource_problem(parser: Any) -> Problem | None:
    # libxml2 stops at depth 256 and at tokens of 10 MB, and drops the rest without raising
    for entry in reversed(parser.error_log):
        if entry.type == etree.ErrorTypes.ERR_RESOURCE_LIMIT:
            return Problem("html_limit", "the markup is nested too deeply, or one part of it is too large", entry.line)
    return None


def _base(root: Element, url: str) -> str:
    for base in islice(root.iter("base"), 10):
        if base.get("href"):
            return resolve(base.get("href"), url) or url
    return url


_ATTRIBUTE: Final = rb"[\s/]*+[^\s/>][^\s/>=]*+(?:\s*+=\s*+(?:\"[^\"]*+\"|'[^']*+'|[^\s>\"'][^\s>]*+|))?+"
_LONG_TAG: Final = re.compile(rb"<[A-Za-z][^\s/>]*+((?:" + _ATTRIBUTE + rb"){%d})" % MAX_ATTRIBUTES)
_TAG: Final = re.compile(rb"<[A-Za-z][^\s/>]*+(?:" + _ATTRIBUTE + rb")*+")


_OPENING: Final = re.compile(rb"<[A-Za-z]")
_EQUALS: Final = re.compile(rb"=")


def _within_bounds(data: bytes) -> tuple[bytes, Problem | None]:
    """Cut a document whose tree would take hundreds of megabytes. Counted is whatever looks like a tag or a value."""
    end = len(data)
    for mark, pattern, most in ((b"<", _OPENING, MAX_TAGS), (b"=", _EQUALS, MAX_VALUES)):
        if data.count(mark) > most:
            found = next(islice(pattern.finditer(data), most, None), None)
            end = min(end, found.start() if found else end)
    if end == len(data):
        return data, None
    line = data.count(b"\n", 0, end) + 1
    return data[:end], Problem("html_limit", "there are too many tags; the rest was not read", line)


def _without_monster_tags(data: bytes) -> tuple[bytes, Problem | None]:
    """Cut a document before a tag with thousands of attributes.

    libxml2 appends each attribute by walking all earlier ones of the tag: half a million take minutes, in one
    call that nothing can interrupt. A long match is looked into again from its second character on, so that
    a tag cannot be hidden in what looks like another one's quoted value; the work this may take is bounded.
    """
    if len(data) < TRUSTED_BYTES:
        return data, None
    position, budget = 0, 4 * len(data)
    while found := _TAG.search(data, position):
        start, end = found.span()
        length = end - start
        position = end if length < TRUSTED_BYTES // 4 else start + 1
        budget -= length
        if budget < 0 or (length > 2 * MAX_ATTRIBUTES and _LONG_TAG.match(data, start)):
            line = data.count(b"\n", 0, start) + 1
            return data[:start], Problem("html_limit", "a tag has too many attributes; the rest was not read", line)
    return data, None


_HIDDEN: Final = ("script", "style", "template", "noscript", "svg", "textarea", "select", "iframe", "object", "head")

_UNSEEN: Final = re.compile("[\u00ad\u200b\u200e\u200f\u2060\ufeff]+")


def visible_text(document: Document) -> str:
    """The words of the page, elements apart; scripts, styles and templates are no text. Changes the tree."""
    etree.strip_elements(document.root, *_HIDDEN, with_tail=False)
    if "bidi-override" in document.markup:
        _turn_round(document.root)
    pieces, length = [], 0
    for piece in document.root.itertext():
        pieces.append(piece)
        length += len(piece)
        if length > MAX_TEXT:
            break
    return " ".join(_UNSEEN.sub("", " ".join(pieces)[:MAX_TEXT]).split())


def _turn_round(root: Element) -> None:
    """Text that is written backwards and shown the right way round, to hide addresses from readers like this one."""
    left = MAX_TEXT
    for node in root.xpath("//*[contains(@style, 'bidi-override') and contains(@style, 'rtl')]")[:MAX_NODES]:
        shown, tail = "".join(islice(node.itertext(), MAX_NODES))[::-1], node.tail
        left -= len(shown)
        if left < 0:
            return  # one within the other: each would be read again
        node.clear()
        node.text, node.tail = shown, tail
