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
_TRAILING_COMMA: Final = re.compile(r",(\s*[}\]])")
_WRAPPING: Final = re.compile(
    r"^\s*(?:<!--|/\*\s*<!\[CDATA\[\s*\*/|//\s*<!\[CDATA\[|<!\[CDATA\[)|"
    r"(?:-->|/\*\s*\]\]>\s*\*/|//\s*\]\]>|\]\]>)?\s*;?\s*$"
)


@dataclass(slots=True)
class Facts:
    """What was found; links are as written, not resolved."""

    types: list[str] = field(default_factory=list)
    top_types: list[str] = field(default_factory=list)  # of the nodes that stand for the page itself
    logos: list[str] = field(default_factory=list)
    same_as: list[str] = field(default_factory=list)
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
        for node, depth in _nodes(loads(text)):
            _take(facts, node, depth)
    return facts


def loads(text: str) -> Any:
    """Read JSON as sites write it: wrapped in comments, with trailing commas, with raw line breaks.

    >>> loads('<!-- {"@type": "Thing",} -->')
    {'@type': 'Thing'}
    >>> loads("{nonsense") is None
    True
    """
    text = _WRAPPING.sub("", text)
    for attempt in (str, _without_trailing_commas, html.unescape):
        try:
            return json.loads(attempt(text), strict=False)
        except (ValueError, RecursionError):
            continue
    return None


def _without_trailing_commas(text: str) -> str:
    return _TRAILING_COMMA.sub(r"\1", text)


def _nodes(data: Any) -> Iterator[tuple[dict[str, Any], int]]:
    """Every object with its depth (0: the page's own, in an array or @graph too), parents first."""
    pending: list[tuple[Any, int]] = [(data, 0)]
    for _ in range(MAX_NODES):
        if not pending:
            return
        value, depth = pending.pop()
        if isinstance(value, list):
            pending += [(item, depth) for item in reversed(value[:MAX_NODES])]
        elif isinstance(value, dict):
            yield value, depth
            children = [(child, depth + (key != "@graph")) for key, child in value.items()]
            pending += [(child, level) for child, level in reversed(children) if isinstance(child, (dict, list))]


def _take(facts: Facts, node: dict[str, Any], depth: int) -> None:
    types = [name for name in map(_type_name, _strings(node.get("@type"))) if name]
    for name in types:
        if name not in facts.types and len(facts.types) < MAX_TYPES:
            facts.types.append(name)
        if depth == 0 and name not in facts.top_types and len(facts.top_types) < MAX_TYPES:
            facts.top_types.append(name)
    facts.logos += _addresses(node.get("logo"))[:5]
    facts.same_as += _strings(node.get("sameAs"))[:50]
    facts.emails += _strings(node.get("email"))[:10]
    facts.phones += _strings(node.get("telephone"))[:10]
    country = node.get("addressCountry")
    facts.countries += _strings(country.get("name") if isinstance(country, dict) else country)[:1]


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
