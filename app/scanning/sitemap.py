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

from collections.abc import Iterable, Iterator
from typing import Final, Literal

from lxml import etree

from app.scanning import feeds
from app.scanning.encoding import Charset, Source, utf8
from app.scanning.entries import FRAMES as SITEMAP_FRAMES
from app.scanning.entries import Entry, Listing, SitemapReader, plain_entries
from app.scanning.lines import text_lines
from app.scanning.recognise import HEAD, Root, recognise
from app.scanning.repair import Shape, mend
from app.scanning.stretches import Stretches, Tail
from app.scanning.values import DocumentKind, Limits, Problem, UrlEntry

PROTOCOL_ENTRIES: Final = 50_000  # sitemaps.org, "Sitemap file location": beyond it a file counts as oversized
PROTOCOL_BYTES: Final = 52_428_800
ENTRY_NAMES: Final[dict[DocumentKind, frozenset[str]]] = {
    "urlset": frozenset({"url", "sitemap"}),
    "index": frozenset({"url", "sitemap"}),
    "rss": frozenset({"item"}),
    "rdf": frozenset({"item"}),
    "atom": frozenset({"entry"}),
}


class Parse(Iterator[Entry]):
    """Entries in document order. The other attributes grow while it is consumed and are final at its end."""

    def __init__(self, chunks: Iterable[bytes], *, url: str, limits: Limits, truncated: bool) -> None:
        self.kind: DocumentKind = "unknown"
        self.problem: Problem | None = None
        self.complete = False  # read to its proper end, with nothing lost
        self.oversized = False  # beyond what the protocol allows, or beyond the caps
        self._limits = limits
        self._truncated = truncated
        self._source = Source(chunks, cap=limits.sitemap_bytes)
        self._listing = Listing(url, limits)
        self._charset = Charset()
        self._count = 0
        self._entries = self._read()

    @property
    def rejected(self) -> dict[str, int]:
        """How many entries were no URLs, by reason (the keys of `urls.REASONS`)."""
        return self._listing.rejected

    @property
    def size(self) -> int:
        """Bytes read, decoded."""
        return self._source.size

    def __iter__(self) -> Iterator[Entry]:  # noqa: PYI034 - the generator itself: one call less a URL
        return self._entries

    def __next__(self) -> Entry:
        return next(self._entries)

    def _note(self, code: Literal["partial", "not_a_sitemap"], detail: str, line: int | None = None) -> None:
        if self.problem is None:
            self.problem = Problem(code, detail, line)

    def _read(self) -> Iterator[Entry]:
        blocks = utf8(self._source)
        head = _head(blocks)
        found = recognise(head)
        self.kind = found.kind
        for entry in self._all(found, head, blocks):
            if self._count == self._limits.entries_per_file:
                self.oversized = True
                self._note("partial", f"more than {self._count:,} entries")
                return
            self._count += 1
            yield entry
        self._conclude()

    def _all(self, found: Root, head: bytes, blocks: Iterator[bytes]) -> Iterator[Entry]:
        if found.refusal:
            self._note("not_a_sitemap", found.refusal)
        elif found.kind == "text":
            yield from self._lines(head, blocks)
        elif found.kind == "jsonfeed":
            yield from self._json(head, blocks)
        else:
            yield from self._markup(found, head, blocks)

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

    def _lines(self, head: bytes, blocks: Iterator[bytes]) -> Iterator[UrlEntry]:
        found = False
        for line in text_lines(_chained(head, blocks), self._charset, is_whole=lambda: not self._cut_short):
            url = self._line(line)
            if url is not None:
                found = True
                yield UrlEntry(url, self._listing.trimmed(line))
        if not found:
            self.kind = "unknown"
            self.rejected.clear()  # lines of prose are not entries that failed
            self._note("not_a_sitemap", "text without a line that is a URL")

    def _line(self, line: str) -> str | None:
        text = self._listing.trimmed(line)
        if not text:
            return None
        if not text.lower().startswith(("http://", "https://")):  # prose has no meaning as a relative URL
            self._listing.rejected["relative"] = self._listing.rejected.get("relative", 0) + 1
            return None
        return self._listing.canonical(text)

    def _json(self, head: bytes, blocks: Iterator[bytes]) -> Iterator[UrlEntry]:
        body = bytearray(head)
        for block in blocks:
            body += block
            if len(body) > feeds.MAX_JSON_BYTES:
                break
        entries = feeds.json_entries(self._charset.decode(bytes(body)), self._listing)
        if entries is None:
            self.kind = "unknown"
            self._note("not_a_sitemap", "JSON that is no feed")
            return
        yield from entries

    def _markup(self, found: Root, head: bytes, blocks: Iterator[bytes]) -> Iterator[Entry]:
        names = ENTRY_NAMES[found.kind]
        is_sitemap = found.kind in ("urlset", "index")
        frames = SITEMAP_FRAMES if is_sitemap else feeds.FRAMES
        prefix = f"{found.prefix}:" if found.prefix else ""
        shape = Shape(frames, names | {prefix + name for name in names})
        reader = SitemapReader(self._listing) if is_sitemap else feeds.FeedReader(self._listing)
        stretches = Stretches(_chained(head[found.end :], blocks), names, line=head.count(b"\n", 0, found.end) + 1)
        wrap = _Wrap(found.namespaces)
        for stretch in stretches:
            text = self._charset.decode(stretch.data)
            plain = plain_entries(text, self._listing) if found.kind == "urlset" else None
            yield from plain if plain is not None else self._stretch(text, stretch.line, shape, reader, wrap)
        yield from self._tail(stretches.tail(frames), found, shape, reader)
        if stretches.fault:
            self._note("partial", stretches.fault)

    def _stretch(
        self, text: str, line: int, shape: Shape, reader: SitemapReader | feeds.FeedReader, wrap: _Wrap
    ) -> Iterator[Entry]:
        root = wrap.parsed(text)
        if root is not None:
            yield from reader.read(root)
        else:
            yield from self._mended(text, line, shape, reader, cut=False)

    def _mended(
        self, text: str, line: int, shape: Shape, reader: SitemapReader | feeds.FeedReader, *, cut: bool
    ) -> Iterator[Entry]:
        mended = mend(text, shape, cut=cut)
        if mended.fault:
            self._note("partial", mended.fault, line + mended.line)
        root = _Wrap({prefix: f"urn:{prefix}" for prefix in mended.prefixes}).parsed(mended.text)
        if root is None:
            self._note("partial", "a stretch that cannot be read", line)
        else:
            yield from reader.read(root)

    def _tail(self, tail: Tail, found: Root, shape: Shape, reader: SitemapReader | feeds.FeedReader) -> Iterator[Entry]:
        """What stands behind the last whole entry: nothing, in a sound document, but the end of its frames."""
        closed = tail.closed or found.is_entry or found.is_empty
        text = self._charset.decode(tail.data)
        if text.strip():
            yield from self._mended(text, tail.line, shape, reader, cut=not closed)
        if not closed:
            self._note("partial", "the document ends early", tail.line + text.count("\n"))


class _Wrap:
    """Parses a stretch inside a root of its own that declares the document's namespaces."""

    def __init__(self, namespaces: dict[str, str]) -> None:
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

    def parsed(self, text: str) -> etree._Element | None:
        """The stretch as children of one element; None if it is not well formed."""
        try:
            return etree.fromstring(f"{self._opening}{text}</stretch>".encode(), self._parser)
        except etree.XMLSyntaxError:
            return None


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest


def _head(blocks: Iterator[bytes]) -> bytes:
    """As much as recognising takes: a block, or more while no root has been seen in it."""
    head = bytearray()
    for block in blocks:
        head += block
        if len(head) >= HEAD or recognise(bytes(head)).is_certain:
            break
    return bytes(head)


def parse(
    chunks: Iterable[bytes],
    *,
    url: str,
    limits: Limits = Limits(),  # noqa: B008 - a frozen value
    truncated: bool = False,
) -> Parse:
    """Read the document that was served at `url` (canonical). No content raises; what is wrong is recorded.

    `truncated` tells that the body is known to have ended early.

    >>> body = b"<urlset><url><loc>/a</loc><lastmod>2024</lastmod></url></urlset>"
    >>> parsed = parse([body], url="https://example.com/sitemap.xml")
    >>> [(entry.url, entry.lastmod.precision) for entry in parsed], parsed.kind, parsed.complete
    ([('https://example.com/a', 'year')], 'urlset', True)
    """
    return Parse(chunks, url=url, limits=limits, truncated=truncated)
