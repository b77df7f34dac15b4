"""The numbers of worker processes, kept in mapped files, so that kill -9 loses none.

Each supervisor has a directory, named after its own process; in it each child writes to files of its own name, and
goes on counting in them when it is started again. Whoever is asked adds them up: a supervisor's listener for its own
children, the API for all that share its data directory.
"""

from __future__ import annotations

import hmac
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # the library's own
DIRECTORY = "metrics"


def directory(data_dir: Path) -> Path:
    """This supervisor's, new and empty; those of supervisors that are gone are removed."""
    home = data_dir / DIRECTORY
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    for kept in home.iterdir():
        if kept.name == str(os.getpid()) or not _lives(kept.name):
            shutil.rmtree(kept, ignore_errors=True)
    made = home / str(os.getpid())
    made.mkdir(mode=0o700)
    return made.absolute()


class Summed(Collector):
    """All files below `home`, as one process would tell them."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def collect(self) -> Iterator[Metric]:
        files = sorted(str(path) for path in self._home.rglob("*.db") if path.stat().st_size)
        yield from MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]

    def describe(self) -> Iterator[Metric]:
        return iter(())  # registering must not read files


@contextmanager
def listening(host: str, port: int, home: Path, *, token: str | None) -> Iterator[int]:
    """Answer `GET /metrics` from a thread until the block ends; the port, for 0 a free one."""
    registry = CollectorRegistry()
    registry.register(Summed(home))

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            sent = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if self.path.partition("?")[0] != "/metrics":
                self._answer(HTTPStatus.NOT_FOUND, b"see /metrics\n", "text/plain")
            elif token is not None and not hmac.compare_digest(sent.encode(), token.encode()):
                self._answer(HTTPStatus.UNAUTHORIZED, b"the metrics want their own bearer token\n", "text/plain")
            else:
                self._answer(HTTPStatus.OK, generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4)

        def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody reads these."""

    with ThreadingHTTPServer((host, port), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def _lives(name: str) -> bool:
    try:
        os.kill(int(name), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
