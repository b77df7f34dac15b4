"""How an API process takes requests in: gunicorn's threads, out of reach of clients who will not get on with it.

The threaded worker waits without end for the rest of a request and for a client to take its answer; it spends a thread
on connections that say nothing; and its one loop, which accepts and dispatches for all, lingers over each connection
it closes. A handful of idle clients stops it. Here a thread is only ever given to a connection that has something to
read, a request must come and an answer be taken in a time that its size allows, and the lingering is the thread's.
"""

from __future__ import annotations

import errno
import selectors
import socket
import time
from functools import partial
from typing import Any, Final

from gunicorn import util
from gunicorn.workers.gthread import TConn, ThreadWorker

FIRST_BYTE_SECONDS: Final = 10.0
REQUEST_SECONDS: Final = 10.0  # for a request of no size
ANSWER_SECONDS: Final = 30.0  # for a piece of an answer
LEAST_RATE: Final = 32 * 1024  # bytes a second on top of that
LINGER_SECONDS: Final = 0.5  # for what a client still sends after its answer, which would reset the connection


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

    def handle(self, conn: Connection) -> Any:
        keep = super().handle(conn)
        if keep is False:
            conn.close(graceful=True)  # here, not in the loop, which finds it done
        return keep
