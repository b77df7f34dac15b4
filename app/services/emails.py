"""One account, one spelling: the canonical form of the e-mail addresses people sign in with."""

from __future__ import annotations

import re
import unicodedata

import idna

from app.errors import FieldError, InvalidInput

MAX_LENGTH, MAX_LOCAL = 254, 64
# RFC 5321's dot-atom, and letters of other scripts (RFC 6531); a quoted local part is nobody's login.
_LOCAL = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*")


def canonical(address: str) -> str:
    """What the address is kept and found under. Spellings that look alike become one.

    Nothing says that mail could be delivered there: `admin@localhost` is as good a name as any.

    >>> canonical(" Admin@Example.COM")
    'admin@example.com'
    >>> canonical("adm\u0131n@b\u00fccher.example")
    'admin@xn--bcher-kva.example'

    :raises InvalidInput: this is no e-mail address
    """
    # Before anything is folded: some characters become eighteen.
    local, at, domain = address.strip().rpartition("@") if len(address) <= MAX_LENGTH else ("", "", "")
    name, host = _folded(local), _host(domain)
    if not at or not host or not _LOCAL.fullmatch(name) or _mixed(name) or len(name.encode()) > MAX_LOCAL:
        raise _refused()
    return f"{name}@{host}"


def looked_for(address: str) -> str:
    """The canonical form for a look-up, where what is no address is merely unknown."""
    try:
        return canonical(address)
    except InvalidInput:
        return address[:MAX_LENGTH].lower()


def _folded(text: str) -> str:
    # By way of upper case, which alone takes the dotless i for an i; what is left of the dotted capital is its dot.
    upper = unicodedata.normalize("NFKC", text).upper()
    return unicodedata.normalize("NFKC", upper.casefold()).replace("i\u0307", "i")


def _host(domain: str) -> str | None:
    try:
        return idna.encode(domain.strip(), uts46=True, std3_rules=True).decode().lower().removesuffix(".") or None
    except (idna.IDNAError, UnicodeError):
        return None


def _mixed(name: str) -> bool:
    """A Cyrillic letter among Latin ones is there to be taken for its twin."""
    latin = {unicodedata.name(char, "").startswith("LATIN") for char in name if char.isalpha()}
    return len(latin) == 2


def _refused() -> InvalidInput:
    detail = "this is no e-mail address"
    return InvalidInput(detail, errors=(FieldError("/email", detail),))
