"""The plain grammar: sitemaps as nearly all programs write them, read by regular expressions.

An entry has its fields in the protocol's order, and images, videos and links to translations before or after its dates;
no comments, no CDATA, no attributes elsewhere. A stretch that consists of nothing else is well formed by construction,
and reading it this way costs a half or less of parsing it. Anything else, to the last character, takes the long way:
`entries.SitemapReader` over parsed elements. Both give the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from app.scanning.dates import parse_lastmods
from app.scanning.entries import Entry, Listing, read_changefreq, read_priority
from app.scanning.values import UrlEntry

_WS: Final = r"[ \t\r\n]*+"
_TEXT: Final = r"[^<\s]++(?: [^<\s]++)*+"  # neither empty nor in need of trimming
_VALUE: Final = r"[^<\"\s]++"
# What an extension says once and in text. Prices have attributes, tags are several: the long way knows.
_FACTS: Final = {
    "image": "loc|title|caption|geo_location|license",
    "video": "thumbnail_loc|title|description|content_loc|player_loc|duration|expiration_date|rating|view_count"
    "|publication_date|family_friendly|requires_subscription|live|category",
}
_REFERENCE = re.compile("&(amp|lt|gt|quot|apos|#[0-9]{1,7}|#x[0-9A-Fa-f]{1,6});")
_NAMED: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_CONTROLS: Final = bytes({*range(0x20)} - {*b"\t\r\n"})


Undo = Callable[[str], str]
Extras = Sequence[Sequence[dict[str, str]] | None]


class _Extra(NamedTuple):
    """What an entry may have several of: its grammar, and where its values stand."""

    grammar: str
    values: re.Pattern[str]


def _extension(name: str, namespaces: Mapping[str, str]) -> _Extra | None:
    """Each begins with the one fact it cannot be without."""
    prefix = _prefix(namespaces, name)
    if prefix is None:
        return None
    first, *others = _FACTS[name].split("|")
    start = rf"<{prefix}:{name}>{_WS}<{prefix}:{first}>{_TEXT}</{prefix}:{first}>{_WS}"
    more = "|".join(rf"{fact}>{_TEXT}</{prefix}:{fact}>" for fact in others)
    return _Extra(
        rf"{start}(?:<{prefix}:(?:{more}){_WS})*+</{prefix}:{name}>",
        re.compile(rf"<{prefix}:({_FACTS[name]})>([^<]*+)"),
    )


def _link(namespaces: Mapping[str, str]) -> _Extra | None:
    prefix = _prefix(namespaces, "xhtml")
    if prefix is None:
        return None
    blank, end = r"[ \t\r\n]++", rf"{_WS}(?:/>|></{prefix}:link>)"
    ways = rf'(?:hreflang="{_VALUE}"{blank}href="{_VALUE}"|href="{_VALUE}"{blank}hreflang="{_VALUE}")'
    return _Extra(
        rf'<{prefix}:link{blank}rel="{_VALUE}"{blank}{ways}{end}',
        re.compile(
            rf'<{prefix}:link{blank}rel="[^"]*+"{blank}href(lang)?="([^"]*+)"{blank}href(?:lang)?="([^"]*+)"',
        ),
    )


def _prefix(namespaces: Mapping[str, str], name: str) -> str | None:
    found = (prefix for prefix, uri in namespaces.items() if prefix and (prefix == name or name in uri))
    return next(map(re.escape, found), None)


def _grammar(extras: list[str]) -> re.Pattern[str]:
    among = rf"((?:(?:{'|'.join(extras)}){_WS})*+)" if extras else "()"
    return re.compile(
        rf"{_WS}<url>{_WS}<loc>([^<]*+)</loc>{_WS}{among}"
        rf"(?:<lastmod>([^<]*+)</lastmod>{_WS})?+"
        rf"(?:<changefreq>([^<]*+)</changefreq>{_WS})?+"
        rf"(?:<priority>([^<]*+)</priority>{_WS})?+{among}</url>"
    )


class PlainReader:
    """Reads the stretches of one urlset whose root declared `namespaces` (prefix → URI)."""

    def __init__(self, listing: Listing, namespaces: Mapping[str, str]) -> None:
        self._listing = listing
        self._most = listing.limits.extras_per_entry
        self._longest = listing.limits.text_length
        self._image = _extension("image", namespaces)
        self._video = _extension("video", namespaces)
        self._link = _link(namespaces)
        self._grammar = _grammar([extra.grammar for extra in (self._image, self._video, self._link) if extra])

    def read(self, text: str) -> list[Entry] | None:
        """The entries of a stretch; None where it is not in the grammar.

        >>> from app.scanning.values import Limits
        >>> plain = PlainReader(Listing("https://example.com/sitemap.xml", Limits()), {})
        >>> [entry.url for entry in plain.read("<url><loc>/a</loc><lastmod>2024</lastmod></url>")]
        ['https://example.com/a']
        >>> plain.read("<url><loc>/a</loc><!-- by hand --></url>") is None
        True
        """
        if not self._grammar.match(text) or not _is_xml(text):
            return None
        undone = text.replace("&amp;", "&")  # all at once, where there is no other reference it could be mistaken for
        has_references = (len(text) - len(undone)) != len("amp;") * undone.count("&")
        if not has_references:
            text = undone
        elif not _has_own_references(text):
            return None
        parts = self._grammar.split(text)
        if any(parts[::7]):  # what stands between the entries: it must be nothing
            return None
        return self._entries(
            parts, _unescaped if has_references else str, is_exact=text.isascii() and not has_references
        )

    def _entries(self, parts: list[Any], undo: Undo, *, is_exact: bool) -> list[Entry] | None:
        """`undo` takes a value's references back; exact values need nothing but their ends trimmed."""
        listed = self._trimmed(parts[1::7], undo, is_exact=is_exact)
        dates = self._trimmed(parts[3::7], undo, is_exact=is_exact)
        extras = self._extras(parts, undo, is_exact=is_exact)
        if extras is None:
            return None
        often, rank = parts[4::7], parts[5::7]
        if undo is not str:
            often, rank = ([text and undo(text) for text in texts] for texts in (often, rank))
        are_canonical = self._listing.are_canonical(listed)
        entries = map(  # by position, and without a loop of ours: this runs once a URL
            UrlEntry,
            listed if are_canonical else map(self._listing.canonical, listed),
            listed,
            parse_lastmods(dates),
            map(read_changefreq, often),
            map(read_priority, rank),
            *extras,
        )
        return list(entries) if are_canonical else [entry for entry in entries if entry.url]

    def _trimmed(self, texts: list[Any], undo: Undo, *, is_exact: bool) -> list[str]:
        if is_exact and None not in texts:
            trimmed = list(map(str.strip, texts))
            if max(map(len, trimmed)) <= self._longest:
                return trimmed
        return [self._listing.trimmed(undo(text)) if text else "" for text in texts]

    def _extras(self, parts: list[Any], undo: Undo, *, is_exact: bool) -> Sequence[Extras] | None:
        """Images, videos, news and alternates, each for all entries; None if an entry says one thing twice."""
        texts = [f"{before}{after}" for before, after in zip(parts[2::7], parts[6::7], strict=True)]
        if not any(texts):
            return ()
        is_exact = is_exact and max(map(len, texts)) <= self._longest
        try:
            return (
                [self._facts(self._image, "loc", text, undo, is_exact=is_exact) for text in texts],
                [self._facts(self._video, "thumbnail_loc", text, undo, is_exact=is_exact) for text in texts],
                [None] * len(texts),
                [self._alternates(text, undo, is_exact=is_exact) for text in texts],
            )
        except _TwiceError:
            return None

    def _facts(
        self, extra: _Extra | None, first: str, text: str, undo: Undo, *, is_exact: bool
    ) -> Sequence[dict[str, str]]:
        if extra is None or not text:
            return ()
        found: list[dict[str, str]] = []
        facts: dict[str, str] = {}
        for name, value in extra.values.findall(text):
            if name == first:
                facts = {}
                found.append(facts)
            elif name in facts:
                raise _TwiceError
            if is_exact:
                facts[name] = value
            elif kept := self._listing.flowing(undo(value)):
                facts[name] = kept
        return found[: self._most]

    def _alternates(self, text: str, undo: Undo, *, is_exact: bool) -> Sequence[dict[str, str]]:
        if self._link is None or not text:
            return ()
        found = self._link.values.findall(text)[: self._most]
        pairs = [(one, other) if is_first else (other, one) for is_first, one, other in found]
        if not is_exact:
            tidy = self._listing.trimmed
            pairs = [(tidy(undo(language)), tidy(undo(href))) for language, href in pairs]
        return [{"hreflang": language, "href": href} for language, href in pairs if language and href]


class _TwiceError(Exception):
    """Never leaves this module."""


def _is_xml(text: str) -> bool:
    """Tell whether there is nothing in it that XML does not allow in text."""
    if "]]>" in text:
        return False
    if not text.isascii() and ("\ufffe" in text or "\uffff" in text):
        return False
    octets = text.encode()
    return len(octets.translate(None, _CONTROLS)) == len(octets)


def _has_own_references(text: str) -> bool:
    """Tell whether every `&` begins a reference that XML has of itself, to a character that it allows."""
    found = _REFERENCE.findall(text)
    return len(found) == text.count("&") and all(name in _NAMED or _is_legal(name) for name in set(found))


def _is_legal(reference: str) -> bool:
    point = _point(reference)
    return point in (9, 10, 13) or 0x20 <= point < 0xD800 or 0xE000 <= point < 0xFFFE or 0x10000 <= point <= 0x10FFFF


def _point(reference: str) -> int:
    return int(f"0{reference[1:]}", 16) if reference[1] == "x" else int(reference[1:])


def _unescaped(text: str) -> str:
    """Undo references in one pass.

    >>> _unescaped("a=1&amp;b=&lt;2&gt;&amp;lt;&#x41;")
    'a=1&b=<2>&lt;A'
    """
    return _REFERENCE.sub(_char, text) if "&" in text else text


def _char(found: re.Match[str]) -> str:
    return _NAMED.get(found[1]) or chr(_point(found[1]))
