"""`scan`: a look at some sites from here and now."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing

import click
from rich.console import Console

from app import settings as configuration
from app.cli.command import Command
from app.cli.console import quiet_logs
from app.cli.one_off import OneOff, Result
from app.cli.output import Document, Output, Rows, Summary
from app.errors import InvalidUrl
from app.fetching import client
from app.fetching.client import Transport
from app.fetching.control import Control
from app.fetching.ledger import LocalLedger
from app.scanning import urls
from app.scanning.values import ScanOptions, Site, SitemapFile, UrlEntry
from app.settings import Settings


@click.command(
    cls=Command,
    example="manage.py scan example.com\nmanage.py scan --csv example.com example.org > urls.csv",
)
@click.argument("domains", nargs=-1, required=True, metavar="DOMAIN…")
@click.option("--json", "style", flag_value="json", help="Everything, as one JSON array.")
@click.option("--jsonl", "style", flag_value="jsonl", help="URLs as they are read, one JSON object a line.")
@click.option("--csv", "style", flag_value="csv", help="URLs as they are read, as CSV.")
@click.option("--max-pages", type=click.IntRange(0, 1000), default=1, show_default=True, help="HTML pages to read.")
@click.option("--thorough", is_flag=True, help="Try well-known names too where robots.txt names sitemaps.")
@click.option("--ignore-robots", is_flag=True, help="For sites of your own.")
@click.option("--parallel", type=click.IntRange(1, 256), default=8, show_default=True, help="Domains at a time.")
def scan(
    *, domains: tuple[str, ...], style: str | None, max_pages: int, thorough: bool, ignore_robots: bool, parallel: int
) -> None:
    """Scan domains here and now: no servers, nothing stored.

    Progress goes to stderr, results to stdout: a table, or what --json, --jsonl or --csv says. The exit status
    is 1 if any domain failed.
    """
    settings = configuration.load()
    quiet_logs(settings)
    sites = [_site(text) for text in dict.fromkeys(domains)]
    options = ScanOptions(max_pages=max_pages, thorough=thorough, respect_robots=not ignore_robots)
    output = _output(style)
    results = _scan_all(sites, options, settings, output, parallel=parallel)
    output.finish(results)
    raise SystemExit(any(result.failure for result in results))


def scan_one(site: Site, settings: Settings, options: ScanOptions = ScanOptions()) -> Result:  # noqa: B008 - frozen
    """One site, quietly."""
    with closing(client.build(settings, ledger=LocalLedger())) as transport:
        return _one_off(site, options, transport, Control(), Summary()).run()


def _scan_all(
    sites: Sequence[Site], options: ScanOptions, settings: Settings, output: Output, *, parallel: int
) -> list[Result]:
    control = Control()
    with closing(client.build(settings, ledger=LocalLedger())) as transport, ThreadPoolExecutor(parallel) as pool:
        futures = [pool.submit(_one_off(site, options, transport, control, output).run) for site in sites]
        try:
            _follow(futures)
        except BaseException:
            control.abort("interrupted")  # the pool waits for its threads: end them first
            pool.shutdown(cancel_futures=True)
            raise
        return [future.result() for future in futures]


def _follow(futures: Sequence[Future[Result]]) -> None:
    """Say on stderr what ends, until all have."""
    console, waiting = Console(stderr=True, highlight=False), set(futures)
    with console.status("") as status:
        while waiting:
            status.update(f"scanning: {len(futures) - len(waiting)} of {len(futures)} domains done")
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                console.print(_line(future.result()), markup=False, soft_wrap=True)


def _line(result: Result) -> str:
    if result.failure is not None:
        return f"{result.domain}: failed, {result.failure.detail}"
    return f"{result.domain}: {result.outcome}, {result.stats.sitemaps:,} sitemaps, {result.stats.urls:,} URLs"


def _one_off(site: Site, options: ScanOptions, transport: Transport, control: Control, output: Output) -> OneOff:
    agent = transport.settings.user_agent.split("/", 1)[0].split(" ", 1)[0]

    def take(entry: UrlEntry, file: SitemapFile) -> None:
        output.take(one.result.domain, entry, file)

    one = OneOff(site, options, transport=transport, agent=agent, control=control, take=take)
    return one


def _site(text: str) -> Site:
    try:
        return urls.site(text)
    except InvalidUrl as error:
        raise click.BadParameter(f"{text!r}: {error.detail}", param_hint="DOMAIN") from error


def _output(style: str | None) -> Output:
    if style in ("jsonl", "csv"):
        return Rows(as_csv=style == "csv")
    return Document() if style == "json" else Summary()
