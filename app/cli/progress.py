"""A batch on its way, on stderr: a live bar for people, plain lines for logs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

POLL_SECONDS = 0.3
LINE_SECONDS = 2.0
FINAL = ("complete", "partial", "failed", "cancelled")
ENDED = ("complete", "failed", "cancelled")


class Bar:
    """Shows each state of a batch it is given; where stderr is no terminal, a line now and then."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._live = Progress(*columns, console=console) if console.is_terminal else None
        self._task = self._live.add_task("batch", total=None) if self._live else None
        self._said = ""
        self._next = 0.0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, batch: dict[str, Any]) -> None:
        counts = batch["counts"]
        ended = sum(counts[name] for name in ENDED)
        failed = f", {counts['failed']:,} failed" if counts["failed"] else ""
        if self._live is not None and self._task is not None:
            words = f"{batch['status']}{failed}"
            self._live.update(self._task, description=words, completed=ended, total=counts["total"])
            return
        line = f"{batch['status']}: {ended:,} of {counts['total']:,} domains{failed}"
        is_due = time.monotonic() >= self._next or batch["status"] in FINAL
        if line != self._said and is_due:
            click.echo(line, err=True)
            self._said, self._next = line, time.monotonic() + LINE_SECONDS


def follow(ask: Callable[[], dict[str, Any]], stopped: threading.Event | None = None) -> dict[str, Any]:
    """Show a batch until it has ended, or `stopped` is set; its last state."""
    stopped = stopped or threading.Event()
    with Bar() as bar:
        while True:
            batch = ask()
            bar.show(batch)
            if batch["status"] in FINAL or stopped.wait(POLL_SECONDS):
                return batch
