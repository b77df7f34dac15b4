"""What a caller shows: values only. Who she is then, `standing` tells."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from app.errors import AuthenticationFailed

KEY_PREFIX = "ssk_"  # by which a scanner for leaked secrets knows them
_KEY = re.compile(r"ssk_([0-9a-f]{32})_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a valid access token says."""

    user_id: UUID
    tenant_id: UUID
    session_id: UUID
    version: int


@dataclass(frozen=True, slots=True)
class PresentedKey:
    """An API key as sent: which one it says it is, and what the whole of it hashes to."""

    id: UUID
    digest: bytes

    @classmethod
    def read(cls, text: str) -> Self:
        """
        >>> key_id = UUID(int=7)
        >>> PresentedKey.read(new_key(key_id)).id == key_id
        True

        :raises AuthenticationFailed: it does not look like one
        """
        found = _KEY.fullmatch(text)
        if found is None:
            raise AuthenticationFailed("this is not an API key")
        return cls(UUID(hex=found[1]), digest(text))


Credential = Claims | PresentedKey


def new_key(key_id: UUID) -> str:
    """256 random bits behind the id by which the row is found."""
    return f"{KEY_PREFIX}{key_id.hex}_{secrets.token_urlsafe(32)}"


def digest(secret: str) -> bytes:
    # 256 random bits need no salt and no slow hash.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
