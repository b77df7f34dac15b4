"""Bodies meant to fill a worker's memory or to keep it for ever (F8, F9, P1 to P4), read by a process of its own whose
memory is measured.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final

import brotli
import pytest
from backports import zstd

from app.scanning.values import MIB
from tests.hostile import Behaviour, HostileServer, path_of, raw

ROOT = Path(__file__).resolve().parents[3]
CASES = ROOT.parent / "shared" / "cases" / "adversarial.json"
DEADLINE: Final = 3.0
GROWTH: Final = 160 * MIB  # over what the process held after a harmless request; half of what is allowed

pytestmark = pytest.mark.slow

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
ZEROS = bytes(MIB)


class Reader:
    """`reader.py` as a process, asked one thing at a time."""

    def __init__(self, port: int) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "MALLOC_ARENA_MAX": "2",  # as `up` starts workers
            "SCRAPERSKY_CONNECT_TO": f"*:80:127.0.0.1:{port}",
            "SCRAPERSKY_REQUEST_TIMEOUT": str(DEADLINE),
        }
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("reader.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT,
        )  # fmt: skip
        self._names = count(1)
        self.idle: int = self.ask("harmless", "page")["peak"]

    def ask(self, path: str, purpose: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        host = f"h{next(self._names)}.example.com"
        told = {"host": host, "url": f"http://{host}/{path}", "purpose": purpose}
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline() or '"the process is gone"')

    def end(self) -> None:
        self._process.communicate(timeout=30)


BEHAVIOURS: dict[str, Behaviour] = {"harmless": raw(OK + b"Content-Length: 2\r\n\r\nok")}


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    def behave(connection: socket.socket, head: bytes) -> object:
        return BEHAVIOURS.get(path_of(head).split("/")[1], BEHAVIOURS["harmless"])(connection, head)

    with HostileServer(behave) as server:
        started = Reader(server.port)
        yield started
        started.end()


def read(reader: Reader, behave: Behaviour, purpose: str) -> str:
    """What became of it; never for more memory than allowed. (One that never ends is the suite's time-out.)"""
    path = f"case-{threading.get_ident()}-{len(BEHAVIOURS)}"
    BEHAVIOURS[path] = behave
    said = reader.ask(path, purpose)
    assert said["peak"] - reader.idle <= GROWTH
    return str(said["outcome"])


def body(data: bytes, *headers: str) -> Behaviour:
    lines = [*headers, f"Content-Length: {len(data)}", "", ""]
    return raw(OK + "\r\n".join(lines).encode("latin-1") + data)


def coded(coding: str, data: bytes) -> Behaviour:
    return body(data, f"Content-Encoding: {coding}")


def squeezed(coding: str, pieces: int, piece: bytes = ZEROS, head: bytes = b"") -> bytes:
    """`pieces` times the piece, compressed without ever holding it."""
    if coding == "br":
        stream = brotli.Compressor(quality=1)
        return b"".join([stream.process(head), *(stream.process(piece) for _ in range(pieces)), stream.finish()])
    compress: Any = {
        "gzip": lambda: zlib.compressobj(9, zlib.DEFLATED, 31),
        "deflate": lambda: zlib.compressobj(9),
        "raw deflate": lambda: zlib.compressobj(9, zlib.DEFLATED, -15),
        "zstd": zstd.ZstdCompressor,
    }[coding]()
    return b"".join([compress.compress(head), *(compress.compress(piece) for _ in range(pieces)), compress.flush()])


def endless_redirect(connection: socket.socket, head: bytes) -> None:
    connection.sendall(b"HTTP/1.1 302 F\r\nLocation: %s/x\r\n\r\n" % path_of(head).encode())
    while True:
        connection.sendall(ZEROS)


SITEMAP = b'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"><url><loc>http://h.example.com/</loc></url>'
CODINGS = ("gzip", "deflate", "br", "zstd")


class TestBombs:
    @pytest.mark.parametrize("coding", CODINGS)
    @pytest.mark.parametrize("purpose", ["page", "robots"])
    def test_100_mib_of_zeros(self, reader: Reader, coding: str, purpose: str) -> None:
        assert read(reader, coded(coding, squeezed(coding, 100)), purpose) == "200"

    @pytest.mark.parametrize("coding", CODINGS)
    def test_a_gibibyte_where_a_sitemap_was_asked_for(self, reader: Reader, coding: str) -> None:
        assert read(reader, coded(coding, squeezed(coding, 1024)), "sitemap") in ("200", "timeout")

    @pytest.mark.parametrize("filling", [b" ", b"a", b"\n", b"<url>", b"<!--x-->", b"&amp;", b"<url a='b'/>", b"]]>"])
    def test_a_sitemap_that_goes_on(self, reader: Reader, filling: bytes) -> None:
        piece = filling * (MIB // 4 // len(filling))
        assert read(reader, coded("gzip", squeezed("gzip", 32, piece, SITEMAP)), "sitemap") in ("200", "timeout")

    @pytest.mark.parametrize("layers", [2, 3])
    def test_a_bomb_within_a_bomb(self, reader: Reader, layers: int) -> None:
        """One layer is the coding, one the file's own; there is no third."""
        data = squeezed("gzip", 100)
        for _ in range(layers - 1):
            data = gzip.compress(data)
        assert read(reader, coded("gzip", data), "sitemap") == "200"
        assert read(reader, body(data, "Content-Type: application/gzip"), "sitemap") == "200"

    def test_many_members_each_a_bomb(self, reader: Reader) -> None:
        assert read(reader, coded("gzip", gzip.compress(ZEROS) * 200), "page") == "200"

    @pytest.mark.parametrize(
        ("coding", "piece"),
        [
            pytest.param("gzip", gzip.compress(b""), id="gzip members"),
            pytest.param("deflate", b"\x00\x00\x00\xff\xff", id="deflate blocks"),
            pytest.param("zstd", zstd.compress(b""), id="zstd frames"),
            pytest.param("zstd", b"\x50\x2a\x4d\x18\x00\x00\x00\x00", id="frames of zstd to skip"),
            pytest.param("br", b"\x06\x03" * 9, id="brotli metadata"),
        ],
    )
    def test_a_great_deal_of_nothing(self, reader: Reader, coding: str, piece: bytes) -> None:
        head = b"\x78\x9c" if coding == "deflate" else b""
        said = read(reader, coded(coding, head + piece * (4 * MIB // len(piece))), "page")
        assert said in ("200", "bad_encoding", "body_too_large", "timeout")

    def test_a_frame_that_wants_a_window_of_gibibytes_gets_none(self, reader: Reader) -> None:
        """RFC 9659: 8 MiB is what a browser grants."""
        for exponent in (14, 17, 21, 31):  # windows of 16 MiB to 2 TiB
            frame = b"\x28\xb5\x2f\xfd\x00" + bytes([exponent << 3]) + b"\x03\x00\x00" + b"\x00" * 64
            assert read(reader, coded("zstd", frame), "page") == "bad_encoding"
        frame = b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", 1 << 40) + b"\x03\x00\x00" * 9  # one segment, a tebibyte
        assert read(reader, coded("zstd", frame), "page") == "bad_encoding"

    def test_the_large_windows_of_brotli_are_not_for_the_web(self, reader: Reader) -> None:
        assert read(reader, coded("br", b"\x11\x9e" + b"\x00" * 64), "page") == "bad_encoding"

    @pytest.mark.parametrize("coding", ["br", "zstd"])
    def test_a_window_filled_with_noise(self, reader: Reader, coding: str) -> None:
        noise = random.Random(7).randbytes(24 * MIB)
        compress: dict[str, Callable[[bytes], bytes]] = {
            "br": lambda data: brotli.compress(data, quality=1, lgwin=24),
            "zstd": zstd.compress,
        }
        assert read(reader, coded(coding, compress[coding](noise)), "page") == "200"


class TestStreams:
    @pytest.mark.parametrize(
        ("behave", "outcomes"),
        [
            pytest.param(raw(OK, b"X: y\r\n" * 9_999, forever=True), {"headers_too_large"}, id="header fields"),
            pytest.param(raw(OK + b"X: ", b"y" * 9_999, forever=True), {"headers_too_large"}, id="one header"),
            pytest.param(raw(OK + b"X: y\r\n", b" z\r\n" * 9_999, forever=True), {"headers_too_large"}, id="folded"),
            pytest.param(raw(b"H" * 9_999, forever=True), {"headers_too_large"}, id="a status line"),
            pytest.param(
                raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 999, forever=True), {"headers_too_large"}, id="100 Continue"
            ),
            pytest.param(
                raw(CHUNKED, b"1;" + b"a" * 9_999, forever=True), {"headers_too_large"}, id="a chunk extension"
            ),
            pytest.param(raw(CHUNKED, b"1;" + b"a" * 999 + b"\r\nx\r\n", forever=True), {"200"}, id="chunk extensions"),
            pytest.param(raw(CHUNKED, b"1\r\nx\r\n" * 9_999, forever=True), {"200", "timeout"}, id="chunks of a byte"),
            pytest.param(raw(CHUNKED + b"0\r\n", b"T: 1\r\n" * 999, forever=True), {"body_too_large"}, id="trailers"),
            pytest.param(raw(CHUNKED + b"0\r\nT: ", b"1" * 9_999, forever=True), {"headers_too_large"}, id="a trailer"),
            pytest.param(raw(OK + b"\r\n", ZEROS, forever=True), {"200"}, id="a body"),
            pytest.param(
                raw(OK + b"Content-Length: 999999999999\r\n\r\n", ZEROS, forever=True), {"200"}, id="a length"
            ),
            pytest.param(endless_redirect, {"too_many_redirects"}, id="redirects with endless bodies"),
        ],
    )
    def test_without_an_end(self, reader: Reader, behave: Behaviour, outcomes: set[str]) -> None:
        assert read(reader, behave, "page") in outcomes

    @pytest.mark.parametrize("purpose", ["sitemap", "robots"])
    def test_a_body_without_an_end_whatever_it_was_asked_for(self, reader: Reader, purpose: str) -> None:
        assert read(reader, raw(OK + b"\r\n", b"<url>\n" * 9_999, forever=True), purpose) in ("200", "timeout")


def cases() -> list[Any]:
    """Every body of the cases, for whichever purpose it was made."""
    if not CASES.exists():
        return [pytest.param(None, marks=pytest.mark.skip(reason="the cases (../shared/cases) are not here"))]
    areas = ("transport", "robots", "xml", "sitemap", "html")
    found = [case for case in json.loads(CASES.read_text()) if case["area"] in areas and "gen" in case["input"]]
    return [pytest.param(case, id=case["id"]) for case in found]


def behaviour(case: Any) -> Behaviour:
    namespace: dict[str, Any] = {}
    exec(case["input"]["gen"], namespace)
    if "serve" in namespace:
        return namespace["serve"]  # type: ignore[no-any-return]
    data = namespace["body"]()
    lines = [f"HTTP/1.1 {case['input']['status']} X", *case["input"]["headers"], f"Content-Length: {len(data)}", "", ""]
    return raw("\r\n".join(lines).encode() + data)


@pytest.mark.parametrize("case", cases())
def test_the_cases(reader: Reader, case: Any) -> None:
    try:
        behave = behaviour(case)
    except ModuleNotFoundError:
        pytest.skip("its generator wants a package that is not here")
    purpose = {"robots": "robots", "html": "page", "transport": "page"}.get(case["area"], "sitemap")
    for asked in {purpose, "sitemap"}:
        assert read(reader, behave, asked)
