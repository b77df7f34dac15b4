"""Flower: people look at it, nothing depends on it.

`python -m workers.flower` becomes `celery flower` with our options. Its password goes by the environment, where
other users of the machine cannot read it as they can a command line.
"""

from __future__ import annotations

import os
import sys

from app import settings as configuration
from app.settings import Settings
from app.stack import secrets
from app.stack.secrets import make_private

USER = "admin"
SAVE_MILLISECONDS = 60_000
MAX_TASKS = 50_000
NICENESS = 5  # nothing waits for it
COLUMNS = "name,uuid,state,args,received,started,runtime,worker"


def options(settings: Settings) -> list[str]:
    """Arguments after `celery`. Read-only: whoever may look may not stop workers or revoke tasks."""
    home = settings.data_dir / "flower"
    return [
        "--app=workers.celery_app",
        "--quiet",
        "flower",
        f"--address={settings.host}",
        f"--port={settings.flower_port}",
        "--read-only=true",
        "--persistent=true",
        f"--db={home / 'events'}",
        f"--state-save-interval={SAVE_MILLISECONDS}",
        f"--max-tasks={MAX_TASKS}",
        f"--tasks-columns={COLUMNS}",
        "--logging=warning",
    ]


def credentials(settings: Settings) -> str:
    return f"{USER}:{secrets.load_or_create(settings).flower_password}"


def main() -> None:
    settings = configuration.load()
    make_private(settings.data_dir / "flower")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FLOWER_")}
    environment = {**inherited, "FLOWER_BASIC_AUTH": credentials(settings)}
    argv = [sys.executable, "-m", "celery", *options(settings)]
    os.nice(NICENESS)
    os.execve(sys.executable, argv, environment)  # noqa: S606 - argv is ours, no shell


if __name__ == "__main__":
    main()
