"""One account, one spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidInput
from app.services.emails import MAX_LENGTH, canonical, looked_for

ADMIN = "admin@example.com"


@pytest.mark.parametrize(
    "spelling",
    [
        "Admin@example.com", "ADMIN@EXAMPLE.COM", " admin@example.com ", "adm\u0131n@example.com", "ADM\u0130N@example.com",
        "\uff41\uff44\uff4d\uff49\uff4e@example.com", "admin@\uff45xample.com", "admin@example\u3002com", "admin@example.com.",
        "admin@ex\u00adample.com", "\U0001d41admin@example.com", "adm\u2170n@example.com",
    ],
)  # fmt: skip
def test_spellings_of_one_account_become_one(spelling):
    assert canonical(spelling) == ADMIN


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("ann+news@example.com", "ann+news@example.com"),
        ("J\u00fcrgen@B\u00fccher.example", "j\u00fcrgen@xn--bcher-kva.example"),
        ("ju\u0308rgen@example.com", "j\u00fcrgen@example.com"),
        ("\u0430\u043d\u043d\u0430@example.com", "\u0430\u043d\u043d\u0430@example.com"),
        ("admin@localhost", "admin@localhost"),
        ("ops@corp.local", "ops@corp.local"),
        ("a@" + "b" * 63 + ".example", "a@" + "b" * 63 + ".example"),
    ],
)
def test_other_accounts_stay_others(address, kept):
    assert canonical(address) == kept


@pytest.mark.parametrize(
    "address",
    [
        "", "@", "admin", "admin@", "@example.com", "a b@example.com", "a@b@example.com", ".a@example.com", "a.@example.com",
        "a..b@example.com", '"a b"@example.com', "a@[127.0.0.1]", "a@exa mple.com", "a@-x.example", "a@x..example",
        "a@under_score.example", "a\u200bb@example.com", "a\0@example.com", "a\n@example.com", "\ud800@example.com",
        "a@\ud800.example", "a" * 65 + "@example.com", "\u00fc" * 33 + "@example.com", "a@" + "b" * 64 + ".example",
        "a@" + ".".join(["bcd"] * 80), "\ufdfa" * 200 + "@example.com", "\u0430dmin@example.com", "admin@example.com, b@example.com",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(address):
    with pytest.raises(InvalidInput) as refused:
        canonical(address)
    assert [field.pointer for field in refused.value.errors] == ["/email"]
    assert len(looked_for(address)) <= MAX_LENGTH


@given(st.text(max_size=40), st.sampled_from(["example.com", "\u0130.example", "stra\u00dfe.example", "x"]))
def test_a_canonical_address_is_its_own_canonical_form(local, domain):
    try:
        kept = canonical(f"{local}@{domain}")
    except InvalidInput:
        return
    assert canonical(kept) == kept == looked_for(kept)
    assert canonical(kept.upper()) == kept
