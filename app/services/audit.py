"""The audit trail, as somebody who keeps watch may read it: a tenant its own, whoever keeps the platform all of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from app.access import Actor
from app.repositories.audit import Wanted
from app.repositories.keyset import PageOf
from app.unit_of_work import Database, SystemUnit, TenantUnit
from models import AuditEvent

SEES_OWN = "audit:read"
SEES_ALL = "platform:audit"
CHUNK = 500


class AuditTrail:
    def __init__(self, database: Database) -> None:
        self._database = database

    def listing(self, actor: Actor, wanted: Wanted, *, limit: int, cursor: str | None) -> PageOf[AuditEvent]:
        """Newest first."""
        with self._unit(actor) as uow:
            return uow.audit.listing(wanted, limit=limit, cursor=cursor)

    def export(self, actor: Actor, wanted: Wanted) -> Iterator[Sequence[AuditEvent]]:
        """All of it, newest first, in chunks, each read in a transaction of its own. The taking is an event, too."""
        asked = {name: str(value) for name, value in asdict(wanted).items() if value is not None}
        with self._unit(actor) as uow:
            taken = uow.audit.record("audit.exported", by=actor, after={"filters": asked})
            uow.commit()
        cursor = None
        while True:
            with self._unit(actor) as uow:
                page = uow.audit.listing(wanted, limit=CHUNK, cursor=cursor, before=taken)
            yield page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    @staticmethod
    def permission(actor: Actor) -> str:
        """The one that decides what this actor sees."""
        return SEES_ALL if actor.may(SEES_ALL) else SEES_OWN

    @contextmanager
    def _unit(self, actor: Actor) -> Iterator[SystemUnit | TenantUnit]:
        with self._database.system() if actor.may(SEES_ALL) else self._database.for_tenant(actor.tenant_id) as uow:
            yield uow
