"""The queue as somebody who watches it may see it: a tenant its own, whoever keeps the platform all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.access import Actor
from app.queueing import QUEUES, TaskQueue
from app.repositories.depths import Depths, Held, HostDepth, TenantDepth
from app.services.upkeep import WINDOW_PER_SLOT
from app.unit_of_work import Database

SEES_ALL = "platform:queue"
DEPTHS = ("pending", "delayed", "paused", "queued", "running")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """`broker` has the messages in each queue, None for one that does not answer; it is None for a tenant."""

    sees_all: bool
    tenants: Sequence[TenantDepth]
    leases: Sequence[Held]
    hosts: Sequence[HostDepth]
    window: int
    broker: Mapping[str, int | None] | None

    @property
    def oldest(self) -> datetime | None:
        return min((one.oldest for one in self.tenants if one.oldest is not None), default=None)

    @property
    def age(self) -> float | None:
        """Seconds since `oldest`, on the database's clock."""
        return max((one.age for one in self.tenants if one.age is not None), default=None)

    @property
    def passed(self) -> int:
        return sum(held.passed for held in self.leases)

    @property
    def live(self) -> int:
        return sum(held.jobs for held in self.leases) - self.passed

    def total(self, status: str) -> int:
        return sum(int(getattr(one, status)) for one in self.tenants)


class QueueStates:
    def __init__(self, database: Database, queue: TaskQueue, *, slots: int) -> None:
        self._database = database
        self._queue = queue
        self._window = slots * WINDOW_PER_SLOT

    def seen_by(self, actor: Actor) -> QueueState:
        if actor.may(SEES_ALL):
            return self.whole()
        with self._database.for_tenant(actor.tenant_id) as uow:
            return self._state(uow.depths, broker=None)

    def messages(self) -> dict[str, int | None]:
        """By queue, None while the broker does not answer: asked once, since a deaf one costs seconds."""
        seen = self._queue.look()
        return {name: None if seen is None else seen[name].depth for name in QUEUES}

    def whole(self, messages: Mapping[str, int | None] | None = None) -> QueueState:
        """With `messages` as they were counted already, or else are now.

        :raises Unavailable: the database is away
        """
        broker = self.messages() if messages is None else messages
        with self._database.system() as uow:
            return self._state(uow.depths, broker=broker)

    def _state(self, depths: Depths, *, broker: Mapping[str, int | None] | None) -> QueueState:
        return QueueState(
            sees_all=broker is not None,
            tenants=depths.tenants(),
            leases=depths.leases(),
            hosts=depths.hosts(),
            window=self._window,
            broker=broker,
        )
