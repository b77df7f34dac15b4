"""A scan over the real fetcher: nothing that a site names leads past the guard (security P1 and P3)."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from app.fetching.client import SiteFetcher
from app.scanning.urls import site
from tests.hostile import HostileServer, answer, path_of
from tests.unit.scanned import index, scanned, urlset

HOST = "www.example.com"
INSIDE = [
    "http://127.0.0.1/map.xml",
    "http://[::1]/map.xml",
    "http://localhost/map.xml",
    "http://169.254.169.254/latest/meta-data/",
    "http://2130706433/map.xml",
    "http://0177.0.0.1/map.xml",
    "http://inside.example.net/map.xml",  # a public name with an inner address
    "//127.0.0.1/map.xml",
    "http://www.example.com:22/map.xml",
    "http://user:secret@www.example.com/map.xml",
    "file:///etc/passwd",
    "gopher://127.0.0.1:70/_",
    "javascript:alert(1)",
]


def resolve(host: str) -> list[str]:
    return ["10.0.0.7"] if host == "inside.example.net" else ["93.184.216.34"]


def serve(files: dict[str, bytes]) -> Callable[[socket.socket, bytes], bool]:
    def behave(connection: socket.socket, head: bytes) -> bool:
        body = files.get(path_of(head))
        status = "404 Not Found" if body is None else "200 OK"
        return bool(answer(body or b"", status=status)(connection, head))

    return behave


def test_what_robots_and_indexes_name_is_guarded_before_it_is_fetched(fetcher_for: Callable[..., SiteFetcher]) -> None:
    went: list[Any] = []

    def connect(sock: socket.socket, address: Any) -> None:
        went.append(address)
        sock.connect(address)

    files = {
        "/robots.txt": "\n".join([*(f"Sitemap: {url}" for url in INSIDE), "Sitemap: /index.xml"]).encode(),
        "/index.xml": index(*INSIDE, " \n /map.xml\t ").encode(),
        "/map.xml": urlset("/page").encode(),
    }
    with HostileServer(serve(files)) as server:
        rule = f"{HOST}:80:127.0.0.1:{server.port}"
        fetcher = fetcher_for(resolve=resolve, connect=connect, connect_to=rule)
        result = scanned(fetcher, site(f"http://{HOST}/"))

    assert result.urls == {f"http://{HOST}/page"}
    assert set(went) == {("127.0.0.1", server.port)}
    assert sorted(map(path_of, server.heads)) == ["/index.xml", "/map.xml", "/robots.txt"]
    failed = {file.url: file.problem.code for file in result.files if file.problem}
    assert set(failed.values()) <= {"blocked_url", "blocked_address"}
    assert "http://inside.example.net/map.xml" in failed
    assert result.outcome == "incomplete"
