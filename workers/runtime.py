"""What one worker process is made of, wired here and nowhere else."""

from __future__ import annotations

import os
import platform
import signal
import threading
from collections.abc import Callable

import structlog

from app import points
from app.errors import ConfigurationError
from app.fetching import client
from app.fetching.ledger import LocalLedger
from app.redis.ledger import RedisLedger
from app.redis.queue import RedisTaskQueue
from app.services.quotas import Quotas
from app.settings import Settings
from app.unit_of_work import Database
from workers.leases import SHUTDOWN, Leases
from workers.meters import Meters
from workers.upkeep import Upkeep

DRAIN_SECONDS = 5.0  # that running scans get to reach their next checkpoint
END_SECONDS = 10.0  # and then all that is left: to put their jobs back and let go
RECYCLED = 3  # exit status of a process that would not end by itself

log = structlog.get_logger(__name__)


class Runtime:
    def __init__(self, settings: Settings, *, name: str) -> None:
        if settings.redis_url is None:
            raise ConfigurationError("no broker: start the embedded one or set SCRAPERSKY_REDIS_URL")
        points.install(settings.test_points)
        broker = settings.redis_url.get_secret_value()
        self.settings = settings
        self.name = f"{name}@{platform.node()}:{os.getpid()}"
        self.agent = settings.user_agent.split("/", 1)[0].split(" ", 1)[0]
        self.meters = Meters(name)
        self.database = Database(settings, "worker")
        self.database.check()
        self.quotas = Quotas(self.database, settings)
        self.queue = RedisTaskQueue(broker)
        self.ledger = RedisLedger(
            broker, fallback=LocalLedger(share=1 / settings.processes), longest_request=settings.request_timeout + 1
        )
        self.transport = client.build(settings, ledger=self.ledger, fetched=self.meters.fetched)
        self.leases = Leases(
            self.database,
            lease=settings.lease_seconds,
            stuck_after=settings.stuck_seconds,
            on_stuck=self._stuck,
        )
        self._retiring, self._grace = False, DRAIN_SECONDS
        self.upkeep = Upkeep(self.database, self.queue, settings, self.meters)
        self.draining = threading.Event()

    def start(self) -> None:
        self.leases.start()
        self.upkeep.start()

    def retire(self, *, grace: float = DRAIN_SECONDS) -> bool:
        """End this process, as SIGTERM does; scans in hand have `grace` seconds to reach a checkpoint.

        False when that is going on already: a second signal would cut it short.
        """
        if self._retiring:
            return False
        self._retiring, self._grace = True, grace
        os.kill(os.getpid(), signal.SIGTERM)
        return True

    def _stuck(self, alone: bool) -> None:
        """No thread can be killed, so the process ends: once it holds nothing else, or its other work had its time."""
        if alone:
            end_now("all that is left of its work is stuck")
        self.retire()

    def drain(self) -> None:
        """Take nothing new; scans in hand stop at their next checkpoint, or after a moment where they are.

        Asked a second time, they stop at once. What does not end at all ends with the process: its lease passes.
        """
        if self.draining.is_set():
            self.leases.abort_all(SHUTDOWN)
            return
        self.draining.set()
        _after(self._grace, self.leases.abort_all, SHUTDOWN)
        _after(self._grace + END_SECONDS, end_now, "it would not end by itself")

    def stop(self) -> None:
        self.upkeep.stop()
        self.leases.stop()
        self.transport.close()
        self.ledger.close()
        self.queue.close()
        self.database.close()


def _after(seconds: float, action: Callable[[str], None], word: str) -> None:
    timer = threading.Timer(seconds, action, (word,))
    timer.daemon = True
    timer.start()


def end_now(why: str) -> None:
    """Without a word to anybody: leases pass, the supervisor starts a fresh process."""
    log.error("this process ends at once", why=why)
    os._exit(RECYCLED)
