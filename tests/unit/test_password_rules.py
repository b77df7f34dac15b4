"""Which passwords are too easily guessed. ASVS 6.2.4, 6.2.11."""

from __future__ import annotations

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidInput
from app.services.password_rules import check, weakness

COMMON = [
    "password1234", "Password123!", "P@ssw0rd", "pa55word", "passwordpassword", "mypassword99", "12345678",
    "1234567890", "87654321", "qwertyuiop", "qwertz123", "1q2w3e4r", "1qaz2wsx", "zaq12wsx", "asdfghjk",
    "zxcvbnm1", "147258369", "abcdefgh", "abc12345", "aaaaaaaa", "11111111", "abababab", "ininin12", "letmein123",
    "welcome1", "admin123", "changeme!", "iloveyou", "trustno1", "sunshine1", "football2024", "Summer2026!",
    "monkey12", "michael1", "princess1", "24121987", "test1234", "administrator", "!@#$%^&*", "superman99",
    "dragon1234", "charlie2", "hunter22",
]  # fmt: skip


@pytest.mark.parametrize("password", COMMON)
def test_what_everybody_tries_first_is_refused(password):
    assert "common words" in weakness(password)


@pytest.mark.parametrize(
    "password",
    [
        "acme-corp", "AcmeCorp2026", "acme1234!", "4cm3c0rp99", "ann.archer", "archer1234", "ScraperSky1", "scraper-sky!!",
        "ann@acme.example", "acme.example1", "Acme Corp 1",
    ],
)  # fmt: skip
def test_what_anybody_knows_of_the_account_is_refused(password):
    about = ["Acme Corp", "ann.archer@acme.example"]
    with pytest.raises(InvalidInput, match="own names") as refused:
        check(password, about=about, pointer="/new")
    assert refused.value.errors[0].pointer == "/new"


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery", "kZ8s-3vQ1", "Tr0ub4dor&3", "9f86d081", "l\u00f6wenzahn im wind", "\u96e8\u306e\u65e5\u306f\u5bb6\u306b\u3044\u308b",
        "acme is where I work on tuesdays", "a password which is long enough, all in all", "x7#Kq!2m",
    ],
)  # fmt: skip
def test_what_takes_guessing_is_taken(password):
    assert weakness(password, about=["Acme Corp", "ann@acme.example"]) is None


@pytest.mark.parametrize("make", [lambda: secrets.token_urlsafe(12), lambda: secrets.token_hex(8), lambda: secrets.token_urlsafe(700)])  # fmt: skip
def test_what_is_drawn_is_taken(make):
    assert [word for word in (make() for _ in range(100)) if weakness(word)] == []


def test_repeating_what_is_common_makes_it_no_better():
    assert weakness("password" * 100)
    assert weakness("a" * 1024)


@given(st.text(max_size=200), st.lists(st.text(max_size=20), max_size=3))
def test_any_text_has_an_answer(password, about):
    assert weakness(password, about=about) is None or len(password) < 200
    assert weakness(password) is None or weakness(password, about=about)
