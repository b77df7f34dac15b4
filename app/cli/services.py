"""The parts one by one, for containers and further machines: `api`, `worker`, `dispatcher`, `flower`."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NoReturn

import click

from app import log, points
from app import settings as configuration
from app.cli import listeners, reach
from app.cli.command import Command
from app.cli.parts import Parts
from app.errors import ConfigurationError
from app.redis.queue import RedisTaskQueue
from app.settings import Settings
from app.stack import meters, servers
from app.stack.supervisor import STOP, Supervisor
from app.unit_of_work import Database
from workers.meters import Meters
from workers.upkeep import Upkeep, run_alone


@click.command(cls=Command, example="SCRAPERSKY_PORT=8001 manage.py api")
def api() -> None:
    """Serve the API with gunicorn, on SCRAPERSKY_HOST and SCRAPERSKY_PORT."""
    settings = _found()
    port = listeners.probe(settings.host, settings.port, "SCRAPERSKY_PORT")
    parts = _parts(settings.model_copy(update={"port": port}))
    _become(parts.gunicorn(), parts.environment)


@click.command(cls=Command, example="SCRAPERSKY_WORKER_PROCESSES=4 manage.py worker")
def worker() -> None:
    """Run worker processes and watch over them: one that dies or hangs is replaced.

    SCRAPERSKY_WORKER_PROCESSES of SCRAPERSKY_WORKER_CONCURRENCY threads for batches, one of
    SCRAPERSKY_SINGLE_CONCURRENCY threads for single scans, and one for the quarantine: jobs that lost their process
    twice run there, one at a time.
    """
    settings = _found()
    home = meters.directory(settings.data_dir)
    supervisor = Supervisor([Parts(settings, servers.environment(settings), meters=home).workers()])
    with _metrics(settings, home):
        raise SystemExit(supervisor.run())


@click.command(cls=Command, example="manage.py dispatcher")
def dispatcher() -> None:
    """Run only the loop that dispatches, reaps and settles.

    Every worker process runs this loop too; this one helps where workers come and go.
    """
    settings = _found()
    if settings.redis_url is None:
        raise ConfigurationError("no broker: set SCRAPERSKY_REDIS_URL")
    points.install(settings.test_points)
    database, queue = Database(settings, "worker"), RedisTaskQueue(settings.redis_url.get_secret_value())
    counted = Meters("dispatcher")
    stopped = threading.Event()
    for number in STOP:
        signal.signal(number, lambda *_: stopped.set())
    try:
        run_alone(settings, lambda: Upkeep(database, queue, settings, counted), stopped)
    finally:
        queue.close()
        database.close()


@click.command(cls=Command, example="SCRAPERSKY_FLOWER_PORT=5556 manage.py flower")
def flower() -> None:
    """Serve Flower read-only on SCRAPERSKY_FLOWER_PORT, user `admin`, password in secrets.json (flower_password)."""
    settings = _found()
    if not settings.flower_port:
        raise ConfigurationError("SCRAPERSKY_FLOWER_PORT is 0: Flower is off")
    listeners.probe(settings.host, settings.flower_port, "SCRAPERSKY_FLOWER_PORT")
    parts = _parts(settings)
    _become(parts.flower_argv(), parts.environment)


def _metrics(settings: Settings, home: Path) -> AbstractContextManager[int | None]:
    """:raises StackError: the port is taken"""
    if not settings.worker_metrics_port:
        return nullcontext()
    port = listeners.probe(settings.host, settings.worker_metrics_port, "SCRAPERSKY_WORKER_METRICS_PORT")
    token = settings.metrics_token
    return meters.listening(settings.host, port, home, token=None if token is None else token.get_secret_value())


def _found() -> Settings:
    settings = configuration.load()
    log.configure(level=settings.log_level, style=settings.log_format)
    return reach.running(settings)


def _parts(settings: Settings) -> Parts:
    return Parts(settings, servers.environment(settings))


def _become(argv: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Be that program: signals and exit status are its own, as a container's first process wants it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(argv[0], list(argv), {**os.environ, **environment})  # noqa: S606 - argv is ours, no shell
