"""The real fetcher against servers on loopback: the contract, connections, names, politeness, cancelling."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme

from app.errors import FETCH_FAILURES, Aborted, FetchError, Postponed
from app.fetching import client
from app.fetching.client import SiteFetcher
from app.fetching.control import Control
from app.fetching.ledger import FAILURES_TO_TRIP, LocalLedger, Place
from app.fetching.resolver import QUEUE_PER_THREAD, Resolver, system_resolve
from tests.conformance_fetcher import HOME, FetcherConformance, Resources, Serve, ask, failure, read
from tests.fakes import FakeFetcher
from tests.hostile import Behaviour, HostileServer, answer, path_of, raw

Fetch = Callable[..., SiteFetcher]


class TestFake(FetcherConformance):
    @pytest.fixture
    def serve(self) -> Serve:
        def make(resources: Resources, *, cooling: Collection[str] = (), aborted: bool = False) -> FakeFetcher:
            def answer(url: str) -> Any:
                if aborted:
                    raise Aborted
                if urlsplit(url).hostname in cooling:
                    raise Postponed(seconds=60.0)
                resource = resources.get(url, (404, {}, b""))
                return resource() if callable(resource) else resource

            urls = {*resources, *(f"http://{host}/" for host in cooling)}
            return FakeFetcher({url: lambda request, url=url: answer(url) for url in urls})

        return make


class TestReal(FetcherConformance):
    @pytest.fixture
    def serve(self, fetcher_for: Fetch) -> Iterator[Serve]:
        servers: list[HostileServer] = []

        def make(resources: Resources, *, cooling: Collection[str] = (), aborted: bool = False) -> SiteFetcher:
            servers.append(HostileServer(_site(resources)))
            ledger, control = LocalLedger(), Control()
            for host in cooling:
                ledger.cool_down(host, 60.0)
            if aborted:
                control.abort("told so")
            return fetcher_for(servers[-1], ledger=ledger, control=control)

        yield make
        for server in servers:
            server.__exit__(None, None, None)


def _site(resources: Resources) -> Behaviour:
    def behave(connection: socket.socket, head: bytes) -> bool:
        fields = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
        }
        resource = resources.get(f"http://{fields['host']}{path_of(head)}", (404, {}, b""))
        status, headers, body = resource() if callable(resource) else resource
        known = {name.lower(): value for name, value in headers.items()}
        same = fields.get("if-none-match", "-") == known.get("etag")
        same_date = fields.get("if-modified-since", "-") == known.get("last-modified")
        if status == 304 or (status == 200 and (same or same_date)):
            connection.sendall(b"HTTP/1.1 304 Not Modified\r\n\r\n")
            return True
        lines = tuple(f"{name}: {value}" for name, value in headers.items())
        return bool(answer(body, status=f"{status} X", headers=lines)(connection, head))

    return behave


class TestConnections:
    def test_one_connection_serves_a_scan(self, fetcher_for: Fetch) -> None:
        with HostileServer(answer(b"hello")) as server:
            fetcher = fetcher_for(server)
            for _ in range(5):
                assert read(fetcher.fetch(ask())) == b"hello"
            assert (server.connections, len(server.heads)) == (1, 5)
            assert fetcher.stats.requests == 5
            assert fetcher.stats.wire_bytes == 5 * len(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    def test_304_and_empty_redirects_keep_the_connection(self, fetcher_for: Fetch) -> None:
        def behave(connection: socket.socket, head: bytes) -> bool:
            redirect = b"HTTP/1.1 302 F\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n"
            connection.sendall(redirect if path_of(head) == "/" else b"HTTP/1.1 304 N\r\n\r\n")
            return True

        with HostileServer(behave) as server:
            fetcher = fetcher_for(server)
            assert [fetcher.fetch(ask(etag='"x"')).status for _ in range(3)] == [304, 304, 304]
            assert server.connections == 1

    def test_a_kept_connection_that_went_stale_is_replaced_unseen(self, fetcher_for: Fetch) -> None:
        def once(connection: socket.socket, head: bytes) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")  # promises to stay, then leaves

        with HostileServer(once) as server:
            fetcher = fetcher_for(server)
            assert [read(fetcher.fetch(ask())) for _ in range(4)] == [b"ok"] * 4

    def test_one_that_closes_upon_the_next_request_is_replaced_too(self, fetcher_for: Fetch) -> None:
        def behave(connection: socket.socket, head: bytes) -> bool:
            if len(server.heads) == 2:
                return False  # the second request meets a closing door
            return bool(answer(b"ok")(connection, head))

        with HostileServer(behave) as server:
            fetcher = fetcher_for(server)
            assert [read(fetcher.fetch(ask())) for _ in range(2)] == [b"ok"] * 2
            assert server.connections == 2

    def test_hosts_never_share_a_connection(self, fetcher_for: Fetch) -> None:
        with HostileServer(answer()) as server:
            fetcher = fetcher_for(server)
            for name in ("pool-a", "pool-b"):
                fetcher.fetch(ask(f"http://{name}.example.com/"))
            assert server.connections == 2

    def test_says_who_it_is_and_carries_nothing_else(
        self, fetcher_for: Fetch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Security F10: no proxy, netrc, cookie or credential."""
        netrc = tmp_path / "netrc"
        netrc.write_text("machine www.example.com login me password secret\n")
        monkeypatch.setenv("NETRC", str(netrc))
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        cookies = ("Set-Cookie: a=1; Path=/", "Set-Cookie: b=2")
        with HostileServer(answer(headers=cookies)) as server:
            fetcher = fetcher_for(server, user_agent="TestBot/1.0 (+https://example.com/bot)")
            fetcher.fetch(ask())
            fetcher.fetch(ask())
        for head in server.heads:
            names = [line.split(b":")[0].lower() for line in head.split(b"\r\n")[1:] if line]
            assert names == [b"host", b"user-agent", b"accept", b"accept-encoding"]
            assert b"TestBot/1.0 (+https://example.com/bot)" in head
            assert b"\r\nHost: www.example.com\r\n" in head

    def test_a_stored_validator_cannot_inject_a_header(self, fetcher_for: Fetch) -> None:
        with HostileServer(answer()) as server:
            fetcher_for(server).fetch(ask(etag='"a"\r\nX-Evil: 1', date="\N{SNOWMAN}"))
            assert b"Evil" not in server.heads[0]
            assert b"If-" not in server.heads[0]


class TestNames:
    def test_an_allowed_network_may_be_fetched_by_name(self, fetcher_for: Fetch) -> None:
        with HostileServer(answer(b"in")) as server:
            fetcher = fetcher_for(
                allowed_networks="127.0.0.0/8", allowed_ports=str(server.port), resolve=lambda host: ["127.0.0.1"]
            )
            assert read(fetcher.fetch(ask(f"http://www.example.com:{server.port}/"))) == b"in"
            assert f"Host: www.example.com:{server.port}".encode() in server.heads[0]

    @pytest.mark.parametrize(
        "answers", [["127.0.0.1"], ["93.184.216.34", "::1"], ["64:ff9b::a00:1"], ["169.254.169.254"], ["fe80::1%1"]]
    )
    def test_one_address_that_is_not_allowed_refuses_the_name(self, fetcher_for: Fetch, answers: list[str]) -> None:
        """Security F5, F6"""

        def connect(sock: socket.socket, address: Any) -> None:
            pytest.fail("connected")

        assert failure(fetcher_for(resolve=lambda host: answers, connect=connect)).code == "blocked_address"

    def test_a_name_that_changes_its_mind_is_not_asked_twice(self, fetcher_for: Fetch) -> None:
        """Security F6: resolved once, and pinned."""
        asked: list[str] = []
        went: list[Any] = []

        def rebind(host: str) -> list[str]:
            asked.append(host)
            return ["93.184.216.34"] if len(asked) == 1 else ["127.0.0.1"]

        def connect(sock: socket.socket, address: Any) -> None:
            went.append(address)
            raise ConnectionRefusedError

        assert failure(fetcher_for(resolve=rebind, connect=connect)).code == "connect_refused"
        assert (asked, went) == (["www.example.com"], [("93.184.216.34", 80)])

    def test_a_peer_that_is_not_the_pinned_address_gets_no_byte(self, fetcher_for: Fetch) -> None:
        """Security F6"""
        with HostileServer(answer()) as server:

            def astray(sock: socket.socket, address: Any) -> None:
                sock.connect(("127.0.0.1", server.port))

            assert failure(fetcher_for(resolve=lambda _: ["93.184.216.34"], connect=astray)).code == "blocked_address"
        assert server.heads == []

    def test_few_of_many_addresses_are_tried(self, fetcher_for: Fetch) -> None:
        tried: list[str] = []

        def refuse(sock: socket.socket, address: Any) -> None:
            tried.append(address[0])
            raise ConnectionRefusedError

        names = [f"93.184.0.{n}" for n in range(1, 200)] + ["2606:4700::1"]
        assert failure(fetcher_for(resolve=lambda _: names, connect=refuse)).code == "connect_refused"
        assert tried == ["93.184.0.1", "2606:4700::1", "93.184.0.2", "93.184.0.3"]

    def test_the_next_address_is_tried_when_one_refuses(self, fetcher_for: Fetch) -> None:
        with HostileServer(answer(b"second")) as server:
            url = f"http://www.example.com:{server.port}/"
            fetcher = fetcher_for(
                allowed_networks="127.0.0.0/8",
                allowed_ports=str(server.port),
                resolve=lambda _: ["127.0.0.9", "127.0.0.1"],
            )
            assert [read(fetcher.fetch(ask(url))) for _ in range(2)] == [b"second"] * 2
            assert server.connections == 1

    def test_a_name_server_that_never_answers_costs_the_dns_budget_only(self, fetcher_for: Fetch) -> None:
        """Security F6"""
        release = threading.Event()
        started = time.monotonic()
        error = failure(fetcher_for(resolve=lambda _: release.wait(20), dns_timeout=0.3))
        release.set()
        assert (error.code, error.retryable) == ("dns_timeout", True)
        assert time.monotonic() - started < 1.5

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (socket.gaierror(socket.EAI_NONAME, "x"), "dns_not_found"),
            (socket.gaierror(socket.EAI_AGAIN, "x"), "dns_timeout"),
            (UnicodeError("label too long"), "dns_not_found"),
            (OSError("x"), "dns_timeout"),
        ],
    )
    def test_failures_of_the_resolver_are_told_apart(self, fetcher_for: Fetch, error: Exception, code: str) -> None:
        def fail(host: str) -> list[str]:
            raise error

        assert failure(fetcher_for(resolve=fail)).code == code

    def test_a_resolver_that_is_full_says_so(self) -> None:
        """Security F6: the pool is bounded."""
        release = threading.Event()
        resolver = Resolver(resolve=lambda _: [str(release.wait(20))], threads=1)
        try:
            codes = []
            for _ in range(QUEUE_PER_THREAD + 1):
                with pytest.raises(FetchError) as error:
                    resolver.addresses("www.example.com", timeout=0.05, control=Control())
                codes.append(error.value.code)
            assert codes[0] == "dns_timeout"
            assert codes[-1] == "dns_busy"
            assert FETCH_FAILURES["dns_busy"].retryable
        finally:
            release.set()
            resolver.close()

    def test_a_name_without_addresses_is_not_found(self, fetcher_for: Fetch) -> None:
        assert failure(fetcher_for(resolve=lambda _: [])).code == "dns_not_found"

    @pytest.mark.parametrize(
        ("answers", "code"),
        [
            pytest.param(["2606:4700::1"], "connect_refused", id="IPv6 only"),
            pytest.param(["::ffff:93.184.216.34"], "connect_refused", id="IPv4 written as IPv6"),
            pytest.param(["93.184.216.34"] * 5_000, "connect_refused", id="the same one many times"),
            pytest.param(
                [f"93.{n >> 8}.{n & 255}.1" for n in range(4_000)], "connect_refused", id="as many as fit in a message"
            ),
            pytest.param(["::ffff:10.0.0.1"], "blocked_address", id="a private one written as IPv6"),
            pytest.param(
                [f"93.184.{n}.1" for n in range(250)] + ["10.0.0.1"], "blocked_address", id="the last of many"
            ),
            pytest.param(["93.184.216.34", "not an address"], "blocked_address", id="no address"),
            pytest.param(["127.1"], "blocked_address", id="shorthand"),
            pytest.param([""], "blocked_address", id="nothing"),
        ],
    )
    def test_whatever_a_name_server_says(self, fetcher_for: Fetch, answers: list[str], code: str) -> None:
        """Security F6: refused if any one answer is not allowed; at most four are tried."""
        tried: list[str] = []

        def refuse(sock: socket.socket, address: Any) -> None:
            tried.append(address[0])
            raise ConnectionRefusedError

        assert failure(fetcher_for(resolve=lambda _: answers, connect=refuse)).code == code
        assert len(tried) <= (0 if code == "blocked_address" else 4)

    def test_a_name_that_moves_inside_is_refused_once_its_answer_is_old(
        self, fetcher_for: Fetch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Security F6: an answer is believed for a while, then checked like the first; a kept connection is no way around."""
        monkeypatch.setattr(client, "ADDRESS_SECONDS", -1.0)
        answers = iter([["127.0.0.1"], ["127.0.0.1", "10.0.0.1"]])
        with HostileServer(answer(b"first")) as server:
            fetcher = fetcher_for(
                allowed_networks="127.0.0.0/8", allowed_ports=str(server.port), resolve=lambda _: next(answers)
            )
            url = f"http://www.example.com:{server.port}/"
            assert read(fetcher.fetch(ask(url))) == b"first"
            assert failure(fetcher, url).code == "blocked_address"
            assert len(server.heads) == 1

    def test_names_are_looked_up_in_little_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Security F6: glibc would wait five seconds for a packet that got lost, twice; an operator may know better."""
        monkeypatch.delenv("RES_OPTIONS", raising=False)
        Resolver(threads=1).close()
        assert os.environ["RES_OPTIONS"] == "timeout:2 attempts:1"
        monkeypatch.setenv("RES_OPTIONS", "timeout:1")
        Resolver(threads=1).close()
        assert os.environ["RES_OPTIONS"] == "timeout:1"

    def test_the_system_is_asked_for_the_absolute_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[Any] = []

        def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> list[Any]:
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 0))]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        assert system_resolve("search.example.com") == ["93.184.216.34"]
        assert asked == [b"search.example.com."]

    def test_connect_to_needs_no_name_server(self, fetcher_for: Fetch) -> None:
        with HostileServer(answer(b"staged")) as server:
            fetcher = fetcher_for(server, resolve=lambda _: pytest.fail("asked"))
            assert read(fetcher.fetch(ask("http://shop.test/"))) == b"staged"
            assert b"Host: shop.test\r\n" in server.heads[0]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


PAST, FUTURE = datetime(2001, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)


def server_context(authority: trustme.CA, *names: str, **options: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **options).configure_cert(context)
    return context


def self_signed(directory: Path) -> Path:
    """trustme's authority presents itself."""
    authority, path = trustme.CA(), directory / "self.pem"
    authority.private_key_pem.write_to_path(str(path))
    authority.cert_pem.write_to_path(str(path), append=True)
    return path


@pytest.fixture
def roots(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "roots.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


class TestTls:
    URL = "https://www.example.com/"

    def test_the_name_is_what_the_certificate_is_checked_for(
        self, fetcher_for: Fetch, authority: trustme.CA, roots: Path
    ) -> None:
        """Security F6: SNI, certificate and Host keep the name."""
        seen: list[str | None] = []
        context = server_context(authority, "www.example.com")
        context.sni_callback = lambda sock, name, ctx: seen.append(name)
        with HostileServer(answer(b"secure"), tls=context) as server:
            fetcher = fetcher_for(tls=server, ca_file=roots)
            assert [read(fetcher.fetch(ask(self.URL))) for _ in range(2)] == [b"secure"] * 2
            assert (seen, server.connections) == (["www.example.com"], 1)

    def test_a_certificate_for_another_name_is_refused(
        self, fetcher_for: Fetch, authority: trustme.CA, roots: Path
    ) -> None:
        with HostileServer(answer(), tls=server_context(authority, "other.example.com")) as server:
            assert failure(fetcher_for(tls=server, ca_file=roots), self.URL).code == "tls_failed"
        assert server.heads == []

    def test_an_unknown_authority_is_refused_whatever_the_environment_says(
        self, fetcher_for: Fetch, authority: trustme.CA, roots: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Security F10"""
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.setenv(name, str(roots))
        with HostileServer(answer(), tls=server_context(authority, "www.example.com")) as server:
            assert failure(fetcher_for(tls=server), self.URL).code == "tls_failed"
        assert server.heads == []

    @pytest.mark.parametrize(
        ("options", "names", "words"),
        [
            pytest.param({"not_after": PAST}, ["www.example.com"], "expired", id="expired"),
            pytest.param({"not_before": FUTURE}, ["www.example.com"], "not valid yet", id="not valid yet"),
            pytest.param({}, ["other.example.com"], "another name", id="another name"),
            pytest.param({}, ["*.other.example.com", "example.com"], "another name", id="a wildcard for others"),
            pytest.param({}, ["127.0.0.1"], "another name", id="the address, not the name"),
        ],
    )
    def test_what_is_wrong_with_a_certificate_is_said(
        self, fetcher_for: Fetch, authority: trustme.CA, roots: Path, options: Any, names: list[str], words: str
    ) -> None:
        """Security F6, F11: in our own words, for people."""
        with HostileServer(answer(), tls=server_context(authority, *names, **options)) as server:
            error = failure(fetcher_for(tls=server, ca_file=roots), self.URL)
        assert (error.code, error.retryable) == ("tls_failed", False)
        assert words in str(error)
        assert server.heads == []

    def test_a_self_signed_one_is_told_from_an_unknown_authority(
        self, fetcher_for: Fetch, authority: trustme.CA, tmp_path: Path
    ) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self_signed(tmp_path))
        with HostileServer(answer(), tls=context) as server:
            assert "self-signed" in str(failure(fetcher_for(tls=server), self.URL))
        with HostileServer(answer(), tls=server_context(authority, "www.example.com")) as server:
            assert "not trusted" in str(failure(fetcher_for(tls=server), self.URL))

    @pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1 is deprecated")
    def test_tls_1_0_is_too_old(self, fetcher_for: Fetch, authority: trustme.CA, roots: Path) -> None:
        context = server_context(authority, "www.example.com")
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1
        with HostileServer(answer(), tls=context) as server:
            error = failure(fetcher_for(tls=server, ca_file=roots), self.URL)
        assert (error.code, "newer than 1.1" in str(error)) == ("tls_failed", True)

    @pytest.mark.parametrize(
        "payload",
        [
            pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="plain HTTP"),
            pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="another protocol"),
            pytest.param(b"\x16\x03\x03\xff\xff" + b"\x02" * 70_000, id="a record too long"),
            pytest.param(b"\x15\x03\x01\x00\x02\x02\x28", id="an alert"),
            pytest.param(b"\x16\x03\x03\x00\x04\x02\xff\xff\xff", id="a ServerHello without end"),
            pytest.param(b"\0" * 40_000, id="zeros"),
        ],
    )
    def test_what_is_no_handshake_is_a_tls_failure(self, fetcher_for: Fetch, roots: Path, payload: bytes) -> None:
        """Security F11: and what the port said instead is told to no one."""

        def behave(connection: socket.socket, head: bytes) -> None:
            connection.recv(9_999)  # the ClientHello; unread, it would turn our hanging up into a reset
            connection.sendall(payload)

        with HostileServer(behave, reads=False) as server:
            error = failure(fetcher_for(tls=server, ca_file=roots), self.URL)
        assert error.code == "tls_failed"
        assert "SSH" not in str(error)

    def test_a_handshake_broken_off_is_one_too(self, fetcher_for: Fetch, roots: Path) -> None:
        with HostileServer(lambda connection, head: connection.recv(9_999) and None, reads=False) as server:
            assert failure(fetcher_for(tls=server, ca_file=roots), self.URL).code in ("tls_failed", "connect_failed")

    def test_a_handshake_that_drips_ends_at_the_deadline(self, fetcher_for: Fetch, roots: Path) -> None:
        """Security F8: a record of 16 kB, a byte at a time; no single read ever times out."""
        drip = raw(b"\x16\x03\x03\x40\x00", b"\x02", pause=0.05, forever=True)
        with HostileServer(drip, reads=False) as server:
            error = failure(fetcher_for(tls=server, ca_file=roots, request_timeout=0.4), self.URL)
            assert error.code in ("timeout", "connect_timeout")
            assert server.hung_up.wait(2)

    def test_no_keys_are_written_where_the_environment_says(
        self, fetcher_for: Fetch, authority: trustme.CA, roots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Security F10"""
        monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
        with HostileServer(answer(), tls=server_context(authority, "www.example.com")) as server:
            fetcher_for(tls=server, ca_file=roots).fetch(ask(self.URL))
        assert not (tmp_path / "keys").exists()

    def test_a_client_certificate_that_is_asked_for_is_not_sent(
        self, fetcher_for: Fetch, authority: trustme.CA, roots: Path
    ) -> None:
        """Security F10"""
        seen: list[Any] = []

        def behave(connection: ssl.SSLSocket, head: bytes) -> bool:
            seen.append(connection.getpeercert(binary_form=True))
            return bool(answer()(connection, head))

        context = server_context(authority, "www.example.com")
        context.verify_mode = ssl.CERT_OPTIONAL
        authority.configure_trust(context)
        with HostileServer(behave, tls=context) as server:  # type: ignore[arg-type]
            fetcher_for(tls=server, ca_file=roots).fetch(ask(self.URL))
        assert seen == [None]

    def test_a_redirect_may_go_down_to_http(self, fetcher_for: Fetch, authority: trustme.CA, roots: Path) -> None:
        down = answer(b"", status="301 Moved", headers=("Location: http://www.example.com/",))
        context = server_context(authority, "www.example.com")
        with HostileServer(down, tls=context) as secure, HostileServer(answer(b"plain")) as plain:
            response = fetcher_for(plain, tls=secure, ca_file=roots).fetch(ask(self.URL))
            assert (response.url, read(response)) == (HOME, b"plain")

    def test_a_handshake_that_stalls_ends_at_the_deadline(self, fetcher_for: Fetch, roots: Path) -> None:
        """Security F8"""

        def stall(connection: socket.socket, head: bytes) -> None:
            connection.recv(1)  # the ClientHello is never answered
            gone.wait(10)

        gone = threading.Event()
        with HostileServer(stall, reads=False) as server:
            started = time.monotonic()
            error = failure(fetcher_for(tls=server, ca_file=roots, request_timeout=0.4), self.URL)
            gone.set()
        assert error.code in ("timeout", "connect_timeout")
        assert time.monotonic() - started < 1.5


class Entered(LocalLedger):
    """Remembers who asked for what."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[list[str]] = []

    def enter(self, places: Sequence[Place]) -> float:
        self.keys.append([place.key for place in places])
        return super().enter(places)


class TestPoliteness:
    def test_keeps_the_crawl_delay(self, fetcher_for: Fetch) -> None:
        with HostileServer(answer()) as server:
            fetcher = fetcher_for(server, crawl_delay=0.3)
            started = time.monotonic()
            for _ in fetcher.fetch_all([ask()] * 3, concurrency=3):
                pass
            assert time.monotonic() - started >= 0.6

    def test_the_delay_holds_for_the_host_with_and_without_www(self, fetcher_for: Fetch) -> None:
        with HostileServer(answer()) as server:
            fetcher = fetcher_for(server, crawl_delay=20.0)
            for url in (HOME, "http://example.com/", "http://other.example.com/", "http://other.example.com/"):
                fetcher.fetch(ask(url))
            with pytest.raises(Postponed):
                fetcher.fetch(ask("http://example.com/"))

    def test_a_long_pause_is_not_slept_in_the_slot(self, fetcher_for: Fetch) -> None:
        with HostileServer(answer()) as server:
            fetcher = fetcher_for(server)
            fetcher.fetch(ask())
            fetcher.set_crawl_delay(20.0)
            fetcher.fetch(ask())
            with pytest.raises(Postponed) as postponed:
                fetcher.fetch(ask())
            assert 15 < postponed.value.seconds <= 20

    @pytest.mark.parametrize("status", ["429 Too Many", "503 Busy"])
    def test_retry_after_is_heeded_by_all(self, fetcher_for: Fetch, status: str) -> None:
        ledger = LocalLedger()
        with HostileServer(answer(status=status, headers=("Retry-After: 77",))) as server:
            assert fetcher_for(server, ledger=ledger).fetch(ask()).status in (429, 503)
            with pytest.raises(Postponed) as postponed:
                fetcher_for(server, ledger=ledger).fetch(ask())
            assert postponed.value.seconds == pytest.approx(77, abs=2)
            assert len(server.heads) == 1

    def test_a_failing_host_is_left_alone(self, fetcher_for: Fetch) -> None:
        with HostileServer(raw(b"")) as server:
            fetcher = fetcher_for(server)
            for _ in range(FAILURES_TO_TRIP):
                assert failure(fetcher).code == "reset"
            with pytest.raises(Postponed):
                fetcher.fetch(ask())

    def test_a_host_whose_bodies_never_arrive_is_left_alone_too(self, fetcher_for: Fetch) -> None:
        with HostileServer(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")) as server:
            fetcher = fetcher_for(server)
            for _ in range(FAILURES_TO_TRIP):
                assert failure(fetcher).code == "bad_response"
            with pytest.raises(Postponed):
                fetcher.fetch(ask())

    def test_404_is_no_failure_of_the_host(self, fetcher_for: Fetch) -> None:
        with HostileServer(answer(status="404 No")) as server:
            fetcher = fetcher_for(server)
            assert [fetcher.fetch(ask()).status for _ in range(3 * FAILURES_TO_TRIP)] == [404] * 15

    def test_5xx_in_a_row_are(self, fetcher_for: Fetch) -> None:
        with HostileServer(answer(status="500 Oh")) as server:
            fetcher = fetcher_for(server)
            for _ in range(FAILURES_TO_TRIP):
                assert fetcher.fetch(ask()).status == 500
            with pytest.raises(Postponed):
                fetcher.fetch(ask())

    def test_the_place_is_given_back_after_every_outcome(self, fetcher_for: Fetch) -> None:
        ledger = LocalLedger()
        loop = answer(b"", status="302 F", headers=("Location: /",))
        with HostileServer(loop) as server:
            fetcher = fetcher_for(server, ledger=ledger, host_concurrency=1)
            for _ in range(3):
                assert failure(fetcher).code == "too_many_redirects"
            failure(fetcher, "http://www.example.com:22/")
        assert ledger.enter([Place("www.example.com", 1)]) == 0.0

    def test_a_host_that_others_keep_busy_is_not_waited_for_without_end(
        self, fetcher_for: Fetch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client, "MAX_WAIT", 0.2)
        ledger = LocalLedger()
        ledger.enter([Place("www.example.com", 1)])
        with HostileServer(answer()) as server:
            with pytest.raises(Postponed) as postponed:
                fetcher_for(server, ledger=ledger, host_concurrency=1).fetch(ask())
        assert postponed.value.seconds >= 1  # not a queue turning on the spot
        assert server.connections == 0

    def test_names_on_one_address_wait_for_each_other(
        self, fetcher_for: Fetch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client, "MAX_WAIT", 0.2)
        ledger = Entered()
        ledger.enter([Place("@93.184.216.34", 1)])

        def refuse(sock: socket.socket, address: Any) -> None:
            raise ConnectionRefusedError

        def fetcher(*addresses: str) -> SiteFetcher:
            return fetcher_for(resolve=lambda _: addresses, connect=refuse, ledger=ledger, address_concurrency=1)

        for addresses in (["93.184.216.34"], ["93.184.216.99", "93.184.216.34"], ["::ffff:93.184.216.34"]):
            with pytest.raises(Postponed):
                fetcher(*addresses).fetch(ask("http://other.example.com/"))
        assert failure(fetcher("93.184.216.99")).code == "connect_refused"
        assert ledger.keys[-1] == ["www.example.com", "@93.184.216.99"]

    def test_an_address_that_a_rule_names_has_no_page_in_the_ledger(self, fetcher_for: Fetch) -> None:
        """Staging, tests and the demo send every name to one address; nor is loopback a shared host."""
        ledger = Entered()
        with HostileServer(answer()) as server:
            fetcher_for(server, ledger=ledger).fetch(ask())
            fetcher_for(
                allowed_networks="127.0.0.0/8", allowed_ports=str(server.port), resolve=lambda _: ["127.0.0.1"],
                ledger=ledger,
            ).fetch(ask(f"http://www.example.com:{server.port}/"))  # fmt: skip
        assert ledger.keys == [["www.example.com"]] * 2

    @pytest.mark.parametrize("said", ["Wed, 21 Oct 2099 07:28:00 GMT", "Thursday, 21-Oct-60 07:28:00 GMT", "9" * 9])
    def test_however_long_a_host_asks_for_it_is_an_hour_at_most(self, fetcher_for: Fetch, said: str) -> None:
        with HostileServer(answer(status="503 Busy", headers=(f"Retry-After: {said}",))) as server:
            fetcher = fetcher_for(server)
            fetcher.fetch(ask())
            with pytest.raises(Postponed) as postponed:
                fetcher.fetch(ask())
        assert 3_500 < postponed.value.seconds <= 3_600

    @pytest.mark.parametrize("said", ["", "soon", "-5", "0", "1.5", "Wed, 21 Oct 2015 07:28:00 GMT", "1" * 40, "\xb2"])
    def test_a_pause_that_says_nothing_usable_is_none(self, fetcher_for: Fetch, said: str) -> None:
        with HostileServer(answer(status="503 Busy", headers=(f"Retry-After: {said}",))) as server:
            fetcher = fetcher_for(server)
            assert [fetcher.fetch(ask()).status for _ in range(2)] == [503, 503]

    def test_postponed_comes_after_the_others_are_settled(self, fetcher_for: Fetch) -> None:
        ledger = LocalLedger()
        ledger.cool_down("slow.example.com", 60)
        with HostileServer(answer(b"ok")) as server:
            fetcher = fetcher_for(server, ledger=ledger)
            urls = [HOME, "http://slow.example.com/", HOME + "a", HOME + "b"]
            outcomes = fetcher.fetch_all([ask(url) for url in urls], concurrency=4)
            assert read(next(outcomes)) == b"ok"  # type: ignore[arg-type]
            with pytest.raises(Postponed):
                next(outcomes)
        assert ledger.enter([Place("www.example.com", 1)]) == 0.0


class TestAbort:
    def test_a_cancel_ends_a_request_in_flight_within_a_second(self, fetcher_for: Fetch) -> None:
        control = Control()
        with HostileServer(raw(b"HTTP/1.1 200 OK\r\n\r\n", b"x", pause=0.05, forever=True)) as server:
            fetcher = fetcher_for(server, control=control, request_timeout=20.0)
            timer = threading.Timer(0.2, control.abort, ("cancelled by the user",))
            timer.start()
            started = time.monotonic()
            with pytest.raises(Aborted, match="cancelled by the user"):
                list(fetcher.fetch_all([ask()] * 3, concurrency=3))
            assert time.monotonic() - started < 1.2
            timer.join()

    def test_a_cancel_ends_a_connection_attempt(self, fetcher_for: Fetch) -> None:
        control = Control()
        with socket.socket() as full:  # a listener whose queue is full lets a connect hang
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            port = full.getsockname()[1]
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            fetcher = fetcher_for(
                connect_to=f"*:80:127.0.0.1:{port}", control=control, request_timeout=20.0, connect_timeout=20.0
            )
            timer = threading.Timer(0.2, control.abort, ("lease lost",))
            timer.start()
            started = time.monotonic()
            with pytest.raises(Aborted):
                fetcher.fetch(ask())
            assert time.monotonic() - started < 1.2
            timer.join()
            for filler in fillers:
                filler.close()

    def test_a_cancel_ends_a_polite_pause(self, fetcher_for: Fetch) -> None:
        control = Control()
        with HostileServer(answer()) as server:
            fetcher = fetcher_for(server, control=control, crawl_delay=4.5)
            fetcher.fetch(ask())
            timer = threading.Timer(0.1, control.abort, ("cancelled",))
            timer.start()
            started = time.monotonic()
            with pytest.raises(Aborted):
                fetcher.fetch(ask())
            assert time.monotonic() - started < 1.0
            timer.join()

    def test_a_cancel_ends_waiting_for_a_name(self, fetcher_for: Fetch) -> None:
        control, release = Control(), threading.Event()
        fetcher = fetcher_for(control=control, resolve=lambda _: release.wait(20), dns_timeout=20, request_timeout=20)
        timer = threading.Timer(0.1, control.abort, ("cancelled",))
        timer.start()
        started = time.monotonic()
        with pytest.raises(Aborted):
            fetcher.fetch(ask())
        assert time.monotonic() - started < 1.0
        release.set()
        timer.join()

    def test_nothing_is_sent_after_an_abort(self, fetcher_for: Fetch) -> None:
        control = Control()
        control.abort("shutting down")
        with HostileServer(answer()) as server:
            with pytest.raises(Aborted):
                fetcher_for(server, control=control).fetch(ask())
        assert server.connections == 0

    def test_work_past_its_own_deadline_is_aborted(self, fetcher_for: Fetch) -> None:
        control = Control(deadline=time.monotonic() + 0.3)
        with HostileServer(raw(b"HTTP/1.1 200 OK\r\n\r\n", b"x", pause=0.05, forever=True)) as server:
            started = time.monotonic()
            with pytest.raises(Aborted):
                fetcher_for(server, control=control, request_timeout=20.0).fetch(ask())
            assert time.monotonic() - started < 1.2


class TestPost:
    def deliver(self, fetcher: SiteFetcher, url: str = HOME) -> client.Posted:
        return fetcher._transport.post(
            url, body=b'{"a":1}', headers={"Content-Type": "application/json"}, control=Control(), timeout=1.0
        )

    def test_sends_body_and_headers_and_learns_the_status_only(self, fetcher_for: Fetch) -> None:
        with HostileServer(answer(b"secret banner", status="202 Accepted")) as server:
            assert self.deliver(fetcher_for(server)) == client.Posted(202, None)
            assert server.heads[0].startswith(b"POST / HTTP/1.1\r\n")
            assert b"Content-Type: application/json\r\n" in server.heads[0]
            assert b"Content-Length: 7\r\n" in server.heads[0]

    def test_follows_no_redirect_and_reads_no_body(self, fetcher_for: Fetch) -> None:
        """Security F7, A7"""
        drip = raw(b"HTTP/1.1 302 F\r\nLocation: http://127.0.0.1/\r\n\r\n", b"x" * 1000, forever=True)
        with HostileServer(drip) as server:
            assert self.deliver(fetcher_for(server)).status == 302
            assert server.connections == 1

    def test_the_same_guard_stands_at_the_door(self, fetcher_for: Fetch) -> None:
        """Security F1: webhooks go through it too."""
        fetcher = fetcher_for(resolve=lambda _: ["127.0.0.1"])
        for url in ("http://169.254.169.254/", HOME):
            with pytest.raises(FetchError) as error:
                self.deliver(fetcher, url)
            assert error.value.code == "blocked_address"
