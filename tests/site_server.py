"""Folders of files served as web sites by host, over plain HTTP and TLS with a throw-away CA, on loopback."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import trustme

TYPES = {".html": "text/html", ".xml": "application/xml", ".txt": "text/plain", ".gz": "application/gzip"}
Answer = tuple[int, Mapping[str, str], bytes]
Resolve = Callable[[str, str], Answer | None]  # (host, path) → the answer; None is 404


@dataclass(frozen=True)
class SiteServer:
    http_port: int
    https_port: int
    ca_file: Path
    requests: list[tuple[str, str]]  # (host, path), in order of arrival

    @property
    def environment(self) -> dict[str, str]:
        """What sends the platform's requests here, whatever the host."""
        return {
            "SCRAPERSKY_CONNECT_TO": f"*:443:127.0.0.1:{self.https_port},*:80:127.0.0.1:{self.http_port}",
            "SCRAPERSKY_CA_FILE": str(self.ca_file),
        }


def folder(root: Path) -> Resolve:
    """The files below `root/HOST`; a directory answers with its index.html."""

    def find(host: str, path: str) -> Answer | None:
        top = (root / host).resolve()
        file = (top / unquote(path).lstrip("/")).resolve()
        if file.is_dir():
            file = file / "index.html"
        if not file.is_file() or top not in file.parents:
            return None
        return 200, {"Content-Type": TYPES.get(file.suffix, "application/octet-stream")}, file.read_bytes()

    return find


@contextmanager
def serving(
    resolve: Resolve, directory: Path, hosts: list[str], *, tls_hosts: set[str] | None = None
) -> Iterator[SiteServer]:
    """Serve until the block ends. Hosts not in `tls_hosts` (None: all) close a TLS connection at once."""
    authority = trustme.CA()
    ca_file = directory / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*(tls_hosts if tls_hosts is not None else hosts)).configure_cert(context)
    requests: list[tuple[str, str]] = []
    plain = _server(resolve, requests, None)
    secure = _server(resolve, requests, context)
    threads = [threading.Thread(target=s.serve_forever, args=(0.05,), daemon=True) for s in (plain, secure)]
    for thread in threads:
        thread.start()
    try:
        yield SiteServer(plain.server_port, secure.server_port, ca_file, requests)
    finally:
        for server in (plain, secure):
            server.shutdown()
            server.server_close()


def _server(resolve: Resolve, requests: list[tuple[str, str]], tls: ssl.SSLContext | None) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def setup(self) -> None:
            self.request.settimeout(20)
            if tls is not None:  # here, in this connection's thread: a slow handshake must not hold up the others
                self.request = tls.wrap_socket(self.request, server_side=True)
            super().setup()

        def do_GET(self) -> None:
            host = (self.headers.get("Host") or "").split(":")[0]
            path = urlsplit(self.path).path
            requests.append((host, self.path))
            status, headers, body = resolve(host, path) or (404, {"Content-Type": "text/plain"}, b"not found")
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

        def handle_error(self, request: object, client_address: object) -> None:
            return  # clients that hang up or distrust the CA are part of the tests

    return Server(("127.0.0.1", 0), Handler)
