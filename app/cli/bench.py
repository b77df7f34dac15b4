"""`bench`: how fast everything is, beside what others would use."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import click

from app.cli.command import Command
from app.errors import ConfigurationError


@click.command(cls=Command, example="manage.py bench\nmanage.py bench --short --only parse --only land")
@click.option("--only", multiple=True, metavar="STAGE", help="Run only this stage; may be given several times.")
@click.option("--short", is_flag=True, help="Everything small: shows that it runs, gives no figures to quote.")
@click.option("--peers", type=click.Path(exists=True, path_type=Path), help="The Python that has the peers installed.")
@click.option("--render", is_flag=True, help="Measure nothing; write docs/performance.md from the results kept.")
def bench(*, only: tuple[str, ...], short: bool, peers: Path | None, render: bool) -> None:
    """Measure every bar of docs/performance.md on this machine, and write that page.

    Wants nothing else to run on the machine, and the peers, which `make bench` installs beside. Takes up to 45
    minutes, --short up to 3. The exit status is 1 if a stage failed, not if a bar is missed.
    """
    if find_spec("benchmarks") is None:
        raise ConfigurationError("the benchmarks come with the sources, and are not in this installation")
    runner = import_module("benchmarks.runner")
    unknown = set(only) - set(runner.STAGES)
    if unknown:
        raise click.BadParameter(f"{', '.join(sorted(unknown))}: not of {', '.join(runner.STAGES)}")
    raise SystemExit(not runner.main(only=only, short=short, peers=peers, render=render))
