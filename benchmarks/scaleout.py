"""One, two, four … worker processes of four threads over the farm's sites, and what is full first.

Scans mostly wait for sites, so twice the processes should do twice the work until something is full. Steps on which
everything of ours together takes more than 80 % of the machine say nothing of linearity: they say where it ends.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks import farm
from benchmarks.farm import Farm
from benchmarks.measuring import Meter, in_turns
from benchmarks.record import OURS, Result, Table, spread
from benchmarks.runner import Bench
from benchmarks.stack import Platform

THREADS = 4
FULL = 0.8  # of the machine
PER_PROCESS = 20  # sites a turn
PARTS = {"workers": "worker processes", "database": "PostgreSQL", "broker": "the broker", "sites": "the farm of sites"}


@dataclass
class Step:
    rate: float
    shares: dict[str, float]  # of the machine's CPU, by part

    @property
    def share(self) -> float:
        return sum(self.shares.values())


def run(bench: Bench) -> Result:
    on = bench.platform
    on.clear()
    sizes = bench.size((1, 2, 4, 8), (1, 2))
    with farm.running() as sites:
        runs = in_turns(
            {str(n): lambda turn, n=n: _step(on, sites, bench, turn, n) for n in sizes}, bench.turns, warm=0
        )
    on.clear()
    return _result({int(name): some for name, some in runs.items()})


def _step(on: Platform, sites: Farm, bench: Bench, turn: int, processes: int) -> Step:
    count = bench.size(PER_PROCESS, 4) * processes
    with _warm(on, sites, f"warm{turn}x{processes}", processes) as pids:
        parts = {"workers": pids, "database": [on.postgres], "broker": [on.valkey], "sites": [sites.pid]}
        with Meter(**parts).running() as spent:
            batch = on.submitted(on.tenant(), sites.sites(f"turn{turn}x{processes}", count))
            on.work_off(batch)
        on.complete(batch)
    whole = spent.wall * (os.cpu_count() or 1)
    return Step(count / spent.wall, {part: seconds / whole for part, seconds in spent.cpu.items()})


@contextmanager
def _warm(on: Platform, sites: Farm, name: str, processes: int) -> Iterator[list[int]]:
    with on.workers(processes, threads=THREADS, environment=sites.environment) as pids:
        on.work_off(on.submitted(on.tenant(), sites.sites(name, THREADS * processes)))
        yield pids


def _result(runs: dict[int, list[Step]]) -> Result:
    one = statistics.median(step.rate for step in runs[1])
    rows: dict[str, Any] = {}
    linear = {}
    for processes, steps in runs.items():
        share = statistics.median(step.share for step in steps)
        linear[processes] = statistics.median(step.rate for step in steps) / one / processes
        rows[f"{OURS}, {processes} × {THREADS} threads"] = {
            "rate": spread([step.rate for step in steps]),
            "linear": linear[processes],
            "share": 100 * share,
            **{part: 100 * statistics.median(step.shares[part] for step in steps) for part in PARTS},
        }
    columns = {"rate": "domains a second", "linear": "of linear", "share": "% of the machine's CPU"}
    columns |= {part: f"of it {words}" for part, words in PARTS.items()}
    last = runs[max(runs)]
    most = max(PARTS, key=lambda part: statistics.median(step.shares[part] for step in last))
    within = [n for n in runs if n == 1 or statistics.median(step.share for step in runs[n]) <= FULL]
    share = statistics.median(step.share for step in last)
    note = (
        f"The CPU is full first, {PARTS[most]} taking most of it."
        if share > FULL
        else f"Nothing is full at {max(runs)} processes; of the CPU {PARTS[most]} take most."
    )
    return Result(
        {"processes": Table("worker processes", columns, rows, "rate")},
        {"scaleout": min(linear[n] for n in within)},
        [note],
    )
