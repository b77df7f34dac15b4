"""Refused sign-ins in the audit trail, without letting a flood of them fill it."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Any, Final
from uuid import UUID

import structlog

from app.access import Origin
from app.unit_of_work import Database
from models import User

log = structlog.get_logger(__name__)
A_MINUTE: Final = 60  # of one process; the rate limits already hold each account and each address to a few
NOBODY: Final = UUID(int=0)


class Refusals:
    """Every refusal is logged; this many a minute are audited, and the next says how many were left out."""

    def __init__(
        self, database: Database, *, a_minute: int = A_MINUTE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database, self._most, self._clock = database, a_minute, clock
        self._lock = Lock()
        self._since, self._told, self._left_out = clock(), 0, 0

    def record(self, claimed: str, user: User | None, reason: str, origin: Origin) -> None:
        """In the tenant the user would have come to; of nobody's, in the platform's trail. The same work for both."""
        # What is no address may be a password, typed into the wrong field.
        claimed = claimed if "@" in claimed else ""
        log.info("sign-in refused", email=claimed, reason=reason, address=origin.address)
        left_out = self._admitted()
        if left_out is None:
            return
        with self._database.system() as uow:
            tenants = uow.sign_in.tenants_of(user.id if user else NOBODY)
            uow.audit.record(
                "session.refused",
                claimed=claimed,
                origin=origin,
                tenant_id=tenants[0].id if tenants else None,
                on=("user", user.id) if user else None,
                after=_told(reason, left_out),
            )
            uow.commit()

    def _admitted(self) -> int | None:
        """How many were left out before this one; None: this one is, too."""
        with self._lock:
            if self._clock() >= self._since + 60:
                self._since, self._told = self._clock(), 0
            if self._told >= self._most:
                self._left_out += 1
                return None
            self._told += 1
            left_out, self._left_out = self._left_out, 0
            return left_out


def _told(reason: str, left_out: int) -> dict[str, Any]:
    return {"reason": reason, "left_out": left_out} if left_out else {"reason": reason}
