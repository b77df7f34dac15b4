"""What kind of page a URL leads to, told by the words of its path in the languages sites are written in.

Asked for every URL of a sitemap, most of which share their directory with many others: that is looked at once.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from itertools import pairwise
from typing import Final, NamedTuple
from urllib.parse import unquote_plus

# A word may stand anywhere in the path for these: /blog/2024/hello is a post, /en/contact/thanks no contact page
_SECTIONS: Final = frozenset(
    ["product", "category", "tag", "author", "post", "press", "docs", "event", "careers", "faq", "help"]
)
# alone these words name the list of what stands below them
_LISTS: Final = {"product": "category", "post": "blog"}
_FOLDED: Final = str.maketrans(
    {"ß": "ss", "ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "ı": "i", "ς": "σ", "ё": "е"}
)


def _fold(word: str) -> str:
    """Without accents: `über-uns` and `uber-uns` are one word.

    >>> _fold("o-společnosti"), _fold("søgning")
    ('o-spolecnosti', 'sogning')
    """
    parts = unicodedata.normalize("NFKD", word.translate(_FOLDED))
    return "".join(part for part in parts if not unicodedata.combining(part))


_FILE: Final = json.loads(resources.files("app.scanning").joinpath("data/page_words.json").read_text("utf-8"))
_BY_WORD: Final[dict[str, str]] = {
    _fold(word): kind for kind, lines in _FILE["words"].items() for line in lines for word in line.split()
}
_SECTION_WORDS: Final = {word: kind for word, kind in _BY_WORD.items() if kind in _SECTIONS}
_HOME: Final = frozenset({"", "index", "home", "default", "startseite", "accueil", "inicio", "homepage"})
_INDEX: Final = frozenset({"index", "default"})
_LANGUAGES: Final = frozenset(_FILE["languages"].split())
_LANGUAGE: Final = re.compile(r"([a-z]{2})(?:-(?:[a-z]{2}|hans|hant|latn|cyrl|\d{3}))?")
_is_plain: Final = re.compile(r"[A-Za-z0-9._\-]+").fullmatch
_PAGE_SUFFIXES: Final = frozenset({"html", "htm", "php", "php5", "asp", "aspx", "jsp", "shtml", "xhtml", "cfm", "do"})

_BY_SCHEMA: Final = {
    "ContactPage": "contact",
    "AboutPage": "about",
    "Product": "product",
    "ProductGroup": "product",
    "Blog": "blog",
    "Article": "post",
    "NewsArticle": "post",
    "BlogPosting": "post",
    "TechArticle": "docs",
    "CollectionPage": "category",
    "FAQPage": "faq",
    "JobPosting": "careers",
    "Event": "event",
    "ProfilePage": "author",
    "SearchResultsPage": "search",
    "CheckoutPage": "cart",
}
_BY_OPEN_GRAPH: Final = {
    "product": "product",
    "og:product": "product",
    "product.item": "product",
    "article": "post",
    "profile": "author",
}


def of_url(url: str) -> str | None:
    """The kind of page, or None if the path does not tell.

    >>> of_url("https://example.com/en/contact-us.html"), of_url("https://example.com/impressum/")
    ('contact', 'legal')
    >>> of_url("https://example.com/shop/product/blue-chair"), of_url("https://example.com/2024/05/hello-world")
    ('product', 'post')
    >>> of_url("https://example.com/"), of_url("https://example.com/blue-chair")
    ('home', None)
    """
    if "?" in url or "#" in url:
        url = url.partition("#")[0].partition("?")[0]
    directory, _, name = url.rstrip("/").rpartition("/")
    above = _above(directory) if _is_plain(name) else None
    if above is not None:  # nearly always; the directory is the same for many
        word = _stem(name.lower().replace("_", "-"))
        if word and word not in _INDEX:
            return _kind(above, word)
    segments = _segments(url)
    return _kind(_told_by(segments[:-1]), segments[-1]) if segments else "home"


class _Above(NamedTuple):
    """What the segments above the last one tell of a page."""

    is_root: bool  # there are none
    kind: str | None
    is_dated: bool


@lru_cache(maxsize=4_096)
def _above(directory: str) -> _Above | None:
    """Of all that stands before the last slash; None if that slash is not the path's."""
    return _told_by(_words(directory)) if "://" in directory else None


def _told_by(segments: Sequence[str]) -> _Above:
    kinds = (kind for segment in reversed(segments) if (kind := _SECTION_WORDS.get(segment)))
    return _Above(not segments, next(kinds, None), _is_dated(segments))


def _kind(above: _Above, last: str) -> str | None:
    if above.is_root and last in _HOME:
        return "home"
    kind = _BY_WORD.get(last)
    if kind is not None:
        return _LISTS.get(kind, kind)
    if above.kind is not None:
        return above.kind
    if above.is_dated and not last.isdecimal():
        return "post"
    return "home" if above.is_root and _is_language(last) else None


# one of these is what a page is about, several are what it lists
_SINGLE: Final = frozenset({"product", "post", "event", "careers", "docs"})


def of_content(types: Sequence[str], open_graph_type: str | None) -> str | None:
    """The kind of page its own JSON-LD types (one a node) or its Open Graph type name.

    >>> of_content(["BreadcrumbList", "Product"], None), of_content(["Product", "Product"], None)
    ('product', None)
    """
    for name in types:
        kind = _BY_SCHEMA.get(name)
        if kind and (kind not in _SINGLE or types.count(name) == 1):
            return kind
    return _BY_OPEN_GRAPH.get(open_graph_type or "")


def _segments(url: str) -> list[str]:
    """Of a URL without query."""
    segments = _words(url)
    if segments:
        segments[-1] = _stem(segments[-1])
        if segments[-1] in _INDEX and len(segments) > 1:
            segments.pop()
    return segments


def _words(url: str) -> list[str]:
    """The segments of a path, as words are looked up. The URL ends with it."""
    path = url.partition("://")[2].partition("/")[2]
    if "%" in path or "+" in path:
        path = unquote_plus(path)
    path = path.lower().replace("_", "-").replace(" ", "-")
    if not path.isascii():
        path = _fold(path)
    return [segment for segment in path.split("/") if segment]


def _stem(segment: str) -> str:
    stem, dot, suffix = segment.rpartition(".")
    return stem if dot and suffix in _PAGE_SUFFIXES else segment


def _is_dated(segments: Sequence[str]) -> bool:
    """`/2024/05/title`: how blogs and newspapers file what they publish."""
    return any(
        len(year) == 4 and year.isdecimal() and year[:2] in {"19", "20"} and month.isdecimal() and len(month) <= 2
        for year, month in pairwise(segments)
    )


def _is_language(segment: str) -> bool:
    if len(segment) not in {2, 5, 6, 7}:
        return False
    found = _LANGUAGE.fullmatch(segment)
    return found is not None and found[1] in _LANGUAGES
