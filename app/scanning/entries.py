"""From parsed elements of a sitemap to its entries."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from lxml import etree

from app.errors import InvalidUrl
from app.scanning.dates import parse_lastmod
from app.scanning.repair import FIELDS
from app.scanning.urls import are_canonical, canonical
from app.scanning.values import ChildEntry, Limits, UrlEntry

Entry = UrlEntry | ChildEntry
CHANGEFREQS: Final = frozenset({"always", "hourly", "daily", "weekly", "monthly", "yearly", "never"})
FRAMES: Final = frozenset({"urlset", "sitemapindex"})
NESTING: Final = FRAMES | {"url", "sitemap"}
_EXTENSION = re.compile(r"image|video|news|mobile|xhtml|pagemap", re.IGNORECASE)
_BLANKS: Final = "\ufeff\u200b\u200c\u200d\u2060"
_LINE_BREAK = re.compile(r"[\r\n\t]")
MAX_NAMES: Final = 1_000  # distinct tags remembered of one document
MAX_KEYS: Final = 100  # of one image, video or news item


class Listing:
    """Turns what is listed into entries of one document, and counts what is not a URL, by reason."""

    def __init__(self, url: str, limits: Limits) -> None:
        self.url = url
        self.limits = limits
        self._text_length = limits.text_length
        self.rejected: dict[str, int] = {}

    def canonical(self, listed: str, base: str | None = None) -> str | None:
        """The URL that stood in the document. Names without public meaning are recorded all the same."""
        try:
            return canonical(listed, base=base or self.url, allow_special=True, max_length=self.limits.url_length)
        except InvalidUrl as error:
            if error.reason == "control_character" and (whole := _unbroken(listed)) != listed:
                # a URL that an editor broke over lines: browsers drop the break as well (WHATWG URL, 4.4)
                return self.canonical(whole, base)
            self.reject(error.reason)
            return None

    def are_canonical(self, urls: list[str]) -> bool:
        return are_canonical(urls, allow_special=True, max_length=self.limits.url_length)

    def reject(self, reason: str) -> None:
        self.rejected[reason] = self.rejected.get(reason, 0) + 1

    def trimmed(self, text: str | None) -> str:
        if not text:
            return ""
        text = text.strip()
        if not text.isascii():
            text = text.strip(_BLANKS).strip()
        return text[: self._text_length]

    def flowing(self, text: str | None) -> str:
        """Text with its line breaks and runs of blanks made one blank each."""
        return " ".join(text.split())[: self._text_length] if text else ""


def _unbroken(text: str) -> str:
    return "".join(map(str.strip, _LINE_BREAK.split(text)))


@lru_cache(maxsize=1_024)
def read_priority(text: str | None) -> float | None:
    """
    >>> read_priority("0.8"), read_priority("1.1"), read_priority("NaN"), read_priority("high")
    (0.8, None, None, None)
    """
    try:
        value = float("nan" if text is None or "_" in text else text)  # which Python takes for a digit group
    except ValueError:
        return None
    return round(value, 6) if 0 <= value <= 1 else None  # 1e-300 fits no column, and means nothing


@lru_cache(maxsize=1_024)
def read_changefreq(text: str | None) -> str | None:
    word = (text or "").strip().lower()
    return word if word in CHANGEFREQS else None


@lru_cache(maxsize=4_096)
def local_name(tag: str) -> str:
    return tag.rpartition("}")[2]


class _FieldNames(dict[Any, str]):
    """Tag → local name in lower case, but "" for `<image:loc>` where an entry's own field is looked for."""

    def __missing__(self, tag: Any) -> str:
        namespace, _, name = str(tag).lower().rpartition("}")
        found = "" if name in FIELDS and _EXTENSION.search(namespace) else name
        if len(self) < MAX_NAMES:
            self[tag] = found
        return found


def attributes_of(element: etree._Element) -> dict[str, str]:
    return {local_name(str(name)): str(value) for name, value in element.items()}


class _Draft(NamedTuple):
    """An entry whose URL is not looked at yet: all of a stretch are, together, once it is read."""

    entry: UrlEntry
    is_child: bool


class SitemapReader:
    """Reads parsed stretches of a urlset or an index: whatever stands in either, wherever it stands."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._extras = listing.limits.extras_per_entry
        self._names = _FieldNames()

    def read(self, root: etree._Element) -> list[Entry]:
        drafts: list[_Draft] = []
        self._frame(root, drafts)
        listed = [draft.entry.listed for draft in drafts]
        urls = listed if self._listing.are_canonical(listed) else map(self._listing.canonical, listed)
        return [_finished(draft, url) for draft, url in zip(drafts, urls, strict=True) if url is not None]

    def _frame(self, frame: Iterable[etree._Element], drafts: list[_Draft], *, is_known: bool = True) -> None:
        """Also entries that stand in elements nobody knows: lists in wrappers of a generator's own."""
        for element in frame:
            name = self._names[element.tag]
            if name in ("url", "sitemap"):
                self._entry(element, drafts, is_child=name == "sitemap")
            elif name == "loc":  # in no entry at all
                if is_known:
                    drafts.append(_Draft(UrlEntry("", self._listing.trimmed(element.text)), is_child=False))
            elif len(element):
                self._frame(element, drafts, is_known=name in FRAMES)

    def _entry(self, element: etree._Element, drafts: list[_Draft], *, is_child: bool) -> None:
        """Read one entry, and any within it; a second `<loc>` starts another, as crawler-commons has it."""
        entry = UrlEntry("", "")
        nested: list[etree._Element] = []
        trimmed, names = self._listing.trimmed, self._names
        for field in element:
            name = names[field.tag]
            if name == "loc":
                loc = trimmed("".join(map(str, field.itertext())) if len(field) else field.text)
                if entry.listed and loc:
                    drafts.append(_Draft(entry, is_child))
                    entry = UrlEntry("", "")
                entry.listed = loc or entry.listed
            elif name == "lastmod":
                raw = trimmed(field.text)
                entry.lastmod = parse_lastmod(raw) if raw else None
            elif name == "link":
                self._link(entry, field)
            elif name in NESTING:
                nested.append(field)
            else:
                self._take(entry, name, field)
        if not entry.listed:
            bare = trimmed(element.text)  # a URL without its <loc>, if it looks like one: it may be anything
            entry.listed = bare if bare.lower().startswith(("http://", "https://", "/")) else ""
        drafts.append(_Draft(entry, is_child))
        self._frame(nested, drafts)

    def _link(self, entry: UrlEntry, field: etree._Element) -> None:
        language, href = self._listing.trimmed(field.get("hreflang")), self._listing.trimmed(field.get("href"))
        if href and language and len(entry.alternates) < self._extras:
            entry.alternates = _more(entry.alternates, {"hreflang": language, "href": href})

    def _take(self, entry: UrlEntry, name: str, field: etree._Element) -> None:
        if name == "image":
            if len(entry.images) < self._extras:
                entry.images = _more(entry.images, self._facts(field))
        elif name == "changefreq":
            entry.changefreq = read_changefreq(self._listing.trimmed(field.text))
        elif name == "priority":
            entry.priority = read_priority(self._listing.trimmed(field.text))
        elif name == "video":
            if len(entry.videos) < self._extras:
                entry.videos = _more(entry.videos, self._facts(field))
        elif name == "news" and entry.news is None:
            entry.news = self._facts(field)
        elif name == "mobile":
            entry.mobile = True
        elif name == "pagemap":
            entry.pagemap = [*entry.pagemap, *self._pagemap(field)][: self._extras]

    def _facts(self, element: etree._Element) -> dict[str, Any]:
        """Flatten an extension's element: nested names and attributes are joined with `_`, repeats make a list.

        `<video:uploader info="U">N` gives `uploader` and `uploader_info`; each `<video:price>` is a dict, since
        its currency belongs to it.
        """
        facts: dict[str, Any] = {}
        for child in element:
            name = local_name(str(child.tag))
            text = self._listing.flowing(child.text)
            if name == "price":
                self._add(facts, name, {**({"value": text} if text else {}), **self._attributes(child)}, listed=True)
                continue
            if text:
                self._add(facts, name, text, listed=name == "tag")
            if len(child) or child.items():
                self._add_nested(facts, name, child)
        return facts

    def _add_nested(self, facts: dict[str, Any], name: str, child: etree._Element) -> None:
        for key, value in (*self._attributes(child).items(), *self._facts(child).items()):
            self._add(facts, f"{name}_{key}", value)

    def _attributes(self, element: etree._Element) -> dict[str, str]:
        return {name: self._listing.flowing(value) for name, value in attributes_of(element).items()}

    def _add(self, facts: dict[str, Any], name: str, value: Any, *, listed: bool = False) -> None:
        if name not in facts:
            if len(facts) < MAX_KEYS:
                facts[name] = [value] if listed else value
            return
        if not isinstance(facts[name], list):
            facts[name] = [facts[name]]
        if len(facts[name]) < self._extras:
            facts[name].append(value)

    def _pagemap(self, element: etree._Element) -> list[dict[str, Any]]:
        objects = []
        for item in element:
            values: dict[str, Any] = {}
            for attribute in item:
                about = self._attributes(attribute)
                value = self._listing.flowing(attribute.text) or about.get("value", "")
                self._add(values, about.get("name", ""), value)
            objects.append({**self._attributes(item), "attributes": values})
        return objects


def _finished(draft: _Draft, url: str) -> Entry:
    entry = draft.entry
    if draft.is_child:
        return ChildEntry(url, entry.listed, entry.lastmod)
    entry.url = url
    return entry


def _more(kept: Sequence[dict[str, Any]], item: dict[str, Any]) -> Sequence[dict[str, Any]]:
    """Nearly every entry has none: a list is made for those that have one."""
    if isinstance(kept, list):
        kept.append(item)
        return kept
    return [item]
