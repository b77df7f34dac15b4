"""The Sitemap lines of robots.txt, as people write them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from app.errors import InvalidUrl
from app.scanning.urls import canonical

# `Sitemap`, `site-map`, `Site map`, `sitemaps`, `Sitemap-URL`, `XML Sitemap`: whatever starts so and has a colon
_KEYED = re.compile(
    r"""(?:xml[\s_-]?)? site[\s_-]?map
        (?: (?:(?!https?:)[^:\uff1a/]){0,30} [:\uff1a] | \s*= )
        [\s:=\uff1a]* (?P<value>.*)""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_COLON_FORGOTTEN = re.compile(r"site[_-]?maps?\s+(?P<value>\S.*)", re.IGNORECASE | re.DOTALL)
_KEY_FORGOTTEN = re.compile(r"https?://.*?site[_-]?map", re.IGNORECASE)

_TAG = re.compile(r"</?[a-z][a-z0-9]*(?:\s[^<>]*)?/?>", re.IGNORECASE)
_LINK = re.compile(r"\[[^\[\]]*\]\(([^()\s]*)\)")  # as Markdown has it
_AROUND: Final = "<>()[]\"'`\u2018\u2019\u201c\u201d\u00ab\u00bb,;\u200b\u2060\ufeff"
_NAMES_A_FILE = re.compile(r"[./]|map", re.IGNORECASE)  # `none` and `yes` do not
_BETWEEN = re.compile(r",(?=https?://)|\ssite-?maps?\s?:", re.IGNORECASE)
_ENDS = re.compile(r"\.(?:xml|gz|txt|php|aspx?)(?:\?.*)?\W*\Z", re.IGNORECASE)
_STARTS_URL = re.compile(rf"[{re.escape(_AROUND)}]*(?:https?:|//?(?!/))", re.IGNORECASE)
_SCHEME_BROKEN = re.compile(r"(https?)(?::/?|//)(?=[^:/\s])", re.IGNORECASE)


def urls_of(line: str, *, base: str) -> Iterator[str]:
    """Canonical URLs that a line (its comment cut off) names; none where it is no Sitemap line. `base` is the
    canonical URL of the robots.txt itself.

    >>> list(urls_of("site-map : </a.xml>, https://cdn.example.net/b.xml", base="https://example.com/robots.txt"))
    ['https://example.com/a.xml', 'https://cdn.example.net/b.xml']
    """
    for value in _values(line):
        try:
            # where it points may be fetched or not: the fetcher's guard decides, not this list
            yield canonical(_mended(value, base), base=base, allow_special=True)
        except InvalidUrl:
            continue


def _values(line: str) -> list[str]:
    if found := _KEYED.match(line):
        return _split(found["value"])
    if found := _COLON_FORGOTTEN.match(line):
        # without a colon it is prose, unless what follows is a URL or a lone word
        value = found["value"]
        return _split(value) if _STARTS_URL.match(value) or len(value.split()) == 1 else []
    return [line] if _KEY_FORGOTTEN.match(line) and len(line.split()) == 1 else []


def _split(value: str) -> list[str]:
    """One line may name several URLs; white space inside a single one belongs to it, unless its name had ended."""
    words = _BETWEEN.sub(" ", _LINK.sub(r" \1 ", _TAG.sub(" ", value))).split()
    named = [word for word in words if _STARTS_URL.match(word)]
    if not named:
        named = [" ".join(words)] if len(words) < 2 or _ends(words[-1]) else []  # or it is prose
    elif named != words and named[0] == words[0] and not _ends(words[0]):
        named = [" ".join(words)]
    return [word for word in (word.strip(_AROUND) for word in named) if _NAMES_A_FILE.search(word)]


def _ends(word: str) -> bool:
    """Tell whether a file's name ends here, so that what follows is a remark."""
    return bool(_ENDS.search(word, max(len(word) - 300, 0)))


def _mended(value: str, base: str) -> str:
    """A scheme with a slash or its colon missing, and the site's own host without a scheme, are what they look like."""
    value = _SCHEME_BROKEN.sub(r"\1://", value, count=1) if _SCHEME_BROKEN.match(value) else value
    host = base.split("/", 3)[2].removeprefix("www.")
    first = value.partition("/")[0].lower().removeprefix("www.")
    return f"//{value}" if first == host else value
