"""The keys that tokens are signed with, several at a time: one signs, those before it check what they have signed.

They come from the environment (one that signs and one before it), or from a file that `manage.py rotate-keys` adds to
and running processes look at again. A key in the file signs from its time on; the one before it checks until the last
token it can have signed is dead, and is left out of the file at the next rotation.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import structlog
from pydantic import SecretStr

from app.errors import ConfigurationError, StackError
from app.settings import MAX_ACCESS_TOKEN_SECONDS, Settings, check_secret
from app.stack.secrets import alone_in, load_or_create, make_private, write_private

log = structlog.get_logger(__name__)
FILE: Final = "signing-keys.json"
LOOK_SECONDS: Final = 1.0
LEAD_SECONDS: Final = 5.0  # a new key signs only when every process has seen it
# A process may sign with a key a moment after another has begun to use the next.
OVERLAP_SECONDS: Final = MAX_ACCESS_TOKEN_SECONDS + 60.0


class SigningKey(NamedTuple):
    id: str
    secret: str
    signs_from: float  # seconds since 1970

    def __repr__(self) -> str:
        return f"SigningKey({self.id!r})"


class SigningKeys(Protocol):
    def newest(self) -> SigningKey:
        """The one to sign with."""

    def find(self, key_id: str) -> str | None:
        """The secret to check a signature with; None when the key is unknown or retired."""


class FixedKeys:
    """Those of the environment. They change with a restart."""

    def __init__(self, secret: str, previous: str | None = None) -> None:
        self._newest = key_of(secret)
        self._secrets = {key_id(word): word for word in (secret, previous) if word is not None}

    def newest(self) -> SigningKey:
        return self._newest

    def find(self, key_id: str) -> str | None:
        return self._secrets.get(key_id)


class FileKeys:
    """Those of a file, as it is now: it is looked at once a second, and whenever a key is asked for that is not known.

    A file that is gone or damaged changes nothing for a process that has read it before.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """:raises ConfigurationError: the file cannot be read or understood, or a key in it is weak"""
        self._path, self._clock, self._timer = path, clock, timer
        self._state, self._keys = _state(path), read(path)
        self._looked = timer()

    def newest(self) -> SigningKey:
        if self._timer() - self._looked >= LOOK_SECONDS:
            self._look()
        return signing(self._keys, self._clock())

    def find(self, key_id: str) -> str | None:
        found = living(self._keys, self._clock()).get(key_id)
        if found is None or self._timer() - self._looked >= LOOK_SECONDS:
            self._look()
            found = living(self._keys, self._clock()).get(key_id)
        return found

    def _look(self) -> None:
        self._looked = self._timer()
        try:
            state = _state(self._path)
            if state == self._state:
                return
            self._state = state  # one complaint for each state
            self._keys = read(self._path)
        except ConfigurationError as error:
            log.warning("signing keys stay as they were", reason=error.detail)
        else:
            log.info("signing keys read anew", newest=self._keys[-1].id)


def of(settings: Settings) -> SigningKeys:
    """:raises ConfigurationError: there is no key, or a weak one"""
    if settings.signing_keys_file is not None:
        return FileKeys(settings.signing_keys_file)
    if settings.secret_key is None:
        raise ConfigurationError("SCRAPERSKY_SECRET_KEY is missing")
    for key in (settings.secret_key, settings.secret_key_previous):
        _check(key)
    previous = settings.secret_key_previous
    return FixedKeys(settings.secret_key.get_secret_value(), previous.get_secret_value() if previous else None)


def with_keys(settings: Settings) -> Settings:
    """Settings that say where signing keys are: where nothing is set, in a file under the data directory.

    :raises StackError: that file cannot be kept
    """
    if settings.secret_key is not None or settings.signing_keys_file is not None:
        return settings
    path = settings.data_dir.absolute() / FILE
    if not path.exists():
        first = load_or_create(settings).secret_key  # what signed before there were several
        with _kept(path.parent):
            if not path.exists():
                _write(path, [key_of(first)])
    return settings.model_copy(update={"signing_keys_file": path})


def rotate(path: Path, *, now: float, lead: float = LEAD_SECONDS, alone: bool = False) -> list[SigningKey]:
    """Add a key that signs `lead` seconds from now, leave out what no living token needs; all that are left.

    :param alone: the others go at once, and with them every access token that is out
    :raises ConfigurationError: the file cannot be understood
    :raises StackError: it cannot be written
    """
    with _kept(path.parent):
        kept = [] if alone or not path.exists() else _living(read(path), now)
        fresh = key_of(secrets.token_urlsafe(48), signs_from=now + (lead if kept else 0.0))
        keys = sorted([*kept, fresh], key=lambda key: key.signs_from)
        _write(path, keys)
    return keys


def signing(keys: Sequence[SigningKey], now: float) -> SigningKey:
    """
    >>> old, new = SigningKey("old", "", 0.0), SigningKey("new", "", 100.0)
    >>> signing([old, new], 99.0).id, signing([old, new], 100.0).id
    ('old', 'new')
    """
    begun = [key for key in keys if key.signs_from <= now]
    return begun[-1] if begun else keys[0]


def living(keys: Sequence[SigningKey], now: float) -> Mapping[str, str]:
    """What checks, by id.

    >>> old, new = SigningKey("old", "a", 0.0), SigningKey("new", "b", 100.0)
    >>> list(living([old, new], 100.0 + OVERLAP_SECONDS - 1)), list(living([old, new], 100.0 + OVERLAP_SECONDS))
    (['old', 'new'], ['new'])
    """
    return {key.id: key.secret for key in _living(keys, now)}


def read(path: Path) -> list[SigningKey]:
    """In the order in which they sign.

    :raises ConfigurationError: the file cannot be read or understood, or a key in it is weak
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["keys"]
        keys = sorted((_row(row) for row in rows), key=lambda key: key.signs_from)
    except OSError as error:
        raise ConfigurationError(f"signing keys in {path} cannot be read: {error.strerror or error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{path} is damaged; restore it from a backup") from error
    if not keys or len({key.id for key in keys}) < len(keys):
        raise ConfigurationError(f"{path} is damaged; restore it from a backup")
    for key in keys:
        _check(SecretStr(key.secret))
    return keys


def key_of(secret: str, *, signs_from: float = 0.0) -> SigningKey:
    return SigningKey(key_id(secret), secret, signs_from)


def key_id(secret: str) -> str:
    """The same for the same key wherever it stands, so that it may move from the environment into the file."""
    return hashlib.sha256(secret.encode()).hexdigest()[:16]


def _living(keys: Sequence[SigningKey], now: float) -> list[SigningKey]:
    ends = [after.signs_from + OVERLAP_SECONDS for after in keys[1:]]
    return [key for key, end in zip(keys, [*ends, float("inf")], strict=True) if now < end]


def _row(row: dict[str, Any]) -> SigningKey:
    if not isinstance(row["id"], str) or not isinstance(row["secret"], str):
        raise TypeError
    return SigningKey(row["id"], row["secret"], datetime.fromisoformat(row["signs_from"]).timestamp())


def _write(path: Path, keys: Sequence[SigningKey]) -> None:
    rows = [
        {"id": key.id, "secret": key.secret, "signs_from": datetime.fromtimestamp(key.signs_from, UTC).isoformat()}
        for key in keys
    ]
    write_private(path, json.dumps({"keys": rows}, indent=2) + "\n")


@contextmanager
def _kept(directory: Path) -> Iterator[None]:
    """Alone in the directory; what goes wrong there is told as ours."""
    try:
        make_private(directory)
        with alone_in(directory):
            yield
    except OSError as error:
        raise StackError(f"signing keys under {directory} cannot be kept: {error.strerror or error}") from error


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _check(key: SecretStr | None) -> None:
    if key is None:
        return
    try:
        check_secret(key.get_secret_value())
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
