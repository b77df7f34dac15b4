"""The child processes a stack is made of."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from app.settings import Settings
from app.stack import receiving
from app.stack.child import Child
from app.stack.meters import VARIABLE

ROOT = Path(__file__).resolve().parents[2]
API_DRAIN_SECONDS = 10
WORKER_DRAIN_SECONDS = 30.0
WORKER_HURRY_SECONDS = 10.0  # to hand its jobs back at once
LIVENESS_SHARE = 0.75  # of a lease: a worker silent for so long is about to lose its jobs anyway
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - gunicorn's own unlinked heartbeat files, mode 0600


class Parts:
    """Descriptions of the children; `environment` leads them to the servers, `meters` is where workers count."""

    def __init__(self, settings: Settings, environment: Mapping[str, str], *, meters: Path | None = None) -> None:
        self._settings = settings
        self._meters = meters
        path = os.environ.get("PYTHONPATH")
        self.environment = {
            **environment,
            "SCRAPERSKY_HOST": settings.host,
            "SCRAPERSKY_PORT": str(settings.port),
            "SCRAPERSKY_FLOWER_PORT": str(settings.flower_port),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{path}" if path else str(ROOT),
            "PYTHONUNBUFFERED": "1",
            # Threads that parse get arenas of their own otherwise: 280 MiB become a gigabyte.
            "MALLOC_ARENA_MAX": "2",
        }

    def api(self) -> Child:
        return Child(name="api", argv=self.gunicorn(), env=self.environment, stop_timeout=API_DRAIN_SECONDS + 5.0)

    def gunicorn(self) -> list[str]:
        settings = self._settings
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        shared = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else settings.data_dir
        return [
            *(sys.executable, "-m", "gunicorn", "app.factory:create_app()"),
            f"--bind={host}:{settings.port}",
            "--worker-class=app.stack.receiving.Worker",
            *(f"--{name}={most}" for name, most in receiving.LIMITS.items()),
            "--no-sendfile",  # it would go around the worker's own time limits
            f"--workers={settings.api_processes}",
            f"--threads={settings.api_threads}",
            f"--graceful-timeout={API_DRAIN_SECONDS}",
            f"--worker-tmp-dir={shared}",  # a heartbeat on a slow disk looks like a hang
            "--no-control-socket",
            "--log-level=warning",
        ]

    def workers(self) -> list[Child]:
        settings = self._settings
        batch = [
            self._worker("scans", settings.worker_concurrency, f"scans-{number + 1}")
            for number in range(settings.worker_processes)
        ]
        single = [self._worker("single", settings.single_concurrency, "single")] if settings.single_concurrency else []
        # For jobs that lost their process again and again: one at a time, so that none takes a neighbour along.
        return [*batch, *single, self._worker("quarantine", 1, "quarantine", awaited=False)]

    def flower(self) -> Child:
        return Child(name="flower", argv=self.flower_argv(), env=self.environment)

    def flower_argv(self) -> list[str]:
        return [sys.executable, "-m", "workers.flower"]

    def _worker(self, queue: str, concurrency: int, name: str, *, awaited: bool = True) -> Child:
        module = [sys.executable, "-m", "workers.process"]
        return Child(
            name=name,
            argv=[*module, f"--queue={queue}", f"--concurrency={concurrency}", f"--name={name}"],
            env=self.environment if self._meters is None else {**self.environment, VARIABLE: str(self._meters)},
            liveness=self._settings.lease_seconds * LIVENESS_SHARE,
            awaited=awaited,
            stop_timeout=WORKER_DRAIN_SECONDS,
            hurry_timeout=WORKER_HURRY_SECONDS,
        )
