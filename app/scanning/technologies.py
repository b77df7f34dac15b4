"""What a page is built with, told by the rules in `data/technologies.json` (its schema stands in the file).

A sign is a literal first, a regular expression only where the literal occurred: a page without any of them
costs one substring search per sign. A page that merely mentions a technology shows none of its signs: they are
looked for where a browser would act on them, never in the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import islice
from typing import Final

from app.scanning.html import Document, Element

MAX_ASSETS: Final = 2_000
MAX_PART: Final = 1_000_000  # characters of one part of a page that are searched
MAX_SIGHTINGS: Final = 20  # of one literal that are looked at more closely
MAX_VERSION: Final = 40
AROUND: Final = 200  # characters before and after a literal in which its expressions may match
# parts with one thing a line: nothing is looked for beyond the line
_LINES: Final = frozenset({"generator", "meta", "path", "asset", "frame", "cookie", "tag", "comment"})
_FROM_THE_START: Final = frozenset({"meta", "cookie"})  # a name, not a word in what it says


@dataclass(frozen=True, slots=True)
class Sign:
    part: str
    has: str
    like: re.Pattern[str] | None
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
    like, version = (re.compile(entry[key]) if key in entry else None for key in ("like", "version"))
    return Sign(entry["in"], entry["has"], like, version)


def detect(document: Document, headers: Mapping[str, str]) -> list[dict[str, str | None]]:
    """Every technology with a sign on the page: `{"name", "category", "version"}`, in the order of the rules.

    `headers` has lower-case names.
    """
    parts = _parts(document, headers)
    seen = _seen(parts)
    if any(sign.part in {"tag", "comment"} for _, sign in seen):
        parts["tag"], parts["comment"] = _tags_and_comments(parts["tag"])
    versions: dict[str, str | None] = {}
    for index, sign in seen:
        name = rules()[index].name
        if versions.get(name):
            continue  # told by an earlier sign of the rule
        found, version = _look(parts[sign.part], sign)
        if found:
            versions[name] = version
    _add_implied(versions)
    return [
        {"name": rule.name, "category": rule.category, "version": versions[rule.name]}
        for rule in rules()
        if rule.name in versions
    ]


@cache
def _by_part() -> Mapping[str, tuple[tuple[str, int, int, Sign], ...]]:
    """The signs of all rules by where they are looked for: (literal, number of the rule, of the sign, the sign)"""
    found: dict[str, list[tuple[str, int, int, Sign]]] = {}
    for index, rule in enumerate(rules()):
        for position, sign in enumerate(rule.signs):
            found.setdefault(sign.part, []).append((sign.has, index, position, sign))
    return {part: tuple(signs) for part, signs in found.items()}


def _seen(parts: Mapping[str, str]) -> list[tuple[int, Sign]]:
    """The signs whose literal occurs, in the order of the rules; all but a few of a thousand fall out here."""
    seen = [
        (index, position, sign)
        for part, signs in _by_part().items()
        if (text := parts.get(part)) is not None
        for has, index, position, sign in signs
        if has in text
    ]
    return [(index, sign) for index, _, sign in sorted(seen, key=lambda hit: hit[:2])]


def _add_implied(versions: dict[str, str | None]) -> None:
    implied = {rule.name: rule.implies for rule in rules() if rule.implies}
    pending = list(versions)
    while pending:
        for name in implied.get(pending.pop(), ()):
            if name not in versions:
                versions[name] = None
                pending.append(name)


def _look(part: str, sign: Sign) -> tuple[bool, str | None]:
    """(whether the sign is there, the version it tells)"""
    is_there = False
    for at in islice(_sightings(part, sign), MAX_SIGHTINGS):
        around = _around(part, sign, at)
        if sign.like and not sign.like.search(around):
            continue
        is_there = True
        if sign.version is None:
            break
        if found := sign.version.search(around):
            version = next(filter(None, found.groups()), "").strip(".-")
            return True, version[:MAX_VERSION] or None
    return is_there, None


def _sightings(part: str, sign: Sign) -> Iterator[int]:
    """Where the literal stands as a word of its own, in the right place."""
    has = sign.has
    at = part.find(has)
    for _ in range(10 * MAX_SIGHTINGS):
        if at < 0:
            return
        if _is_in_place(part, sign, at):
            yield at
        at = part.find(has, at + max(1, len(has)))


def _is_in_place(part: str, sign: Sign, at: int) -> bool:
    before = part[at - 1] if at else "\n"
    if sign.part in _FROM_THE_START:
        return before == "\n"
    if sign.has[:1].isalnum() and before.isalnum():
        return False
    if sign.part == "generator":
        return not part[at + len(sign.has) : at + len(sign.has) + 1].isalpha()
    # an attribute: by its name, not within the value of another
    return not (sign.part == "tag" and sign.has[0] == " ") or not _is_in_value(part, at)


def _is_in_value(tags: str, at: int) -> bool:
    before = tags[tags.rfind("\n", max(0, at - 10_000), at) + 1 : at]
    return not {'"', "'"}.isdisjoint(_VALUE.sub("", before))


def _around(part: str, sign: Sign, at: int) -> str:
    start, end = max(0, at - AROUND), at + len(sign.has) + AROUND
    if sign.part in _LINES:
        start = max(start, part.rfind("\n", 0, at) + 1)
        line_end = part.find("\n", at)
        end = min(end, line_end) if line_end >= 0 else end
    return part[start:end]


def _parts(document: Document, headers: Mapping[str, str]) -> dict[str, str]:
    """The page in lower case, cut by where signs are looked for; several of a kind one a line."""
    parts = {f"header:{name}": value[:4_096].lower() for name, value in headers.items()}
    # several cookies come as one value, divided by commas
    parts["cookie"] = re.sub(r"[,;]\s*", "\n", parts.get("header:set-cookie", ""))
    generators: list[str] = []
    metas: list[str] = []
    for name, content in document.metas():
        if name == "generator":
            generators.append(content)
        else:
            metas.append(f"{name}={content}")
    parts["generator"] = _joined(generators)
    parts["meta"] = _joined(metas)
    parts |= _loaded(document)
    # both roughly: they are taken apart only if something is found in them
    parts["tag"] = document.markup[:MAX_PART].lower()
    parts["comment"] = _joined([piece.partition("-->")[0] for piece in parts["tag"].split("<!--")[1:]])
    return parts


# whole with its quoted values, or up to the first > where the quotes do not match
_TAG: Final = re.compile(r"""<([a-z][^\s/<>]*+)(?:(?:[^<>"']++|"[^"]{0,20000}+"|'[^']{0,20000}+')*+|[^<>]*+)>""")
_VALUE: Final = re.compile(r"""=\s*+(?:"[^"]*+"|'[^']*+')""")
_RAW: Final = frozenset({"script", "style", "textarea", "title"})  # what is in these is text, whatever it looks like


def _tags_and_comments(markup: str) -> tuple[str, str]:
    """The start tags a browser would see, and the comments: text and examples of code are neither. One pass."""
    tags: list[str] = []
    comments: list[str] = []
    at = markup.find("<")
    while at >= 0:
        if markup.startswith("<!--", at):
            end = _position(markup, "-->", at + 4)
            comments.append(markup[at + 4 : end])
        elif found := _TAG.match(markup, at):
            tags.append(found[0])
            end = found.end()
            if found[1] in _RAW:
                end = _position(markup, f"</{found[1]}", end)
        else:
            end = at + 1
        at = markup.find("<", end)
    return _joined(tags), _joined(comments)


def _position(text: str, mark: str, start: int) -> int:
    at = text.find(mark, start)
    return at if at >= 0 else len(text)


_CODE_RELS: Final = frozenset({"stylesheet", "preload", "modulepreload", "prefetch"})
_IMAGE_RELS: Final = frozenset({"icon", "apple-touch-icon", "manifest"})


def _loaded(document: Document) -> dict[str, str]:
    """What the page loads: code from anywhere, all from the site itself, frames and images, and what stands inline."""
    own = _host(document.url) or ""
    found: dict[str, list[str]] = {"asset": [], "path": [], "frame": [], "inline": []}
    for node in islice(document.root.iter("script", "style", "link", "img", "iframe"), MAX_ASSETS):
        kind, address = _load(node, own)
        if address and not address.startswith("data:"):
            address = _from_root(address[:2_048])
            found[kind].append(address)
            if kind != "path" and node.tag != "iframe" and _is_own(address, own):
                found["path"].append(address)
        elif node.tag in {"script", "style"} and node.text and "json" not in (node.get("type") or ""):
            found["inline"].append(node.text[:100_000])
    return {kind: _joined(pieces) for kind, pieces in found.items()}


def _from_root(address: str) -> str:
    """Relative addresses with a slash before them, as the rules write paths."""
    address = address.strip()
    return address if address.startswith(("/", ".")) or _HOST.match(address) else f"/{address}"


def _load(node: Element, own: str) -> tuple[str, str | None]:
    if node.tag == "link":
        rels = set((node.get("rel") or "").lower().split())
        if rels & _CODE_RELS and node.get("as") not in {"image", "font"}:
            return "asset", node.get("href")
        is_image = rels & (_IMAGE_RELS | _CODE_RELS) and _is_own((node.get("href") or "").strip(), own)
        return "path", node.get("href") if is_image else None
    # what waits for consent, or for somebody to scroll, is in use all the same
    address = node.get("src") or node.get("data-src") or node.get("data-rocket-src")
    return "asset" if node.tag == "script" else "frame", address


_HOST: Final = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//(?:[^/?#]*@)?(?:www\.)?([^/?#:@]*)", re.IGNORECASE)


def _host(address: str) -> str | None:
    """Of an absolute address, without its `www.`; None for a relative one."""
    found = _HOST.match(address)
    return found[1].lower() if found else None


def _is_own(address: str, own: str) -> bool:
    """Of the page's own site: relative, on its host, or on a host below or above it."""
    host = _host(address)
    return host is None or host == own or host.endswith("." + own) or own.endswith("." + host)


def _joined(pieces: list[str]) -> str:
    return "\n".join(piece.replace("\n", " ") for piece in pieces)[:MAX_PART].lower()
