"""Parts of the platform that may be switched off for a tenant (docs/access.md)."""

from __future__ import annotations

from uuid import UUID

from app.access import FEATURES
from app.errors import FeatureDisabled
from app.services.caching import Cache, TtlCache
from app.unit_of_work import Database

# As with permissions: a switch takes effect everywhere within 5 s, this and time to spare.
KNOWN_SECONDS = 3.0


class Features:
    def __init__(self, database: Database, *, cache: Cache[UUID, frozenset[str]] | None = None) -> None:
        self._database = database
        self._cache: Cache[UUID, frozenset[str]] = cache or TtlCache(seconds=KNOWN_SECONDS)

    def of(self, tenant_id: UUID) -> dict[str, bool]:
        off = self._off(tenant_id)
        return {name: name not in off for name in FEATURES}

    def require(self, tenant_id: UUID, name: str) -> None:
        """:raises FeatureDisabled: it is switched off for this tenant"""
        if name in self._off(tenant_id):
            raise FeatureDisabled(f"`{name}` is switched off for your tenant")

    def forget(self, tenant_id: UUID) -> None:
        """Somebody has just changed them."""
        self._cache.drop(tenant_id)

    def _off(self, tenant_id: UUID) -> frozenset[str]:
        known = self._cache.get(tenant_id)
        if known is None:
            with self._database.for_tenant(tenant_id) as uow:
                known = uow.tenants.off(tenant_id)
            self._cache.put(tenant_id, known)
        return known
