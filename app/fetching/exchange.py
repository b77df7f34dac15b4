"""One request and its answer on one connection, kept from earlier or new."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

from urllib3.response import BaseHTTPResponse

from app.errors import FetchError
from app.fetching.body import Sink, SpoolBudget
from app.fetching.coding import Decoder, decoder_for
from app.fetching.connection import MAX_ADDRESSES, Connection, Key, PinnedHTTP, PinnedHTTPS, Pool, Route
from app.fetching.deadline import Lifeline
from app.fetching.failures import FOREIGN, translate
from app.fetching.guard import Target
from app.fetching.headers import answer_headers
from app.scanning.values import Body

WIRE_SLACK: Final = 1 << 20  # wire bytes allowed beyond the decoded cap: chunk sizes, trailers, poor compression
READ: Final = 64 * 1024
STALE: Final = (ConnectionError, ssl.SSLError, http.client.HTTPException)


class Exchange:
    """Use as a context: at its end the connection goes back to the pool, or is closed if it cannot serve again."""

    status: int
    headers: Mapping[str, str]  # names in lower case; see `answer_headers`

    def __init__(self, target: Target, route: Route, lifeline: Lifeline, *, pool: Pool, tls: ssl.SSLContext) -> None:
        self.wire_bytes = 0
        self._target = target
        self._route = route
        self._lifeline = lifeline
        self._pool = pool
        self._tls = tls
        self._connection: Connection | None = None
        self._response: BaseHTTPResponse | None = None
        self._keep = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lifeline.detach()
        if self._response is not None:
            self._response.close()
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self._count(connection)
        if self._keep and not (connection.is_closed or self._lifeline.cut) and connection.is_clean:
            self._pool.put(self._key(connection.address), connection)
        else:
            connection.retire()

    def ask(self, method: str, headers: Mapping[str, str], body: bytes | None = None) -> None:
        """Send the request and read the head of the answer. A kept connection that went stale is replaced."""
        response = self._ask_kept(method, headers, body)
        if response is None:
            self._connection = self._connected()
            response = self._send(self._connection, method, headers, body)
        self._response = response
        self.status = response.status
        self.headers = answer_headers(response.headers.items())
        if self._lifeline.cut:  # what a severed socket had to say is no answer
            raise FetchError("timeout")

    def skip(self) -> None:
        """Leave the body unread. Where there is none, the connection lives on."""
        assert self._response is not None
        if self._response.length_remaining == 0:
            self._response.read1(READ, decode_content=False)
            self._keep = True

    def receive(self, *, limit: int, budget: SpoolBudget) -> tuple[Body, bool]:
        """The decoded body, at most `limit` bytes, and whether it ended early: the cap was reached, or the
        connection or the coding broke after a part had come.

        :raises FetchError: nothing usable came, or time or disk ran out
        """
        decoder = decoder_for(self.headers.get("content-encoding", ""))
        sink = Sink(budget)
        try:
            whole = self._pour(decoder, sink, limit)
        except BaseException:
            sink.close()
            raise
        self._keep = whole
        return sink.finish(), not whole

    def _pour(self, decoder: Decoder, sink: Sink, limit: int) -> bool:
        try:
            whole = self._read_into(sink, decoder, limit)
        except (FetchError, *FOREIGN) as error:
            failure = translate(error)
            if not sink.size or failure.code in ("timeout", "disk_full"):
                raise failure from error
            whole = False
        if self._lifeline.cut:  # a body that ends with the connection looks whole when the watchdog ended it
            raise FetchError("timeout")
        if not (whole or sink.size):
            raise FetchError("bad_encoding")
        return whole

    def _read_into(self, sink: Sink, decoder: Decoder, limit: int) -> bool:
        assert self._response is not None
        assert self._connection is not None
        assert self._connection.answer is not None
        self._connection.answer.meter.limit = limit + WIRE_SLACK
        while data := self._response.read1(READ, decode_content=False):
            for piece in decoder.feed(data):
                if self._lifeline.cut:  # what one read brought of a bomb takes its time
                    raise FetchError("timeout")
                room = limit - sink.size
                sink.write(piece[:room])
                if len(piece) > room:
                    return False
        return decoder.finished

    def _ask_kept(self, method: str, headers: Mapping[str, str], body: bytes | None) -> BaseHTTPResponse | None:
        kept = self._connection = self._kept()
        if kept is None:
            return None
        try:
            return self._send(kept, method, headers, body)
        except STALE:
            if self._lifeline.cut or (kept.answer and kept.answer.meter.count):
                raise
        self._count(kept)
        kept.retire()
        return None

    def _kept(self) -> Connection | None:
        for address in self._route.addresses[:MAX_ADDRESSES]:
            if connection := self._pool.take(self._key(address)):
                return connection
        return None

    def _connected(self) -> Connection:
        target = self._target
        connection: Connection
        if target.scheme == "https":
            connection = PinnedHTTPS(target.host, target.port, ssl_context=self._tls)
        else:
            connection = PinnedHTTP(target.host, target.port)
        self._connection = connection
        connection.prepare(self._route, self._lifeline)
        try:
            connection.connect()
        except FOREIGN as error:
            raise translate(error, connecting=True) from error
        return connection

    def _send(
        self, connection: Connection, method: str, headers: Mapping[str, str], body: bytes | None
    ) -> BaseHTTPResponse:
        connection.prepare(self._route, self._lifeline)
        connection.request(
            method, self._target.path, body=body, headers=headers, preload_content=False, decode_content=False
        )
        return connection.getresponse()

    def _count(self, connection: Connection) -> None:
        if connection.answer is not None:
            self.wire_bytes += connection.answer.meter.count

    def _key(self, address: object) -> Key:
        target = self._target
        return Key(target.scheme, target.host, target.port, str(address), self._route.port)
