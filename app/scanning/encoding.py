"""From the bytes a site sent to UTF-8: gzip undone, byte order marks and legacy encodings resolved, in a stream.

Input is first cut into blocks of one size, so that nothing downstream can depend on how the network chopped it.
"""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from w3lib.encoding import resolve_encoding

from app.scanning import legacy

Check = Callable[[], object]
BLOCK: Final = 65_536
MAX_GZIP_LAYERS: Final = 3
SAMPLE: Final = 16_384  # bytes looked at to tell what a document is encoded in that is not UTF-8
_GZIP: Final = b"\x1f\x8b"

_BOMS: Final = (  # UTF-32 first: its mark begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DECLARED = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9._:\-]{1,40})[\"']", re.IGNORECASE)
# XML's own list of what nobody else would guess; UTF-7 and EBCDIC would let `<` hide from every check
_REFUSED: Final = frozenset({"utf-7", "utf7", "unicode-1-1-utf-7", "cp037", "cp500", "cp1140"})


class Source:
    """Decoded blocks, all but the last of one size; `size` and `fault` are final when it is exhausted.

    `cap` bounds each layer's output, so neither a bomb nor a bomb inside a bomb is inflated further. `check` is asked
    at every block: a few octets may be minutes of work, which it ends by raising.
    """

    def __init__(self, chunks: Iterable[bytes], *, cap: int, check: Check | None = None) -> None:
        self.size = 0
        self.fault: str | None = None
        self.capped = False
        self._cap = cap
        self._chunks = chunks
        self._check = check or _go_on

    def __iter__(self) -> Iterator[bytes]:
        for block in self._plain(_blocks(self._chunks), layers=0):
            self._check()
            room = self._cap - self.size
            self.size += min(len(block), room)
            if len(block) > room:
                self.capped = True
                if room:
                    yield block[:room]
                return
            yield block

    def _plain(self, blocks: Iterator[bytes], *, layers: int) -> Iterator[bytes]:
        first = next(blocks, b"")
        if layers == MAX_GZIP_LAYERS or not first.startswith(_GZIP):
            yield from _chain(first, blocks)
            return
        yield from self._plain(_blocks(self._inflate(_chain(first, blocks))), layers=layers + 1)

    def _inflate(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """Undo one layer of gzip, members one after the other; what follows the last is junk and ignored."""
        inflater = zlib.decompressobj(wbits=31)
        produced, fed = 0, False
        for block in blocks:
            self._check()  # members may be empty: then nothing comes out of however much
            data = block
            while data:
                fed, safe = True, inflater.copy()
                try:
                    out = inflater.decompress(data, BLOCK)
                except zlib.error:
                    yield _salvage(safe, data)
                    self.fault = "the gzip data is damaged"
                    return
                yield out
                produced += len(out)
                if produced > self._cap:
                    return  # more than anyone will take; `__iter__` sees it and says so
                data = inflater.unconsumed_tail
                if inflater.eof:
                    data = inflater.unused_data
                    if not _GZIP.startswith(data[:2]):
                        return
                    inflater, fed = zlib.decompressobj(wbits=31), bool(data)
        yield from _drain(inflater)
        if fed and not inflater.eof:
            self.fault = "the gzip data ends early"


def _go_on() -> None:
    return


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest


def _drain(inflater: zlib._Decompress) -> Iterator[bytes]:
    while out := inflater.decompress(inflater.unconsumed_tail, BLOCK):
        yield out


def _salvage(inflater: zlib._Decompress, data: bytes) -> bytes:
    """What of a damaged block still inflates: the library keeps nothing of a call that fails."""
    kept = bytearray()
    try:
        for start in range(0, len(data), 16):
            kept += inflater.decompress(data[start : start + 16], BLOCK)
    except zlib.error:
        pass  # known already; the point was how far it got
    return bytes(kept)


def _blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut anew into blocks of BLOCK bytes."""
    pending = bytearray()
    for chunk in chunks:
        if not pending and len(chunk) == BLOCK:
            yield bytes(chunk)
            continue
        pending += chunk
        while len(pending) >= BLOCK:
            yield bytes(pending[:BLOCK])
            del pending[:BLOCK]
    if pending:
        yield bytes(pending)


def utf8(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Bring blocks to UTF-8 by byte order mark, by the pattern of NULs, or by the XML declaration.

    What claims to be UTF-8, or claims nothing, passes untouched: whether it is, `Charset` finds out.
    """
    stream = iter(blocks)
    first = next(stream, b"")
    encoding, skip = _announced(first)
    body = _chain(first[skip:], stream)
    return body if encoding == "utf-8" else _transcoded(body, encoding)


def _transcoded(blocks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    for block in blocks:
        yield decoder.decode(block).encode("utf-8", "replace")
    yield decoder.decode(b"", final=True).encode("utf-8", "replace")


def _announced(head: bytes) -> tuple[str, int]:
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            return encoding, len(mark)
    wide = _by_nuls(head[:256])
    if wide:
        return wide, 0
    declared = _DECLARED.search(head[:2_048])
    return (_usable(declared[1].decode("ascii")) if declared else "utf-8"), 0


def _by_nuls(head: bytes) -> str | None:
    """UTF-16 and UTF-32 without a mark: markup and URLs are ASCII, so the NULs stand in fixed columns."""
    quarter = len(head) // 4
    if quarter < 2:
        return None
    columns = [head[start : quarter * 4 : 4].count(0) > quarter * 0.8 for start in range(4)]
    return {
        (False, True, True, True): "utf-32-le",
        (True, True, True, False): "utf-32-be",
        (False, True, False, True): "utf-16-le",
        (True, False, True, False): "utf-16-be",
    }.get((columns[0], columns[1], columns[2], columns[3]))


def _usable(label: str) -> str:
    """The codec for a declared label, as browsers map labels; UTF-8 for what is unknown or unfit."""
    name = resolve_encoding(label)
    if name is None or name.lower() in _REFUSED or name.startswith(("utf-16", "utf-32")):
        return "utf-8"  # a declaration read as ASCII cannot stand in a UTF-16 document
    return "utf-8" if name == "utf-8" else name


class Charset:
    """Decodes pieces of one document that should be UTF-8, and settles on another encoding if they are not."""

    def __init__(self) -> None:
        self._fallback: str | None = None

    def decode(self, data: bytes) -> str:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            if self._fallback is None:
                self._fallback = _settled(data[max(0, error.start - SAMPLE // 2) : error.start + SAMPLE // 2])
            return _mixed(data) if self._fallback == "utf-8" else data.decode(self._fallback, "replace")


_STRAY = re.compile("[\udc80-\udcff]")  # an octet that is not UTF-8, as `surrogateescape` shows it


def _settled(sample: bytes) -> str:
    """UTF-8 still, where more of the sample is UTF-8 than is not: such documents are put together of several."""
    text = sample.decode("utf-8", "surrogateescape")
    strays = len(_STRAY.findall(text))
    sound = sum(not char.isascii() for char in text) - strays
    return "utf-8" if sound > strays else legacy.detected(sample)


def _mixed(data: bytes) -> str:
    """UTF-8 with octets of Windows-1252 in it."""
    return _STRAY.sub(
        lambda found: bytes([ord(found[0]) - 0xDC00]).decode("cp1252", "replace"),
        data.decode("utf-8", "surrogateescape"),
    )
