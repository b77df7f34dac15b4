"""`demo`: the whole platform at work, from nothing to a table, and nothing left behind."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from signal import SIGTERM
from typing import Any

import click
from rich.text import Text

from app import settings as configuration
from app.cli import up
from app.cli.batches import KINDS
from app.cli.client import Client
from app.cli.command import Command
from app.cli.console import quiet_logs, say
from app.cli.main import INTERRUPTED
from app.cli.output import BAD, GOOD, domain_table, plain, wide_console
from app.cli.parts import ROOT
from app.cli.progress import follow
from app.cli.up import Stack
from app.errors import ScraperSkyError, StackError, Unavailable
from app.settings import Settings
from app.stack import secrets, servers
from app.stack.process import Program, Step, end, launch
from app.stack.secrets import make_private
from app.stack.server import free_port

EXAMPLES = ROOT / "examples"
SHOWN = 50  # rows of the table
# The demo is its own world: nothing of it may touch servers that the environment or .env names.
ALONE = (
    "database_url", "system_database_url", "owner_database_url", "redis_url", "admin_password",
    "secret_key", "secret_key_previous", "signing_keys_file",
)  # fmt: skip

# Nothing here scans single domains, and nobody wants to wait a second for the dispatcher's next round.
BRISK = {"single_concurrency": "0", "upkeep_seconds": "0.2"}


@click.command(cls=Command, example="manage.py demo\nmanage.py demo example.com example.org")
@click.argument("domains", nargs=-1, metavar="[DOMAIN…]")
@click.option("--file", type=click.Path(exists=True, dir_okay=False), help="Scan the domains of a file.")
def demo(*, domains: tuple[str, ...], file: str | None) -> None:
    """Start everything, scan the sample sites of examples/ (or your own domains), show what was found, stop.

    The exit status is 0 only if no job failed.
    """
    found = configuration.load(**dict.fromkeys(ALONE), environment="development")
    quiet_logs(found)
    directory = _fresh(found)
    with _sites(directory, wanted=not domains and not file) as sites:
        overrides = {**BRISK, **sites}
        settings = configuration.load(
            **dict.fromkeys(ALONE),
            **overrides,
            environment="development",
            data_dir=directory,
            host="127.0.0.1",
            port=0,
            flower_port=free_port() if found.flower_port else 0,
        )
        show = Show(settings, domains=list(domains), file=Path(file) if file else _sample(domains))
        show.run(_environment(overrides))
    raise SystemExit(show.verdict())


class Show:
    """The demo's play: the stack in the main thread, its client in another."""

    def __init__(self, settings: Settings, *, domains: list[str], file: Path | None) -> None:
        self._settings = settings
        self._domains = domains
        self._file = file
        self._began = time.monotonic()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: ScraperSkyError | None = None
        self._batch: dict[str, Any] | None = None
        self._rows: list[tuple[dict[str, Any], str]] = []

    def run(self, extra: Mapping[str, str]) -> None:
        say("starting PostgreSQL, Valkey, API, workers and Flower …")
        logs = self._settings.data_dir / "logs"
        up.run(self._settings, on_ready=self._start, extra=extra, log_dir=logs, durable=False, tell=lambda _line: None)
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def verdict(self) -> int:
        """Print what was found; the exit status."""
        if self._failure is not None:
            raise self._failure
        if self._batch is None:
            say("interrupted; everything is stopped")
            return INTERRUPTED
        self._print_table()
        counts = self._batch["counts"]
        say(f"{self._seconds()}: all stopped; {counts['complete']:,} complete, {counts['failed']:,} failed")
        return int(counts["complete"] < counts["total"])

    def _start(self, stack: Stack) -> None:
        say(f"{self._seconds()}: ready at {stack.url}")
        self._thread = threading.Thread(target=self._play, args=(stack,), name="demo")
        self._thread.start()

    def _play(self, stack: Stack) -> None:
        password = secrets.load_or_create(self._settings).admin_password
        try:
            with closing(Client(stack.local_url, email=self._settings.admin_email, password=password)) as client:
                self._scan(client)
        except ScraperSkyError as error:
            if not stack.is_stopping:  # else it is only the API that has gone
                self._failure = error
        finally:
            stack.stop()

    def _scan(self, client: Client) -> None:
        batch = self._submit(client)
        say(f"{self._seconds()}: submitted {batch['counts']['total']:,} domains over REST as batch {batch['id']}")
        batch = follow(lambda: client.batch(batch["id"]), self._stopped)
        if self._stopped.is_set():
            return
        for job in client.jobs(batch["id"]):
            if len(self._rows) == SHOWN:
                break
            self._rows.append((job, _title(client, job)))
        self._batch = batch

    def _submit(self, client: Client) -> dict[str, Any]:
        if self._file is None:
            return client.submit_domains(self._domains, name="demo")
        with self._file.open("rb") as body:
            return client.submit(body, KINDS.get(self._file.suffix.lower(), "text/plain"), {"name": "demo"})

    def _print_table(self) -> None:
        table = domain_table()
        for job, title in self._rows:
            error, stats = job["error"], job["stats"]
            failed = job["status"] != "complete"
            table.add_row(
                plain(job["domain"]["name"]),
                Text(job["status"] if failed else job["outcome"], style=BAD if failed else GOOD),
                f"{stats.get('sitemaps', 0):,}",
                f"{stats.get('urls', 0):,}",
                plain(error["detail"] or error["code"] if error else title),
            )
        wide_console().print(table)

    def _seconds(self) -> str:
        return f"{time.monotonic() - self._began:5.1f} s"


def _title(client: Client, job: dict[str, Any]) -> str:
    return ((client.domain(job["domain"]["id"])["details"] or {}).get("title")) or ""


def _fresh(settings: Settings) -> Path:
    """An empty data directory of the demo's own; the last demo's is removed."""
    directory = settings.data_dir.absolute() / "demo"
    if servers.attach(settings.model_copy(update={"data_dir": directory})) is not None:
        raise StackError(f"another demo runs on {directory}")
    shutil.rmtree(directory, ignore_errors=True)
    make_private(directory)
    return directory


@contextmanager
def _sites(directory: Path, *, wanted: bool) -> Iterator[dict[str, str]]:
    """The sample sites on loopback; settings that lead there, and nothing but there."""
    if not wanted:
        yield {}
        return
    argv = [sys.executable, str(EXAMPLES / "server.py"), str(directory)]
    process = launch(Program(name="sample sites", argv=argv, output=subprocess.PIPE))
    try:
        yield _announced(process)
    finally:
        end(process, [Step(SIGTERM, 5.0)])


def _announced(process: subprocess.Popen[bytes]) -> dict[str, str]:
    line = process.stdout.readline() if process.stdout else b""
    try:
        found: dict[str, str] = json.loads(line)
    except ValueError:
        raise Unavailable(f"the sample sites did not start: {line.decode(errors='replace').strip()}") from None
    return found


def _environment(overrides: Mapping[str, str]) -> dict[str, str]:
    shown = {f"SCRAPERSKY_{name.upper()}": value for name, value in overrides.items()}
    return {**shown, "SCRAPERSKY_ENVIRONMENT": "development"}


def _sample(domains: tuple[str, ...]) -> Path | None:
    return None if domains else EXAMPLES / "domains.csv"
