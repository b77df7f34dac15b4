"""Which paths the allow and disallow lines of robots.txt open and close: RFC 9309, 2.2.2 and 2.2.3.

The file's author chooses the patterns and the site chooses the URLs, so matching backtracks nowhere and what it may
cost is bounded (`MAX_WILD`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

MAX_WILD: Final = 64 * 1024  # characters of patterns with wildcards that are tried on a URL as they stand
MAX_PROBES: Final = 100  # allow lines looked at before a site that disallows `/` counts as closed

# An octet and its escape are one, unless the octet means something in a path or in a pattern.
_PLAIN: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!&'()+,;=:@[]")
_SPELT = re.compile(r"%([0-9A-Fa-f]{2})|[^A-Za-z0-9\-._~!&'()+,;=:@\[\]/?*$]")
_PATH = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.\-]*://[^/?#]*)?([^#]*)")
_INDEX = re.compile(r"(.*/)index\.html?[^/]*", re.DOTALL)


class Line(NamedTuple):
    """One allow or disallow line of a group, as it was written."""

    allows: bool
    pattern: str


class _Rule(NamedTuple):
    length: int  # octets of the pattern: the longest that matches decides
    allows: bool
    parts: tuple[str, ...]  # what stands between the wildcards, the ends included
    is_anchored: bool

    def matches(self, path: str) -> bool:
        first, *rest = self.parts
        if not path.startswith(first):
            return False
        if not rest:
            return not self.is_anchored or path == first
        at = len(first)
        for part in rest[:-1]:
            at = path.find(part, at)
            if at < 0:
                return False
            at += len(part)
        if self.is_anchored:
            return len(path) - at >= len(rest[-1]) and path.endswith(rest[-1])
        return path.find(rest[-1], at) >= 0


class Rules:
    """The rules of one group.

    >>> rules = Rules([Line(False, "/shop"), Line(True, "/shop/*.html$")])
    >>> rules.allows("https://example.com/shop/a.html"), rules.allows("https://example.com/shop/a.html?b")
    (True, False)
    """

    def __init__(self, lines: Iterable[Line]) -> None:
        # of two rules of one length the one that allows goes first; what is said twice is said once
        self._rules = sorted(set(_rules(lines)), key=lambda rule: (-rule.length, not rule.allows))
        self._wild = [rule for rule in self._rules if len(rule.parts) > 1]
        self._prefixes = tuple(rule.parts[0] for rule in self._rules if len(rule.parts) == 1)

    def allows(self, url: str) -> bool:
        """Tell whether a URL, or its path and query, may be fetched; `/robots.txt` always may."""
        path = _path(url)
        return path == "/robots.txt" or self._opens(path)

    def closes_all(self) -> bool:
        """Tell whether nothing at all may be fetched: not `/`, nor anything that an allow line opens."""
        probes = ["/", "/a-page-nobody-names", *islice(self._examples(), MAX_PROBES)]
        return not any(self._opens(path) for path in probes)

    def _opens(self, path: str) -> bool:
        # most paths begin like no rule: one look tells it of all those without wildcards
        rules = self._rules if path.startswith(self._prefixes) else self._wild
        return next((rule.allows for rule in rules if rule.matches(path)), True)

    def _examples(self) -> Iterator[str]:
        for rule in self._rules:
            path = "x".join(rule.parts)
            if rule.allows and path != "/robots.txt":
                yield path if path.startswith("/") else f"/{path}"


def _rules(lines: Iterable[Line]) -> Iterator[_Rule]:
    room = MAX_WILD
    for line in lines:
        pattern = line.pattern.strip()
        if not pattern:
            continue  # an empty line restricts nothing and opens nothing
        if "*" in pattern:
            room -= len(pattern)
        if "*" in pattern and room < 0:
            # more than any site needs: read for the worse, as no more than what stands before the first wildcard
            if not line.allows:
                yield _rule(pattern.partition("*")[0], allows=False)
            continue
        yield _rule(pattern, allows=line.allows)
        # a directory's index page is the directory, as Google has it
        if line.allows and (found := _INDEX.fullmatch(pattern)):
            yield _rule(f"{found[1]}$", allows=True)


def _rule(pattern: str, *, allows: bool) -> _Rule:
    is_anchored = pattern.endswith("$")
    body = _spelling(pattern.removesuffix("$")).replace("$", "%24")
    return _Rule(len(body) + is_anchored, allows, tuple(re.sub(r"\*+", "*", body).split("*")), is_anchored)


def _path(url: str) -> str:
    """Path and query, in the spelling of the rules, where `*` and `$` stand for themselves.

    >>> _path("https://example.com/%7Ejoe/caf%c3%a9?a=%3D*#top"), _path("https://example.com?q")
    ('/~joe/caf%C3%A9?a==%2A', '/?q')
    """
    found = _PATH.match(url)
    path = _spelling(found[1] if found else "").replace("*", "%2A").replace("$", "%24")
    return path if path.startswith("/") else f"/{path}"


def _spelling(text: str) -> str:
    return _SPELT.sub(_spell, text)


def _spell(found: re.Match[str]) -> str:
    octet = found[1]
    if octet is not None:
        char = chr(int(octet, 16))
        return char if char in _PLAIN else f"%{octet.upper()}"
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogatepass"))
