"""Passwords as Argon2id hashes, made a few at a time so that sign-ins cannot starve everything else."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore
from typing import Self

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.errors import FieldError, InvalidInput, RateLimited
from app.services import password_rules

MIN_BYTES, MAX_BYTES = 8, 1024
# One of the equal choices of OWASP's "Password Storage Cheat Sheet": 19 MiB, two passes, one lane; some 30 ms here.
TIME_COST, MEMORY_KIB, LANES = 2, 19_456, 1
WAIT_SECONDS = 5.0


class Passwords:
    """Hashes and checks. `at_once` hash, `waiting` wait for their turn, the rest is told to come back."""

    def __init__(self, hasher: PasswordHasher | None = None, *, at_once: int = 2, waiting: int = 8) -> None:
        self._hasher = hasher or PasswordHasher(TIME_COST, MEMORY_KIB, LANES)
        self._working = BoundedSemaphore(at_once)
        self._room = BoundedSemaphore(at_once + waiting)
        self._nobody = self._hasher.hash(secrets.token_urlsafe(16))

    @classmethod
    def beside(cls, threads: int, hasher: PasswordHasher | None = None) -> Self:
        """As many as leave at least half of the threads that answer requests to everything else."""
        room = max(1, min(10, threads // 2))
        at_once = min(2, room)
        return cls(hasher, at_once=at_once, waiting=room - at_once)

    def hash_new(self, password: str, *, about: Iterable[str] = (), pointer: str = "/password") -> str:
        """The hash of what somebody chose to sign in with from now on.

        :param about: what anybody knows of the account: see `password_rules`
        :raises InvalidInput: the password is too short, too long or too easily guessed
        """
        _check_length(password, pointer)
        password_rules.check(password, about=about, pointer=pointer)
        return self.hash(password)

    def hash(self, password: str) -> str:
        """:raises InvalidInput: the password is shorter or longer than allowed"""
        _check_length(password, "/password")
        with self._turn():
            return self._hasher.hash(_encoded(password))

    def matches(self, stored: str | None, password: str) -> bool:
        """Whether `password` is the one behind `stored`; without one (no such user) it takes as long to say no.

        :raises RateLimited: too many are being checked already
        """
        encoded = _encoded(password)
        with self._turn():
            try:
                # Cut, not refused: the answer to an overlong one must take the same time as to any other.
                self._hasher.verify(stored or self._nobody, encoded[:MAX_BYTES])
            except (VerificationError, InvalidHashError):
                return False
        return stored is not None and len(encoded) <= MAX_BYTES

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._room.acquire(blocking=False):
            raise RateLimited("too many sign-ins at once")
        try:
            if not self._working.acquire(timeout=WAIT_SECONDS):
                raise RateLimited("too many sign-ins at once")
            try:
                yield
            finally:
                self._working.release()
        finally:
            self._room.release()


def _check_length(password: str, pointer: str) -> None:
    if not MIN_BYTES <= len(_encoded(password)) <= MAX_BYTES:
        detail = f"a password has {MIN_BYTES} to {MAX_BYTES} bytes"
        raise InvalidInput(detail, errors=(FieldError(pointer, detail),))


def _encoded(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")  # half a pair from JSON is a wrong password, not a crash
