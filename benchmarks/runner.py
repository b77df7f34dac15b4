"""Runs the stages, keeps what they found, and says which bars are met.

    make bench                       # everything, in 45 minutes or less, with the peers
    make bench-short                 # everything small, in 3 minutes: that it runs, no figures to quote
    manage.py bench --only parse land

A stage is a module with `run(bench) -> Result`. All stages share one platform, which is emptied between them.
"""

from __future__ import annotations

import os
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from benchmarks import page, record
from benchmarks.bars import BARS
from benchmarks.record import Result
from benchmarks.stack import Platform, platform
from tests.running import ROOT

STAGES = (
    "parse", "land", "wall", "scan", "rescan", "statements", "queueing", "backlog", "fairness", "scaleout", "api",
    "sign_in", "listing", "storage",
)  # fmt: skip
PEERS = ROOT / "var" / "peers" / "bin" / "python"
SHORT_RESULTS = ROOT / "var" / "bench"

T = TypeVar("T")


@dataclass
class Bench:
    """What a stage is given: how much to do, where, and with whom."""

    short: bool
    peers: Path | None  # the interpreter that has them
    directory: Path
    _ends: ExitStack = field(default_factory=ExitStack)

    @property
    def turns(self) -> int:
        return 2 if self.short else 5

    def size(self, full: T, short: T) -> T:
        return short if self.short else full

    @cached_property
    def platform(self) -> Platform:
        """Servers and an API, started when first asked for."""
        return self._ends.enter_context(platform(self.directory))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.close()


def run(stages: Sequence[str], *, short: bool, peers: Path | None, results: Path) -> bool:
    """Run stages; False if one of them failed, or left a bar of its own without a figure."""
    good, load = True, os.getloadavg()[0]  # of others: once the first stage is over it is our own
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        with Bench(short=short, peers=peers, directory=Path(directory)) as bench:
            for stage in stages:
                good &= _stage(stage, bench, load, results)
    return good


def _stage(stage: str, bench: Bench, load: float, results: Path) -> bool:
    began = time.monotonic()
    print(f"{stage} …", flush=True)
    try:
        result: Result = import_module(f"benchmarks.{stage}").run(bench)
    except Exception:  # noqa: BLE001 - a run takes long, and the others do not hang on this one
        traceback.print_exc()
        return False
    record.keep(stage, result, mode="short" if bench.short else "full", load=load, directory=results)
    missing = [name for name, bar in BARS.items() if bar.stage == stage and name not in result.bars]
    _tell(stage, result, time.monotonic() - began)
    if missing and bench.peers is not None:
        print(f"  without a figure: {', '.join(missing)}")
    return not (missing and bench.peers is not None)


def _tell(stage: str, result: Result, seconds: float) -> None:
    for name, value in result.bars.items():
        bar = BARS[name]
        limit = f"{'≤' if bar.at == 'most' else '≥'} {page.number(bar.limit)}"
        print(f"  {bar.measure}: {page.number(value)} {bar.unit} ({limit}): {bar.verdict(value)}")
    print(f"{stage}: {seconds:.0f} s", flush=True)


def main(*, only: Sequence[str], short: bool, peers: Path | None, render: bool) -> bool:
    """`render`: only write the page. A short run's results stay out of the project, and so off the page."""
    if render:
        for path in page.render():
            print(path.relative_to(ROOT))
        return True
    found = peers or (PEERS if PEERS.exists() else None)
    if found is None:
        print("without the peers: `make bench` installs them")
    good = run(only or STAGES, short=short, peers=found, results=SHORT_RESULTS if short else record.KEPT)
    if not short:
        page.render()
    return good
