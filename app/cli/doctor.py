"""`doctor`: every part asked, and for each that is wrong how to mend it."""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import click

from app import settings as configuration
from app.cli import listeners, reach
from app.cli.command import Command
from app.cli.console import quiet_logs
from app.cli.scan import scan_one
from app.errors import ConfigurationError, ScraperSkyError, Unavailable
from app.redis import connection as broker
from app.repositories import schema
from app.scanning import urls
from app.settings import ConnectTo, Settings
from app.stack import servers
from app.unit_of_work import Database

OLDEST_PYTHON = (3, 11)
FREE_BYTES = 1 << 30
SKEW_SECONDS = 5.0
SAMPLE = "doctor.example"
PAGES = {
    "/robots.txt": b"User-agent: *\nSitemap: /sitemap.txt\n",
    "/sitemap.txt": b"http://doctor.example/one\nhttp://doctor.example/two\n",
    "/": b"<!doctype html><title>Well</title>",
}


class Ill(ScraperSkyError):
    """A check failed; carries the way to mend it."""

    def __init__(self, detail: str, *, mend: str) -> None:
        super().__init__(detail)
        self.mend = mend


@dataclass
class Report:
    ill: int = 0

    def check(self, name: str, examine: Callable[[], str]) -> bool:
        """One line: what was examined, and what it is like."""
        try:
            found = examine()
        except ScraperSkyError as error:
            self.ill += 1
            click.echo(f"{click.style('ill ', fg='red')}  {name}: {error.detail}")
            if isinstance(error, Ill):
                click.echo(f"      mend it: {error.mend}")
            return False
        click.echo(f"{click.style('well', fg='green')}  {name}: {found}")
        return True


@click.command(cls=Command, example="manage.py doctor")
def doctor() -> None:
    """Check every part, run a real scan of a small site on loopback, say what is wrong and how to mend it.

    Where no stack runs and no servers are set, the embedded ones are started for the while. The exit status is 1
    if anything is wrong.
    """
    report = Report()
    report.check("Python", _python)
    settings = _settings(report)
    if settings is None:
        raise SystemExit(1)
    quiet_logs(settings)
    if report.check("data directory", lambda: _data_directory(settings)):
        report.check("free disk", lambda: _disk(settings))
        _examine_servers(report, settings)
    report.check("listeners", lambda: _listeners(settings))
    report.check("a scan of a sample site", lambda: _scan(settings))
    click.echo("all is well" if not report.ill else f"{report.ill} of the checks failed")
    raise SystemExit(int(report.ill > 0))


def _python() -> str:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        raise Ill(f"{version} is too old", mend="install Python 3.11 or newer, then `make clean demo`")
    return version


def _settings(report: Report) -> Settings | None:
    found: list[Settings] = []

    def examine() -> str:
        found.append(configuration.load())
        return f"environment {found[0].environment}"

    report.check("settings", examine)
    return found[0] if found else None


def _data_directory(settings: Settings) -> str:
    directory = settings.data_dir.absolute()
    mend = "make it writable for this user, or set SCRAPERSKY_DATA_DIR to a directory that is"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise Ill(f"{directory}: {error.strerror}", mend=mend) from error
    if directory.stat().st_mode & 0o002:
        raise Ill(f"{directory} can be written by everybody", mend=f"chmod o-w {directory}")
    return str(directory)


def _disk(settings: Settings) -> str:
    free = shutil.disk_usage(settings.data_dir).free
    said = f"{free / (1 << 30):,.1f} GiB"
    if free < FREE_BYTES:
        raise Ill(f"only {said} under {settings.data_dir}", mend="make room, or move SCRAPERSKY_DATA_DIR")
    return said


def _examine_servers(report: Report, settings: Settings) -> None:
    whose = _whose(settings)  # asked first: once started, they are those of a running stack, ours
    try:
        with reach.reachable(settings) as found:
            report.check("servers", lambda: whose)
            report.check("broker", lambda: _broker(found))
            with closing(Database(found, "api")) as database:
                if report.check("database roles", lambda: _roles(database)):
                    report.check("migrations", lambda: _migrations(database))
                    report.check("clock", lambda: _clock(database))
    except ScraperSkyError as error:
        failure = Ill(error.detail, mend="see the logs under the data directory, or set SCRAPERSKY_DATABASE_URL & Co.")
        report.check("servers", lambda: _raise(failure))


def _raise(error: ScraperSkyError) -> str:
    raise error


def _whose(settings: Settings) -> str:
    if settings.database_url and settings.redis_url:
        return "external"
    return "embedded, of the running stack" if servers.attach(settings) else "embedded, started for this check"


def _broker(settings: Settings) -> str:
    if settings.redis_url is None:
        raise ConfigurationError("no broker: set SCRAPERSKY_REDIS_URL")
    trouble = broker.ping(settings.redis_url.get_secret_value())
    if trouble:
        raise Ill(
            f"no answer ({trouble})", mend="see that Redis or Valkey runs, and that SCRAPERSKY_REDIS_URL is right"
        )
    return "answers"


def _roles(database: Database) -> str:
    try:
        database.check()
    except ConfigurationError as error:
        raise Ill(error.detail, mend="use the roles that deploy/postgres-roles.sh makes") from error
    except Unavailable as error:
        raise Ill(
            error.detail, mend="see that PostgreSQL runs, and that the SCRAPERSKY_*_URL settings are right"
        ) from error
    return "neither superuser nor owner, no way around row-level security"


def _migrations(database: Database) -> str:
    current, head = database.revision(), schema.head()
    if current != head:
        raise Ill(f"the database is at {current or 'nothing'}, this release at {head}", mend="manage.py migrate")
    return f"at {head}"


def _clock(database: Database) -> str:
    skew = database.clock_skew()
    if abs(skew) > SKEW_SECONDS:
        raise Ill(
            f"{abs(skew):.1f} s {'behind' if skew > 0 else 'ahead of'} the database's",
            mend="let both machines keep time by NTP: tokens are dated by this one",
        )
    return f"{abs(skew) * 1000:.0f} ms apart from the database's"


def _listeners(settings: Settings) -> str:
    if servers.attach(settings) is not None:
        return "in use by the running stack"
    listeners.settle(settings)
    flower = f" and {settings.flower_port}" if settings.flower_port else ""
    return f"{settings.host}:{settings.port}{flower} free"


def _scan(settings: Settings) -> str:
    with _sample_site() as port:
        rule = ConnectTo(SAMPLE, 80, "127.0.0.1", port)
        here = settings.model_copy(update={"connect_to": (rule,)})
        result = scan_one(urls.site(f"http://{SAMPLE}"), here)
    if result.failure is not None:
        raise Ill(f"failed: {result.failure.detail}", mend="see that nothing on this machine blocks loopback")
    if (result.outcome, result.stats.urls) != ("sitemaps_found", 2):
        raise Ill(f"{result.outcome} with {result.stats.urls} URLs, not 2", mend="reinstall: the code is damaged")
    return f"{result.stats.sitemaps} sitemap, {result.stats.urls} URLs, as there should be"


@contextmanager
def _sample_site() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Site) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield int(server.server_address[1])
        server.shutdown()
        thread.join()


class _Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = PAGES.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        """Nobody reads these."""
