"""`up`: servers, migrations, administrator, children; and all of it down again in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import click

from app import log
from app import settings as configuration
from app.cli import listeners, signals
from app.cli.command import Command
from app.cli.console import say
from app.cli.database import secret_file, upgrade, welcome
from app.cli.parts import Parts
from app.settings import Settings
from app.stack import meters, servers
from app.stack.ready import probe_http
from app.stack.servers import Servers
from app.stack.supervisor import Supervisor
from workers import flower


@click.command(cls=Command, example="SCRAPERSKY_PORT=8080 manage.py up")
def up() -> None:
    """Start database, broker, API, workers and Flower in the foreground; Ctrl-C stops them in order.

    Says `ready http://HOST:PORT` on stdout once everything works. With SCRAPERSKY_DATABASE_URL and
    SCRAPERSKY_REDIS_URL set, those servers are used and none is embedded.
    """
    settings = configuration.load()
    log.configure(level=settings.log_level, style=settings.log_format)
    raise SystemExit(run(settings, on_ready=lambda stack: click.echo(f"ready {stack.url}")))


class Stack:
    """A stack that runs: what its caller may ask of it."""

    def __init__(self, settings: Settings, supervisor: Supervisor) -> None:
        self.settings = settings
        self.url = listeners.url(settings)
        self.local_url = listeners.url(settings, local=True)
        self._supervisor = supervisor

    def stop(self) -> None:
        """From any thread."""
        self._supervisor.stop()

    @property
    def is_stopping(self) -> bool:
        return self._supervisor.is_stopping

    def is_ready(self) -> bool:
        return self._supervisor.all_begun() and probe_http(f"{self.local_url}/health/ready")


def run(
    settings: Settings,
    *,
    on_ready: Callable[[Stack], None],
    extra: Mapping[str, str] | None = None,
    log_dir: Path | None = None,
    durable: bool = True,
    tell: Callable[[str], None] = say,
) -> int:
    """Run the stack until a signal or `Stack.stop`. `extra` goes into every child's environment.

    `tell` is given what a person may want to know, a line at a time.

    Main thread only. Returns 0; 1 if a second signal cut the stop short.

    :raises StackError: a port is taken, or a part does not start
    """
    settings = listeners.settle(settings)
    try:
        with signals.raising():
            started = servers.start(settings, durable=durable)
            try:
                return _supervise(started, extra or {}, log_dir, on_ready, tell)
            finally:
                with signals.ignored():
                    started.stop()
    except signals.Told:
        return 0


def _supervise(
    started: Servers,
    extra: Mapping[str, str],
    log_dir: Path | None,
    on_ready: Callable[[Stack], None],
    tell: Callable[[str], None],
) -> int:
    settings = started.settings
    upgrade(settings, tell)
    welcome(settings, tell)
    environment = {**started.environment(), **extra}
    parts = Parts(settings, environment, meters=meters.directory(settings.data_dir))
    monitor = [parts.flower()] if settings.flower_port else []
    if monitor:
        tell(f"Flower on port {settings.flower_port}: user {flower.USER}, password in {secret_file(settings)}")
    supervisor = Supervisor([[parts.api()], parts.workers(), monitor], log_dir=log_dir, upkeep=started.revive)
    stack = Stack(settings, supervisor)
    return supervisor.run(stack.is_ready, lambda: on_ready(stack))
