"""Which worker processes are alive: those that answer when all are asked, on every machine."""

from __future__ import annotations

from celery import Celery
from kombu.exceptions import OperationalError

ANSWER_SECONDS = 2.0


def seen(celery: Celery) -> frozenset[str] | None:
    """Their names, as `jobs.worker` has them; None when the broker cannot carry the question."""
    try:
        answers = celery.control.broadcast("stats", reply=True, timeout=ANSWER_SECONDS)
    except OperationalError:
        return None
    return frozenset(
        f"{node}:{told['pid']}" for answer in answers or () for node, told in answer.items() if "pid" in told
    )
