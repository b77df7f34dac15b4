"""Waiting for an HTTP server to say that it is ready."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from app.stack.ready import probe_http, wait_http
from app.stack.server import free_port


class Site(ThreadingHTTPServer):
    """Answers with the statuses given, one after the other."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.statuses: list[int] = []
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}/health/ready"


class Answer(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(self.server.statuses.pop(0))
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_it_waits_out_the_503s(site):
    site.statuses = [503, 503, 200]
    assert wait_http(site.url, 10, lambda: True)
    assert site.asked == ["/health/ready"] * 3


def test_it_gives_up_when_time_is_over_or_the_process_is_dead():
    url = f"http://127.0.0.1:{free_port()}/health/ready"
    began = time.monotonic()
    assert not wait_http(url, 0.3, lambda: True)
    assert 0.3 <= time.monotonic() - began < 3
    assert not wait_http(url, 60, lambda: False)


def test_a_server_that_never_answers_is_not_ready():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not probe_http(f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout=0.2)


def test_a_redirect_is_not_ready(site):
    site.statuses = [302, 200]
    assert not probe_http(site.url)
    assert len(site.asked) == 1
