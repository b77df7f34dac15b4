"""From sitemap markup to entries: one plain grammar read by expression, everything else from parsed elements."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from lxml import etree

from app.errors import InvalidUrl
from app.scanning.dates import parse_lastmod
from app.scanning.repair import FIELDS
from app.scanning.urls import are_canonical, canonical
from app.scanning.values import ChildEntry, Limits, UrlEntry

Entry = UrlEntry | ChildEntry
CHANGEFREQS: Final = frozenset({"always", "hourly", "daily", "weekly", "monthly", "yearly", "never"})
FRAMES: Final = frozenset({"urlset", "sitemapindex"})
_EXTENSION = re.compile(r"image|video|news|mobile|xhtml|pagemap", re.IGNORECASE)
_BLANKS: Final = "\ufeff\u200b\u200c\u200d\u2060"
_BROKEN_LINE = re.compile(r"\s*[\r\n\t]\s*")
MAX_NAMES: Final = 1_000  # distinct tags remembered of one document
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
            return canonical(listed, base=self.url, allow_special=True, max_length=self.limits.url_length)
        except InvalidUrl as error:
            if error.reason == "control_character" and (whole := _BROKEN_LINE.sub("", listed)) != listed:
                # a URL that an editor broke over lines: browsers drop the break as well (WHATWG URL, 4.4)
                return self.canonical(whole)
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
        return text[: self.limits.text_length]

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
        value = float("nan" if "_" in text else text)  # which Python takes for a digit group
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


def _draft() -> UrlEntry:
    return UrlEntry("", "", None, None, None, [], [], None, [], False, [])


class SitemapReader:
    """Reads parsed stretches of a urlset or an index: whatever stands in either, wherever it stands."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._extras = listing.limits.extras_per_entry
        self._names = _FieldNames()

    def read(self, root: etree._Element) -> list[Entry]:
        entries: list[Entry] = []
        self._frame(root, entries)
        return entries

    def _frame(self, frame: etree._Element, entries: list[Entry]) -> None:
        for element in frame:
            name = self._names[element.tag]
            if name in FRAMES:
                self._frame(element, entries)
            elif name in ("url", "sitemap"):
                self._entry(element, entries, is_child=name == "sitemap")
            elif name == "loc":  # in no entry at all
                draft = _draft()
                draft.listed = self._listing.trimmed(element.text)
                self._finish(draft, entries, is_child=False)

    def _entry(self, element: etree._Element, entries: list[Entry], *, is_child: bool) -> None:
        """Read one entry; a second `<loc>` in it starts another, as crawler-commons has it."""
        draft = _draft()
        trimmed, names = self._listing.trimmed, self._names
        for field in element:
            name = names[field.tag]
            if name == "loc":
                loc = trimmed("".join(map(str, field.itertext())) if len(field) else field.text)
                if draft.listed and loc:
                    self._finish(draft, entries, is_child=is_child)
                    draft = _draft()
                draft.listed = loc or draft.listed
            elif name == "lastmod":
                raw = trimmed(field.text)
                draft.lastmod = parse_lastmod(raw) if raw else None
            elif name == "link":
                self._link(draft, field)
            else:
                self._take(draft, name, field)
        if not draft.listed:
            draft.listed = trimmed(element.text)  # a URL without its <loc>
        self._finish(draft, entries, is_child=is_child)

    def _finish(self, draft: UrlEntry, entries: list[Entry], *, is_child: bool) -> None:
        url = self._listing.canonical(draft.listed)
        if url is None:
            return
        draft.url = url
        entries.append(ChildEntry(url, draft.listed, draft.lastmod) if is_child else draft)

    def _link(self, draft: UrlEntry, field: etree._Element) -> None:
        language, href = field.get("hreflang"), self._listing.trimmed(field.get("href"))
        if href and language and len(draft.alternates) < self._extras:
            draft.alternates.append({"hreflang": self._listing.trimmed(language), "href": href})

    def _take(self, draft: UrlEntry, name: str, field: etree._Element) -> None:
        if name == "changefreq":
            draft.changefreq = read_changefreq(self._listing.trimmed(field.text))
        elif name == "priority":
            draft.priority = read_priority(self._listing.trimmed(field.text))
        elif name == "image" and len(draft.images) < self._extras:
            draft.images.append(self._facts(field))
        elif name == "video" and len(draft.videos) < self._extras:
            draft.videos.append(self._facts(field))
        elif name == "news" and draft.news is None:
            draft.news = self._facts(field)
        elif name == "mobile":
            draft.mobile = True
        elif name == "pagemap":
            draft.pagemap += self._pagemap(field)[: self._extras - len(draft.pagemap)]

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


# The grammar nearly every sitemap is written in: entries of these fields in this order, no prefixes, no CDATA, no
# comments, no references but XML's own five. A stretch that consists of nothing else is well formed by
# construction, and reading it this way costs half of parsing it. Anything else takes the long way.
_PLAIN = re.compile(
    r"[ \t\r\n]*+<url>[ \t\r\n]*+<loc>([^<]*+)</loc>[ \t\r\n]*+"
    r"(?:<lastmod>([^<]*+)</lastmod>[ \t\r\n]*+)?+"
    r"(?:<changefreq>([^<]*+)</changefreq>[ \t\r\n]*+)?+"
    r"(?:<priority>([^<]*+)</priority>[ \t\r\n]*+)?+</url>",
)
_OTHER_REFERENCE = re.compile("&(?!(?:amp|lt|gt|quot|apos);)")
_CONTROLS: Final = bytes({*range(0x20)} - {*b"\t\r\n"})


def plain_entries(text: str, listing: Listing) -> list[Entry] | None:
    """The entries of a stretch in the plain grammar; None where it is not in it, to the last character."""
    if not _PLAIN.match(text) or not _is_xml(text):
        return None
    has_references = text.count("&") != text.count("&amp;")
    if not has_references:
        text = text.replace("&amp;", "&")  # all at once: no other reference can be mistaken for it now
    elif _OTHER_REFERENCE.search(text):
        return None
    parts = _PLAIN.split(text)
    if any(parts[::5]):  # what stands between the entries: it must be nothing
        return None
    values = _tidied if has_references or not text.isascii() else _stripped
    listed, dates = values(parts[1::5], listing), values(parts[2::5], listing)
    urls = listed if listing.are_canonical(listed) else map(listing.canonical, listed)
    return [  # by position: this runs once a URL
        UrlEntry(
            url,
            loc,
            parse_lastmod(date) if date else None,
            read_changefreq(changefreq) if changefreq else None,
            read_priority(priority) if priority else None,
            [],
            [],
            None,
            [],
            False,
            [],
        )
        for url, loc, date, changefreq, priority in zip(urls, listed, dates, parts[3::5], parts[4::5], strict=True)
        if url is not None
    ]


def _is_xml(text: str) -> bool:
    if not text.isascii() and ("\ufffe" in text or "\uffff" in text):
        return False
    octets = text.encode()
    return len(octets.translate(None, _CONTROLS)) == len(octets)


def _stripped(texts: list[str | None], listing: Listing) -> list[str]:
    """ASCII without references needs no more than this."""
    limit = listing.limits.text_length
    return [text.strip()[:limit] if text else "" for text in texts]


def _tidied(texts: list[str | None], listing: Listing) -> list[str]:
    return [listing.trimmed(_unescaped(text)) if text else "" for text in texts]


def _unescaped(text: str) -> str:
    """Undo XML's own five references.

    >>> _unescaped("a=1&amp;b=&lt;2&gt;&amp;lt;")
    'a=1&b=<2>&lt;'
    """
    if "&" not in text:
        return text
    for name, char in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&amp;", "&")):
        text = text.replace(name, char)
    return text
