"""Lines of a plain-text sitemap, in a stream."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from app.scanning.encoding import Charset

MAX_LINE: Final = 1 << 20  # beyond this it is no URL, whatever it is
_END = re.compile(rb"[\r\n]+")


def text_lines(blocks: Iterable[bytes], charset: Charset, *, is_whole: Callable[[], bool]) -> Iterator[str]:
    """Non-empty lines. One that its document breaks off in (asked at the end) is left out; so is an endless one."""
    held = b""
    dropping = False
    for block in blocks:
        *lines, rest = _END.split(block)
        if lines:
            lines[0] = b"" if dropping else held + lines[0]
            held, dropping = rest, False
        else:
            held += rest
        yield from (charset.decode(line) for line in map(_unpadded, lines) if line)
        if len(held) > MAX_LINE:
            held, dropping = b"", True
    held = _unpadded(held)
    if held and not dropping and is_whole():
        yield charset.decode(held)


def _unpadded(line: bytes) -> bytes:
    """Without the NULs that a file is filled up with where it was written in blocks."""
    return line.strip(b"\0")
