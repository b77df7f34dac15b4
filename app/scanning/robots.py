"""robots.txt, read as RFC 9309 asks and as sites write it. Protego judges; this module feeds it decoded text."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Final

from protego import Protego

from app.errors import InvalidUrl
from app.scanning.urls import canonical
from app.scanning.values import Limits

MAX_CRAWL_DELAY: Final = 60.0
MAX_SITEMAPS: Final = 10_000  # no file of 500 KiB can name more and mean it
MAX_PROBES: Final = 100  # Allow lines looked at before a site that disallows `/` counts as closed

_USER_AGENT = re.compile(r"[ \t]*user[ -]?agent[ \t]*(?:[:\s])\s*([^#\n]*)", re.IGNORECASE)
_ALLOW = re.compile(r"^[ \t]*allow[ \t]*:?[ \t]*(/[^\s#]*)", re.IGNORECASE | re.MULTILINE)
_NOBODY: Final = "user-agent: -nobody-"  # keeps a group's bounds where its real name does not matter


class Robots:
    """The rules of one robots.txt. Agents are matched by their product token, as in `ScraperSky/1.0`."""

    def __init__(self, text: str, *, url: str) -> None:
        self.url = url
        self._text = text
        self._by_agent: dict[str, Protego] = {}
        self.sitemaps: tuple[str, ...] = _sitemaps(text, url)

    def _rules(self, agent: str) -> Protego:
        known = self._by_agent.get(agent)
        if known is None:
            known = self._by_agent[agent] = Protego.parse(_for_agent(self._text, agent))
        return known

    def allowed(self, url: str, agent: str) -> bool:
        return bool(self._rules(agent).can_fetch(url, agent))

    def crawl_delay(self, agent: str) -> float | None:
        """Seconds between requests, 0 to 60; None where nothing usable is said."""
        delay = self._rules(agent).crawl_delay(agent)
        return None if delay is None else min(max(float(delay), 0.0), MAX_CRAWL_DELAY)

    def disallows_all(self, agent: str) -> bool:
        """Tell whether the agent may fetch nothing at all: not `/`, nor anything that an Allow line opens."""
        return not any(self.allowed(url, agent) for url in self._probes())

    def _probes(self) -> Iterator[str]:
        # a host under a special-use name may be scanned where the fetcher's guard was told so
        yield canonical("/", base=self.url, allow_special=True)
        yield canonical("/a-page-nobody-names", base=self.url, allow_special=True)
        for found, _ in zip(_ALLOW.finditer(self._text), range(MAX_PROBES), strict=False):
            try:
                yield canonical(found[1].replace("*", "x").rstrip("$"), base=self.url, allow_special=True)
            except InvalidUrl:
                continue


def parse(body: bytes, *, url: str, limits: Limits = Limits()) -> Robots:  # noqa: B008 - a frozen value
    r"""Read the body that was served at `url` (canonical). Nothing that a site serves here raises.

    >>> body = b"User-agent: *\nDisallow: /private\nSitemap: /map.xml"
    >>> robots = parse(body, url="https://example.com/robots.txt")
    >>> robots.allowed("https://example.com/private/x", "ScraperSky"), robots.sitemaps
    (False, ('https://example.com/map.xml',))
    """
    text = _decode(body[: limits.robots_bytes])
    if text.lstrip().startswith("<"):  # a web page in its place: rules that stand in prose are none
        text = ""
    return Robots(text, url=url)


def _decode(body: bytes) -> str:
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if body.startswith(mark):
            return _tidy(body[len(mark) :].decode(encoding, "replace"))
    even, odd = body[:200:2].count(0), body[1:200:2].count(0)
    if max(even, odd) > 40 > min(even, odd):  # ASCII in UTF-16 without a mark: every other byte is NUL
        return _tidy(body.decode("utf-16-be" if even > odd else "utf-16-le", "replace"))
    return _tidy(body.decode("utf-8", "replace"))


def _tidy(text: str) -> str:
    """One kind of line end, none of the characters that `str.splitlines` takes for one, and no NUL."""
    text = re.sub(r"\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]", "\n", text)
    return text.replace("\x00", "").replace("\ufeff", "")


def _for_agent(text: str, agent: str) -> str:
    """The same rules with all other agents' groups renamed to one that nobody is.

    Protego copies each rule for each agent of its group, so a hostile file of 500 KiB (a group of ten thousand
    agents and as many rules) would take all memory. Only two or three agents are ever asked about.
    """
    wanted = agent.lower()
    lines = []
    for line in text.split("\n"):
        found = _USER_AGENT.match(line)
        if found is None or _names(found[1], wanted):
            lines.append(line)
        elif not lines or lines[-1] is not _NOBODY:
            lines.append(_NOBODY)
    return "\n".join(lines)


def _names(value: str, agent: str) -> bool:
    name = value.strip().lower()
    return name == "*" or (bool(name) and name.replace("*", "") in agent)


def _sitemaps(text: str, url: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for value in Protego.parse(_for_agent(text, "")).sitemaps:
        for candidate in _split_value(value):
            try:
                # where it points may be fetched or not: the fetcher's guard decides, not this list
                found[canonical(candidate, base=url, allow_special=True)] = None
            except InvalidUrl:
                continue
        if len(found) >= MAX_SITEMAPS:
            break
    return tuple(found)


def _split_value(value: str) -> list[str]:
    """One line may name several URLs; white space inside a single one belongs to it."""
    words = [word.strip("<>\"',") for word in value.split()]
    if len(words) > 1 and all(word.lower().startswith(("http://", "https://")) for word in words):
        return words
    return [value.strip().strip("<>\"'")]
