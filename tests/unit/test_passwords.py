"""Argon2id, bounded in time and number."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack

import pytest
from argon2 import PasswordHasher

from app.errors import InvalidInput, RateLimited
from app.services.passwords import Passwords
from tests.conftest import PASSWORD

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.mark.parametrize("password", ["p" * 8, "p" * 1024, "ü" * 4, "pass\0word", " " * 8])
def test_a_password_matches_itself_and_nothing_else(password):
    """Security A4"""
    passwords = Passwords(CHEAP)
    stored = passwords.hash(password)
    assert stored.startswith("$argon2id$")
    assert passwords.matches(stored, password)
    assert not passwords.matches(stored, password + "x")
    assert not passwords.matches(stored, password[:-1])
    assert not passwords.matches(stored, "")


@pytest.mark.parametrize("password", ["", "p" * 7, "p" * 1025, "ü" * 513])
def test_too_short_or_too_long_is_refused(password):
    """Security A4"""
    with pytest.raises(InvalidInput) as caught:
        Passwords(CHEAP).hash(password)
    assert caught.value.errors[0].pointer == "/password"


def test_nobody_and_a_broken_hash_match_nothing():
    passwords = Passwords(CHEAP)
    assert not passwords.matches(None, "password")
    assert not passwords.matches("not a hash", "password")


def test_one_check_takes_less_than_a_quarter_second_and_nobody_as_long_as_somebody():
    passwords = Passwords()
    stored = passwords.hash("correct horse")
    somebody = min(_seconds(lambda: passwords.matches(stored, "wrong horse")) for _ in range(5))
    nobody = min(_seconds(lambda: passwords.matches(None, "wrong horse")) for _ in range(5))
    assert somebody < 0.25
    assert nobody == pytest.approx(somebody, rel=0.5)


def test_more_than_can_wait_are_told_to_come_back():
    """Security A4"""
    gate, inside = threading.Event(), threading.Semaphore(0)

    class Slow:
        def hash(self, password):
            return "stored"

        def verify(self, stored, password):
            inside.release()
            gate.wait(10)

    passwords = Passwords(Slow(), at_once=1, waiting=0)
    holder = threading.Thread(target=passwords.matches, args=("stored", "password"))
    holder.start()
    inside.acquire()
    with pytest.raises(RateLimited):
        passwords.matches("stored", "password")
    gate.set()
    holder.join()
    gate.set()
    assert passwords.matches("stored", "password")


@pytest.mark.parametrize(("threads", "places"), [(2, 1), (3, 1), (4, 2), (8, 4), (16, 8), (1024, 10)])
def test_sign_ins_take_no_more_than_half_of_the_threads(threads, places):
    """Security A4"""
    passwords = Passwords.beside(threads, CHEAP)
    with ExitStack() as turns:
        for _ in range(places):
            turns.callback(passwords._room.release)
            assert passwords._room.acquire(blocking=False)
        with pytest.raises(RateLimited):
            passwords.matches(None, "password")


def test_a_new_password_is_refused_where_it_stands_and_with_why():
    passwords = Passwords(CHEAP)
    for password, why in (("short", "bytes"), ("password1234", "common"), ("acme-corp", "names")):
        with pytest.raises(InvalidInput, match=why) as refused:
            passwords.hash_new(password, about=["Acme Corp"], pointer="/new")
        assert refused.value.errors[0].pointer == "/new"
    assert passwords.matches(passwords.hash_new(PASSWORD), PASSWORD)


def _seconds(action):
    """Of processor time: other tests on this machine are no business of this one."""
    start = time.thread_time()
    action()
    return time.thread_time() - start
