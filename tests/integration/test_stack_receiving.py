"""Clients who hold on to the API's threads: with all of them at it, others are still answered."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from app.cli.parts import Parts
from app.settings import Settings
from app.stack.server import free_port

ROOT = Path(__file__).resolve().parents[2]
THREADS = 2
CROWD = 6
PLACES = 20
LARGE = 32 << 20

CONFIGURATION = """
from app.stack import receiving
receiving.REQUEST_SECONDS = receiving.ANSWER_SECONDS = 0.5
receiving.FIRST_BYTE_SECONDS = 600
receiving.LINGER_SECONDS = 0.1
receiving.LEAST_RATE = 64 << 20
"""
APPLICATION = f"""
def breaking():
    yield b"first\\n"
    raise PermissionError

def app(environ, start):
    if environ["PATH_INFO"] == "/breaks":
        start("200 OK", [("Content-Type", "text/plain")])
        return breaking()
    body = environ["wsgi.input"].read()
    answer = bytes({LARGE}) if environ["PATH_INFO"] == "/large" else b"%d" % len(body)
    start("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]
"""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    directory, number = tmp_path_factory.mktemp("api"), free_port()
    (directory / "conf.py").write_text(CONFIGURATION)
    (directory / "tiny.py").write_text(APPLICATION)
    program = [sys.executable, "-m", "gunicorn", "tiny:app", "--config", str(directory / "conf.py")]
    ours = [
        option
        for option in Parts(Settings(_env_file=None), {}).gunicorn()
        if "worker-class" in option or "limit" in option
    ]  # type: ignore[call-arg]
    options = [f"--bind=127.0.0.1:{number}", *ours, f"--threads={THREADS}", f"--worker-connections={PLACES}"]
    quiet = ["--no-control-socket", "--log-level=warning", f"--pythonpath={ROOT},{directory}", "--timeout=120"]
    process = subprocess.Popen([*program, *options, *quiet], cwd=ROOT)
    try:
        _await(number)
        yield number
    finally:
        process.terminate()
        process.wait(30)


def _await(port: int) -> None:
    for _ in range(600):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=30):
            return
        threading.Event().wait(0.1)
    raise AssertionError("gunicorn did not start")


def ask(port: int, body: bytes | None = None) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", body, timeout=60) as answer:
        return bytes(answer.read())


GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
BEGINNINGS = {
    "half a head": b"GET / HTTP/1.1\r\nX: ",
    "half a body": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\nhalf",
    "chunks": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
    "never hangs up": GET,
    "takes no answer": b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS.keys())
def test_a_crowd_that_waits_holds_no_one_up(port: int, beginning: bytes) -> None:
    crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(CROWD)]
    try:
        for one in crowd:
            one.sendall(beginning)
        assert ask(port) == b"0"
        for one in crowd:
            assert _is_let_go(one)
    finally:
        for one in crowd:
            one.close()


def test_those_who_say_nothing_make_room_for_those_who_do(port: int) -> None:
    """More of them than there are places for connections, and long before their time is over."""
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(2 * PLACES)]
    try:
        assert [ask(port) for _ in range(3)] == [b"0"] * 3
        assert all(_is_let_go(one) for one in silent[:PLACES])
    finally:
        for one in silent:
            one.close()


def _is_let_go(client: socket.socket) -> bool:
    """The server ends it by itself; the test's own time-out is far away."""
    client.settimeout(60)
    with suppress(ConnectionError):
        while client.recv(1 << 20):
            pass
    return True


@pytest.mark.parametrize("drop", [b"x", b"1\r\nx\r\n"], ids=["head or body", "chunks"])
@pytest.mark.parametrize("beginning", ["half a head", "half a body", "chunks"])
def test_nor_does_one_that_drips(port: int, beginning: str, drop: bytes) -> None:
    over = threading.Event()
    crowd = [threading.Thread(target=_drip, args=(port, BEGINNINGS[beginning], drop, over)) for _ in range(CROWD)]
    for one in crowd:
        one.start()
    assert ask(port) == b"0"
    for one in crowd:
        one.join(60)  # each is thrown out in the midst of it
        assert not one.is_alive()
    over.set()


def _drip(port: int, beginning: bytes, drop: bytes, over: threading.Event) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client, suppress(OSError):
        client.sendall(beginning)
        while not over.wait(0.05):
            client.sendall(drop)


@pytest.mark.parametrize("size", [0, 1, 100_000, 8 << 20])
def test_a_request_of_any_size_comes_through(port: int, size: int) -> None:
    assert ask(port, bytes(size)) == b"%d" % size


def test_one_connection_serves_several_requests(port: int) -> None:
    """Each has its time anew."""
    keep: Callable[[bytes], bytes] = lambda body: (  # noqa: E731
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        for text in (b"a", b"bc", b"def"):
            client.sendall(keep(text))
            answer = b""
            while not answer.endswith(b"\r\n\r\n%d" % len(text)):
                answer += client.recv(4096) or b"closed\r\n\r\n"
                assert b"closed" not in answer


@pytest.mark.parametrize(
    ("request_head", "status", "code"),
    [
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "uri_too_long"),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * 9000 + b"\r\n\r\n",
            431,
            "request_header_fields_too_large",
        ),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(200)) + b"\r\n",
            431,
            "request_header_fields_too_large",
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: 1\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n", 400, "bad_request"),
        (b"nonsense\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", 400, "bad_request"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: odd\r\n\r\n", 501, "not_implemented"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "bad_request"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400, "bad_request"),
    ],
    ids=["line", "field", "fields", "name", "folded", "nonsense", "version", "coding", "smuggling", "length"],
)
def test_what_is_refused_before_the_application_sees_it_is_told_as_a_problem(
    port: int, request_head: bytes, status: int, code: str
) -> None:
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        client.sendall(request_head)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    told = json.loads(body)
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"Content-Type: application/problem+json" in head
    assert (told["status"], told["code"], bool(told["detail"])) == (status, code, True)
    assert told["request_id"].encode() in head


def test_an_answer_that_breaks_off_is_no_whole_one(port: int) -> None:
    """A client that was let in, and is no longer while the answer is under way, knows that it has a part only."""
    for _ in range(2 * THREADS):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/breaks", timeout=60) as answer:
            with pytest.raises(http.client.IncompleteRead) as caught:
                answer.read()
        assert caught.value.partial == b"first\n"
    assert ask(port) == b"0"
