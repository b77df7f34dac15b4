"""The embedded PostgreSQL 18: made, started and ended without a shell script, root or not.

Only loopback TCP with SCRAM; no Unix socket. Roles, passwords and the database are set in single-user
mode, before the server ever listens. A cluster is made aside and renamed when whole, so a kill at any
moment leaves either none or a complete one.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import signal
from pathlib import Path
from typing import Literal

from app.errors import StackError
from app.stack.binaries import postgres_programs
from app.stack.process import LINUX, Program, Step, input_of, run
from app.stack.secrets import Secrets, write_private
from app.stack.server import ENVIRONMENT, LOOPBACK, Server

DATABASE = "scrapersky"
MAJOR = "18"
Role = Literal["owner", "app", "system"]
ROLES: tuple[Role, ...] = ("owner", "app", "system")

SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "8MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "2GB",
    "random_page_cost": "1.1",
    # Containers give /dev/shm 64 MB, too little for parallel workers; this load is many short statements.
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}
# For tests: survives a kill of the server, not of the machine. Commits stay synchronous, for an
# asynchronous one is lost with the server's memory.
FLEETING = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "8GB"}
INITDB = (
    *("--username=postgres", "--auth=scram-sha-256", "--pwfile=/dev/stdin", "--no-sync"),
    *("--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8", "--no-instructions"),
)
SYNC = ("--sync-method=syncfs",) if LINUX else ()  # 0.03 s, not 0.18

# Statements end with an empty line, as single-user mode wants it.
CREATION = f"""
CREATE ROLE scrapersky_owner LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION;

CREATE ROLE scrapersky_app LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION;

CREATE ROLE scrapersky_system LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION;

CREATE DATABASE {DATABASE} OWNER scrapersky_owner;

REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC;

GRANT CONNECT ON DATABASE {DATABASE} TO scrapersky_owner, scrapersky_app, scrapersky_system;

GRANT TEMPORARY ON DATABASE {DATABASE} TO scrapersky_app;

REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;

"""


class Postgres(Server):
    name = "postgres"
    pid_file = "postmaster.pid"
    # Fast: roll back and disconnect. Immediate: recover at the next start.
    steps = (Step(signal.SIGINT, 20.0), Step(signal.SIGQUIT, 5.0))
    # A killed postmaster's children may hold its shared memory a moment longer than it lived.
    passing = re.compile(rb"is still in use|lock file .* already exists")

    def __init__(self, data_dir: Path, secrets: Secrets, *, durable: bool = True) -> None:
        super().__init__(data_dir)
        self._programs = postgres_programs(self.account)
        self._secrets = secrets
        self._durable = durable
        self._marker = self.home / "passwords.sha256"

    def url(self, role: Role) -> str:
        return self._url(f"scrapersky_{role}", self._password(role), DATABASE)

    def superuser_url(self) -> str:
        """For tests, which make databases; nothing the platform runs is given it."""
        return self._url("postgres", self._secrets.superuser_password, "postgres")

    def prepare(self) -> None:
        if not self.data.exists():
            self._make_cluster()
        self._check_version()
        self._set_passwords()

    def argv(self) -> list[str]:
        chosen = {**SETTINGS, **({} if self._durable else FLEETING), "port": str(self.port)}
        options = [word for name, value in chosen.items() for word in ("-c", f"{name}={value}")]
        return [str(self._programs / "postgres"), "-D", self.as_told(self.data), *options]

    def answers(self) -> bool:
        """As pg_ctl does: the eighth line of its pid file tells its state, the first whose file it is."""
        try:
            lines = (self.data / self.pid_file).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def _make_cluster(self) -> None:
        draft = self.home / "data.new"
        shutil.rmtree(draft, ignore_errors=True)  # a kill left it half made
        self.make_data(draft)
        self._run(draft, "initdb", *INITDB, stdin=f"{self._secrets.superuser_password}\n")
        self._sql(draft, CREATION + self._passwords())
        if self._durable:
            self._run(draft, "initdb", "--sync-only", *SYNC)
        draft.rename(self.data)
        write_private(self._marker, self._digest())

    def _check_version(self) -> None:
        try:
            version = (self.data / "PG_VERSION").read_text(encoding="utf-8").strip()
        except OSError as error:
            raise StackError(f"{self.data} is not a readable PostgreSQL cluster: {error.strerror}") from error
        if version != MAJOR:
            raise StackError(
                f"{self.data} was made by PostgreSQL {version}, this is {MAJOR}: "
                "dump it with the old release and restore it here"
            )

    def _set_passwords(self) -> None:
        """Bring the cluster's passwords in line with the secrets, should those have been made anew."""
        if self._passwords_set() != self._digest():
            self._sql(self.data, self._passwords())
            write_private(self._marker, self._digest())

    def _passwords_set(self) -> str | None:
        try:
            return self._marker.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def _passwords(self) -> str:
        words = {"postgres": self._secrets.superuser_password}
        words.update({f"scrapersky_{role}": self._password(role) for role in ROLES})
        return "".join(f"ALTER ROLE {role} PASSWORD '{word}';\n\n" for role, word in words.items())

    def _digest(self) -> str:
        return hashlib.sha256(self._passwords().encode()).hexdigest()

    def _sql(self, directory: Path, statements: str) -> None:
        """Run statements, each ended by an empty line, with no server running."""
        quiet = ["-c", "log_min_error_statement=panic", "-c", "log_checkpoints=off"]
        output = self._run(directory, "postgres", "--single", "-j", *quiet, "postgres", stdin=statements)
        if b"ERROR:" in output:
            raise StackError(f"PostgreSQL could not be set up: {output.decode(errors='replace').strip()}")

    def _run(self, directory: Path, name: str, *options: str, stdin: str = "") -> bytes:
        argv = [str(self._programs / name), *options]
        env = {**ENVIRONMENT, "PGDATA": self.as_told(directory)}
        with input_of(stdin, self.account) as file:
            status, output = run(
                Program(name=name, argv=argv, cwd=directory, env=env, account=self.account, stdin=file)
            )
        if status != 0:
            raise StackError(f"{name} failed: {output.decode(errors='replace').strip()}")
        return output

    def _password(self, role: Role) -> str:
        return {
            "owner": self._secrets.owner_password,
            "app": self._secrets.app_password,
            "system": self._secrets.system_password,
        }[role]

    def _url(self, user: str, password: str, database: str) -> str:
        return f"postgresql+psycopg://{user}:{password}@{LOOPBACK}:{self.port}/{database}"
