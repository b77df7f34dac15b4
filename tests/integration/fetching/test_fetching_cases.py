"""The hostile cases handed to the project, run against the real fetcher. Absent: they skip."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

from app.errors import FetchError
from app.fetching.client import SiteFetcher
from app.scanning.values import MIB, Response
from tests.conformance_fetcher import ask
from tests.hostile import Behaviour, HostileServer, answer, path_of, raw

Fetch = Callable[..., SiteFetcher]
CASES = Path(__file__).resolve().parents[4] / "shared" / "cases" / "adversarial.json"
PUBLIC = ["93.184.216.34"]
CAP = 2 * MIB

# What our catalogue calls the outcomes that the cases name.
OUTCOMES = {
    "bad_encoding": {"bad_encoding"},
    "bad_redirect": {"bad_redirect"},
    "protocol_error": {"bad_response", "headers_too_large", "reset"},
    "connection_reset": {"reset"},
    "tls_error": {"tls_failed"},
}
# Not the fetcher's to show: these have tests of their own beside it.
ELSEWHERE = {
    "BODY-007": "zstd is supported here: test_allowed_codings_are_undone",
    "BODY-034": "a part that came is handed over as truncated: TestBodies",
    "BODY-038": "a part that came is handed over as truncated: TestBodies",
    "BODY-045": "TestTls.test_a_certificate_for_another_name_is_refused",
    "BODY-047": "TestConnections.test_says_who_it_is_and_carries_nothing_else",
    "BODY-048": "TestConnections.test_says_who_it_is_and_carries_nothing_else",
    "BODY-049": "TestTls.test_an_unknown_authority_is_refused_whatever_the_environment_says",
    "DNS-007": "TestNames.test_a_peer_that_is_not_the_pinned_address_gets_no_byte",
    "DNS-009": "TestNames.test_a_name_server_that_never_answers_costs_the_dns_budget_only",
    "DNS-014": "TestNames.test_the_system_is_asked_for_the_absolute_name",
    "DNS-015": "TestConnections.test_hosts_never_share_a_connection",
    "RED-030": "TestConnections.test_says_who_it_is_and_carries_nothing_else",
    "RED-031": "TestPost.test_follows_no_redirect_and_reads_no_body",
    "RED-032": "TestRedirects.test_a_refresh_header_is_not_followed",
}


def cases(area: str) -> list[Any]:
    if not CASES.exists():
        return [pytest.param(None, marks=pytest.mark.skip(reason="the cases (../shared/cases) are not here"))]
    return [
        pytest.param(case, id=case["id"])
        for case in json.loads(CASES.read_text())
        if case["area"] == area and case["id"] not in ELSEWHERE
    ]


def outcome(fetcher: SiteFetcher, url: str) -> Response | FetchError:
    try:
        return fetcher.fetch(ask(url, max_bytes=CAP))
    except FetchError as error:
        return error


def check(case: Any, result: Response | FetchError) -> None:
    if case["verdict"] == "allowed":
        assert isinstance(result, Response)
        assert not result.truncated
    elif case["verdict"] == "blocked":
        assert isinstance(result, FetchError)
        assert result.code in ("blocked_address", "blocked_url", "bad_redirect")
    elif case["verdict"] == "rejected":
        assert isinstance(result, FetchError)
        assert result.code in OUTCOMES[case["outcome"]]
    elif isinstance(result, Response):
        assert result.body.size <= CAP


@pytest.mark.parametrize("case", cases("dns"))
def test_names(fetcher_for: Fetch, case: Any) -> None:
    tried: list[str] = []

    def connect(sock: socket.socket, address: Any) -> None:
        tried.append(address[0])
        raise ConnectionRefusedError

    check(case, outcome(fetcher_for(resolve=case["resolver"].__getitem__, connect=connect), case["input"]))
    assert len(tried) <= (0 if case["verdict"] == "blocked" else 4)


def redirecting(case: Any) -> Behaviour:
    location = case["input"]["location"]

    def behave(connection: socket.socket, head: bytes) -> bool:
        target = location.encode()
        if case["id"] == "RED-024":
            target = b"/caf\xe9"
        elif case["id"] == "RED-029":
            target = b"%s+1" % path_of(head).encode()
        elif path_of(head) != "/dir/page":
            return bool(answer()(connection, head))
        connection.sendall(b"HTTP/1.1 302 F\r\nContent-Length: 0\r\nLocation: " + target + b"\r\n\r\n")
        return True

    return behave


@pytest.mark.parametrize("case", cases("redirect"))
def test_redirects(fetcher_for: Fetch, case: Any) -> None:
    with HostileServer(redirecting(case)) as server:
        result = outcome(fetcher_for(server), case["input"]["base"])
    if case["id"] == "RED-020":  # the same document: it sends us in a circle, and each turn counts as a hop
        assert isinstance(result, FetchError)
        assert result.code == "too_many_redirects"
        return
    check(case, result)
    assert len(server.heads) <= (1 if case["verdict"] == "blocked" else 6)


def transporting(case: Any) -> Behaviour:
    if "gen" not in case["input"]:
        return answer()
    namespace: dict[str, Any] = {}
    exec(case["input"]["gen"], namespace)
    if "serve" in namespace:
        return namespace["serve"]  # type: ignore[no-any-return]
    headers = "".join(f"{line}\r\n" for line in case["input"]["headers"])
    body = namespace["body"]()
    head = f"HTTP/1.1 {case['input']['status']} X\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return raw(head.encode() + body)


@pytest.mark.parametrize("case", cases("transport"))
def test_transport(fetcher_for: Fetch, case: Any) -> None:
    stalls = case["id"] == "BODY-019"
    behave: Behaviour = (lambda connection, head: connection.recv(9_999) and None) if stalls else transporting(case)
    tls = None
    if case["id"] == "BODY-044":
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("www.example.com").configure_cert(tls)
    with HostileServer(behave, tls=tls, reads=not stalls) as server, suppress(BrokenPipeError):
        https = stalls or tls is not None
        fetcher = fetcher_for(**({"tls": server} if https else {"server": server}), request_timeout=1.0)
        started = time.monotonic()
        result = outcome(fetcher, f"http{'s' * https}://www.example.com/")
        took = time.monotonic() - started
    check(case, result)
    assert took < 2.5
    assert fetcher.stats.wire_bytes < CAP + 2 * MIB
