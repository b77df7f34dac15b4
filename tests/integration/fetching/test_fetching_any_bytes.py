"""Whatever bytes a host sends, what comes of them is an answer within the caps or a failure of the catalogue (F9, F11)."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator

import brotli
import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import FETCH_FAILURES, FetchError
from app.fetching.client import SiteFetcher
from app.scanning.values import Response
from tests.conformance_fetcher import ask, read
from tests.hostile import HostileServer

CAP = 2_000
BODY = b"<p>hello</p>" * 20

LINES = [
    b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 No", b"HTTP/1.1 206 Part", b"HTTP/1.1 304 N", b"HTTP/1.1 404 N",
    b"HTTP/1.1 100 Continue", b"HTTP/1.1 103 Hints", b"HTTP/1.1 302 F", b"HTTP/1.1 500 Oh", b"HTTP/2 200", b"HTTP/1.1", b"",
]  # fmt: skip
FIELDS = [
    b"Content-Length: 240", b"Content-Length: 0", b"Content-Length: 9", b"Content-Length: 999", b"Content-Length: -1",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Content-Encoding: gzip", b"Content-Encoding: br",
    b"Content-Encoding: zstd", b"Content-Encoding: deflate", b"Content-Encoding: no", b"Connection: close",
    b"Connection: keep-alive", b"Location: /next", b"Location: http://[::1]/", b"Location: \xff\xfe", b"junk", b" folded",
    b"ETag: \x00\x01", b": nameless", b"Retry-After: x", b"Content-Type: \xe9",
]  # fmt: skip
BODIES = [
    b"", BODY, b"9\r\n" + b"x" * 9 + b"\r\n0\r\n\r\n", b"f0\r\n" + BODY + b"\r\n0\r\nT: 1\r\n\r\n", b"ffffffffff\r\nx", b"-1\r\nx",
    gzip.compress(BODY), gzip.compress(bytes(50_000)), zlib.compress(BODY), brotli.compress(BODY), zstd.compress(BODY),
    zstd.compress(bytes(50_000)), b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
]  # fmt: skip


@st.composite
def near_http(draw: st.DrawFn) -> bytes:
    """Made of parts that make sense each by itself, then hurt somewhere."""
    end = draw(st.sampled_from([b"\r\n", b"\n", b"\r"]))
    heads = draw(
        st.lists(
            st.tuples(st.sampled_from(LINES), st.lists(st.sampled_from(FIELDS), max_size=5)), min_size=1, max_size=2
        )
    )
    data = b"".join(end.join([line, *fields, b"", b""]) for line, fields in heads)
    data += b"".join(draw(st.lists(st.sampled_from(BODIES), max_size=2)))
    at = draw(st.integers(0, len(data)))
    return draw(st.sampled_from([data, data[:at], data[:at] + draw(st.binary(max_size=4)) + data[at + 1 :]]))


@pytest.fixture
def say(fetcher_for: Callable[..., SiteFetcher]) -> Iterator[Callable[[bytes], Response | FetchError]]:
    words = [b""]

    def behave(connection: object, head: bytes) -> None:
        connection.sendall(words[0])  # type: ignore[attr-defined]

    with HostileServer(behave) as server:

        def make(data: bytes) -> Response | FetchError:
            words[0] = data
            fetcher = fetcher_for(server, request_timeout=2.0) if not fetchers else fetchers[0]
            fetchers[:] = [fetcher]
            hosts[0] += 1  # a name each: one that fails often would be left alone
            try:
                return fetcher.fetch(ask(f"http://h{hosts[0]}.example.com/", max_bytes=CAP))
            except FetchError as error:
                return error

        fetchers: list[SiteFetcher] = []
        hosts = [0]
        yield make


@given(data=st.one_of(near_http(), st.binary(max_size=200)))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_have_a_typed_outcome(say: Callable[[bytes], Response | FetchError], data: bytes) -> None:
    outcome = say(data)
    if isinstance(outcome, FetchError):
        assert outcome.code in FETCH_FAILURES
        assert outcome.code != "timeout"  # the host has hung up: nothing to wait for
        return
    assert len(read(outcome)) == outcome.body.size <= CAP
    assert 200 <= outcome.status <= 999
    assert all(name == name.lower() and "\x00" not in value for name, value in outcome.headers.items())
