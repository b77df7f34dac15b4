"""A stream of entries from a stream of bytes: any sitemap or feed, recognised by content, in constant memory.

    from app.scanning.sitemap import parse

    parsed = parse(body.chunks(), url="https://example.com/sitemap.xml")
    for entry in parsed:
        ...
    parsed.kind, parsed.problem, parsed.complete

XML is cut into stretches of whole entries, and each is read on its own: by the plain grammar if it is in it, by a
strict parser if it is well formed, and by the same parser after repair if it is not. So damage costs no more than
the entry it sits in, and memory does not grow with the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final, Literal
from urllib.parse import quote

from lxml import etree

from app.scanning import feeds
from app.scanning.encoding import Charset, Check, Source, utf8
from app.scanning.entries import FRAMES as SITEMAP_FRAMES
from app.scanning.entries import Entry, Listing, SitemapReader
from app.scanning.lines import text_lines
from app.scanning.plain import PlainReader
from app.scanning.recognise import HEAD, Root, recognise
from app.scanning.repair import Shape, mend, mend_references, prefixes_in
from app.scanning.stretches import Stretches, Tail
from app.scanning.values import DocumentKind, Limits, Problem, UrlEntry

PROTOCOL_ENTRIES: Final = 50_000  # sitemaps.org, "Sitemap file location": beyond it a file counts as oversized
PROTOCOL_BYTES: Final = 52_428_800
MAX_MISSES: Final = 4  # the first stretch often holds a comment; a document that goes on like that is not plain
LINES: Final = 500  # of text that are handed on together
PIECE: Final = 16  # entries that are mended together when one of them is damaged
URI_MARKS: Final = "!#$%&'()*+,/:;=?@"  # RFC 3986, 2.2, less the brackets, and what is quoted already
MAX_PREFIXES: Final = 200  # made-up namespaces a document may collect
ENTRY_NAMES: Final[dict[DocumentKind, frozenset[str]]] = {
    "urlset": frozenset({"url", "sitemap"}),
    "index": frozenset({"url", "sitemap"}),
    "rss": frozenset({"item"}),
    "rdf": frozenset({"item"}),
    "atom": frozenset({"entry"}),
}


class Parse(Iterator[Entry]):
    """Entries in document order, one by one or in `batches`. The other attributes grow while it is consumed and are
    final at its end.

    `kind` is `html`, `empty` or `unknown` for what is no sitemap, which `problem` then says (`not_a_sitemap`); what was
    lost of one that is, it says as `partial`, with the line. docs/scanning.md has them all.
    """

    def __init__(
        self, chunks: Iterable[bytes], *, url: str, limits: Limits, truncated: bool, check: Check | None
    ) -> None:
        self.kind: DocumentKind = "unknown"
        self.problem: Problem | None = None
        self.complete = False  # read to its proper end, with nothing lost
        self.oversized = False  # beyond what the protocol allows, or beyond the caps
        self._limits = limits
        self._truncated = truncated
        self._source = Source(chunks, cap=limits.sitemap_bytes, check=check)
        self._listing = Listing(url, limits)
        self._charset = Charset()
        self._count = 0
        self.batches = self._read()
        self._entries = chain.from_iterable(self.batches)

    @property
    def rejected(self) -> dict[str, int]:
        """How many entries were no URLs, by reason (the keys of `urls.REASONS`)."""
        return self._listing.rejected

    @property
    def size(self) -> int:
        """Bytes read, decoded."""
        return self._source.size

    def __iter__(self) -> Iterator[Entry]:  # noqa: PYI034 - the iterator itself: one call less a URL
        return self._entries

    def __next__(self) -> Entry:
        return next(self._entries)

    def _note(self, code: Literal["partial", "not_a_sitemap"], detail: str, line: int | None = None) -> None:
        if self.problem is None:
            self.problem = Problem(code, detail, line)

    def _read(self) -> Iterator[Sequence[Entry]]:
        blocks = utf8(self._source)
        head = _head(blocks)
        found = recognise(head)
        self.kind = found.kind
        for batch in self._batches(found, _chained(head[found.end :], blocks), head.count(b"\n", 0, found.end) + 1):
            room = self._limits.entries_per_file - self._count
            self._count += min(len(batch), room)
            if len(batch) > room:
                self.oversized = True
                self._note("partial", f"more than {self._count:,} entries")
                yield batch[:room]
                return
            if batch:
                yield batch
        self._conclude()

    def _batches(self, found: Root, blocks: Iterator[bytes], line: int) -> Iterator[list[Entry]]:
        if found.refusal:
            if found.is_certain or not self._cut_short:  # what did not come may have been one
                self._note("not_a_sitemap", found.refusal)
        elif found.kind == "text":
            yield from self._lines(blocks)
        elif found.kind == "jsonfeed":
            yield from self._json(blocks)
        else:
            document = _Document(found, self._listing, self._charset)
            yield from document.read(blocks, line)
            if document.fault:
                self._note("partial", *document.fault)

    def _conclude(self) -> None:
        """What can only be said at the end."""
        if self._count > PROTOCOL_ENTRIES or self.size > PROTOCOL_BYTES:
            self.oversized = True
        if self._source.capped:
            self.oversized = True
            self._note("partial", f"longer than {self._limits.sitemap_bytes:,} bytes")
        elif self._source.fault:
            self._note("partial", self._source.fault)
        elif self._truncated:
            self._note("partial", "the transfer ended early")
        self.complete = self.problem is None

    @property
    def _cut_short(self) -> bool:
        return bool(self._truncated or self._source.capped or self._source.fault)

    def _lines(self, blocks: Iterator[bytes]) -> Iterator[list[Entry]]:
        found = False
        batch: list[Entry] = []
        for line in text_lines(blocks, self._charset, is_whole=lambda: not self._cut_short):
            listed = self._listing.trimmed(line)
            url = self._line(listed)
            if url is not None:
                found = True
                batch.append(UrlEntry(url, listed))
            if len(batch) == LINES:
                yield batch
                batch = []
        yield batch
        if not found:
            self.kind = "unknown"
            self.rejected.clear()  # lines of prose are not entries that failed
            self._note("not_a_sitemap", "text without a line that is a URL")

    def _line(self, listed: str) -> str | None:
        if not listed:
            return None
        if not listed.lower().startswith(("http://", "https://")):  # prose has no meaning as a relative URL
            self._listing.reject("relative")
            return None
        return self._listing.canonical(listed)

    def _json(self, blocks: Iterator[bytes]) -> Iterator[list[Entry]]:
        body = bytearray()
        for block in blocks:
            body += block
            if len(body) > feeds.MAX_JSON_BYTES:
                break
        entries = feeds.json_entries(self._charset.decode(bytes(body)), self._listing)
        if entries is None:
            self.kind = "unknown"
            self._note("not_a_sitemap", "JSON that is no feed")
        yield list(entries or ())


class _Document:
    """Reads one XML document, stretch by stretch. `fault` is the first loss, with its line."""

    def __init__(self, found: Root, listing: Listing, charset: Charset) -> None:
        self.fault: tuple[str, int] | None = None
        self._found = found
        self._listing = listing
        self._charset = charset
        self._is_sitemap = found.kind in ("urlset", "index")
        self._reader = SitemapReader(listing) if self._is_sitemap else feeds.FeedReader(listing, found.base)
        self._plain = PlainReader(listing, found.namespaces) if found.kind == "urlset" else None
        self._misses = 0
        self._mends_references = False
        self._wrap = _Wrap(found.namespaces)
        names = ENTRY_NAMES[found.kind]
        prefixed = {f"{found.prefix.lower()}:{name}" for name in names} if found.prefix else frozenset[str]()
        self._entry_end = re.compile(rf"</(?:[\w.\-]+:)?(?:{'|'.join(sorted(names))})\s*>", re.IGNORECASE)
        self._shape = Shape(SITEMAP_FRAMES if self._is_sitemap else feeds.FRAMES, names | prefixed)

    def read(self, blocks: Iterator[bytes], line: int) -> Iterator[list[Entry]]:
        stretches = Stretches(blocks, ENTRY_NAMES[self._found.kind], line=line)
        for stretch in stretches:
            yield self._stretch(self._charset.decode(stretch.data), stretch.line)
        if stretches.fault:
            self._lost(*stretches.fault)
        yield self._tail(stretches.tail(self._shape.frames))

    def _lost(self, what: str, line: int) -> None:
        if self.fault is None:
            self.fault = (what, line)

    def _stretch(self, text: str, line: int) -> list[Entry]:
        """By the cheapest way that is exact: the plain grammar, the strict parser, either of them after mending."""
        if self._mends_references:
            text = mend_references(text)
        entries = self._in_plain_grammar(text)
        if entries is not None:
            return entries
        root = self._wrap.parsed(text)
        if root is None:
            self._wrap = self._wrap.declaring(prefixes_in(text))
            if not self._mends_references and (mended := mend_references(text)) != text:
                # a document that needs it once needs it on every page
                self._mends_references, self._misses = True, 0
                return self._stretch(mended, line)
            root = self._wrap.parsed(text)
        return self._damaged(text, line) if root is None else self._reader.read(root)

    def _damaged(self, text: str, line: int) -> list[Entry]:
        """In pieces of some entries: where one is damaged, only its neighbours need mending with it."""
        if "<!" in text:  # comments and CDATA may hold what looks like an entry's end
            return self._mended(text, line, cut=False)
        entries: list[Entry] = []
        for piece in _pieces(text, self._entry_end):
            entries += self._piece(piece, line)
            line += piece.count("\n")
        return entries

    def _piece(self, text: str, line: int) -> list[Entry]:
        if self._plain is not None and self._misses < MAX_MISSES:
            entries = self._plain.read(text)
            if entries is not None:
                return entries
        root = self._wrap.parsed(text)
        return self._mended(text, line, cut=False) if root is None else self._reader.read(root)

    def _in_plain_grammar(self, text: str) -> list[Entry] | None:
        """Try the plain grammar, unless this document has shown that it is not written in it."""
        if self._plain is None or self._misses >= MAX_MISSES:
            return None
        entries = self._plain.read(text)
        self._misses = self._misses + 1 if entries is None else 0
        return entries

    def _mended(self, text: str, line: int, *, cut: bool) -> list[Entry]:
        mended = mend(text, self._shape, cut=cut)
        if mended.fault:
            self._lost(mended.fault, line + mended.line)
        root = _Wrap(_made_up(mended.prefixes)).parsed(mended.text)
        if root is None:
            self._lost("a stretch that cannot be read", line)
            return []
        return self._reader.read(root)

    def _tail(self, tail: Tail) -> list[Entry]:
        """What stands behind the last whole entry: nothing, in a sound document, but the end of its frames."""
        closed = tail.closed or self._found.is_entry or self._found.is_empty
        text = self._charset.decode(tail.data)
        entries = self._mended(text, tail.line, cut=not closed) if text.strip() else []
        if not closed:
            self._lost("the document ends early", tail.line + text.count("\n"))
        return entries


class _Wrap:
    """Parses a stretch inside a root of its own that declares the document's namespaces."""

    def __init__(self, namespaces: dict[str, str]) -> None:
        self._namespaces = namespaces
        declared = "".join(
            f' xmlns{":" if prefix else ""}{prefix}="{_attribute(uri)}"' for prefix, uri in namespaces.items()
        )
        self._opening = f"<stretch{declared}>"
        self._parser = etree.XMLParser(
            encoding="utf-8",
            resolve_entities=False,
            load_dtd=False,
            no_network=True,
            huge_tree=False,
            remove_comments=True,
            remove_pis=True,
        )

    def declaring(self, prefixes: frozenset[str]) -> _Wrap:
        """The same, with names made up for prefixes that the document forgot to declare."""
        missing = prefixes - self._namespaces.keys() - {"xml", "xmlns"}
        if not missing or len(self._namespaces) + len(missing) > MAX_PREFIXES:
            return self  # each piece would have to declare them all
        return _Wrap({**self._namespaces, **_made_up(missing)})

    def parsed(self, text: str) -> etree._Element | None:
        """The stretch as children of one element; None if it is not well formed."""
        try:
            return etree.fromstring(f"{self._opening}{text}</stretch>".encode(), self._parser)
        except etree.XMLSyntaxError:
            return None


def _made_up(prefixes: frozenset[str]) -> dict[str, str]:
    """A namespace for each prefix that needs one."""
    return {prefix: f"urn:{prefix}" for prefix in sorted(prefixes - {"xml", "xmlns"})}


def _pieces(text: str, entry_end: re.Pattern[str]) -> Iterator[str]:
    start = 0
    for number, end in enumerate(entry_end.finditer(text), start=1):
        if number % PIECE == 0:
            yield text[start : end.end()]
            start = end.end()
    if start < len(text):
        yield text[start:]


def _attribute(uri: str) -> str:
    """A namespace as declared, with what libxml2 refuses in one, like a space at its end, quoted."""
    text = quote(uri, safe=URI_MARKS)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest


def _head(blocks: Iterator[bytes]) -> bytes:
    """As much as recognising takes: a block, or more while no root has been seen in it."""
    head = bytearray()
    enough = 0  # looking again before there is twice as much would make long preambles quadratic
    for block in blocks:
        head += block
        if len(head) >= HEAD or (len(head) >= enough and recognise(bytes(head)).is_certain):
            break
        enough = max(enough, 2 * len(head) if len(head) >= enough else 0)
    return bytes(head)


def parse(
    chunks: Iterable[bytes],
    *,
    url: str,
    limits: Limits = Limits(),  # noqa: B008 - a frozen value
    truncated: bool = False,
    check: Check | None = None,
) -> Parse:
    """Read the document that was served at `url` (canonical). No content raises; what is wrong is recorded.

    `chunks` may be cut anywhere, and are drawn only as entries are asked for. `truncated` tells that the body is known
    to have ended early. `check` is called now and then, also while no entry comes: it may raise to end the reading.

    >>> body = b"<urlset><url><loc>/a</loc><lastmod>2024</lastmod></url></urlset>"
    >>> parsed = parse([body], url="https://example.com/sitemap.xml")
    >>> [(entry.url, entry.lastmod.precision) for entry in parsed], parsed.kind, parsed.complete
    ([('https://example.com/a', 'year')], 'urlset', True)
    >>> parsed = parse([b"<urlset><url><loc>/a</loc></url><url><loc>/b"], url="https://example.com/sitemap.xml")
    >>> [entry.url for entry in parsed], parsed.problem
    (['https://example.com/a'], Problem(code='partial', detail='the document ends early', line=1))
    """
    return Parse(chunks, url=url, limits=limits, truncated=truncated, check=check)
