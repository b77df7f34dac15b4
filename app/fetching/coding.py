"""Content codings undone in bounded steps, so that a small body cannot become a large one unseen.

At most one coding of an allow-list is taken (RFC 9110, 8.4). A body that ends inside its coding is told apart
from one that ended well.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final, Protocol

import brotli
from backports import zstd

from app.errors import FetchError

STEP: Final = 128 * 1024  # decoded bytes handed out at a time
ACCEPT_ENCODING: Final = "gzip, deflate, br, zstd"
BROKEN: Final = (zlib.error, brotli.error, zstd.ZstdError)


class Decoder(Protocol):
    def feed(self, data: bytes) -> Iterator[bytes]:
        """Undo the coding of more bytes, at most `STEP` at a time.

        :raises: one of `BROKEN`
        """

    @property
    def finished(self) -> bool:
        """The coded stream came to its own end (or never began)."""


def decoder_for(content_encoding: str) -> Decoder:
    """
    >>> type(decoder_for("")).__name__, type(decoder_for("x-GZIP")).__name__
    ('Identity', 'Gzip')

    :raises FetchError: `bad_encoding`, unknown or more than one
    """
    codings = [name for part in content_encoding.split(",") if (name := part.strip().lower()) not in ("", "identity")]
    if not codings:
        return Identity()
    if len(codings) > 1 or codings[0] not in _DECODERS:
        raise FetchError("bad_encoding")
    return _DECODERS[codings[0]]()


class Identity:
    finished = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        yield data


class Gzip:
    """RFC 1952: one member or several; what follows the last is padding, or nobody's business."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self._members = 0
        self._began = self._over = False

    @property
    def finished(self) -> bool:
        return self._over or not self._began

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data and not (self._over and self._members == 0):
            if self._over and not self._next_member(data):
                return
            self._began = True
            yield from _inflated(self._member, data)
            data = self._member.unused_data
            self._over = self._member.eof
            self._members += self._over

    def _next_member(self, data: bytes) -> bool:
        if not data.startswith(b"\x1f"):
            self._members = 0  # swallow the rest
            return False
        self._member = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self._over = False
        return True


class Deflate:
    """RFC 1950, or the bare RFC 1951 stream that some servers send under the same name."""

    def __init__(self) -> None:
        self._stream: zlib._Decompress | None = None
        self._head = b""

    @property
    def finished(self) -> bool:
        return self._stream.eof if self._stream else not self._head

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._stream is None:
            self._head += data
            if len(self._head) < 2:
                return
            data, self._stream = self._head, zlib.decompressobj(_zlib_window(self._head))
        if not self._stream.eof:
            yield from _inflated(self._stream, data)


def _inflated(stream: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    while True:
        piece = stream.decompress(data, STEP)
        data = stream.unconsumed_tail
        if piece:
            yield piece
        if stream.eof or not (data or len(piece) == STEP):  # a full step may have left output in the window
            return


def _zlib_window(head: bytes) -> int:
    """RFC 1950, 2.2: method 8, and the first two bytes are a multiple of 31."""
    is_zlib = head[0] & 0x0F == 8 and (head[0] << 8 | head[1]) % 31 == 0
    return zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS


class Brotli:
    def __init__(self) -> None:
        self._stream = brotli.Decompressor()
        self._began = False

    @property
    def finished(self) -> bool:
        return not self._began or bool(self._stream.is_finished())

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._began = self._began or bool(data)
        while not self._stream.is_finished():
            piece = self._stream.process(data, output_buffer_limit=STEP)
            data = b""
            if piece:
                yield piece
            elif self._stream.can_accept_more_data():  # true also while output waits: only silence tells
                return


class Zstd:
    """RFC 8878: one frame or several, windows up to 8 MiB (RFC 9659)."""

    def __init__(self) -> None:
        self._frame = self._new()
        self._began = False

    @staticmethod
    def _new() -> zstd.ZstdDecompressor:
        return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: 23})

    @property
    def finished(self) -> bool:
        return not self._began or bool(self._frame.eof)

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data or not (self._frame.needs_input or self._frame.eof):
            if self._frame.eof:
                self._frame = self._new()
            self._began = True
            piece = self._frame.decompress(data, max_length=STEP)
            data = self._frame.unused_data if self._frame.eof else b""
            if piece:
                yield piece


_DECODERS: Final[dict[str, type[Decoder]]] = {
    "gzip": Gzip,
    "x-gzip": Gzip,
    "deflate": Deflate,
    "br": Brotli,
    "zstd": Zstd,
}
