"""The embedded broker: Valkey on loopback with a password, its log of writes on disk."""

from __future__ import annotations

import re
import signal
import socket
from pathlib import Path

from app.stack.binaries import valkey_program
from app.stack.process import Step
from app.stack.secrets import Secrets
from app.stack.server import LOOPBACK, Server

CONFIGURATION = """\
bind {host}
port {port}
requirepass {password}
dir ./
pidfile {pid_file}
save ""
appendonly yes
appendfsync {fsync}
maxmemory-policy noeviction
"""


class Valkey(Server):
    name = "valkey"
    pid_file = "valkey.pid"
    steps = (Step(signal.SIGTERM, 10.0),)
    passing = re.compile(rb"\b\B")  # none: it takes no lock and no shared memory

    def __init__(self, data_dir: Path, secrets: Secrets, *, durable: bool = True) -> None:
        super().__init__(data_dir)
        self._program = valkey_program(self.account)
        self._password = secrets.valkey_password
        self._fsync = "everysec" if durable else "no"

    def url(self) -> str:
        return f"redis://:{self._password}@{LOOPBACK}:{self.port}/0"

    def prepare(self) -> None:
        if not self.data.exists():
            self.make_data(self.data)

    def argv(self) -> list[str]:
        return [str(self._program), "-"]

    def configuration(self) -> str:
        return CONFIGURATION.format(
            host=LOOPBACK,
            port=self.port,
            password=self._password,
            pid_file=self.pid_file,
            fsync=self._fsync,
        )

    def answers(self) -> bool:
        """False too while it is still reading its log of writes (`-LOADING`)."""
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1.0) as connection:
                connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                with connection.makefile("rb") as answer:
                    return [answer.readline(), answer.readline()] == [b"+OK\r\n", b"+PONG\r\n"]
        except OSError:
            return False
