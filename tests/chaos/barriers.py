"""The test's side of the named points: who arrived, and what each is to do next.

A point is armed by a file of its name, so an unarmed one costs the program a look at a directory. An arrival blocks
its thread until it is let go, given an order, or killed with its process.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.running import PATIENCE

SOCKET = "barriers.sock"
REFUSED = "refused"  # transactions that the fence turned away: pid, job, token


class Arrival:
    """A process that stands at a point."""

    def __init__(self, line: socket.socket, told: dict) -> None:
        self._line = line
        self.point: str = told["point"]
        self.pid: int = told["pid"]
        self.job: str | None = told["job"]

    def order(self, word: str = "go") -> None:
        with suppress(OSError):  # it was killed
            self._line.sendall(word.encode() + b"\n")
        self._line.close()

    def kill(self) -> None:
        with suppress(ProcessLookupError):  # another thread of it arrived too, and was seen first
            os.kill(self.pid, signal.SIGKILL)
        self._line.close()


class Barriers:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()  # nobody is put among the waiting after they were let go
        self._arrivals: queue.Queue[Arrival] = queue.Queue()
        self._answers: dict[str, Callable[[Arrival], str]] = {}
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(directory / SOCKET))
        self._listener.listen(256)
        threading.Thread(target=self._accept, daemon=True).start()

    @contextmanager
    def armed(self, point: str, *, by: str = "workers.process") -> Iterator[None]:
        """What reaches `point` waits, if its command line holds `by`. At the end all that still wait are let go."""
        file = self.directory / point
        file.write_text(by)
        try:
            yield
        finally:
            with self._lock:
                file.unlink()
                self._let_all_go()

    @contextmanager
    def answering(self, point: str, answer: Callable[[Arrival], str]) -> Iterator[None]:
        """Who reaches `point` is told at once what `answer` says."""
        self._answers[point] = answer
        file = self.directory / point
        file.write_text("")
        try:
            yield
        finally:
            file.unlink()
            del self._answers[point]

    def wait(self, *, seconds: float = PATIENCE) -> Arrival:
        try:
            return self._arrivals.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"nobody came to a barrier within {seconds} s") from None

    def _let_all_go(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._arrivals.get_nowait().order()

    def arrived(self) -> Arrival | None:
        """Somebody who stands at a barrier now."""
        with suppress(queue.Empty):
            return self._arrivals.get_nowait()
        return None

    def refused(self) -> set[tuple[int, str]]:
        """(pid, job) of transactions that were turned away, for their token was not the job's any more."""
        try:
            lines = (self.directory / REFUSED).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return set()
        return {(int(pid), job) for pid, job, _ in map(str.split, lines)}

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._hear, args=(line,), daemon=True).start()

    def _hear(self, line: socket.socket) -> None:
        told = line.makefile().readline()
        if told:
            arrival = Arrival(line, json.loads(told))
            answer = self._answers.get(arrival.point)
            if answer is not None:
                arrival.order(answer(arrival))
                return
            with self._lock:
                if self._is_wanted(arrival):
                    self._arrivals.put(arrival)
                else:  # somebody else, or in the moment the point was disarmed
                    arrival.order()

    def _is_wanted(self, arrival: Arrival) -> bool:
        with suppress(OSError):
            by = (self.directory / arrival.point).read_bytes()
            return by in Path(f"/proc/{arrival.pid}/cmdline").read_bytes()
        return False
