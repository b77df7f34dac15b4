"""Tells what a document is from its first bytes (UTF-8), never from its name or Content-Type."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from lxml import etree

from app.scanning.values import DocumentKind

HEAD: Final = 1 << 20  # licence comments and warnings before the root are seldom longer than a page

_ROOTS: Final[dict[str, DocumentKind]] = {
    "urlset": "urlset",
    "sitemapindex": "index",
    "rss": "rss",
    "rdf": "rdf",
    "feed": "atom",
}
_BARE: Final[dict[str, DocumentKind]] = {"url": "urlset", "sitemap": "index"}
_PAGES: Final = frozenset({"html", "head", "body"})

_MARKUP = re.compile(
    rb"""
      <!--.*?(?:-->|(?P<open>\Z))
    | <\?.*?(?:\?>|\Z)
    | <!DOCTYPE\s+(?P<doctype>[^\s>\[]*)[^>\[]*+(?:(?P<subset>\[).*?(?:\]\s*+(?=>)|\Z))?(?:>|(?P<unfinished>\Z))
    | <(?:(?P<prefix>[\w.\-]++):)?(?P<name>[A-Za-z_][\w.\-]*+)(?P<attributes>(?:[^<>"']|"[^"<]*+"|'[^'<]*+')*+)>
    """,
    re.DOTALL | re.VERBOSE | re.IGNORECASE,
)
_BASE = re.compile(r"(?:^|\s)xml:base\s*=\s*(?:\"([^\"<]*)\"|'([^'<]*)')")
_NAMESPACE = re.compile(r"(?:^|\s)xmlns(?::([A-Za-z_][\w.\-]*))?\s*=\s*(?:\"([^\"<]*)\"|'([^'<]*)')", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """What was found. `end` is the offset behind the root's start tag; `refusal` says why this is no sitemap.

    `is_certain` is False while more bytes could still change the answer.
    """

    kind: DocumentKind
    end: int = 0
    prefix: str = ""
    namespaces: dict[str, str] = field(default_factory=dict)
    base: str = ""  # its xml:base
    is_entry: bool = False  # the root is itself an entry: there is no frame around it
    is_empty: bool = False
    refusal: str | None = None
    is_certain: bool = True


def recognise(head: bytes) -> Root:
    """Find the root a reader of this document would want, past declarations, comments and junk.

    >>> recognise(b"<br>Warning<br><?xml version='1.0'?><sm:urlset xmlns:sm='x'>").kind
    'urlset'
    >>> recognise(b"<!doctype html><p>").refusal
    'an HTML page'
    """
    elements = 0
    for token in _MARKUP.finditer(head):
        if token["open"] is not None:
            return Root(kind="unknown", refusal="nothing but a comment", is_certain=False)
        if token["doctype"] is not None:
            root = _doctype(head, token)
        elif token["name"] is not None:
            root = _element(token, is_first=elements == 0)
            elements += 1
        else:
            continue
        if root is not None:
            return root
    return _without_markup(head)


def _doctype(head: bytes, token: re.Match[bytes]) -> Root | None:
    if token["doctype"].lower() == b"html":
        return Root(kind="html", refusal="an HTML page")
    if token["unfinished"] is not None:
        return Root(kind="unknown", refusal="a document type declaration without an end", is_certain=False)
    if token["subset"] and _declares_entities(head[token.start() : token.end()]):
        return Root(kind="unknown", refusal="xml_dtd_refused: the document declares entities")
    return None


def _declares_entities(doctype: bytes) -> bool:
    """Ask the parser: it knows what a declaration is. One it cannot read counts as declaring some."""
    parser = etree.XMLParser(encoding="utf-8", resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False)
    try:
        root = etree.fromstring(doctype + b"<root/>", parser)
    except etree.XMLSyntaxError:
        return True
    subset: Any = root.getroottree().docinfo.internalDTD  # whose entities the stubs do not know
    return subset is not None and any(True for _ in subset.iterentities())


def _element(token: re.Match[bytes], *, is_first: bool) -> Root | None:
    name = token["name"].decode("utf-8", "replace").lower()
    if name in _PAGES:
        return Root(kind="html", refusal="an HTML page")
    if name in _ROOTS:
        attributes = token["attributes"].decode("utf-8", "replace")
        return Root(
            kind=_ROOTS[name],
            end=token.end(),
            prefix=(token["prefix"] or b"").decode("utf-8", "replace"),
            namespaces=_namespaces(attributes),
            base=_base(attributes),
            is_empty=attributes.rstrip().endswith("/"),
        )
    if name in _BARE and is_first:
        return Root(kind=_BARE[name], end=token.start(), is_entry=True)
    return None


def _namespaces(attributes: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for prefix, double, single in _NAMESPACE.findall(attributes):
        uri = double or single
        if prefix not in found and prefix not in {"xml", "xmlns"} and (uri or not prefix):
            found[prefix] = uri
    return found


def _base(attributes: str) -> str:
    found = _BASE.search(attributes)
    return (found[1] or found[2] or "") if found else ""


def _without_markup(head: bytes) -> Root:
    text = head.strip(b" \t\r\n\x00\xef\xbb\xbf")  # byte order marks stand in odd places
    if not text:
        return Root(kind="empty", refusal="the document is empty", is_certain=False)
    if text.startswith(b"<"):
        return Root(kind="unknown", refusal="markup that is no sitemap and no feed", is_certain=False)
    return Root(kind="jsonfeed" if text.startswith(b"{") else "text")
