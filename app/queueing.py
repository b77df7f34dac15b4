"""The promise that a job's message will be sent; Celery is reached by task name only.

A message is a hint: the row in PostgreSQL is the truth. So a message that cannot be sent is no error for whoever
caused it: its job stays `queued` and the reaper puts it back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal, NamedTuple, Protocol
from uuid import UUID

SCAN_TASK = "scrapersky.scan"
QueueName = Literal["express", "scans", "single", "quarantine"]
QUEUES: tuple[QueueName, ...] = ("express", "scans", "single", "quarantine")
EMPTY = inf  # the time limit of the next message of a queue that has none


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanMessage:
    """What goes through the broker: ids only. `domain` and `batch_id` are for people who look at Flower.

    `until`, its time limit in epoch seconds of the database's clock, dates the message: see `Waiting`.
    """

    tenant_id: UUID
    job_id: UUID
    dispatch_no: int
    until: float
    domain: str
    batch_id: UUID | None

    def label(self) -> str:
        """
        >>> one = UUID(int=1)
        >>> ScanMessage(tenant_id=one, job_id=one, dispatch_no=1, until=0, domain="a.example", batch_id=None).label()
        'domain=a.example batch=- tenant=00000000-0000-0000-0000-000000000001 dispatch=1'
        """
        return f"domain={self.domain} batch={self.batch_id or '-'} tenant={self.tenant_id} dispatch={self.dispatch_no}"


class Waiting(NamedTuple):
    """What a queue holds: how many messages, and the time limit of the one that is taken next (`EMPTY` if none).

    Queues are first in, first out: a message with an earlier limit than that is not in there any more.
    """

    depth: int
    until: float


class TaskQueue(Protocol):
    """Where messages go. Implementations never raise for a broker that is away: they log and answer False."""

    def publish(self, queue: QueueName, messages: Sequence[ScanMessage]) -> bool:
        """Send all in one round trip; False when the broker could not be reached."""

    def depth(self, queue: QueueName) -> int | None:
        """Messages waiting; None when the broker could not be reached."""

    def look(self) -> Mapping[QueueName, Waiting] | None:
        """Into all queues, in one round trip; None when the broker could not be reached."""
