"""Domains: looking them up, by id or by name."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from app.access import Actor
from app.errors import Conflict, InvalidUrl, NotFound
from app.repositories.history import Change, Difference
from app.repositories.inventory import UrlView
from app.repositories.jobs import JobView
from app.repositories.keyset import PageOf
from app.scanning.urls import site
from app.services.jobs import JobKey
from app.unit_of_work import Database, TenantUnit
from models import Domain


class Domains:
    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, actor: Actor, key: UUID | str) -> Domain:
        """By id, or by name as anybody might write it.

        :raises NotFound: the tenant has no such domain
        """
        with self._database.for_tenant(actor.tenant_id) as uow:
            return _found(uow, key)

    def listing(self, actor: Actor, *, limit: int, cursor: str | None, host: str | None) -> PageOf[Domain]:
        with self._database.for_tenant(actor.tenant_id) as uow:
            return uow.domains.listing(limit=limit, cursor=cursor, host=host)

    def urls(
        self, actor: Actor, key: UUID | str, *, as_of: JobKey | None, limit: int, cursor: str | None
    ) -> PageOf[UrlView]:
        """Its inventory as that job's scan left it, or as it is now.

        :raises NotFound: the tenant has no such domain, or the domain no such job
        :raises Conflict: that job has not scanned anything yet
        """
        with self._database.for_tenant(actor.tenant_id) as uow:
            domain = _found(uow, key)
            if as_of is None:
                return uow.inventory.standing(domain.id, limit=limit, cursor=cursor)
            return uow.inventory.urls(_scanned(uow, domain, as_of).job, limit=limit, cursor=cursor)

    def changes(
        self,
        actor: Actor,
        key: UUID | str,
        *,
        since: JobKey | datetime | None,
        until: JobKey | datetime | None,
        change: Change | None,
        limit: int,
        cursor: str | None,
    ) -> PageOf[Difference]:
        """What stands otherwise at `until` (now, if not given) than at `since` (one scan earlier).

        A moment stands for the newest scan that had ended then. The second may be the earlier one: then it is the way
        back.

        :raises NotFound: the tenant has no such domain, or the domain no such job
        :raises Conflict: one of the jobs has not scanned anything yet
        """
        with self._database.for_tenant(actor.tenant_id) as uow:
            domain = _found(uow, key)
            last = domain.scan_count if until is None else _scan_no(uow, domain, until)
            first = max(last - 1, 0) if since is None else _scan_no(uow, domain, since)
            return uow.history.differences(domain, first, last, limit=limit, cursor=cursor, change=change)


def _found(uow: TenantUnit, key: UUID | str) -> Domain:
    found = uow.domains.get(key) if isinstance(key, UUID) else _named(uow, key)
    if found is None:
        raise NotFound
    return found


def _named(uow: TenantUnit, name: str) -> Domain | None:
    try:
        wanted = site(name)
    except InvalidUrl:
        return None
    return uow.domains.named(wanted.authority, wanted.path)


def _scan_no(uow: TenantUnit, domain: Domain, at: JobKey | datetime) -> int:
    if isinstance(at, datetime):
        return uow.history.scan_at(domain.id, at)
    return int(_scanned(uow, domain, at).job.scan_no or 0)


def _scanned(uow: TenantUnit, domain: Domain, key: JobKey) -> JobView:
    """A job of the domain that has a scan to speak of."""
    view = uow.jobs.get(key)
    if view is None or view.job.domain_id != domain.id:
        raise NotFound
    if view.job.scan_no is None:
        raise Conflict("this job has not scanned anything yet")
    return view
