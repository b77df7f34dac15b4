"""Connections that go to addresses already checked, whatever the name would resolve to by now.

urllib3's connection classes do HTTP and TLS under the URL's own name (SNI, certificate, Host); only the socket
beneath is made here. Its pools and requests' sessions are not used: they would resolve again, follow and read
redirects, consult the environment, and cost as much again as the request itself.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple

import certifi
from urllib3.connection import HTTPConnection, HTTPSConnection

from app.errors import FetchError
from app.fetching.deadline import Lifeline
from app.fetching.failures import translate
from app.fetching.guard import Address, parse_address, unwrapped

MAX_ADDRESSES: Final = 4  # of one name that are tried
MAX_HEADER_BYTES: Final = 64 * 1024  # of all header blocks of one answer, give or take one buffer
MAX_INTERIM: Final = 8  # 1xx answers ahead of the final one
BODILESS: Final = frozenset({204, 304})
BUFFER: Final = 32 * 1024
MAX_LINE: Final = 64 * 1024

_FIELD = re.compile(rb"[!-9;-~]+:")
_CLEAN_BLOCK = re.compile(rb"(?:[!-9;-~]+:[^\r\n\0]*+\r\n)*+\r\n")
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\n]*)?\r?\n")

Connect = Callable[[socket.socket, tuple[str, int]], None]


class Route(NamedTuple):
    """Where the connections of one hop may go."""

    addresses: tuple[Address, ...]
    port: int
    timeout: float  # of one connection, TLS included
    connect: Connect = socket.socket.connect


class _Meter(io.RawIOBase):
    """Counts what comes off the wire: chunk sizes, extensions, trailers and all."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self.count = 0
        self.limit = MAX_HEADER_BYTES + BUFFER
        self.in_headers = True
        self.ended = False
        self.sealed = False  # hands out nothing more, so that a look at the buffer above does not read on
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self.sealed:
            return 0
        if self.count > self.limit:
            raise FetchError("headers_too_large" if self.in_headers else "body_too_large")
        size = self._raw.readinto(buffer)
        self.ended = size == 0
        self.count += size or 0
        return size

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Lines(io.BufferedReader):
    """Reads a block of header fields as browsers do: a line in it that is none is passed over, where the library's
    parser would take it, and all fields that follow, for the body.
    """

    mends = False

    def begin_fields(self) -> None:
        """Most blocks lie whole in the buffer, and have nothing to mend."""
        self.mends = not _CLEAN_BLOCK.match(self.peek(1))

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if not self.mends:
            return line
        while line.strip() and line[:1] not in b" \t" and not _FIELD.match(line):
            line = super().readline(size)
        # RFC 9110, 5.5: CR and NUL in a value become blanks
        return line.rstrip(b"\r\n").translate(_BLANKED) + b"\n" * line.endswith(b"\n")


_BLANKED: Final = bytes(0x20 if octet in (0x00, 0x0D) else octet for octet in range(256))


class Answer(http.client.HTTPResponse):
    """Reads through a meter, passes over 1xx answers, tells a cut header block from a whole one, and believes no
    framing that another reader might take for something else.
    """

    spilled = False  # more came than belongs to this answer

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.meter = _Meter(sock.makefile("rb", buffering=0))
        self.fp.close()
        self._lines = self.fp = _Lines(self.meter, BUFFER)

    def begin(self) -> None:
        super().begin()
        interim = 0
        while 101 < self.status < 200 and interim < MAX_INTERIM:
            interim += 1
            self.headers = self.msg = None  # type: ignore[assignment] # what makes begin() read on
            super().begin()
        self._lines.mends = self.meter.in_headers = False
        if self.meter.ended or self.status < 200:
            # http.client takes a header block that breaks off for a whole one
            raise http.client.BadStatusLine("incomplete or unusable")
        self._settle_framing()

    def _settle_framing(self) -> None:
        """RFC 9112, 6.3. A length that says nothing certain is none: the body ends with the connection."""
        if self.status in BODILESS:
            del self.headers["transfer-encoding"], self.headers["content-length"]
            self.chunked, self.length = False, 0
            return
        said = ",".join(self.headers.get_all("transfer-encoding", ())).lower().split(",")
        codings = [coding for part in said if (coding := part.strip()) not in ("", "identity")]
        if codings not in ([], ["chunked"]):
            raise http.client.BadStatusLine("an unknown transfer coding")
        lengths = self.headers.get_all("content-length", ())
        length = {part.strip() for value in lengths for part in value.split(",")}
        if codings:
            self.chunked, self.chunk_left, self.length = True, None, None
            self.will_close = self.will_close or bool(length)
            del self.headers["content-length"]
        elif len(length) > 1:
            raise http.client.BadStatusLine("several lengths")
        elif length:
            self._believe(length.pop())

    def _believe(self, length: str) -> None:
        if _LENGTH.fullmatch(length):
            self.length = int(length)
            return
        del self.headers["content-length"]
        self.length, self.will_close = None, True

    def _read_status(self) -> tuple[str, int, str]:
        self._lines.mends = False
        found = super()._read_status()  # type: ignore[misc]
        self._lines.begin_fields()
        return found  # type: ignore[no-any-return]

    def _read_next_chunk_size(self) -> int:
        """`int` alone would take a sign, blanks and underscores.

        :raises ValueError: no size; http.client makes it its own error
        """
        line = self.fp.readline(MAX_LINE + 1)
        if len(line) > MAX_LINE:
            raise http.client.LineTooLong("chunk size")
        found = _CHUNK_SIZE.fullmatch(line)
        if found is None:
            raise ValueError("no chunk size")
        return int(found[1], 16)

    def _get_chunk_left(self) -> int | None:
        """The library drops two bytes after a chunk, whatever they are."""
        if self.chunk_left == 0:
            if self.fp.readline(2) not in (b"\r\n", b"\n"):
                raise http.client.IncompleteRead(b"")
            self.chunk_left = None
        return super()._get_chunk_left()  # type: ignore[misc,no-any-return]

    def _read_and_discard_trailer(self) -> None:
        """Trailers are header fields, and have no more room than those."""
        self.meter.limit = min(self.meter.limit, self.meter.count + MAX_HEADER_BYTES)
        super()._read_and_discard_trailer()  # type: ignore[misc]

    def _close_conn(self) -> None:
        """What lies in the buffer beyond the answer's end would be read as the beginning of the next one."""
        if not self.meter.sealed and not self._lines.closed:
            self.meter.sealed = True
            self.spilled = bool(self._lines.peek(1))
        super()._close_conn()  # type: ignore[misc]


class _Pinned(HTTPConnection):
    """The part both schemes share: how the socket is made, and how it is let go."""

    route: Route
    lifeline: Lifeline
    answer: Answer | None = None
    address: Address | None = None
    _wire: socket.socket | None = None

    def prepare(self, route: Route, lifeline: Lifeline) -> None:
        """Make ready for one more request."""
        self.route, self.lifeline, self.answer = route, lifeline, None
        self.timeout = lifeline.remaining()
        self.response_class = self._new_answer  # type: ignore[assignment] # called, never subclassed
        if self._wire is not None:
            lifeline.attach(self._wire)

    def retire(self) -> None:
        """Close for good. `close` alone must leave the wire: http.client closes while the body is still read."""
        self.close()
        if self._wire is not None:
            self._wire.close()

    @property
    def is_clean(self) -> bool:
        """Nothing is left in it of the last answer, nor anything beyond its end."""
        rest = self.sock.pending() if isinstance(self.sock, ssl.SSLSocket) else 0
        return self.answer is not None and not self.answer.spilled and not rest

    def _new_answer(self, *args: Any, **kwargs: Any) -> Answer:
        self.answer = Answer(*args, **kwargs)
        return self.answer

    def _new_conn(self) -> socket.socket:
        """:raises FetchError: not an OSError, which urllib3 would take for its own and wrap"""
        failure = FetchError("connect_failed")
        for address in self.route.addresses[:MAX_ADDRESSES]:
            try:
                return self._dial(address)
            except OSError as error:
                failure = translate(error, connecting=True)
        raise failure

    def _dial(self, address: Address) -> socket.socket:
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(min(self.route.timeout, self.lifeline.remaining()))
            self._hold(sock)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.route.connect(sock, (str(address), self.route.port))
            _check_peer(sock, address)
        except BaseException:
            sock.close()
            raise
        self.address = address
        return sock

    def _hold(self, sock: socket.socket) -> None:
        """Keep a second handle on the socket to shut it down by: TLS takes the first one away from its object, so
        that whoever holds that would get EBADF while the handshake hangs.
        """
        if self._wire is not None:
            self._wire.close()
        self._wire = sock.dup()
        self.lifeline.attach(self._wire)


def _check_peer(sock: socket.socket, address: Address) -> None:
    """The last look before the first byte is sent."""
    if unwrapped(parse_address(sock.getpeername()[0])) != unwrapped(address):
        raise FetchError("blocked_address")


class PinnedHTTP(_Pinned):
    pass


class PinnedHTTPS(_Pinned, HTTPSConnection):
    pass


Connection = PinnedHTTP | PinnedHTTPS


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """The roots of certifi and the operator's own; nothing from the environment (SSL_CERT_FILE, SSLKEYLOGFILE)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain and name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_verify_locations(certifi.where())
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


class Key(NamedTuple):
    """What two requests must share to share a connection."""

    scheme: str
    host: str
    port: int
    address: str
    target: int


class Pool:
    """Idle connections, the least lately used given up first. A connection in use is not in here."""

    def __init__(
        self, *, total: int = 256, idle_seconds: float = 15.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total = total
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._idle: OrderedDict[int, tuple[float, Key, Connection]] = OrderedDict()
        self._by_key: dict[Key, list[int]] = {}
        self._serial = count()
        self._closed = False

    def take(self, key: Key) -> Connection | None:
        """A live connection, the last one put back first."""
        while True:
            with self._lock:
                serials = self._by_key.get(key)
                if not serials:
                    return None
                since, _, connection = self._remove(serials[-1])
            if since + self._idle_seconds > self._clock() and connection.is_connected:
                return connection
            connection.retire()

    def put(self, key: Key, connection: Connection) -> None:
        now = self._clock()
        with self._lock:
            serial = next(self._serial)
            self._idle[serial] = (now, key, connection)
            self._by_key.setdefault(key, []).append(serial)
            surplus = []
            while self._idle and (self._closed or self._is_surplus(now)):
                surplus.append(self._remove(next(iter(self._idle)))[2])
        for old in surplus:
            old.retire()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            connections = [connection for _, _, connection in self._idle.values()]
            self._idle.clear()
            self._by_key.clear()
        for connection in connections:
            connection.retire()

    def _is_surplus(self, now: float) -> bool:
        oldest = next(iter(self._idle.values()))[0]
        return len(self._idle) > self._total or oldest + self._idle_seconds <= now

    def _remove(self, serial: int) -> tuple[float, Key, Connection]:
        entry = self._idle.pop(serial)
        serials = self._by_key[entry[1]]
        serials.remove(serial)
        if not serials:
            del self._by_key[entry[1]]
        return entry
