"""What a page is built with, told by the rules in `data/technologies.json` (its schema stands in the file).

A sign is a literal first, a regular expression only where the literal occurred: a page without any of them
costs one substring search per rule.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import islice
from typing import Final

from app.scanning.html import Document

MAX_ASSETS: Final = 2_000
MAX_PART: Final = 1_000_000  # characters of one part of a page that are searched
MAX_VERSION: Final = 40


@dataclass(frozen=True, slots=True)
class Sign:
    part: str  # which part of the page: generator, meta, asset, inline, markup, cookie, or `header:NAME`
    has: str  # lower-case literal; empty: the part need only be there
    version: re.Pattern[str] | None


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    category: str
    signs: tuple[Sign, ...]
    implies: tuple[str, ...]


@cache
def rules() -> tuple[Rule, ...]:
    """The rules, read once.

    >>> len(rules()) >= 60
    True
    """
    text = resources.files("app.scanning").joinpath("data/technologies.json").read_text("utf-8")
    return tuple(_rule(entry) for entry in json.loads(text)["technologies"])


def _rule(entry: Mapping[str, object]) -> Rule:
    signs, implies = entry["signs"], entry.get("implies", [])
    assert isinstance(signs, list)
    assert isinstance(implies, list)
    return Rule(str(entry["name"]), str(entry["category"]), tuple(_sign(sign) for sign in signs), tuple(implies))


def _sign(entry: Mapping[str, str]) -> Sign:
    version = entry.get("version")
    return Sign(entry["in"], entry.get("has", "").lower(), re.compile(version, re.IGNORECASE) if version else None)


def detect(document: Document, headers: Mapping[str, str]) -> list[dict[str, str | None]]:
    """Every technology with a sign on the page: `{"name", "category", "version"}`, in the order of the rules.

    `headers` has lower-case names.
    """
    parts = _parts(document, headers)
    versions: dict[str, str | None] = {}
    for rule in rules():
        for sign in rule.signs:
            found, version = _look(parts.get(sign.part), sign)
            if found:
                versions[rule.name] = versions.get(rule.name) or version
                if version:
                    break
        if rule.name in versions:
            for implied in rule.implies:
                versions.setdefault(implied, None)
    return [
        {"name": rule.name, "category": rule.category, "version": versions[rule.name]}
        for rule in rules()
        if rule.name in versions
    ]


def _look(part: str | None, sign: Sign) -> tuple[bool, str | None]:
    if part is None or sign.has not in part:
        return False, None
    if sign.version is None:
        return True, None
    # looked for where the literal stands: a version elsewhere on the page is another thing's
    at = part.find(sign.has)
    found = sign.version.search(part, max(0, at - 200), at + len(sign.has) + 200)
    return True, found[1][:MAX_VERSION] if found and found[1] else None


def _parts(document: Document, headers: Mapping[str, str]) -> dict[str, str]:
    """The page in lower case, cut by where signs are looked for; several of a kind one a line."""
    parts = {f"header:{name}": value[:4_096].lower() for name, value in headers.items()}
    parts["cookie"] = "\n" + parts.get("header:set-cookie", "")
    generators: list[str] = []
    metas: list[str] = []
    for name, content in document.metas():
        (generators if name == "generator" else metas).append(f"{name}={content}")
    parts["generator"] = _joined([text.partition("=")[2] for text in generators])
    parts["meta"] = _joined(metas)
    assets, inline = _scripts(document)
    parts["asset"] = _joined(assets)
    parts["inline"] = _joined(inline)
    parts["markup"] = document.markup[:MAX_PART].lower()
    return parts


def _scripts(document: Document) -> tuple[list[str], list[str]]:
    assets: list[str] = []
    inline: list[str] = []
    for node in islice(document.root.iter("script", "link", "img", "iframe"), MAX_ASSETS):
        address = node.get("href") if node.tag == "link" else node.get("src")
        if address and not address.startswith("data:"):
            assets.append(address[:2_048])
        elif node.tag == "script" and node.text and "json" not in (node.get("type") or ""):
            inline.append(node.text[:100_000])
    return assets, inline


def _joined(pieces: list[str]) -> str:
    return "\n".join(pieces)[:MAX_PART].lower()
