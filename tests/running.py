"""The whole stack as a user runs it: `manage.py up` in a process of its own, spoken to over REST."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parents[1]
PASSWORD = "an administrator's password"
ADMINISTRATOR = {"email": "admin@example.com", "password": PASSWORD}
ENDED = {"complete", "partial", "failed", "cancelled"}
# What a slow and busy machine may take to anything that is awaited. It is no bar: how long things take is measured
# elsewhere, and a wait that is cut short tells of the machine.
PATIENCE = 240.0


def until(found: Callable[[], Any], *, seconds: float = PATIENCE, what: str | Callable[[], str]) -> Any:
    """Wait until `found()` is true and answer it. `what` may be told when it is too late."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what if isinstance(what, str) else what()}")


class Stack:
    """A running `manage.py up`, signed in as its administrator."""

    def __init__(self, start: Callable[[], subprocess.Popen[bytes]], log: Path) -> None:
        self._start = start
        self.log = log
        self.process = start()
        self.url = ""
        self._get_ready()
        self.token = ""
        self._session = requests.Session()
        self.sign_in()

    def restart(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the platform, or have it ended, and start it again on the same data."""
        children = descendants(self.process.pid)
        self.process.send_signal(number)
        code = self.process.wait(timeout=PATIENCE)
        assert code == (0 if number == signal.SIGTERM else -number), self.said()[-3000:]
        until(lambda: not any(map(is_alive, children)), what="nothing of it is left")
        self.process = self._start()
        self._get_ready()
        self.sign_in()

    def _get_ready(self) -> None:
        try:
            self.url = until(lambda: _ready(self.process, self.log), what="the stack is ready")
        except AssertionError:
            self.process.kill()
            raise

    def sign_in(self) -> None:
        """Anew, too: a token does not live as long as some tests."""
        answer = self.call("POST", "/auth/login", json=ADMINISTRATOR)
        self.token = answer["access_token"]
        self._session.headers["Authorization"] = f"Bearer {self.token}"

    def call(self, method: str, path: str, **options: Any) -> Any:
        answer = self._session.request(method, f"{self.url}/api/v2{path}", timeout=300, **options)
        assert answer.ok, (method, path, answer.status_code, answer.text[:2000])
        return answer.json()

    def items(self, path: str, **params: Any) -> Iterator[Any]:
        """Every item of a list, page after page."""
        cursor = None
        while True:
            page = self.call("GET", path, params={"limit": 1000, "cursor": cursor, **params})
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def submit(self, domains: list[str], **body: Any) -> str:
        return str(self.call("POST", "/batches", json={"domains": domains, **body})["id"])

    def ended(self, batch_id: str, *, seconds: float) -> Any:
        """The batch once it has ended; its counts are checked against its total on the way."""

        def look() -> Any:
            batch = self.call("GET", f"/batches/{batch_id}")
            counts = dict(batch["counts"])
            assert counts.pop("total") == sum(counts.values()), batch
            return batch if batch["status"] in ENDED else None

        return until(look, seconds=seconds, what=lambda: f"the batch ends\n{self.said()[-3000:]}")

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def workers(self) -> list[int]:
        """Pids of the worker processes."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _is_worker_of(int(entry.name), self.process.pid):
                found.append(int(entry.name))
        return sorted(found)

    def api_processes(self) -> list[int]:
        """Pids of the processes that answer requests; their parent, gunicorn's arbiter, starts them again."""
        arbiters = [pid for pid in descendants(self.process.pid) if b"gunicorn" in _command(pid)]
        return [pid for pid in arbiters if _parent(pid) in arbiters]

    @contextmanager
    def beside(self, command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """One more part of the platform, until the block ends."""
        kept = Path(f"/proc/{self.process.pid}/environ").read_bytes().decode().split("\0")
        inherited = dict(pair.split("=", 1) for pair in kept if "=" in pair)
        with self.log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "manage.py", command],
                cwd=ROOT,
                env={**inherited, **environment},
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE)


@contextmanager
def running(directory: Path, **environment: str) -> Iterator[Stack]:
    """Start the stack in `directory`, stop it in the end; nothing may be left running."""
    log = directory / "up.log"

    def start() -> subprocess.Popen[bytes]:
        with log.open("wb") as out:
            return subprocess.Popen(
                [sys.executable, "manage.py", "up"],
                cwd=ROOT,
                env={**_clean(os.environ), **_defaults(directory), **environment},
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    stack = Stack(start, log)
    try:
        yield stack
    finally:
        children = descendants(stack.process.pid)
        stack.process.send_signal(signal.SIGTERM)
        try:
            code = stack.process.wait(timeout=PATIENCE)
        finally:
            stack.process.kill()
    assert code == 0, log.read_text(errors="replace")[-3000:]
    assert not [pid for pid in children if is_alive(pid)]


def descendants(pid: int) -> list[int]:
    found: list[int] = []
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        for thread in _threads(parent):
            with suppress(OSError):  # it ended while we looked
                some = [int(word) for word in (thread / "children").read_text().split()]
                found += some
                waiting += some
    return found


def _threads(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:  # it has ended
        return []


def _ready(process: subprocess.Popen[bytes], log: Path) -> str | None:
    said = log.read_text(errors="replace")
    assert process.poll() is None, said[-3000:]
    return next((line.split()[1] for line in said.splitlines() if line.startswith("ready http")), None)


def _clean(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith("SCRAPERSKY_")}


def _defaults(directory: Path) -> dict[str, str]:
    return {
        "SCRAPERSKY_DATA_DIR": str(directory / "var"),
        "SCRAPERSKY_PORT": "0",
        "SCRAPERSKY_FLOWER_PORT": "0",
        "SCRAPERSKY_ADMIN_PASSWORD": PASSWORD,
    }


def _is_worker_of(pid: int, supervisor: int) -> bool:
    return b"workers.process" in _command(pid).split(b"\0") and _parent(pid) == supervisor


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except (OSError, ValueError, IndexError):
        return None


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
