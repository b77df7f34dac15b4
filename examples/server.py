"""Serves the sample sites on loopback: `sites/HOST/…` by the Host header, over HTTP and over TLS.

The certificates come from an authority made for this run; whoever wants to read the sites trusts `ca_file` and
connects by way of `connect_to` (settings SCRAPERSKY_CA_FILE and SCRAPERSKY_CONNECT_TO). Files named
`.gz` stand there as text, for people to read, and are compressed on their way out. `python examples/server.py
DIRECTORY` says all that as one line of JSON, then serves until a signal comes.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import mimetypes
import signal
import ssl
import sys
import threading
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import trustme

SITES = Path(__file__).resolve().parent / "sites"
mimetypes.add_type("application/rss+xml", ".rss")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        if tls is not None:
            # The handshake waits for the connection's own thread, so that a slow client holds up nobody.
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def start(self) -> int:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients may go as they please."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    server_version = "SampleSites"
    sys_version = ""

    def do_GET(self) -> None:
        found = find(self.headers.get("Host", ""), self.path)
        if found is None:
            self._answer(HTTPStatus.NOT_FOUND, b"not here\n", "text/plain", {})
            return
        body, kind, modified = found
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        validators = {"ETag": tag, "Last-Modified": formatdate(modified, usegmt=True)}
        if self.headers.get("If-None-Match") == tag:
            self._answer(HTTPStatus.NOT_MODIFIED, b"", None, validators)
        else:
            self._answer(HTTPStatus.OK, body, kind, validators)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self, status: HTTPStatus, body: bytes, kind: str | None, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if kind is not None:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def find(host: str, target: str) -> tuple[bytes, str, float] | None:
    """Body, media type and time of change of what a site has at that path."""
    root = SITES / host.partition(":")[0].lower()
    path = unquote(urlsplit(target).path).lstrip("/")
    file = root / (f"{path}index.html" if path.endswith("/") or not path else path)
    if root.parent != SITES or root not in file.resolve().parents:
        return None
    if not file.is_file():
        return None
    body, modified = file.read_bytes(), file.stat().st_mtime
    if file.suffix == ".gz":
        return gzip.compress(body, mtime=0), "application/gzip", modified
    return body, mimetypes.guess_type(file.name)[0] or "text/plain", modified


def hosts() -> list[str]:
    return sorted(site.name for site in SITES.iterdir())


def main(directory: Path) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})  # before the threads, which inherit it
    authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*hosts()).configure_cert(context)
    ca_file = directory / "sample-ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    plain, tls = Server().start(), Server(context).start()
    connect_to = f"*:443:127.0.0.1:{tls},*:80:127.0.0.1:{plain}"
    print(json.dumps({"connect_to": connect_to, "ca_file": str(ca_file)}), flush=True)
    signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
