"""The whole stack as a user runs it: `manage.py up` in a process of its own, spoken to over REST."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parents[1]
PASSWORD = "an administrator's password"
ENDED = {"complete", "partial", "failed", "cancelled"}


def until(found: Callable[[], Any], *, seconds: float, what: str) -> Any:
    """Wait until `found()` is true and answer it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


class Stack:
    """A running `manage.py up`, signed in as its administrator."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, url: str) -> None:
        self.process = process
        self.log = log
        self.url = url
        self._session = requests.Session()
        answer = self.call("POST", "/auth/login", json={"email": "admin@example.com", "password": PASSWORD})
        self._session.headers["Authorization"] = f"Bearer {answer['access_token']}"

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

        return until(look, seconds=seconds, what=f"the batch ends\n{self.said()[-3000:]}")

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def workers(self) -> list[int]:
        """Pids of the worker processes."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _is_worker_of(int(entry.name), self.process.pid):
                found.append(int(entry.name))
        return sorted(found)


@contextmanager
def running(directory: Path, **environment: str) -> Iterator[Stack]:
    """Start the stack in `directory`, stop it in the end; nothing may be left running."""
    log = directory / "up.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "up"],
            cwd=ROOT,
            env={**_clean(os.environ), **_defaults(directory), **environment},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Stack(process, log, until(lambda: _ready(process, log), seconds=90, what="the stack is ready"))
    finally:
        children = descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(timeout=60)
        finally:
            process.kill()
    assert code == 0, log.read_text(errors="replace")[-3000:]
    assert not [pid for pid in children if _alive(pid)]


def descendants(pid: int) -> list[int]:
    found: list[int] = []
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            some = [int(word) for word in children.read_text().split()]
            found += some
            waiting += some
    return found


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
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        parent = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except (OSError, ValueError, IndexError):
        return False
    return b"workers.process" in command and parent == supervisor


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
