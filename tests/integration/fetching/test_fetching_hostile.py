"""The real fetcher against servers that mean harm. Each ends, soon, in a typed outcome within the caps."""

from __future__ import annotations

import gzip
import http.client
import os
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import brotli
import pytest
import trustme
import urllib3.exceptions
from backports import zstd

from app.errors import FETCH_FAILURES, FetchError
from app.fetching.client import SiteFetcher
from app.fetching.failures import FOREIGN, translate
from app.fetching.headers import ERROR_BYTES, SNIFF_BYTES
from app.scanning.values import MIB, Request
from tests.conformance_fetcher import HOME, ask, failure, read
from tests.hostile import Behaviour, HostileServer, answer, answer_bytes, path_of, raw

Fetch = Callable[..., SiteFetcher]

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
SOON = 1.5  # seconds, for deadlines of 0.4


def silent(connection: socket.socket, head: bytes) -> None:
    if not connection.recv(1):
        raise ConnectionResetError("the client gave up")


class TestDeadline:
    """Servers that never quite stop. A timeout of single reads would wait for ever."""

    @pytest.mark.parametrize(
        "behave",
        [
            pytest.param(silent, id="silence"),
            pytest.param(raw(OK, b"X-Drip: 1\r\n", pause=0.05, forever=True), id="dripped headers"),
            pytest.param(raw(OK + b"X-Drip: ", b"x", pause=0.05, forever=True), id="one endless header"),
            pytest.param(raw(b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.05, forever=True), id="100 Continue"),
            pytest.param(raw(b"H", b"T", b"T", pause=0.1, forever=True), id="dripped status line"),
            pytest.param(raw(OK + b"Content-Length: 9999\r\n\r\n", b"x", pause=0.05, forever=True), id="slow body"),
            pytest.param(raw(OK + b"\r\n", b"x", pause=0.05, forever=True), id="slow body without a length"),
            pytest.param(raw(CHUNKED, b"1\r\nx\r\n", pause=0.05, forever=True), id="slow chunks"),
            pytest.param(raw(CHUNKED + b"1\r\nx\r\n0\r\n", b"T: 1\r\n", pause=0.05, forever=True), id="slow trailers"),
        ],
    )
    def test_one_deadline_over_everything(self, fetcher_for: Fetch, behave: Behaviour) -> None:
        """Security F8"""
        with HostileServer(behave) as server:
            fetcher = fetcher_for(server, request_timeout=0.4)
            started = time.monotonic()
            assert failure(fetcher).code == "timeout"
            assert time.monotonic() - started < SOON
            assert server.hung_up.wait(2)  # the connection was closed, not kept

    def test_the_deadline_is_for_the_whole_chain_of_redirects(self, fetcher_for: Fetch) -> None:
        """Security F7, F8"""

        def behave(connection: socket.socket, head: bytes) -> None:
            time.sleep(0.15)
            raw(b"HTTP/1.1 302 F\r\nLocation: /%d\r\n\r\n" % len(server.heads))(connection, head)

        with HostileServer(behave) as server:
            started = time.monotonic()
            assert failure(fetcher_for(server, request_timeout=0.4)).code == "timeout"
            assert time.monotonic() - started < SOON

    def test_the_body_of_a_redirect_is_not_waited_for(self, fetcher_for: Fetch) -> None:
        """Security F7"""

        def behave(connection: socket.socket, head: bytes) -> None:
            if path_of(head) == "/x":
                answer(b"here")(connection, head)
            else:
                raw(b"HTTP/1.1 302 F\r\nLocation: /x\r\n\r\n", b"x" * 10, pause=0.05, forever=True)(connection, head)

        with HostileServer(behave) as server:
            started = time.monotonic()
            assert read(fetcher_for(server, request_timeout=5.0).fetch(ask())) == b"here"
            assert time.monotonic() - started < 1.0


class TestHeaders:
    @pytest.mark.parametrize(
        "payload",
        [
            pytest.param(OK + b"X: " + b"a" * 70_000 + b"\r\n\r\n", id="one of 70 kB"),
            pytest.param(OK + b"".join(b"X-%d: 1\r\n" % n for n in range(101)) + b"\r\n", id="101 of them"),
            pytest.param(OK + b"".join(b"X-%d: %b\r\n" % (n, b"a" * 60_000) for n in range(95)), id="5.7 MB"),
            pytest.param(b"HTTP/1.1 100 Continue\r\nX: 1\r\n\r\n" * 50_000, id="a flood of 100 Continue"),
        ],
    )
    def test_too_much_header_is_cut_off(self, fetcher_for: Fetch, payload: bytes) -> None:
        """Security F9"""
        with HostileServer(raw(payload)) as server:
            fetcher = fetcher_for(server)
            assert failure(fetcher).code == "headers_too_large"
            assert fetcher.stats.wire_bytes < 200_000

    @pytest.mark.parametrize(
        "payload",
        [
            pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", id="another protocol"),
            pytest.param(b"\x00\xff\xfe garbage\r\n\r\n", id="garbage"),
            pytest.param(b"HTTP/2.0 200 OK\r\n\r\n", id="an unknown version"),
            pytest.param(b"HTTP/1.1 abc OK\r\n\r\n", id="no status"),
            pytest.param(b"HTTP/1.1 42 OK\r\n\r\n", id="a short status"),
            pytest.param(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", id="a switch of protocols"),
            pytest.param(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 9, id="hints without end"),
            pytest.param(OK + b"Content-Type: text/ht", id="cut in the headers"),
            pytest.param(OK + b"Content-Length: 5\r\nContent-Length: 3\r\n\r\nhello", id="two lengths"),
            pytest.param(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", id="a coded transfer"),
            pytest.param(CHUNKED + b"ZZ\r\nhello", id="no chunk size"),
            pytest.param(OK + b"Content-Length: 50\r\n\r\n", id="nothing of the promised body"),
        ],
    )
    def test_what_is_not_http_is_a_bad_response(self, fetcher_for: Fetch, payload: bytes) -> None:
        """Security F11: and a banner is told to no one."""
        with HostileServer(raw(payload)) as server:
            error = failure(fetcher_for(server))
        assert error.code == "bad_response"
        assert "SSH" not in str(error)

    def test_no_answer_at_all(self, fetcher_for: Fetch) -> None:
        with HostileServer(raw(b"")) as server:
            assert failure(fetcher_for(server)).code == "reset"

    def test_hints_ahead_of_the_answer_are_passed_over(self, fetcher_for: Fetch) -> None:
        hints = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 2
        with HostileServer(raw(hints + OK + b"Content-Length: 2\r\n\r\nok")) as server:
            response = fetcher_for(server).fetch(ask())
        assert (response.status, read(response), "link" in response.headers) == (200, b"ok", False)

    def test_a_refused_connection(self, fetcher_for: Fetch) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        error = failure(fetcher_for(connect_to=f"*:80:127.0.0.1:{port}"))
        assert (error.code, str(error)) == ("connect_refused", FETCH_FAILURES["connect_refused"].text)


class TestFraming:
    """Where an answer ends (F9, F11). Two readers who differ on that let one answer pass for another."""

    SECOND = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled"

    @pytest.mark.parametrize(
        "first",
        [
            pytest.param(OK + b"Content-Length: 2\r\n\r\nok", id="a whole answer"),
            pytest.param(CHUNKED + b"2\r\nok\r\n0\r\n\r\n", id="chunks"),
            pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", id="204"),
            pytest.param(b"HTTP/1.1 204 No Content\r\nContent-Length: 99\r\n\r\n", id="204 that tells a length"),
            pytest.param(b"HTTP/1.1 304 N\r\nTransfer-Encoding: chunked\r\n\r\n", id="304 in chunks"),
            pytest.param(
                OK + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n", id="both"
            ),
            pytest.param(b"HTTP/1.1 302 F\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n", id="a redirect"),
        ],
    )
    def test_what_follows_an_answer_is_never_the_next_one(self, fetcher_for: Fetch, first: bytes) -> None:
        """Security F11: bytes beyond an answer's end retire its connection."""

        def behave(connection: socket.socket, head: bytes) -> bool:
            connection.sendall(first + self.SECOND if path_of(head) == "/" else answer_bytes(b"true"))
            return True

        with HostileServer(behave) as server:
            fetcher = fetcher_for(server)
            fetcher.fetch(ask(etag='"x"'))
            assert read(fetcher.fetch(ask(HOME + "next"))) == b"true"
            assert server.connections == 2

    def test_nor_if_it_comes_later(self, fetcher_for: Fetch) -> None:
        """Security F11: a kept connection on which something lies unasked for is not used again."""
        sent = threading.Event()

        def behave(connection: socket.socket, head: bytes) -> bool:
            connection.sendall(answer_bytes(b"ok"))
            if path_of(head) == "/":
                read_first.wait(5)
                connection.sendall(self.SECOND)
                sent.set()
            return True

        read_first = threading.Event()
        with HostileServer(behave) as server:
            fetcher = fetcher_for(server)
            fetcher.fetch(ask())
            read_first.set()
            assert sent.wait(5)
            assert read(fetcher.fetch(ask(HOME + "next"))) == b"ok"
            assert server.connections == 2

    def test_nor_if_it_lies_in_a_record_of_tls(self, fetcher_for: Fetch, tmp_path: Path) -> None:
        authority, roots = trustme.CA(), tmp_path / "roots.pem"
        authority.cert_pem.write_to_path(str(roots))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("www.example.com").configure_cert(context)
        url = "https://www.example.com/"
        body = b"x" * 16_000

        def behave(connection: socket.socket, head: bytes) -> bool:
            rest = (self.SECOND + b" " * 9_000) * 2  # more than one buffer takes
            connection.sendall(answer_bytes(body) + (rest if path_of(head) == "/" else b""))
            return True

        with HostileServer(behave, tls=context) as server:
            fetcher = fetcher_for(tls=server, ca_file=roots)
            assert [read(fetcher.fetch(ask(u))) for u in (url, url + "next")] == [body, body]
            assert server.connections == 2

    @pytest.mark.parametrize("size", [b"-5", b"+5", b"0x5", b"5_0", b" 5", b"5 5", b"", b"1" * 17, b"\xef\xbc\x95"])
    def test_a_chunk_size_is_plain_hexadecimal(self, fetcher_for: Fetch, size: bytes) -> None:
        """Security F11: what `int` would take is not yet a size."""
        with HostileServer(raw(CHUNKED + size + b"\r\nhello\r\n0\r\n\r\n")) as server:
            assert failure(fetcher_for(server)).code == "bad_response"

    def test_a_chunk_ends_where_it_says(self, fetcher_for: Fetch) -> None:
        with HostileServer(raw(CHUNKED + b"5\r\nhelloXX5\r\nworld\r\n0\r\n\r\n")) as server:
            response = fetcher_for(server).fetch(ask())
        assert (read(response), response.truncated) == (b"hello", True)

    @pytest.mark.parametrize(
        "coding", [b"chunked, chunked", b"gzip", b"xchunked", b"chunked\r\nTransfer-Encoding: gzip"]
    )
    def test_other_codings_of_a_transfer_are_refused(self, fetcher_for: Fetch, coding: bytes) -> None:
        with HostileServer(raw(OK + b"Transfer-Encoding: " + coding + b"\r\n\r\n2\r\nok\r\n0\r\n\r\n")) as server:
            assert failure(fetcher_for(server)).code == "bad_response"

    @pytest.mark.parametrize("coding", [b"Chunked", b"chunked \t", b"identity\r\nTransfer-Encoding:", b"\r\n chunked"])
    def test_chunked_however_it_is_written(self, fetcher_for: Fetch, coding: bytes) -> None:
        chunked = b"identity" not in coding
        body = b"2\r\nok\r\n0\r\n\r\n" if chunked else b"ok"
        with HostileServer(raw(OK + b"Transfer-Encoding: " + coding + b"\r\n\r\n" + body)) as server:
            assert read(fetcher_for(server).fetch(ask())) == b"ok"

    @pytest.mark.parametrize("length", [b"5, 5", b"5\r\nContent-Length: 5", b"05", b" 5\t"])
    def test_one_length_said_twice_is_one(self, fetcher_for: Fetch, length: bytes) -> None:
        def behave(connection: socket.socket, head: bytes) -> bool:
            connection.sendall(OK + b"Content-Length: " + length + b"\r\n\r\nhello")
            return True  # the connection stays open: a reader without a length would wait

        with HostileServer(behave) as server:
            assert read(fetcher_for(server).fetch(ask())) == b"hello"

    @pytest.mark.parametrize("length", [b"5_0", b"+50", b"0x5", b"-1", b"many", b"9" * 30, b"1.5"])
    def test_what_is_no_length_is_ignored(self, fetcher_for: Fetch, length: bytes) -> None:
        with HostileServer(raw(OK + b"Content-Length: " + length + b"\r\n\r\nhello")) as server:
            response = fetcher_for(server).fetch(ask())
        assert (read(response), response.truncated) == (b"hello", False)

    def test_an_unasked_part_is_called_one(self, fetcher_for: Fetch) -> None:
        """A 206 taken for the whole would make all that is not in it look removed."""
        part = answer(b"<urlset>", status="206 Partial", headers=("Content-Range: bytes 0-7/5000",))
        with HostileServer(part) as server:
            response = fetcher_for(server).fetch(ask())
        assert (response.status, response.truncated) == (206, True)


class TestFields:
    """Header blocks that are not quite right (F9, F11)."""

    @pytest.mark.parametrize(
        "junk",
        [b"no colon here", b"From a@example.com", b": no name", b"a name: with a blank", b"\xe9: x", b"X\x00Y: z",
         b"HTTP/1.1 200 OK"],
    )  # fmt: skip
    def test_a_line_that_is_no_field_hides_none_of_those_after_it(self, fetcher_for: Fetch, junk: bytes) -> None:
        payload = OK + b"X-A: 1\r\n" + junk + b'\r\nETag: "e"\r\nTransfer-Encoding: chunked\r\n\r\n'
        with HostileServer(raw(payload + b"2\r\nok\r\n0\r\n\r\n")) as server:
            response = fetcher_for(server).fetch(ask())
        assert (read(response), response.headers["etag"]) == (b"ok", '"e"')

    def test_control_characters_in_a_value_become_blanks(self, fetcher_for: Fetch) -> None:
        """PostgreSQL keeps no NUL, and a bare CR is no end of a line."""
        payload = OK + b'ETag: "a\x00b"\r\nX: 1\rEvil: 2\r\nContent-Length: 0\r\n\r\n'
        with HostileServer(raw(payload)) as server:
            headers = fetcher_for(server).fetch(ask()).headers
        assert (headers["etag"], headers["x"], "evil" in headers) == ('"a b"', "1 Evil: 2", False)

    def test_lines_may_end_in_lf_alone(self, fetcher_for: Fetch) -> None:
        """Security F11"""
        with HostileServer(raw(b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nok\n0\n\n")) as server:
            response = fetcher_for(server).fetch(ask())
        assert (read(response), response.truncated) == (b"ok", False)

    def test_of_a_field_that_holds_one_value_the_first_counts(self, fetcher_for: Fetch) -> None:
        fields = ("Content-Type: text/xml", "Content-Type: text/html", 'ETag: "1"', 'ETag: "2"', "Vary: a", "Vary: b")
        with HostileServer(answer(headers=fields)) as server:
            headers = fetcher_for(server).fetch(ask()).headers
        assert [headers[name] for name in ("content-type", "etag", "vary")] == ["text/xml", '"1"', "a, b"]

    @pytest.mark.parametrize(
        "payload",
        [
            pytest.param(b"<html>HTTP/0.9 had no head</html>\r\n", id="HTTP/0.9"),
            pytest.param(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80\n", id="HTTP/2 settings"),
            pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2 preface"),
            pytest.param(b"HTTP/1.1 99999999999 OK\r\n\r\n", id="a long status"),
            pytest.param(b"HTTP/1.1 -20 OK\r\n\r\n", id="a negative status"),
            pytest.param(b"HTTP/1.1 2_0 OK\r\n\r\n", id="a status with an underscore"),
            pytest.param(b"HTTP/1.1 200 OK", id="cut in the status line"),
            pytest.param(b"\r\n\r\n", id="nothing but line ends"),
            pytest.param(b"ICY 200 OK\r\n\r\n", id="an audio stream"),
            pytest.param(b"HTTP/1.1 304 Not Modified\r\n\r\n", id="unchanged, to a question that was none"),
        ],
    )
    def test_not_an_answer(self, fetcher_for: Fetch, payload: bytes) -> None:
        """Security F11"""
        with HostileServer(raw(payload)) as server:
            assert failure(fetcher_for(server)).code == "bad_response"

    def test_a_flood_of_lines_that_are_no_fields_is_cut_off(self, fetcher_for: Fetch) -> None:
        """Security F9"""
        with HostileServer(raw(OK, b"junk without a colon\r\n" * 500, forever=True)) as server:
            fetcher = fetcher_for(server)
            assert failure(fetcher).code == "headers_too_large"
            assert fetcher.stats.wire_bytes < 200_000

    def test_one_that_closes_its_ear_at_once_is_told_as_such(self, fetcher_for: Fetch) -> None:
        """Security F11: half closed, before and after a part of the answer."""

        def behave(connection: socket.socket, head: bytes) -> bool:
            connection.sendall(OK + b"Content-Length: 9\r\n\r\n" if len(server.heads) > 1 else b"")
            connection.shutdown(socket.SHUT_WR)
            return True  # ours to hang up

        with HostileServer(behave) as server:
            fetcher = fetcher_for(server)
            assert [failure(fetcher).code for _ in range(2)] == ["reset", "bad_response"]


def coded(coding: str, payload: bytes) -> Behaviour:
    return answer(payload, headers=(f"Content-Encoding: {coding}",))


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(data) + stream.flush()


TEXT = b"<p>" + os.urandom(200_000).hex().encode() + b"x" * 100_000
CODINGS = {
    "gzip": gzip.compress(TEXT),
    "x-gzip": gzip.compress(TEXT),
    "GZIP": gzip.compress(TEXT),
    "deflate": zlib.compress(TEXT),
    "deflate, identity": raw_deflate(TEXT),
    "br": brotli.compress(TEXT, quality=3),
    "zstd": zstd.compress(TEXT),
    "identity": TEXT,
}


class TestCodings:
    @pytest.mark.parametrize("coding", CODINGS)
    def test_allowed_codings_are_undone(self, fetcher_for: Fetch, coding: str) -> None:
        with HostileServer(coded(coding, CODINGS[coding])) as server:
            response = fetcher_for(server).fetch(ask())
        assert read(response) == TEXT
        assert not response.truncated

    @pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
    def test_a_stream_that_ends_early_is_a_part(self, fetcher_for: Fetch, coding: str) -> None:
        """Security F9"""
        with HostileServer(coded(coding, CODINGS[coding][:-9])) as server:
            response = fetcher_for(server).fetch(ask())
        assert response.truncated
        assert TEXT.startswith(read(response))
        assert response.body.size > 0

    @pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
    def test_what_is_not_so_coded_is_an_error(self, fetcher_for: Fetch, coding: str) -> None:
        with HostileServer(coded(coding, b"\x1f\x8b\x08garbage, not a coded body")) as server:
            assert failure(fetcher_for(server)).code == "bad_encoding"

    @pytest.mark.parametrize("coding", ["rot13", "gzip, gzip", "gzip,br", "compress", "gzip, gzip, gzip, gzip, gzip"])
    def test_unknown_and_stacked_codings_are_refused(self, fetcher_for: Fetch, coding: str) -> None:
        """Security F9: one coding at most, of an allow-list."""
        with HostileServer(coded(coding, gzip.compress(gzip.compress(b"x")))) as server:
            assert failure(fetcher_for(server)).code == "bad_encoding"

    def test_several_gzip_members_are_one_body_and_padding_is_nobody_s_business(self, fetcher_for: Fetch) -> None:
        with HostileServer(coded("gzip", gzip.compress(b"ab") * 5_000 + b"PADDING")) as server:
            response = fetcher_for(server).fetch(ask())
        assert (read(response), response.truncated) == (b"ab" * 5_000, False)

    def test_an_empty_body_needs_no_coding(self, fetcher_for: Fetch) -> None:
        with HostileServer(coded("gzip", b"")) as server:
            response = fetcher_for(server).fetch(ask())
        assert (read(response), response.truncated) == (b"", False)

    @pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
    def test_a_bomb_is_cut_at_the_cap(self, fetcher_for: Fetch, coding: str) -> None:
        """Security F9"""
        zeros = b"\0" * (32 * MIB)
        compress: dict[str, Any] = {
            "gzip": gzip.compress,
            "deflate": zlib.compress,
            "br": lambda data: brotli.compress(data, quality=2),
            "zstd": zstd.compress,
        }
        with HostileServer(coded(coding, compress[coding](zeros))) as server:
            response = fetcher_for(server).fetch(ask(max_bytes=MIB))
        assert (response.body.size, response.truncated) == (MIB, True)
        assert read(response) == zeros[:MIB]


class TestBodies:
    @pytest.mark.parametrize(
        "payload",
        [
            pytest.param(OK + b"Content-Length: 50\r\n\r\nhello", id="shorter than its length"),
            pytest.param(CHUNKED + b"5\r\nhello\r\n", id="chunks without an end"),
            pytest.param(CHUNKED + b"5\r\nhello\r\nZZ\r\n", id="a bad chunk size later"),
            pytest.param(CHUNKED + b"ff\r\nhello", id="cut in a chunk"),
        ],
    )
    def test_a_connection_that_breaks_off_leaves_a_part(self, fetcher_for: Fetch, payload: bytes) -> None:
        with HostileServer(raw(payload)) as server:
            response = fetcher_for(server).fetch(ask())
        assert (read(response), response.truncated) == (b"hello", True)

    def test_so_does_one_that_is_reset(self, fetcher_for: Fetch) -> None:
        def behave(connection: socket.socket, head: bytes) -> None:
            connection.sendall(OK + b"Content-Length: 50\r\n\r\nhello")
            time.sleep(0.1)  # or the reset overtakes the data
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

        with HostileServer(behave) as server:
            response = fetcher_for(server).fetch(ask())
        assert (read(response), response.truncated) == (b"hello", True)

    @pytest.mark.parametrize(
        "payload",
        [
            pytest.param(OK + b"\r\nhello", id="ends with the connection"),
            pytest.param(OK + b"Content-Length: -5\r\n\r\nhello", id="a negative length"),
            pytest.param(
                OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", id="both"
            ),
            pytest.param(CHUNKED + b"5;ext=1\r\nhello\r\n0\r\nTrailer: 1\r\n\r\n", id="extension and trailer"),
            pytest.param(b"HTTP/1.0 200\r\n\r\nhello", id="HTTP/1.0"),
        ],
    )
    def test_odd_but_whole(self, fetcher_for: Fetch, payload: bytes) -> None:
        with HostileServer(raw(payload)) as server:
            response = fetcher_for(server).fetch(ask())
        assert (read(response), response.truncated) == (b"hello", False)

    @pytest.mark.parametrize(
        "behave",
        [
            pytest.param(raw(OK + b"\r\n", b"x" * 65_536, forever=True), id="endless"),
            pytest.param(raw(CHUNKED, b"400\r\n" + b"x" * 1024 + b"\r\n", forever=True), id="endless chunks"),
        ],
    )
    def test_an_endless_body_is_cut_at_the_cap(self, fetcher_for: Fetch, behave: Behaviour) -> None:
        with HostileServer(behave) as server:
            response = fetcher_for(server, request_timeout=10.0).fetch(ask(max_bytes=100_000))
            assert (response.body.size, response.truncated) == (100_000, True)
            assert server.hung_up.wait(2)

    @pytest.mark.parametrize(
        ("behave", "code"),
        [
            pytest.param(raw(CHUNKED, b"1;" + b"a" * 60_000 + b"\r\nx\r\n", forever=True), None, id="chunk extensions"),
            pytest.param(raw(CHUNKED + b"0\r\n", b"T: 1\r\n" * 999, forever=True), "body_too_large", id="trailers"),
        ],
    )
    def test_wire_bytes_are_capped_too(self, fetcher_for: Fetch, behave: Behaviour, code: str | None) -> None:
        """Security F9"""
        with HostileServer(behave) as server:
            fetcher = fetcher_for(server, request_timeout=10.0)
            if code:
                assert failure(fetcher, max_bytes=1_000).code == code
            else:
                assert fetcher.fetch(ask(max_bytes=1_000)).truncated
            assert fetcher.stats.wire_bytes < 2 * MIB

    def test_a_large_body_is_spooled_and_its_disk_given_back(self, fetcher_for: Fetch) -> None:
        data = os.urandom(3 * MIB)
        with HostileServer(answer(data)) as server:
            fetcher = fetcher_for(server, spool_bytes=4 * MIB)
            for _ in range(3):  # three would not fit at a time
                with fetcher.fetch(ask(max_bytes=8 * MIB)) as response:
                    assert b"".join(response.body.chunks()) == data
                    first, second = response.body.chunks(1_000), response.body.chunks(1_000)
                    assert next(first) == next(second) == data[:1_000]

    def test_a_body_that_is_forgotten_gives_its_disk_back(self, fetcher_for: Fetch) -> None:
        with HostileServer(answer(bytes(3 * MIB))) as server:
            fetcher = fetcher_for(server, spool_bytes=4 * MIB)
            for _ in range(3):
                assert fetcher.fetch(ask(max_bytes=8 * MIB)).body.size == 3 * MIB

    def test_no_room_to_spool(self, fetcher_for: Fetch) -> None:
        with HostileServer(answer(bytes(3 * MIB))) as server:
            fetcher = fetcher_for(server, spool_bytes=2 * MIB)
            error = failure(fetcher, max_bytes=8 * MIB)
            assert (error.code, error.retryable) == ("disk_full", True)
            assert fetcher._transport.budget.left == 2 * MIB

    def test_the_page_of_an_error_is_not_read_to_its_end(self, fetcher_for: Fetch) -> None:
        with HostileServer(answer(b"x" * MIB, status="404 No")) as server:
            response = fetcher_for(server).fetch(ask(max_bytes=8 * MIB))
        assert (response.body.size, response.truncated) == (ERROR_BYTES, True)

    def test_an_image_in_place_of_a_page_is_only_sniffed_at(self, fetcher_for: Fetch) -> None:
        with HostileServer(answer(b"\x89PNG" * MIB, headers=("Content-Type: image/png",))) as server:
            fetcher = fetcher_for(server)
            assert fetcher.fetch(ask(max_bytes=8 * MIB)).body.size == SNIFF_BYTES
            sitemap = Request(url=HOME, purpose="sitemap", max_bytes=8 * MIB)
            assert fetcher.fetch(sitemap).body.size == 4 * MIB


class TestRedirects:
    def follow(self, fetcher_for: Fetch, location: bytes, **options: Any) -> list[str]:
        """Paths that the server was asked for."""

        def behave(connection: socket.socket, head: bytes) -> None:
            if path_of(head) == "/":
                connection.sendall(b"HTTP/1.1 302 F\r\nLocation: " + location + b"\r\n\r\n")
            else:
                answer()(connection, head)

        with HostileServer(behave) as server:
            try:
                fetcher_for(server, **options).fetch(ask())
            finally:
                self.paths = [path_of(head) for head in server.heads]
        return self.paths

    @pytest.mark.parametrize(
        ("location", "asked"),
        [
            (b"/caf\xe9", "/caf%E9"),
            ("/café".encode(), "/caf%C3%A9"),
            (b"/a b?q=c d", "/a%20b?q=c%20d"),
            (b"//other.example.com/x", "/x"),
            (b"http://www.example.com:80/y#frag", "/y"),
            (b"HTTP://WWW.EXAMPLE.COM/../z", "/z"),
        ],
    )
    def test_odd_targets_are_brought_into_form(self, fetcher_for: Fetch, location: bytes, asked: str) -> None:
        """Security F7, F11: Latin-1 among them."""
        assert self.follow(fetcher_for, location) == ["/", asked]

    @pytest.mark.parametrize(
        "location",
        [b"http://127.0.0.1/", b"//127.0.0.1/", b" //127.0.0.1", b"/\\127.0.0.1/", b"\\\\127.0.0.1\\x", b"",
         b"http://www.example.com@127.0.0.1/", b"http://www.example.com:22/", b"http://[::ffff:7f00:1]/",
         b"file:///etc/passwd", b"javascript:alert(1)", b"http://2130706433/", b"http://127.1/", b"http://a..b/",
         b"http://" + b"a" * 3_000 + b".com/", b"\x00\x01"],
    )  # fmt: skip
    def test_targets_that_may_not_be_fetched(self, fetcher_for: Fetch, location: bytes) -> None:
        """Security F7: guarded anew at each hop."""
        with pytest.raises(FetchError) as error:
            self.follow(fetcher_for, location)
        assert error.value.code in ("bad_redirect", "blocked_url", "blocked_address")
        assert self.paths == ["/"]

    def test_two_targets_are_none(self, fetcher_for: Fetch) -> None:
        """Security F7: a comma is a character like any other in a URL; the same target twice is one."""
        assert self.follow(fetcher_for, b"/a,b\r\nLocation: /a,b") == ["/", "/a,b"]
        with pytest.raises(FetchError) as error:
            self.follow(fetcher_for, b"/a\r\nLocation: http://other.example.com/")
        assert (error.value.code, self.paths) == ("bad_redirect", ["/"])

    @pytest.mark.parametrize("status", [200, 201, 300, 305, 306, 399])
    def test_only_redirects_redirect(self, fetcher_for: Fetch, status: int) -> None:
        """Security F7: 305 would name a proxy."""
        with HostileServer(answer(status=f"{status} X", headers=("Location: /b",))) as server:
            assert fetcher_for(server).fetch(ask()).status == status
            assert len(server.heads) == 1

    def test_every_hop_is_guarded_anew(self, fetcher_for: Fetch) -> None:
        """Security F6, F7: the second name of a chain resolves to ourselves."""
        with HostileServer(answer(b"", status="302 F", headers=("Location: http://inner.example.com/",))) as server:
            fetcher = fetcher_for(
                connect_to=f"www.example.com:80:127.0.0.1:{server.port}", resolve=lambda host: ["127.0.0.1"]
            )
            assert failure(fetcher).code == "blocked_address"
            assert len(server.heads) == 1

    def test_a_refresh_header_is_not_followed(self, fetcher_for: Fetch) -> None:
        with HostileServer(answer(headers=("Refresh: 0;url=http://other.example.com/",))) as server:
            assert fetcher_for(server).fetch(ask()).redirects == ()

    def test_the_body_of_a_redirect_may_be_a_bomb(self, fetcher_for: Fetch) -> None:
        """Security F7"""
        bomb = gzip.compress(bytes(32 * MIB))
        with HostileServer(answer(bomb, status="302 F", headers=("Location: /", "Content-Encoding: gzip"))) as server:
            assert failure(fetcher_for(server)).code == "too_many_redirects"


def _raised_by(module: Any) -> list[type[Exception]]:
    return [
        item
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, Exception) and item.__name__[0] != "_"
    ]


class TestTranslation:
    """Security F11. Nothing foreign gets past the border: a new exception of a library needs no new line, or fails here."""

    @pytest.mark.parametrize(
        "kind",
        sorted(
            {
                *(kind for kind in _raised_by(urllib3.exceptions) if not issubclass(kind, Warning)),
                *_raised_by(http.client),
                *_raised_by(ssl),
                *_raised_by(socket),
                *_raised_by(zlib),
                *_raised_by(brotli),
                *_raised_by(zstd),
                UnicodeDecodeError,
                UnicodeEncodeError,
                ConnectionResetError,
                BrokenPipeError,
                ConnectionRefusedError,
                TimeoutError,
            },
            key=repr,
        ),
        ids=lambda kind: f"{kind.__module__}.{kind.__name__}",
    )
    def test_every_exception_of_the_libraries_has_a_code(self, kind: type[Exception]) -> None:
        error = kind.__new__(kind)  # their constructors differ; only the type is looked at
        assert isinstance(error, FOREIGN)
        for connecting in (True, False):
            translated = translate(error, connecting=connecting)
            assert str(translated) == FETCH_FAILURES[translated.code].text

    @pytest.mark.parametrize(
        ("error", "connecting", "code"),
        [
            (ssl.SSLCertVerificationError(1, "x"), True, "tls_failed"),
            (ssl.SSLEOFError(8, "x"), True, "tls_failed"),
            (ssl.SSLEOFError(8, "x"), False, "reset"),
            (TimeoutError(), True, "connect_timeout"),
            (TimeoutError(), False, "timeout"),
            (OSError(101, "Network is unreachable"), True, "connect_failed"),
            (http.client.RemoteDisconnected("x"), False, "reset"),
            (http.client.IncompleteRead(b""), False, "bad_response"),
            (http.client.LineTooLong("header line"), False, "headers_too_large"),
            (http.client.HTTPException("got more than 100 headers"), False, "headers_too_large"),
            (urllib3.exceptions.LocationParseError("x"), False, "blocked_url"),
            (urllib3.exceptions.DecodeError("x"), False, "bad_encoding"),
            (UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "x"), False, "bad_response"),
            (socket.gaierror(socket.EAI_NONAME, "x"), False, "dns_not_found"),
        ],
    )
    def test_codes(self, error: Exception, connecting: bool, code: str) -> None:
        assert translate(error, connecting=connecting).code == code

    def test_what_urllib3_wraps_is_unwrapped(self) -> None:
        error = urllib3.exceptions.ProtocolError("broken")
        error.__cause__ = ConnectionResetError("10.0.0.1")
        assert translate(error).code == "reset"

    def test_our_own_mistakes_are_not_dressed_up_as_the_site_s(self) -> None:
        with pytest.raises(TypeError):
            translate(KeyError("a bug"))
