"""robots.txt, read as RFC 9309 asks, as Google's published tests have it, and as sites write it."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from app.scanning import sitemap_lines
from app.scanning.encoding import Source
from app.scanning.rules import Line, Rules
from app.scanning.values import Limits

MAX_CRAWL_DELAY: Final = 60.0
MAX_SITEMAPS: Final = 10_000  # no file of 500 KiB can name more and mean it

# Names as they are written and mistyped (those Google's parser and crawler-commons take), the colon forgotten too:
# then only before a single word, or prose would be rules.
_FIELD = re.compile(
    r"""(?: (?P<agent>(?:users?|use|usr|ser|useg)[ _-]?agents?)
          | (?P<disallow>(?:diss?all?ow|diasllow|disallaw|desallow)[\w-]*)
          | (?P<allow>allow[\w-]*)
          | (?P<delay>crawl[ _-]?delays?)
        )
        (?: \s*[:\uff1a]\s*(?P<value>.*) | \s+(?P<word>[^\s:]\S*)\Z )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_TOKEN = re.compile(r"[a-z0-9_-]+")
_DELAY = re.compile(r"(\d+(?:[.,]\d+)?|[.,]\d+)\s*(?:s|sec|secs|seconds?)?", re.IGNORECASE | re.ASCII)
_TAG = re.compile(r"<[^<>]*>")
_CODE = re.compile(r"<(?:script|style)\b", re.IGNORECASE)
_CODE_END = re.compile(r"</(?:script|style)\b", re.IGNORECASE)
_INVISIBLE: Final = "\ufeff\u200b\u2060"


class _Field(NamedTuple):
    kind: str  # agent, allow, disallow or delay
    value: str


@dataclass(slots=True, eq=False)
class _Group:
    """All that is said to one agent, from all the groups that name it."""

    is_named: bool = False
    lines: list[Line] = field(default_factory=list)
    delay: float | None = None

    def add(self, kind: str, value: str) -> None:
        if kind != "delay":
            self.lines.append(Line(kind == "allow", value))
        elif found := _DELAY.fullmatch(value):
            seconds = min(float(found[1].replace(",", ".")), MAX_CRAWL_DELAY)
            self.delay = max(seconds, self.delay or 0.0)


class _Said(NamedTuple):
    rules: Rules
    delay: float | None


class Robots:
    """The rules of one robots.txt. Agents are matched by their product token, as in `ScraperSky/1.0`."""

    def __init__(self, text: str, *, url: str) -> None:
        self.url = url
        lines = list(_lines(text))
        self._fields = [_field(found) for line in lines if (found := _FIELD.match(line))]
        self._by_token: dict[str, _Said] = {}
        self.sitemaps: tuple[str, ...] = _sitemaps(lines, url)

    def allowed(self, url: str, agent: str) -> bool:
        return self._said(agent).rules.allows(url)

    def crawl_delay(self, agent: str) -> float | None:
        """Seconds between requests, 0 to 60; None where nothing usable is said."""
        return self._said(agent).delay

    def disallows_all(self, agent: str) -> bool:
        """Tell whether the agent may fetch nothing at all."""
        return self._said(agent).rules.closes_all()

    def _said(self, agent: str) -> _Said:
        token = _token(agent)
        known = self._by_token.get(token)
        if known is None:
            group = _group(self._fields, token)
            known = self._by_token[token] = _Said(Rules(group.lines), group.delay)
        return known


def parse(body: bytes, *, url: str, limits: Limits = Limits(), truncated: bool = False) -> Robots:  # noqa: B008 - a frozen value
    r"""Read the body that was served at `url` (canonical). Nothing that a site serves here raises.

    >>> body = b"User-agent: *\nDisallow: /private\nSitemap: /map.xml"
    >>> robots = parse(body, url="https://example.com/robots.txt")
    >>> robots.allowed("https://example.com/private/x", "ScraperSky"), robots.sitemaps
    (False, ('https://example.com/map.xml',))
    """
    source = Source([body], cap=limits.robots_bytes)  # some servers send it gzipped and do not say so
    text = _decode(b"".join(source))
    if truncated or source.capped or source.fault:
        # half a line says something else than the whole: `Disallow: /` of `Disallow: /private`
        text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1]
    if text.lstrip().startswith("<"):
        text = _of_page(text)
    return Robots(text, url=url)


def _of_page(text: str) -> str:
    """The lines that stand on a web page served in place of robots.txt: they count, as they do for Google."""
    first, *rest = _CODE.split(text)
    kept = [first, *(after for code in rest for after in _CODE_END.split(code, 1)[1:])]
    return _TAG.sub("\n", "".join(kept))


_BOMS: Final = (  # UTF-32 first: its mark begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# part of a mark, and a whole one that was taken for Latin-1 and encoded again
_BROKEN_BOM = re.compile(rb"\xc3\xaf\xc2\xbb\xc2\xbf|\xef\xbb?(?=[\x00-\x7f])")


def _decode(body: bytes) -> str:
    for mark, encoding in _BOMS:
        if body.startswith(mark):
            return _text(body[len(mark) :], encoding)
    even, odd = body[:200:2].count(0), body[1:200:2].count(0)
    if max(even, odd) > 40 > min(even, odd):  # ASCII in UTF-16 without a mark: every other byte is NUL
        return _text(body, "utf-16-be" if even > odd else "utf-16-le")
    broken = _BROKEN_BOM.match(body)
    return _text(body[broken.end() if broken else 0 :], "utf-8")


def _text(body: bytes, encoding: str) -> str:
    """Bytes that are not of the encoding become percent-escapes: that is how such a path is asked for."""
    if encoding != "utf-8":
        return body.decode(encoding, "replace").replace("\x00", "")
    text = body.decode(encoding, "surrogateescape").replace("\x00", "")
    return re.sub("[\udc80-\udcff]", lambda found: f"%{ord(found[0]) - 0xDC00:02X}", text)


def _lines(text: str) -> Iterator[str]:
    for written in re.split(r"[\r\n]+", text):
        # a URL's own fragment goes with the comment: it is never sent
        line = written.partition("#")[0].strip().strip(_INVISIBLE).strip()
        if line:
            yield line


def _field(found: re.Match[str]) -> _Field:
    assert found.lastgroup is not None
    kind = next(name for name in ("agent", "disallow", "allow", "delay") if found[name])
    return _Field(kind, found["word"] if found["value"] is None else found["value"])


def _token(text: str) -> str:
    """The product token: the name ahead of a version, or of whatever else is no part of it.

    >>> _token("ScraperSky/1.0 (+https://example.com/bot)")
    'scrapersky'
    """
    found = _TOKEN.match(text.strip().lower())
    return found[0] if found else ""


def _group(fields: Iterable[_Field], token: str) -> _Group:
    """What is said to this agent; what is said to everybody only where it is named nowhere.

    The names of a group end with its first rule, and no other line ends them (RFC 9309, 2.2.4). To whoever obeys it
    `Crawl-delay` is a rule: the star that is only slowed down is not the next bot that is shut out.
    """
    own, everybody = _Group(), _Group()
    named: set[_Group] = set()
    has_rules = False
    for kind, value in fields:
        if kind == "agent":
            named = set() if has_rules else named
            has_rules = False
            named.update(_named(value, token, own, everybody))
            continue
        has_rules = True
        for group in named:
            group.add(kind, value)
    return own if own.is_named else everybody


def _named(value: str, token: str, own: _Group, everybody: _Group) -> Iterator[_Group]:
    for name in value.split(","):
        if name.split()[:1] == ["*"]:
            everybody.is_named = True
            yield everybody
        elif token and _token(name) == token:
            own.is_named = True
            yield own


def _sitemaps(lines: Iterable[str], url: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for line in lines:
        found.update(dict.fromkeys(sitemap_lines.urls_of(line, base=url)))
        if len(found) >= MAX_SITEMAPS:
            break
    return tuple(found)[:MAX_SITEMAPS]
