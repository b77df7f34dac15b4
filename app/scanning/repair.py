"""Makes a stretch of damaged XML well formed, so that the strict parser can read it.

The parser's own recovery is no alternative: with `recover=True` libxml2 2.14 drops every `&amp;` after the first
error (`?x=1&amp;y=2` becomes `?x=1y=2`), and nests unclosed elements until its depth limit ends the reading.
"""

from __future__ import annotations

import re
from html.entities import html5
from typing import Final, NamedTuple

MAX_DEPTH: Final = 100  # libxml2 stops at 256
MAX_NAME: Final = 200

# What XML takes for names, less the colon (XML 1.0, 5th edition, productions 4 and 4a): `\w` has more, like `¹`.
_INITIALS = (
    "A-Z_a-z\xc0-\xd6\xd8-\xf6\xf8-\u02ff\u0370-\u037d\u037f-\u1fff\u200c\u200d\u2070-\u218f"
    "\u2c00-\u2fef\u3001-\ud7ff\uf900-\ufdcf\ufdf0-\ufffd\U00010000-\U000effff"
)
_LETTERS = _INITIALS + r"\-.0-9" + "\xb7\u0300-\u036f\u203f\u2040"
_NAME = f"[{_INITIALS}][{_LETTERS}]*+"  # possessive, or a name of megabytes is tried at all its lengths
_TOKEN = re.compile(
    rf"""
      <!--(?P<comment>.*?)(?:-->|\Z)
    | <!\[CDATA\[(?P<cdata>.*?)(?P<closed>\]\]>|\Z)
    | <[?!](?P<other>[^>]*+)(?:>|\Z)
    | </\s*(?P<end>(?:{_NAME}:)?{_NAME})[^<>]*+>
    | <(?P<start>(?:{_NAME}:)?{_NAME})(?P<attributes>(?:[^<>"']|"[^"<]*+"|'[^'<]*+')*+)>
    | (?P<text>[^<]++)
    | (?P<stray><)
    """,
    re.DOTALL | re.VERBOSE,
)
_ATTRIBUTE = re.compile(  # the last branch takes words that are none, whole: else each of their letters is tried
    rf"((?:{_NAME}:)?{_NAME})\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\s\"'>]++))|[\w:{_LETTERS}]++",
)
_REFERENCE = re.compile(r"&(?:#([0-9]{1,7})|#[xX]([0-9A-Fa-f]{1,6})|([A-Za-z][A-Za-z0-9]{1,31}));|&")
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_ESCAPES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}
_SPECIAL = re.compile('[&<>"]')

# Fields hold text only: a start tag inside one means that its own end tag is missing.
FIELDS: Final = frozenset({"loc", "lastmod", "changefreq", "priority"})
# Those of feeds' items may hold markup, but not one another.
ITEM_FIELDS: Final = frozenset(
    {"title", "link", "guid", "id", "pubdate", "published", "updated", "description", "summary"}
)


# What makes a reference unfit for the parser; comments and CDATA are matched only to be passed over.
_PASSED_OVER = r"<!--.*?-->|<!\[CDATA\[.*?\]\]>|"
_UNFIT = r"&(?!(?:amp|lt|gt|quot|apos|#[0-9]{1,7}|#x[0-9A-Fa-f]{1,6});)(?:([A-Za-z][A-Za-z0-9]{1,31});)?"
_UNFIT_REFERENCE = re.compile(_UNFIT)
_UNFIT_AMONG_SECTIONS = re.compile(_PASSED_OVER + _UNFIT, re.DOTALL)
_PREFIX = re.compile(rf"</?({_NAME}):{_NAME}")


def mend_references(text: str) -> str:
    """Escape bare `&` and spell out HTML's entities: the commonest damage, and nothing is lost by mending it.

    >>> mend_references("<loc>/?a=1&b=&eacute;&amp;c</loc>")
    '<loc>/?a=1&amp;b=é&amp;c</loc>'
    """
    pattern = _UNFIT_AMONG_SECTIONS if "<!" in text else _UNFIT_REFERENCE
    return pattern.sub(_fit, text)


def _fit(found: re.Match[str]) -> str:
    if found[0].startswith("<"):
        return found[0]
    char = html5.get(f"{found[1]};") if found[1] else None
    return _escape(char) if char else f"&amp;{found[0][1:]}"


def prefixes_in(text: str) -> frozenset[str]:
    """The namespace prefixes of the elements in a stretch."""
    return frozenset(_PREFIX.findall(text))


class Shape(NamedTuple):
    """What the mender must know of a document: which elements frame entries, and which are entries (lower case)."""

    frames: frozenset[str]
    entries: frozenset[str]


class Mended(NamedTuple):
    """Well-formed content without namespaces of its own: `prefixes` are those its names use."""

    text: str
    prefixes: frozenset[str]
    fault: str | None  # None: nothing was lost
    line: int  # of the fault, from 0


def mend(text: str, shape: Shape, *, cut: bool = False) -> Mended:
    """Balance tags, close what is left open, escape what was meant as text. Frames are dropped.

    `cut` says that the text ends where the document broke off: a value not closed by then is no value.
    """
    return _Mender(shape).run(_without_torn_end(text) if cut else text, cut=cut)


def _without_torn_end(text: str) -> str:
    """Leave off a torn tag, or the torn text after the last whole tag."""
    opening = text.rfind("<")
    if ">" not in text[opening:]:
        return text[: max(opening, 0)]
    return text[: text.rfind(">") + 1]


class _Mender:
    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._out: list[str] = []
        self._open: list[str] = []
        self._prefixes: set[str] = set()
        self._fault: tuple[str, int] | None = None
        self._at = 0
        self._is_leaf = False  # the innermost open element holds no other

    def run(self, text: str, *, cut: bool) -> Mended:
        for token in _TOKEN.finditer(text):
            self._at = token.start()
            self._take(token)
        self._at = len(text)
        if self._open and not cut:
            self._lost(f"<{self._open[-1]}> is never closed")
        self._close_to(0)
        fault, at = self._fault or (None, 0)
        return Mended("".join(self._out), frozenset(self._prefixes), fault, text.count("\n", 0, at))

    def _take(self, token: re.Match[str]) -> None:
        kind = token.lastgroup
        if kind == "text":
            self._out.append(self._escaped(token["text"]))
        elif kind == "attributes":
            self._start(token["start"], token["attributes"])
        elif kind == "end":
            self._end(token["end"])
        elif kind == "closed":
            self._cdata(token)
        elif kind == "stray":
            self._lost("a < that starts no tag")
            self._out.append("&lt;")

    def _lost(self, what: str) -> None:
        if self._fault is None:
            self._fault = (what[:MAX_NAME], self._at)

    def _cdata(self, token: re.Match[str]) -> None:
        if token["closed"]:
            self._out.append(_escape(self._legal(token["cdata"])))
        else:
            self._lost("a CDATA section is never closed")

    def _start(self, name: str, attributes: str) -> None:
        if _local(name) in self._shape.frames or len(name) > MAX_NAME:
            return
        if name.lower() in self._shape.entries:
            self._close_before(self._shape.entries, name)
        elif self._open and _is_beside(_local(self._open[-1]), _local(name)):
            self._lost(f"<{self._open[-1]}> is not closed before <{name}>")
            self._close_to(len(self._open) - 1)
        if len(self._open) >= MAX_DEPTH:
            self._lost("elements are nested too deep")
            return
        self._note_prefix(name)
        empty = attributes.rstrip().endswith("/")
        self._out.append(f"<{name}{self._attributes(attributes)}{'/>' if empty else '>'}")
        if not empty:
            self._open.append(name)
        self._is_leaf = not empty

    def _close_before(self, names: frozenset[str], name: str) -> None:
        for depth, opened in enumerate(self._open):
            if opened.lower() in names:
                self._lost(f"<{opened}> is not closed before <{name}>")
                self._close_to(depth)
                return

    def _end(self, name: str) -> None:
        if name in self._open:
            depth = len(self._open) - 1 - self._open[::-1].index(name)
            if depth < len(self._open) - 1:
                self._lost(f"<{self._open[-1]}> is not closed before </{name}>")
            self._close_to(depth)
        elif _local(name) not in self._shape.frames:
            self._lost(f"</{name}> closes nothing")
            if self._is_leaf and self._open[-1].lower() not in self._shape.entries:
                self._close_to(len(self._open) - 1)  # misspelt: but for text, nothing stands in the innermost

    def _close_to(self, depth: int) -> None:
        self._is_leaf = False
        while len(self._open) > depth:
            self._out.append(f"</{self._open.pop()}>")

    def _note_prefix(self, name: str) -> None:
        prefix, colon, _ = name.partition(":")
        if colon:
            self._prefixes.add(prefix)

    def _attributes(self, text: str) -> str:
        kept: dict[str, str] = {}
        for name, double, single, bare in _ATTRIBUTE.findall(text):
            local = name.rpartition(":")[2]
            if name and not name.startswith("xmlns") and local not in kept and len(name) <= MAX_NAME:
                kept[local] = self._escaped(double or single or bare)
        return "".join(f' {name}="{value}"' for name, value in kept.items())

    def _escaped(self, text: str) -> str:
        return _escape(_REFERENCE.sub(self._dereferenced, self._legal(text)))

    def _legal(self, text: str) -> str:
        if _ILLEGAL.search(text):
            self._lost("a character that XML does not allow")
            return _ILLEGAL.sub("", text)
        return text

    def _dereferenced(self, found: re.Match[str]) -> str:
        decimal, hexadecimal, name = found.groups()
        if name is not None:
            return html5.get(f"{name};", found[0])
        if decimal is None and hexadecimal is None:
            return "&"
        point = int(decimal) if decimal is not None else int(hexadecimal, 16)
        return self._legal(chr(point)) if point <= 0x10FFFF else ""


def _is_beside(opened: str, name: str) -> bool:
    """Tell whether an element of this name cannot stand within the open one (local names, in lower case)."""
    return opened in FIELDS or (opened in ITEM_FIELDS and name in ITEM_FIELDS)


def _local(name: str) -> str:
    return name.rpartition(":")[2].lower()


def _escape(text: str) -> str:
    return _SPECIAL.sub(lambda found: _ESCAPES[found[0]], text)
