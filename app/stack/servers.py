"""The servers the stack runs on: embedded ones for whatever the settings do not point elsewhere."""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import SecretStr

from app.errors import StackError
from app.settings import Settings
from app.stack import secrets, signing
from app.stack.postgres import Postgres
from app.stack.secrets import make_private, write_private
from app.stack.valkey import Valkey

STATE = "stack.json"
LOCK = "stack.lock"
SECRET_FIELDS = ("database_url", "system_database_url", "owner_database_url", "redis_url", "secret_key")
LOCK_SECONDS = 1.0  # `attach` holds the lock for a moment to see whether anybody does


class Servers:
    """Running servers; leave the context, or call `stop`, to end them in order: broker, database.

    Belongs to one thread, which must live as long as they should (see `process.launch`).
    """

    def __init__(self, settings: Settings, *, durable: bool) -> None:
        directory = settings.data_dir.absolute()
        self.postgres: Postgres | None = None
        self.valkey: Valkey | None = None
        self._state = directory / STATE
        with ExitStack() as undo:
            kept = secrets.load_or_create(settings)
            if settings.database_url is None or settings.redis_url is None:
                undo.callback(os.close, _lock(directory))
                self._state.unlink(missing_ok=True)  # a killed predecessor's
            if settings.database_url is None:
                self.postgres = Postgres(directory, kept, durable=durable)
                undo.callback(self.postgres.stop)
                self.postgres.start()
            if settings.redis_url is None:
                self.valkey = Valkey(directory, kept, durable=durable)
                undo.callback(self.valkey.stop)
                self.valkey.start()
            self.settings = signing.with_keys(_resolved(settings, self._found()))
            write_private(self._state, json.dumps({"pid": os.getpid(), "environment": self.environment()}))
            undo.callback(self._state.unlink, missing_ok=True)
            self._undo = undo.pop_all()

    def environment(self) -> dict[str, str]:
        """Variables by which a child process finds the same stack; add them to the inherited ones."""
        return environment(self.settings)

    def superuser_url(self) -> str | None:
        """For tests, which make databases; None when PostgreSQL is not ours."""
        return self.postgres.superuser_url() if self.postgres else None

    def revive(self) -> float | None:
        """Launch again what died. Returns the seconds after which to ask again, None if all live."""
        pauses = [server.revive() for server in (self.postgres, self.valkey) if server]
        return min((pause for pause in pauses if pause is not None), default=None)

    def stop(self) -> None:
        self._undo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _found(self) -> dict[str, str]:
        found: dict[str, str] = {}
        if self.postgres:
            found["database_url"] = self.postgres.url("app")
            found["system_database_url"] = self.postgres.url("system")
            found["owner_database_url"] = self.postgres.url("owner")
        if self.valkey:
            found["redis_url"] = self.valkey.url()
        return found


def start(settings: Settings, *, durable: bool = True) -> Servers:
    """Start what is missing and wait until it serves.

    `durable=False` is for tests: it survives a crash of the servers, not of the machine.

    :raises StackError: a server would not start, or another process runs the stack of this data directory
    """
    return Servers(settings, durable=durable)


def attach(settings: Settings) -> Settings | None:
    """Settings that lead to the stack another process runs on this data directory; None if none does."""
    directory = settings.data_dir.absolute()
    if not _locked(directory / LOCK):
        return None
    try:
        state = json.loads((directory / STATE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None  # it is about to start, or to stop
    prefix = "SCRAPERSKY_"
    found = {name.removeprefix(prefix).lower(): value for name, value in state["environment"].items()}
    return signing.with_keys(_resolved(settings, found))


def environment(settings: Settings) -> dict[str, str]:
    """The resolved settings as variables."""
    shown = {"SCRAPERSKY_DATA_DIR": str(settings.data_dir.absolute())}
    for name in SECRET_FIELDS:
        value: SecretStr | None = getattr(settings, name)
        if value is not None:
            shown[f"SCRAPERSKY_{name.upper()}"] = value.get_secret_value()
    if settings.signing_keys_file is not None:
        shown["SCRAPERSKY_SIGNING_KEYS_FILE"] = str(settings.signing_keys_file.absolute())
    if settings.allow_embedded:
        shown["SCRAPERSKY_ALLOW_EMBEDDED"] = "true"
    return shown


def _resolved(settings: Settings, found: dict[str, str]) -> Settings:
    """The settings with their gaps filled: what was set explicitly stays."""
    gaps = {name for name in SECRET_FIELDS if getattr(settings, name) is None}
    update: dict[str, object] = {name: SecretStr(found[name]) for name in gaps if name in found}
    if settings.signing_keys_file is not None:
        update.pop("secret_key", None)
    elif "secret_key" in gaps and "signing_keys_file" in found:
        update["signing_keys_file"] = Path(found["signing_keys_file"])
    return settings.model_copy(update={**update, "data_dir": settings.data_dir.absolute()})


def _lock(directory: Path) -> int:
    """Hold the data directory for as long as the descriptor is open: until we close it, or die."""
    make_private(directory)
    descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_SECONDS
    while not _try_lock(descriptor, fcntl.LOCK_EX):
        if time.monotonic() > deadline:
            owner = os.pread(descriptor, 20, 0).decode() or "unknown"
            os.close(descriptor)
            raise StackError(f"process {owner} already runs a stack on {directory}")
        time.sleep(0.02)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def _locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _try_lock(descriptor, fcntl.LOCK_SH)  # two that ask do not see each other
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, kind: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        return True
    return False
