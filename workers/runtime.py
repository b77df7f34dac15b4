"""What one worker process is made of, wired here and nowhere else."""

from __future__ import annotations

import os
import platform
import threading

from app.errors import ConfigurationError
from app.fetching import client
from app.fetching.ledger import LocalLedger
from app.redis.ledger import RedisLedger
from app.redis.queue import RedisTaskQueue
from app.settings import Settings
from app.unit_of_work import Database
from workers.leases import SHUTDOWN, Leases
from workers.meters import Meters
from workers.upkeep import Upkeep

DRAIN_SECONDS = 5.0  # that running scans get to reach their next checkpoint


class Runtime:
    def __init__(self, settings: Settings, *, name: str) -> None:
        if settings.redis_url is None:
            raise ConfigurationError("no broker: start the embedded one or set SCRAPERSKY_REDIS_URL")
        broker = settings.redis_url.get_secret_value()
        self.settings = settings
        self.name = f"{name}@{platform.node()}:{os.getpid()}"
        self.agent = settings.user_agent.split("/", 1)[0].split(" ", 1)[0]
        self.meters = Meters(name)
        self.database = Database(settings, "worker")
        self.database.check()
        self.queue = RedisTaskQueue(broker)
        self.ledger = RedisLedger(broker, fallback=LocalLedger(share=1 / settings.processes))
        self.transport = client.build(settings, ledger=self.ledger, fetched=self.meters.fetched)
        self.leases = Leases(self.database, lease=settings.lease_seconds)
        self.upkeep = Upkeep(self.database, self.queue, settings, self.meters)
        self.draining = threading.Event()

    def start(self) -> None:
        self.leases.start()
        self.upkeep.start()

    def drain(self) -> None:
        """Take nothing new; scans in hand stop at their next checkpoint, or after a moment where they are."""
        if self.draining.is_set():
            return
        self.draining.set()
        timer = threading.Timer(DRAIN_SECONDS, self.leases.abort_all, (SHUTDOWN,))
        timer.daemon = True
        timer.start()

    def stop(self) -> None:
        self.upkeep.stop()
        self.leases.stop()
        self.transport.close()
        self.ledger.close()
        self.queue.close()
        self.database.close()
