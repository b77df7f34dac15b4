"""Cuts a stream of XML behind whole entries, so that each stretch can be read on its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

MAX_ENTRY: Final = 2 << 20  # bytes held back in the hope of an entry's end

# Comments and CDATA may contain anything, entries' end tags included, and must not be cut.
_CLOSED_WORLD = re.compile(rb"<!--.*?(?:-->|\Z)|<!\[CDATA\[.*?(?:\]\]>|\Z)", re.DOTALL)
_LOC_END = re.compile(rb"</(?:[\w.\-]+:)?loc\s*>", re.IGNORECASE)


class Stretch(NamedTuple):
    data: bytes
    line: int  # where it begins, from 1


class Tail(NamedTuple):
    """What stands behind the last whole entry, up to the end of the root if that is there."""

    data: bytes
    line: int
    closed: bool


def _masked(data: bytes) -> bytes:
    """The same with comments and CDATA blanked, in place: a `sub` would hold every one of a million comments."""
    if b"<!" not in data:
        return data
    masked = bytearray(data)
    for found in _CLOSED_WORLD.finditer(data):
        masked[found.start() : found.end()] = b" " * (found.end() - found.start())
    return bytes(masked)


class Stretches:
    """Iterate once, then ask for the tail. `fault` tells what was too long to be held."""

    def __init__(self, blocks: Iterable[bytes], names: frozenset[str], *, line: int) -> None:
        self.fault: tuple[str, int] | None = None
        self._blocks = blocks
        self._names = "|".join(sorted(names)).encode()
        self._ends = tuple(f"</{name}>".encode() for name in names)
        self._any_end = re.compile(rb"</(?:[\w.\-]+:)?(?:%s)\s*>" % self._names, re.IGNORECASE)
        self._held = b""
        self._line = line
        self._skip_to: bytes | None = None

    def __iter__(self) -> Iterator[Stretch]:
        enough = 0  # scanning again before the held bytes have doubled would make long entries quadratic
        for block in self._blocks:
            self._held += block
            if self._skip_to is not None:
                self._skip()
            if len(self._held) < enough:
                continue
            cut = self._cut()
            if not cut and len(self._held) > MAX_ENTRY:
                cut = self._overflow()
            enough = 0 if cut else min(2 * len(self._held), MAX_ENTRY + 1)
            if cut:
                yield self._take(cut)
        cut = self._cut()
        if cut:
            yield self._take(cut)

    def _take(self, cut: int) -> Stretch:
        stretch = Stretch(self._held[:cut], self._line)
        self._line += stretch.data.count(b"\n")
        self._held = self._held[cut:]
        return stretch

    def _cut(self) -> int:
        """The offset behind the last entry that is whole; 0 if there is none."""
        data = _masked(self._held)
        cut = max((found + len(end) for end in self._ends if (found := data.rfind(end)) >= 0), default=0)
        return cut or _last_end(self._any_end, data)

    def _overflow(self) -> int:
        """Make room: cut behind a `<loc>` if there is one, else let go of what is held."""
        data = _masked(self._held)
        cut = _last_end(_LOC_END, data)
        if cut:
            return cut
        if data.strip():
            self.fault = self.fault or (f"more than {MAX_ENTRY:,} bytes without a whole entry", self._line)
        opened = max(self._held.rfind(b"<!--"), self._held.rfind(b"<![CDATA["))
        if opened >= 0 and not data[opened:].strip() and not self._held.endswith((b"-->", b"]]>")):
            self._skip_to = b"-->" if self._held.startswith(b"<!--", opened) else b"]]>"
        self._let_go(keep=16)
        return 0

    def _skip(self) -> None:
        """Drop the rest of a comment or CDATA section whose beginning was dropped."""
        assert self._skip_to is not None
        end = self._held.find(self._skip_to)
        if end < 0:
            self._let_go(keep=2)
            return
        self._let_go(keep=len(self._held) - end - len(self._skip_to))
        self._skip_to = None

    def _let_go(self, *, keep: int) -> None:
        edge = max(len(self._held) - keep, 0)
        self._line += self._held.count(b"\n", 0, edge)
        self._held = self._held[edge:]

    def tail(self, frames: frozenset[str]) -> Tail:
        names = b"|".join(sorted(frame.encode() for frame in frames))
        data = _masked(self._held)
        ends = list(re.finditer(rb"</(?:[\w.\-]+:)?(?:%s)\s*>" % names, data, re.IGNORECASE))
        if not ends:
            return Tail(self._held, self._line, closed=False)
        beginning = re.compile(rb"<(?:[\w.\-]+:)?(?:%s|%s)[\s>]" % (names, self._names), re.IGNORECASE)
        begins_anew = beginning.search(data, ends[-1].end())
        if begins_anew:
            return Tail(self._held, self._line, closed=False)
        return Tail(self._held[: ends[-1].start()], self._line, closed=True)


def _last_end(pattern: re.Pattern[bytes], data: bytes) -> int:
    end = 0
    for found in pattern.finditer(data):
        end = found.end()
    return end
