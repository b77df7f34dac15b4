"""What a tenant may have: of its own, or as the installation has it for all. None is no limit.

batch_domains   lines of one batch
open_jobs       jobs that have not ended
urls            URLs kept, as of each domain's newest finished scan
host_requests   requests at a time to one host
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from threading import Lock
from typing import NamedTuple
from uuid import UUID

from app.access import Actor
from app.errors import Excess, QuotaExceeded
from app.repositories.batches import Landing, Line
from app.scanning.values import ScanOptions
from app.services.caching import TtlCache
from app.settings import Settings
from app.unit_of_work import Database, TenantUnit
from models import Tenant

TOLERATED = 1.1  # of `urls`: beyond it no site is read any more
KNOWN_SECONDS = 3.0
STORED_SECONDS = 60.0  # that a sum over all domains may be old at most
REST = 50  # times as long as it took to make one


class Allowed(NamedTuple):
    """The limits in effect for one tenant."""

    batch_domains: int | None
    open_jobs: int | None
    urls: int | None
    host_requests: int | None


class _Stored(NamedTuple):
    total: int
    until: float


class Use(NamedTuple):
    limit: int | None
    used: int | None  # None: nothing of it is used up


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What a scan of a tenant may take just now, whatever its caller asked for."""

    pages: bool = True
    host_requests: int | None = None
    urls: int | None = None
    stored: int = 0  # URLs kept of all its domains

    def narrow(self, asked: ScanOptions) -> ScanOptions:
        """
        >>> Allowance(pages=False, host_requests=1).narrow(ScanOptions(max_pages=9)).per_host_concurrency
        1
        """
        most = self.host_requests or asked.per_host_concurrency
        return replace(
            asked,
            max_pages=asked.max_pages if self.pages else 0,
            per_host_concurrency=min(asked.per_host_concurrency, most),
        )

    def room(self, kept: int) -> int | None:
        """How many URLs may be read of a site of which `kept` are kept. None: as many as it has.

        What is kept may be read again. But a site that is too large to be read to its end loses nothing that has gone
        from it; were that let on for ever, changing it again and again would fill the disk.

        >>> Allowance(urls=100, stored=70).room(20)
        50
        >>> Allowance(urls=100, stored=111).room(60)
        0
        """
        if self.urls is None:
            return None
        if self.stored > self.urls * TOLERATED:
            return 0
        return max(self.urls - self.stored + kept, 0)


UNLIMITED = Allowance()


class Quotas:
    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._allowances = TtlCache[UUID, Allowance](seconds=KNOWN_SECONDS)
        self._stored = TtlCache[UUID, _Stored](seconds=STORED_SECONDS)
        self._summing = Lock()

    def allowed(self, uow: TenantUnit) -> Allowed:
        return allowed(uow.tenants.own(), self._settings)

    def seen_by(self, actor: Actor) -> dict[str, Use]:
        with self._database.for_tenant(actor.tenant_id) as uow:
            return self.usage(uow)

    def usage(self, uow: TenantUnit) -> dict[str, Use]:
        used = {"open_jobs": uow.depths.open_jobs(), "urls": self.stored(uow)}
        return {name: Use(limit, used.get(name)) for name, limit in self.allowed(uow)._asdict().items()}

    def stored(self, uow: TenantUnit) -> int:
        """URLs kept. It takes a look at every domain, so the longer that took, the longer it is good for."""
        with self._summing:
            known = self._stored.get(uow.tenant_id)
            began = time.monotonic()
            if known is None or known.until <= began:
                total = uow.domains.url_total()
                now = time.monotonic()
                known = _Stored(total, now + max(KNOWN_SECONDS, (now - began) * REST))
                self._stored.put(uow.tenant_id, known)
            return known.total

    def allowance(self, tenant_id: UUID) -> Allowance:
        """For a scan about to begin; looked up every few seconds.

        :raises Unavailable: the database is away
        """
        known = self._allowances.get(tenant_id)
        if known is None:
            with self._database.for_tenant(tenant_id) as uow:
                limits = self.allowed(uow)
                known = Allowance(
                    pages="pages" not in uow.tenants.off(tenant_id),
                    host_requests=limits.host_requests,
                    urls=limits.urls,
                    stored=0 if limits.urls is None else self.stored(uow),
                )
            self._allowances.put(tenant_id, known)
        return known

    def admit(self, uow: TenantUnit, limits: Allowed, landing: Landing) -> None:
        """A look before the work. What it lets in is looked at again by `confirm`.

        :raises QuotaExceeded: naming what would be exceeded
        """
        if limits.open_jobs is not None:
            _check("open_jobs", limits.open_jobs, used=uow.depths.open_jobs(), asked=landing.jobs)
        if limits.urls is not None and landing.new_sites and self.stored(uow) >= limits.urls:
            # A site that is known may be scanned again, within what is kept of it.
            _check("urls", limits.urls, used=self.stored(uow), asked=landing.new_sites)

    def confirm(self, uow: TenantUnit, limits: Allowed, *, added: int) -> None:
        """Right before the commit, when the jobs are written: of two who pass the last free place one turns back.

        Where there is no limit, nobody waits for anybody.

        :raises QuotaExceeded: with these jobs there would be more open ones than the tenant may have
        """
        if limits.open_jobs is not None and added:
            used = uow.depths.open_jobs(in_turn=True) - added
            _check("open_jobs", limits.open_jobs, used=used, asked=added)


def allowed(tenant: Tenant, settings: Settings) -> Allowed:
    return Allowed(
        batch_domains=tenant.max_batch_domains or settings.tenant_batch_domains,
        open_jobs=tenant.max_open_jobs or settings.tenant_open_jobs,
        urls=tenant.max_urls or settings.tenant_urls,
        host_requests=tenant.max_host_requests or settings.tenant_host_requests,
    )


def exceeded(quotas: Mapping[str, Use], *, lines: int, landing: Landing) -> list[str]:
    """The quotas that a list would exceed.

    >>> quotas = {"batch_domains": Use(9, None), "open_jobs": Use(10, 8), "urls": Use(None, 99)}
    >>> exceeded(quotas, lines=5, landing=Landing(jobs=3, new_sites=3))
    ['open_jobs']
    """
    full = (quotas["urls"].used or 0) >= (quotas["urls"].limit or math.inf)
    asked = {"batch_domains": lines, "open_jobs": landing.jobs, "urls": landing.new_sites if full else 0}
    return [
        name
        for name, more in asked.items()
        if more and (limit := quotas[name].limit) is not None and (quotas[name].used or 0) + more > limit
    ]


def lines_within(lines: Iterable[Line], limits: Allowed) -> Iterator[Line]:
    """Hand lines on; the rest of a list that is too long is not even read.

    :raises QuotaExceeded: there are more than a batch of this tenant may have
    """
    most = limits.batch_domains
    for count, line in enumerate(lines, 1):
        if most is not None and count > most:
            detail = f"batch_domains: a batch of your tenant has at most {most:,} lines; this one has more"
            raise QuotaExceeded(detail, excess=Excess("batch_domains", most, None, count))
        yield line


def _check(quota: str, limit: int, *, used: int, asked: int) -> None:
    if used + asked > limit:
        detail = f"{quota}: your tenant may have {limit:,}, has {used:,}, and this asks for {asked:,} more"
        raise QuotaExceeded(detail, excess=Excess(quota, limit, used, asked))
