"""Which passwords are too easily guessed to be taken.

Take away what is guessed first: common words, what everybody knows about the account, years, runs on the keyboard,
repetition. What is left must have `LEAST_LEFT` characters worth guessing. Nothing is asked of kinds of characters:
that only leads to `Password1!`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from app.errors import FieldError, InvalidInput

PRODUCT = ("scrapersky", "scraper", "sky")
LEAST_LEFT = 4
LEAST_WORD = 3
ENOUGH = 64  # of a password as long as that, what anybody knows takes too little away; and time is bounded
_LEET = str.maketrans("@431!0$57", "aaeliosst")
_RUNS = (
    "abcdefghijklmnopqrstuvwxyz", "01234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiop", "yxcvbnm",
    "azertyuiop", "qsdfghjklm", "wxcvbn", "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p", "1q2w3e4r5t6y7u8i9o0p",
    "q1w2e3r4t5y6u7i8o9p0", "!@#$%^&*()", '!"§$%&/()=', "147258369", "741852963", "159357",
)  # fmt: skip
LEAST_RUN = 3
_YEAR = re.compile(r"(?:19|20)\d\d")
_REPEATED = re.compile(r"(.)\1{2,}|(.{2,8}?)\2+")


def check(password: str, *, about: Iterable[str] = (), pointer: str = "/password") -> None:
    """
    :param about: what anybody knows: the e-mail address, the names of the tenants
    :raises InvalidInput: naming why
    """
    reason = weakness(password, about=about)
    if reason is not None:
        raise InvalidInput(reason, errors=(FieldError(pointer, reason),))


def weakness(password: str, *, about: Iterable[str] = ()) -> str | None:
    """Why it is refused; None when it may be used.

    >>> weakness("P@ssw0rd1234")
    'the password is made of common words, years or runs, which are guessed first'
    >>> weakness("acme-2026", about=["Acme"])
    "the password is made of the account's or the product's own names, which are guessed first"
    >>> weakness("correct horse battery") is weakness("kZ8s-3vQ1") is None
    True
    """
    folded = unicodedata.normalize("NFKC", password[: 2 * ENOUGH]).casefold()
    if len(folded) > ENOUGH and len(set(folded)) > len("password"):
        return None
    names = _words([*PRODUCT, *about])
    if _left(folded, _common()) < LEAST_LEFT:
        return "the password is made of common words, years or runs, which are guessed first"
    if _left(folded, _common() | names) < LEAST_LEFT:
        return "the password is made of the account's or the product's own names, which are guessed first"
    return None


def _left(folded: str, words: frozenset[str]) -> float:
    """What is left of the spelling of which the least is left."""
    return min(_worth(_without(spelling, words)) for spelling in {folded, folded.translate(_LEET)})


def _without(text: str, words: frozenset[str]) -> str:
    present = [word for word in words if word in text]
    for word in sorted(present, key=len, reverse=True):
        text = text.replace(word, "\0")
    text = _YEAR.sub("\0", text)
    return _REPEATED.sub(r"\1\2", _without_runs(text))


def _without_runs(text: str) -> str:
    """Runs of keys beside each other, either way, go; one of each is left as the place it had."""
    kept, at = "", 0
    while at < len(text):
        length = max(_run_length(text[at:], run) for run in _both_ways())
        kept += "\0" if length >= LEAST_RUN else text[at]
        at += length if length >= LEAST_RUN else 1
    return kept


def _run_length(text: str, run: str) -> int:
    length = 0
    while length < len(text) and text[: length + 1] in run:
        length += 1
    return length


def _worth(text: str) -> float:
    """Letters count whole; digits and signs, which are put behind words in a few usual ways, half."""
    kept = [char for char in text if char != "\0" and not char.isspace()]
    return sum(1.0 if char.isalpha() else 0.5 for char in kept)


def _words(texts: Iterable[str]) -> frozenset[str]:
    """The texts, and the words in them, as they would stand in a password."""
    folded = [unicodedata.normalize("NFKC", text[:200]).casefold() for text in texts]
    parts = [part for text in folded for part in (text, *re.split(r"[\W_]+", text), re.sub(r"[\W_]+", "", text))]
    return frozenset(part for part in parts if len(part) >= LEAST_WORD)


@cache
def _both_ways() -> tuple[str, ...]:
    return (*_RUNS, *(run[::-1] for run in _RUNS))


@cache
def _common() -> frozenset[str]:
    text = files("app.services").joinpath("data/common_words.txt").read_text(encoding="utf-8")
    return frozenset(word for line in text.splitlines() if not line.startswith("#") for word in line.split())
