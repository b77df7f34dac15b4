"""Feeds read as sitemaps: RSS 0.9–2.0, RDF, Atom 0.3 and 1.0 from parsed elements, and JSON Feed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from lxml import etree

from app.errors import InvalidUrl
from app.scanning.dates import parse_lastmod
from app.scanning.entries import Entry, Listing, attributes_of, local_name
from app.scanning.urls import canonical
from app.scanning.values import Lastmod, UrlEntry

FRAMES: Final = frozenset({"rss", "channel", "rdf", "feed"})
XML_BASE: Final = "{http://www.w3.org/XML/1998/namespace}base"
MAX_JSON_BYTES: Final = 4 << 20  # JSON is read whole, and takes twenty times its size; a feed of this size is none
# The best of several dates first; a feed's own names before those of Dublin Core
_DATES: Final = ("updated", "modified", "pubdate", "date", "published", "issued", "created")


class FeedReader:
    """Reads parsed stretches of a feed: `item` and `entry` elements, at any depth of the feed's own frames."""

    def __init__(self, listing: Listing, base: str = "") -> None:
        self._listing = listing
        self._base = self._resolved(base, listing.url)

    def read(self, root: etree._Element) -> list[Entry]:
        entries: list[Entry] = []
        self._frame(root, entries)
        return entries

    def _resolved(self, base: str | None, outer: str) -> str:
        """What links are relative to: `xml:base`, itself relative to that of what it stands in (RFC 4287, 2)."""
        try:
            return canonical(self._listing.trimmed(base), base=outer, allow_special=True) if base else outer
        except InvalidUrl:
            return outer

    def _frame(self, frame: etree._Element, entries: list[Entry]) -> None:
        for element in frame:
            name = _name(element)
            if name in FRAMES:
                self._frame(element, entries)
            elif name in ("item", "entry"):
                base = self._resolved(element.get(XML_BASE), self._base)
                listed = self._item_link(element) if name == "item" else self._atom_link(element)
                if not listed:
                    self._listing.reject("empty")
                elif (url := self._listing.canonical(listed, base)) is not None:
                    entries.append(UrlEntry(url, listed, self._date(element)))

    def _own(self, element: etree._Element) -> Iterator[tuple[str, etree._Element]]:
        """Children in the entry's own namespace: `<atom:link>` and `<media:title>` are other vocabularies' words."""
        namespace = str(element.tag).rpartition("}")[0]
        for child in element:
            if str(child.tag).rpartition("}")[0] == namespace:
                yield _name(child), child

    def _item_link(self, item: etree._Element) -> str | None:
        """`<link>`; else a `<guid>` that is a URL, permanent or not; else what the RDF item is about."""
        guid = None
        for name, child in self._own(item):
            text = self._listing.trimmed(child.text)
            if name == "link" and text:
                return text
            if name == "guid":
                guid = text
        about = attributes_of(item).get("about", "")
        return next((text for text in (guid, about) if text and text.startswith(("http://", "https://"))), None)

    def _atom_link(self, entry: etree._Element) -> str | None:
        """The `<link>` without `rel`, else the alternate one that is a page. `self`, `edit` and the like are none."""
        best: tuple[int, str] | None = None
        for name, child in self._own(entry):
            if name != "link":
                continue
            given = attributes_of(child)
            href = self._listing.trimmed(given.get("href"))
            rank = {None: 0, "alternate": 1}.get(given.get("rel"))
            if href and rank is not None and (best is None or rank < best[0]):
                best = (rank, href)
        return best[1] if best else None

    def _date(self, element: etree._Element) -> Lastmod | None:
        dates = {_name(child): self._listing.trimmed(child.text) for child in element}
        raw = next((dates[name] for name in _DATES if dates.get(name)), None)
        return parse_lastmod(raw) if raw else None


def _name(element: etree._Element) -> str:
    return local_name(str(element.tag)).lower()


def json_entries(text: str, listing: Listing) -> Iterator[Entry] | None:
    """The items of a JSON Feed; None for JSON that is none.

    >>> from app.scanning.values import Limits
    >>> body = '{"version": "https://jsonfeed.org/version/1.1", "items": [{"url": "/a"}]}'
    >>> [entry.url for entry in json_entries(body, Listing("https://example.com/feed.json", Limits()))]
    ['https://example.com/a']
    """
    try:
        feed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    items = feed.get("items") if isinstance(feed, dict) else None
    if not isinstance(items, list) or "jsonfeed.org" not in str(feed.get("version")):
        return None
    return (entry for item in items if isinstance(item, dict) for entry in _json_item(item, listing))


def _json_item(item: dict[str, Any], listing: Listing) -> Iterator[UrlEntry]:
    listed = _text(item, ("url", "external_url"), listing)
    url = listing.canonical(listed)
    if url is not None:
        raw = _text(item, ("date_modified", "date_published"), listing)
        yield UrlEntry(url, listed, parse_lastmod(raw) if raw else None)


def _text(item: dict[str, Any], names: tuple[str, ...], listing: Listing) -> str:
    """The first that is a string. JSON can say NUL and lone surrogates, which nothing behind this can store."""
    for name in names:
        value = item.get(name)
        if isinstance(value, str) and value:
            return listing.trimmed(value.replace("\0", "").encode("utf-8", "replace").decode())
    return ""
