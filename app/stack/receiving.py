"""How an API process takes requests in: gunicorn's threads, out of reach of clients who will not get on with it.

The threaded worker waits without end for the rest of a request and for a client to take its answer; it spends a thread
on connections that say nothing; and its one loop, which accepts and dispatches for all, lingers over each connection
it closes. A handful of idle clients stops it. Here a thread is only ever given to a connection that has something to
read, a request must come and an answer be taken in a time that its size allows, and the lingering is the thread's.
"""

from __future__ import annotations

import errno
import json
import selectors
import socket
import time
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

from gunicorn import util
from gunicorn.http.errors import (
    ConfigurationProblem,
    ExpectationFailed,
    InvalidResponseHeader,
    InvalidResponseHeaderName,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.workers.gthread import TConn, ThreadWorker

FIRST_BYTE_SECONDS: Final = 10.0
REQUEST_SECONDS: Final = 10.0  # for a request of no size
ANSWER_SECONDS: Final = 30.0  # for a piece of an answer
LEAST_RATE: Final = 32 * 1024  # bytes a second on top of that
# Of a request's head, bytes and lines: an access token is half of a line, a cursor a fraction.
LIMITS: Final = {"limit-request-line": 8190, "limit-request-fields": 100, "limit-request-field_size": 8190}
OURS: Final = (ConfigurationProblem, InvalidResponseHeader, InvalidResponseHeaderName)
REFUSALS: Final[tuple[tuple[type[BaseException], HTTPStatus, str, str], ...]] = (
    (
        LimitRequestLine,
        HTTPStatus.REQUEST_URI_TOO_LONG,
        "uri_too_long",
        f"a URL has at most {LIMITS['limit-request-line']} bytes",
    ),
    (
        LimitRequestHeaders,
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "request_header_fields_too_large",
        f"at most {LIMITS['limit-request-fields']} header fields of {LIMITS['limit-request-field_size']} bytes each",
    ),
    (UnsupportedTransferCoding, HTTPStatus.NOT_IMPLEMENTED, "not_implemented", "send the body plainly or in chunks"),
    (ExpectationFailed, HTTPStatus.EXPECTATION_FAILED, "expectation_failed", "expect 100-continue or nothing"),
    (ParseException, HTTPStatus.BAD_REQUEST, "bad_request", "this is not HTTP/1.1 as RFC 9112 has it"),
)
LINGER_SECONDS: Final = 0.5  # for what a client still sends after its answer, which would reset the connection


def refusal(error: BaseException) -> tuple[HTTPStatus, str, str]:
    """
    >>> refusal(LimitRequestLine(9000, 8190))[0].value, refusal(ExpectationFailed("200-maybe"))[1]
    (414, 'expectation_failed')
    """
    for kind, status, code, detail in REFUSALS:
        if isinstance(error, kind) and not isinstance(error, OURS):
            return status, code, detail
    return HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "the platform failed"


def _problem(status: HTTPStatus, code: str, detail: str) -> bytes:
    request_id = uuid4().hex
    told = {
        "type": f"urn:scrapersky:problem:{code}",
        "title": status.phrase,
        "status": int(status),
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }
    body = json.dumps(told).encode()
    head = (
        f"HTTP/1.1 {int(status)} {status.phrase}\r\nConnection: close\r\nContent-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\nX-Request-ID: {request_id}\r\nX-Content-Type-Options: nosniff\r\n\r\n"
    )
    return head.encode("ascii") + body


class Client(socket.socket):
    """A client's connection. The time for a request starts when a thread turns to it."""

    _until = 0.0

    def setblocking(self, flag: bool, /) -> None:
        super().setblocking(flag)
        if flag:
            self._until = time.monotonic() + REQUEST_SECONDS

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """:raises ConnectionResetError: too slow; gunicorn knows that as a client's own doing"""
        if self.gettimeout() is not None:  # someone is in charge of the time already
            return super().recv(bufsize, flags)
        self.settimeout(max(self._until - time.monotonic(), 0.001))
        try:
            data = super().recv(bufsize, flags)
        except TimeoutError:
            raise ConnectionResetError(errno.ECONNRESET, "the request came too slowly") from None
        finally:
            self.settimeout(None)
        self._until += len(data) / LEAST_RATE
        return data

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """:raises ConnectionResetError: too slow"""
        if self.gettimeout() is not None:
            return super().sendall(data, flags)
        self.settimeout(ANSWER_SECONDS + len(data) / LEAST_RATE)
        try:
            super().sendall(data, flags)
        except TimeoutError:
            raise ConnectionResetError(errno.ECONNRESET, "the answer was taken too slowly") from None
        finally:
            self.settimeout(None)


class Connection(TConn):  # type: ignore[misc] # gunicorn has no types
    """Closed once, by whoever comes first."""

    closed = False

    def close(self, graceful: bool = False) -> None:
        if self.closed:
            return
        self.closed = True
        if graceful:
            util.close_graceful(self.sock, timeout=LINGER_SECONDS)
        else:
            util.close(self.sock)


class Worker(ThreadWorker):  # type: ignore[misc]
    def accept(self, listener: socket.socket) -> None:
        """New connections wait in the loop, not in a thread, for their first byte."""
        try:
            accepted, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        self.nr_conns += 1
        client = Client(fileno=accepted.detach())
        connection = Connection(self.cfg, client, address, listener.getsockname())
        connection.timeout = time.monotonic() + FIRST_BYTE_SECONDS
        self.pending_conns.append(connection)
        readable = partial(self.on_pending_socket_readable, connection)
        self.poller.register(client, selectors.EVENT_READ, readable)
        if self.nr_conns >= self.worker_connections:
            self._hang_up_on_oldest()

    def _hang_up_on_oldest(self) -> None:
        """Of those that have said nothing yet: else the loop would accept no one until they do."""
        oldest = self.pending_conns.popleft()
        self.poller.unregister(oldest.sock)
        self.nr_conns -= 1
        oldest.close()

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """What gunicorn itself refuses is told as the API tells everything."""
        status, code, detail = refusal(exc)
        if status is HTTPStatus.INTERNAL_SERVER_ERROR:
            super().handle_error(req, client, addr, exc)
            return
        self.log.warning("refused a request from %s: %s", addr[0] if addr else "", code)
        with suppress(OSError):  # a client that went away misses nothing
            util.write_nonblock(client, _problem(status, code, detail))

    def handle(self, conn: Connection) -> Any:
        keep = super().handle(conn)
        if keep is False:
            conn.close(graceful=True)  # here, not in the loop, which finds it done
        return keep
