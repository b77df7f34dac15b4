"""What the embedded servers have in common: a home, a remembered port, start, revival and end."""

from __future__ import annotations

import logging
import os
import re
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from app.errors import StackError
from app.stack.process import (
    POLL_SECONDS,
    Program,
    Step,
    end,
    end_orphan,
    input_of,
    launch,
    open_log,
    service_account,
)
from app.stack.secrets import make_private, write_private

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
PORT_TAKEN = re.compile(rb"address already in use", re.IGNORECASE)
RETRY_SECONDS = 10.0
READY_SECONDS = 120.0  # replaying a long log after a crash is work, not a hang
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}  # nothing of ours: PGOPTIONS would reach the server
LONG_LIFE = 30.0
MAX_PAUSE = 10.0


class Server(ABC):
    """One embedded server on loopback. Not for several threads at once.

    Its home is `data_dir/NAME`: `data/` belongs to the account it runs as, all else to us. Above `data/`
    there may be directories closed to that account (a data directory under `/root`). So, when it is not
    ourselves, its working directory is set before the change of account, and it names its directory by
    way of `/proc/self/cwd`, which needs no permission on the directories above.
    """

    name: ClassVar[str]
    pid_file: ClassVar[str]
    steps: ClassVar[tuple[Step, ...]]
    passing: ClassVar[re.Pattern[bytes]]  # what its log says of troubles that pass by themselves

    def __init__(self, data_dir: Path) -> None:
        self.home = data_dir / self.name
        self.data = self.home / "data"
        self.log = data_dir / "logs" / f"{self.name}.log"
        self.account = service_account(self.data)
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._launched = 0.0
        self._pause = 0.1
        self._not_before: float | None = None

    @abstractmethod
    def prepare(self) -> None:
        """Whatever must be on disk before a launch; nothing else works on the data meanwhile."""

    @abstractmethod
    def argv(self) -> list[str]: ...

    @abstractmethod
    def answers(self) -> bool:
        """Whether the process just launched serves."""

    def configuration(self) -> str:
        """What the server reads from its standard input: it stands in no file and no process list."""
        return ""

    def start(self) -> None:
        """Start, and wait until it serves.

        :raises StackError: with the last line of its log
        """
        make_private(self.home)
        end_orphan(self.data / self.pid_file, self.data, self.steps)
        self.prepare()
        self.port = self._remembered_port() or free_port()
        give_up = time.monotonic() + RETRY_SECONDS
        while not self._serves():
            said = self._said()
            if PORT_TAKEN.search(said):
                self.port = free_port()
            elif not self.passing.search(said):
                raise StackError(f"{self.name} did not start: {_last_line(said)} ({self.log})")
            if time.monotonic() > give_up:
                raise StackError(f"{self.name} still did not start: {_last_line(said)} ({self.log})")
            time.sleep(0.05)
        write_private(self.home / "port", f"{self.port}\n")

    def revive(self) -> float | None:
        """Launch it again if it died; does not wait for it. Keeps its port, which others were told.

        Returns the seconds after which to ask again, None while it lives.
        """
        if self._process is None or self._process.poll() is None:
            return None
        now = time.monotonic()
        if self._not_before is None:
            self._pause = 0.1 if now - self._launched > LONG_LIFE else min(self._pause * 2, MAX_PAUSE)
            self._not_before = now + self._pause
            log.warning("%s died (%d); again in %.1f s", self.name, self._process.returncode, self._pause)
        if now < self._not_before:
            return self._not_before - now
        self._not_before = None
        end_orphan(self.data / self.pid_file, self.data, self.steps)
        self._launch()
        return None

    def stop(self) -> None:
        if self._process is not None:
            end(self._process, self.steps)
            self._process = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def _serves(self) -> bool:
        process = self._launch()
        deadline = time.monotonic() + READY_SECONDS
        while process.poll() is None:
            if self.answers():
                return True
            if time.monotonic() > deadline:
                self.stop()
                raise StackError(f"{self.name} runs but does not answer ({self.log})")
            time.sleep(POLL_SECONDS)
        return False

    def _launch(self) -> subprocess.Popen[bytes]:
        self._launched = time.monotonic()
        with open_log(self.log) as output, input_of(self.configuration(), self.account) as stdin:
            self._log_start = os.fstat(output.fileno()).st_size
            self._process = launch(
                Program(
                    name=self.name,
                    argv=self.argv(),
                    cwd=self.data,
                    env=ENVIRONMENT,
                    account=self.account,
                    stdin=stdin,
                    output=output,
                    death_signal=self.steps[0].signal,
                )
            )
        return self._process

    def as_told(self, directory: Path) -> str:
        """The name of its working directory as the server is told it."""
        return str(directory) if self.account is None else "/proc/self/cwd"

    def make_data(self, directory: Path) -> None:
        directory.mkdir(mode=0o700)
        if self.account is not None:
            os.chown(directory, *self.account)

    def _remembered_port(self) -> int | None:
        try:
            return int((self.home / "port").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None

    def _said(self) -> bytes:
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            return file.read()


def free_port() -> int:
    """A port free at this moment; who uses it must be ready to lose the race for it."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        port: int = listener.getsockname()[1]
        return port


def _last_line(said: bytes) -> str:
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
