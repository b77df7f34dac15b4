"""Sites that misbehave: plain socket servers on loopback, one thread a connection."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

Behaviour = Callable[[socket.socket, bytes], object]


class HostileServer:
    """Reads one request head at a time and hands the connection to `behave(connection, head)`.

    `heads` keeps what was asked, `connections` counts accepted ones. A behaviour that returns True keeps the
    connection open for another request; anything else closes it.
    """

    def __init__(
        self, behave: Behaviour, *, tls: ssl.SSLContext | None = None, handshake: bool = True, reads: bool = True
    ) -> None:
        self.heads: list[bytes] = []
        self.connections = 0
        self.hung_up = threading.Event()  # a client went away while we were writing
        self._behave = behave
        self._tls = tls
        self._handshake = handshake
        self._reads = reads
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in tuple(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        raw = connection
        try:
            if self._tls is not None and self._handshake:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._open.add(connection)
            while True:
                head = self._head(connection) if self._reads else b"-"
                if not head:
                    return
                self.heads.append(head)
                if not self._behave(connection, head):
                    return
        except OSError:
            self.hung_up.set()
        finally:
            connection.close()
            self._open -= {connection, raw}

    @staticmethod
    def _head(connection: socket.socket) -> bytes:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = connection.recv(65_536)
            if not piece:
                return b""
            head += piece
        return head


def path_of(head: bytes) -> str:
    return head.split(b" ", 2)[1].decode("ascii")


def answer_bytes(body: bytes, *, status: str = "200 OK", headers: tuple[str, ...] = ()) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def answer(body: bytes = b"ok", *, status: str = "200 OK", headers: tuple[str, ...] = ()) -> Behaviour:
    """A well-behaved answer that keeps the connection open."""
    payload = answer_bytes(body, status=status, headers=headers)

    def behave(connection: socket.socket, head: bytes) -> bool:
        connection.sendall(payload)
        return True

    return behave


def raw(*pieces: bytes, pause: float = 0.0, forever: bool = False) -> Behaviour:
    """Sends the pieces, `pause` seconds apart; `forever` repeats the last one until the client hangs up."""

    def behave(connection: socket.socket, head: bytes) -> None:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause)
        while forever:
            connection.sendall(pieces[-1])
            time.sleep(pause)

    return behave
