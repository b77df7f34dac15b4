"""What a page says about itself in JSON-LD (schema.org)."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from app.scanning.html import Document, clean

MAX_BYTES: Final = 1_000_000  # of all the JSON-LD of a page
MAX_SCRIPTS: Final = 2_000
MAX_NODES: Final = 5_000
MAX_TYPES: Final = 100

_PREFIX: Final = re.compile(r"^(?:https?://(?:www\.)?schema\.org/|schema:)", re.IGNORECASE)
# strings are passed over whole: what looks like a trailing comma within one is text
_TRAILING_COMMA: Final = re.compile(r'("(?:[^"\\]|\\.)*+")|,(?=\s*+[}\]])', re.DOTALL)
_OPENING: Final = re.compile(r"<!--|(?:/\*\s{0,9}|//\s{0,9})?<!\[CDATA\[(?:\s{0,9}\*/)?")
_CLOSING: Final = re.compile(r"(?:-->|(?:/\*\s{0,9}|//\s{0,9})?\]\]>(?:\s{0,9}\*/)?)$")
_LONGEST_CLOSING: Final = 32


@dataclass(slots=True)
class Facts:
    """What was found; links are as written, not resolved."""

    types: list[str] = field(default_factory=list)
    top_types: list[str] = field(default_factory=list)  # of the nodes that stand for the page itself, one by one
    logos: list[str] = field(default_factory=list)  # of who runs the site, not of what the page tells about
    same_as: list[str] = field(default_factory=list)  # the same
    authors_same_as: list[str] = field(default_factory=list)
    emails: list[str] = field(default_factory=list)
    phones: list[str] = field(default_factory=list)
    countries: list[str] = field(default_factory=list)


def read(document: Document) -> Facts:
    facts = Facts()
    left = MAX_BYTES
    for script in islice(document.root.iter("script"), MAX_SCRIPTS):
        if "ld+json" not in (script.get("type") or "").lower():
            continue
        text = script.text or ""
        left -= len(text)
        if left < 0:
            break
        for node, depth, is_own in _nodes(loads(text)):
            _take(facts, node, depth, is_own)
    return facts


def loads(text: str) -> Any:
    """Read JSON as sites write it: wrapped in comments, with trailing commas, with raw line breaks.

    >>> loads('<!-- {"@type": "Thing",} -->')
    {'@type': 'Thing'}
    >>> loads("{nonsense") is None
    True
    """
    text = _unwrapped(text)
    for attempt in (str, _without_trailing_commas, html.unescape):
        try:
            return json.loads(attempt(text), strict=False)
        except (ValueError, RecursionError):
            continue
    return None


def _unwrapped(text: str) -> str:
    """Without the comment or CDATA marks around. Only the ends are looked at: their cost must not be the text's."""
    text = text.strip().removesuffix(";").rstrip()
    opening = _OPENING.match(text)
    closing = _CLOSING.search(text[-_LONGEST_CLOSING:])
    end = len(text) - (len(closing[0]) if closing else 0)
    return text[opening.end() if opening else 0 : end].rstrip().removesuffix(";")


def _without_trailing_commas(text: str) -> str:
    return _TRAILING_COMMA.sub(r"\1", text)


# what leads from a page's own node to another that stands for the site
_OWN: Final = frozenset({"@graph", "publisher", "isPartOf", "mainEntity", "copyrightHolder", "sourceOrganization"})


def _nodes(data: Any) -> Iterator[tuple[dict[str, Any], int, bool]]:
    """Every object, parents first, with its depth (0: the page's own, in an array or @graph too) and whether it
    stands for the page or its site.
    """
    pending: list[tuple[Any, int, bool]] = [(data, 0, True)]
    for _ in range(MAX_NODES):
        if not pending:
            return
        value, depth, is_own = pending.pop()
        if isinstance(value, list):
            pending += [(item, depth, is_own) for item in reversed(value[:MAX_NODES])]
        elif isinstance(value, dict):
            yield value, depth, is_own
            pending += [
                (child, depth + (key != "@graph"), is_own and key in _OWN)
                for key, child in reversed(value.items())
                if isinstance(child, (dict, list))
            ]


def _take(facts: Facts, node: dict[str, Any], depth: int, is_own: bool) -> None:
    types = [name for name in map(_type_name, _strings(node.get("@type"))) if name]
    _add(facts.types, types)
    if depth == 0 and len(facts.top_types) < MAX_TYPES:
        facts.top_types += types[:MAX_TYPES]
    if is_own:
        facts.logos += _addresses(node.get("logo"))[:5]
        same_as = facts.authors_same_as if types == ["Person"] else facts.same_as
        same_as += _strings(node.get("sameAs"))[:50]
    facts.emails += _strings(node.get("email"))[:10]
    facts.phones += _strings(node.get("telephone"))[:10]
    country = node.get("addressCountry")
    facts.countries += _strings(country.get("name") if isinstance(country, dict) else country)[:1]


def _add(known: list[str], names: list[str]) -> None:
    for name in names:
        if name not in known and len(known) < MAX_TYPES:
            known.append(name)


def _type_name(text: str) -> str | None:
    return clean(_PREFIX.sub("", text), 100)


def _strings(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, str)]


def _addresses(value: Any) -> list[str]:
    """The URLs of an image: a string, an ImageObject, or several."""
    values = value if isinstance(value, list) else [value]
    found = [
        item.get("url") or item.get("contentUrl") or item.get("@id") if isinstance(item, dict) else item
        for item in values
    ]
    return [item for entry in found for item in _strings(entry)]
