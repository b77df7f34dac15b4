"""The promise that a job's message will be sent; Celery is reached by task name only.

A message is a hint: the row in PostgreSQL is the truth. So a message that cannot be sent is no error for whoever
caused it: its job stays `queued` and the reaper puts it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol
from uuid import UUID

SCAN_TASK = "scrapersky.scan"
QueueName = Literal["scans", "single"]
QUEUES: tuple[QueueName, ...] = ("scans", "single")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanMessage:
    """What goes through the broker: ids only. `domain` and `batch_id` are for people who look at Flower."""

    tenant_id: UUID
    job_id: UUID
    dispatch_no: int
    domain: str
    batch_id: UUID | None

    def label(self) -> str:
        """
        >>> one = UUID(int=1)
        >>> ScanMessage(tenant_id=one, job_id=one, dispatch_no=1, domain="a.example", batch_id=None).label()
        'domain=a.example batch=- tenant=00000000-0000-0000-0000-000000000001 dispatch=1'
        """
        return f"domain={self.domain} batch={self.batch_id or '-'} tenant={self.tenant_id} dispatch={self.dispatch_no}"


class TaskQueue(Protocol):
    """Where messages go. Implementations never raise for a broker that is away: they log and answer False."""

    def publish(self, queue: QueueName, messages: Sequence[ScanMessage]) -> bool:
        """Send all in one round trip; False when the broker could not be reached."""

    def depth(self, queue: QueueName) -> int | None:
        """Messages waiting; None when the broker could not be reached."""
