"""Generated secrets: made once, kept under the data directory, readable by their owner only."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.errors import StackError
from app.settings import Settings

FILE = "secrets.json"


@dataclass(frozen=True, kw_only=True, repr=False)
class Secrets:
    """URL-safe words of 256 bits; the repr shows none of them."""

    secret_key: str
    owner_password: str
    app_password: str
    system_password: str
    superuser_password: str
    valkey_password: str
    flower_password: str
    admin_password: str


def load_or_create(settings: Settings) -> Secrets:
    """The same secrets for every process that asks, whoever comes first.

    :raises StackError: the file cannot be read, written or understood
    """
    try:
        make_private(settings.data_dir)
        with alone_in(settings.data_dir):
            return _load_or_create(settings.data_dir / FILE)
    except OSError as error:
        raise StackError(f"secrets under {settings.data_dir} cannot be kept: {error.strerror or error}") from error


def make_private(directory: Path) -> None:
    """Create the directory for its owner only; one that exists keeps its mode, it may be anyone's."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_private(path: Path, text: str) -> None:
    """Replace the file whole, mode 0600: a reader sees the old text or the new, never half of one."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _load_or_create(path: Path) -> Secrets:
    kept = _read(path)
    names = [field.name for field in dataclasses.fields(Secrets)]
    words = {name: kept.get(name) or secrets.token_urlsafe(32) for name in names}
    if any(name not in kept for name in names):
        # A key unknown to this release stays: a newer one may have written it.
        write_private(path, json.dumps({**kept, **words}, indent=2) + "\n")
    return Secrets(**words)


def _read(path: Path) -> dict[str, str]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise StackError(f"{path} is damaged; restore it from a backup") from error
    if not isinstance(kept, dict) or not all(isinstance(word, str) for word in kept.values()):
        raise StackError(f"{path} is damaged; restore it from a backup")
    return kept


@contextmanager
def alone_in(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
