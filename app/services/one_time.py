"""Tokens that are shown once and good for once: an invitation's, a password reset's. Kept as hashes."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from typing import Self
from uuid import UUID

from uuid_utils.compat import uuid7

from app.errors import TokenSpent

_TOKEN = re.compile(r"([0-9a-f]{32})\.[A-Za-z0-9_-]{43}", re.ASCII)


@dataclass(frozen=True, slots=True)
class OneTimeToken:
    """
    >>> made = OneTimeToken.make()
    >>> OneTimeToken.read(made.text) == made
    True
    """

    id: UUID
    text: str = field(repr=False)

    @classmethod
    def make(cls) -> Self:
        row = uuid7()
        return cls(row, f"{row.hex}.{secrets.token_urlsafe(32)}")

    @classmethod
    def read(cls, text: str) -> Self:
        """:raises TokenSpent: it does not look like one"""
        found = _TOKEN.fullmatch(text)
        if found is None:
            raise TokenSpent
        return cls(UUID(hex=found[1]), text)

    @property
    def digest(self) -> bytes:
        # 256 random bits need no salt and no slow hash.
        return hashlib.sha256(self.text.encode()).digest()
