"""From sitemap markup to entries: one plain grammar read by expression, everything else from parsed elements."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from lxml import etree

from app.errors import InvalidUrl
from app.scanning.dates import parse_lastmod
from app.scanning.urls import canonical
from app.scanning.values import ChildEntry, Lastmod, Limits, UrlEntry

Entry = UrlEntry | ChildEntry
CHANGEFREQS: Final = frozenset({"always", "hourly", "daily", "weekly", "monthly", "yearly", "never"})
FRAMES: Final = frozenset({"urlset", "sitemapindex"})
_EXTENSION = re.compile(r"image|video|news|mobile|xhtml|pagemap", re.IGNORECASE)
_BLANKS: Final = "\ufeff\u200b\u200c\u200d\u2060"
_BROKEN_LINE = re.compile(r"\s*[\r\n\t]\s*")
MAX_KEYS: Final = 100  # of one image, video or news item


class Listing:
    """Turns what is listed into entries of one document, and counts what is not a URL, by reason."""

    def __init__(self, url: str, limits: Limits) -> None:
        self.url = url
        self.limits = limits
        self.rejected: dict[str, int] = {}

    def canonical(self, listed: str) -> str | None:
        """The URL that stood in the document. Names without public meaning are recorded all the same."""
        try:
            return self._canonical(listed)
        except InvalidUrl as error:
            self.rejected[error.reason] = self.rejected.get(error.reason, 0) + 1
            return None

    def _canonical(self, listed: str) -> str:
        length = self.limits.url_length
        try:
            return canonical(listed, base=self.url, allow_special=True, max_length=length)
        except InvalidUrl as error:
            if error.reason != "control_character":
                raise
            # a URL that an editor broke over lines: browsers drop the break as well (WHATWG URL, 4.4)
            unbroken = _BROKEN_LINE.sub("", listed)
            return canonical(unbroken, base=self.url, allow_special=True, max_length=length)

    def trimmed(self, text: str | None) -> str:
        return text.strip().strip(_BLANKS).strip()[: self.limits.text_length] if text else ""

    def flowing(self, text: str | None) -> str:
        """Text with its line breaks and runs of blanks made one blank each."""
        return " ".join(text.split())[: self.limits.text_length] if text else ""


@lru_cache(maxsize=1_024)
def read_priority(text: str) -> float | None:
    """
    >>> read_priority("0.8"), read_priority("1.1"), read_priority("NaN"), read_priority("high")
    (0.8, None, None, None)
    """
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None


@lru_cache(maxsize=1_024)
def read_changefreq(text: str) -> str | None:
    word = text.strip().lower()
    return word if word in CHANGEFREQS else None


@lru_cache(maxsize=4_096)
def local_name(tag: str) -> str:
    return tag.rpartition("}")[2]


@lru_cache(maxsize=4_096)
def _is_extension(tag: str) -> bool:
    return bool(_EXTENSION.search(tag.rpartition("}")[0]))


def attributes_of(element: etree._Element) -> dict[str, str]:
    return {local_name(str(name)): str(value) for name, value in element.attrib.items()}


class _Draft:
    """An entry being read. A second `<loc>` in it starts another entry, as crawler-commons has it."""

    def __init__(self) -> None:
        self.loc = ""
        self.lastmod: Lastmod | None = None
        self.changefreq: str | None = None
        self.priority: float | None = None
        self.images: list[dict[str, Any]] = []
        self.videos: list[dict[str, Any]] = []
        self.news: dict[str, Any] | None = None
        self.alternates: list[dict[str, str]] = []
        self.mobile = False
        self.pagemap: list[dict[str, Any]] = []


class SitemapReader:
    """Reads parsed stretches of a urlset or an index: whatever stands in either, wherever it stands."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing

    def read(self, root: etree._Element) -> Iterator[Entry]:
        for element in root:
            name = local_name(str(element.tag))
            if name in FRAMES:
                yield from self.read(element)
            elif name == "url":
                yield from self._urls(element)
            elif name == "sitemap":
                yield from self._children(element)
            elif name == "loc" and not _is_extension(str(element.tag)):
                yield from self._orphan(element)

    def _orphan(self, element: etree._Element) -> Iterator[Entry]:
        """A `<loc>` that stands in no entry."""
        draft = _Draft()
        draft.loc = self._listing.trimmed(element.text)
        yield from self._url(draft)

    def _drafts(self, entry: etree._Element) -> Iterator[_Draft]:
        draft = _Draft()
        bare = self._listing.trimmed(entry.text)
        for field in entry:
            name = local_name(str(field.tag))
            if name == "loc" and not _is_extension(str(field.tag)):
                loc = self._listing.trimmed(field.text)
                if draft.loc and loc:
                    yield draft
                    draft = _Draft()
                draft.loc = loc or draft.loc
            else:
                self._take(draft, name, field)
        draft.loc = draft.loc or bare
        yield draft

    def _take(self, draft: _Draft, name: str, field: etree._Element) -> None:
        if name == "lastmod":
            draft.lastmod = self._lastmod(field.text)
        elif name == "changefreq":
            draft.changefreq = read_changefreq(self._listing.trimmed(field.text))
        elif name == "priority":
            draft.priority = read_priority(self._listing.trimmed(field.text))
        elif name == "link":
            self._take_link(draft, field)
        else:
            self._take_extension(draft, name, field)

    def _take_link(self, draft: _Draft, field: etree._Element) -> None:
        given = attributes_of(field)
        href = self._listing.trimmed(given.get("href"))
        if href and given.get("hreflang") and self._room(draft.alternates):
            draft.alternates.append({"hreflang": self._listing.trimmed(given["hreflang"]), "href": href})

    def _take_extension(self, draft: _Draft, name: str, field: etree._Element) -> None:
        if name == "image" and self._room(draft.images):
            draft.images.append(self._facts(field))
        elif name == "video" and self._room(draft.videos):
            draft.videos.append(self._facts(field))
        elif name == "news" and draft.news is None:
            draft.news = self._facts(field)
        elif name == "mobile":
            draft.mobile = True
        elif name == "PageMap":
            draft.pagemap += self._pagemap(field)[: self._listing.limits.extras_per_entry - len(draft.pagemap)]

    def _room(self, extras: list[Any]) -> bool:
        return len(extras) < self._listing.limits.extras_per_entry

    def _facts(self, element: etree._Element) -> dict[str, Any]:
        """Flatten an extension's element: nested names and attributes are joined with `_`, repeats make a list.

        `<video:uploader info="U">N` gives `uploader` and `uploader_info`; each `<video:price>` is a dict, since
        its currency belongs to it.
        """
        facts: dict[str, Any] = {}
        for child in element:
            self._add_facts(facts, child)
        return facts

    def _add_facts(self, facts: dict[str, Any], child: etree._Element) -> None:
        name = local_name(str(child.tag))
        text = self._listing.flowing(child.text)
        given = {key: self._listing.flowing(value) for key, value in attributes_of(child).items()}
        if name == "price":
            self._add(facts, "price", {**({"value": text} if text else {}), **given}, listed=True)
            return
        if text:
            self._add(facts, name, text, listed=name == "tag")
        for key, value in given.items():
            self._add(facts, f"{name}_{key}", value)
        for key, value in self._facts(child).items() if len(child) else ():
            self._add(facts, f"{name}_{key}", value)

    def _add(self, facts: dict[str, Any], name: str, value: Any, *, listed: bool = False) -> None:
        if name not in facts:
            if len(facts) < MAX_KEYS:
                facts[name] = [value] if listed else value
            return
        if not isinstance(facts[name], list):
            facts[name] = [facts[name]]
        if self._room(facts[name]):
            facts[name].append(value)

    def _pagemap(self, element: etree._Element) -> list[dict[str, Any]]:
        objects = []
        for item in element:
            given = {key: self._listing.flowing(value) for key, value in attributes_of(item).items()}
            values: dict[str, Any] = {}
            for attribute in item:
                about = attributes_of(attribute)
                value = self._listing.flowing(attribute.text) or self._listing.flowing(about.get("value"))
                self._add(values, self._listing.flowing(about.get("name")), value)
            objects.append({**given, "attributes": values})
        return objects

    def _lastmod(self, text: str | None) -> Lastmod | None:
        raw = self._listing.trimmed(text)
        return parse_lastmod(raw) if raw else None

    def _urls(self, element: etree._Element) -> Iterator[Entry]:
        for draft in self._drafts(element):
            yield from self._url(draft)

    def _url(self, draft: _Draft) -> Iterator[Entry]:
        url = self._listing.canonical(draft.loc)
        if url is not None:
            yield UrlEntry(
                url,
                draft.loc,
                draft.lastmod,
                draft.changefreq,
                draft.priority,
                draft.images,
                draft.videos,
                draft.news,
                draft.alternates,
                draft.mobile,
                draft.pagemap,
            )

    def _children(self, element: etree._Element) -> Iterator[Entry]:
        for draft in self._drafts(element):
            url = self._listing.canonical(draft.loc)
            if url is not None:
                yield ChildEntry(url, draft.loc, draft.lastmod)


# The grammar nearly every sitemap is written in: entries of these fields in this order, no prefixes, no CDATA, no
# comments, no references but XML's own five. A stretch that consists of nothing else is well formed by
# construction, and reading it this way costs a third of parsing it. Anything else takes the long way.
_TEXT = r"[^<&]*+(?:&(?:amp|lt|gt|quot|apos);[^<&]*+)*+"
_PLAIN = re.compile(
    rf"(\s*+<url>\s*+<loc>({_TEXT})</loc>\s*+(?:<lastmod>({_TEXT})</lastmod>\s*+)?+"
    rf"(?:<changefreq>({_TEXT})</changefreq>\s*+)?+(?:<priority>({_TEXT})</priority>\s*+)?+</url>)",
)
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def plain_entries(text: str, listing: Listing) -> list[UrlEntry] | None:
    """The entries of a stretch in the plain grammar; None where it is not in it, to the last character."""
    found = _PLAIN.findall(text)
    if sum([len(entry[0]) for entry in found]) != len(text) or _NOT_XML.search(text):
        return None
    entries = []
    for _, loc, lastmod, changefreq, priority in found:
        listed = listing.trimmed(_unescaped(loc) if "&" in loc else loc)
        url = listing.canonical(listed)
        if url is None:
            continue
        raw = listing.trimmed(_unescaped(lastmod)) if lastmod else ""
        entries.append(  # by position: this runs once a URL
            UrlEntry(
                url,
                listed,
                parse_lastmod(raw) if raw else None,
                read_changefreq(changefreq) if changefreq else None,
                read_priority(priority.strip()) if priority else None,
                [],
                [],
                None,
                [],
                False,
                [],
            )
        )
    return entries


def _unescaped(text: str) -> str:
    """
    >>> _unescaped("a=1&amp;b=&lt;2&gt;&amp;lt;")
    'a=1&b=<2>&lt;'
    """
    for name, char in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&amp;", "&")):
        text = text.replace(name, char)
    return text
