"""A Celery worker that has one task, which does nothing: `celery -A benchmarks.bare worker`.

As plain as Celery's manual has it, but that nothing is kept of results. At its end each worker adds to the file
BENCHMARK_DONE how many tasks it ran.
"""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import worker_shutdown

QUEUE = "bare"
done = count()


def make(broker: str) -> Celery:
    made = Celery("bare", broker=broker, set_as_current=False)
    made.conf.update(
        task_ignore_result=True, task_default_queue=QUEUE, worker_hijack_root_logger=False, task_serializer="json"
    )
    return made


app = make(os.environ.get("BENCHMARK_BROKER", "memory://"))


@app.task(name="bare.nothing", shared=False)
def nothing(_tenant: str, _job: str, _number: int) -> None:
    next(done)


@worker_shutdown.connect
def tell(**_: Any) -> None:
    with Path(os.environ["BENCHMARK_DONE"]).open("a", encoding="ascii") as out:
        out.write(f"{next(done)}\n")
