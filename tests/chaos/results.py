"""What came of all runs so far: a file of lines, and a table of it."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from tests.chaos.scenarios import Scenario


def read(results: Path) -> list[dict]:
    if not results.exists():
        return []
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]


def table(lines: list[dict], chosen: Iterable[Scenario]) -> str:
    """
    >>> from tests.chaos.scenarios import Scenario
    >>> one = Scenario("killed", lambda arena: None)
    >>> line = {"scenario": "killed", "recovery": 6.21, "late": False, "impossible": None, "violations": []}
    >>> print(table([line, {**line, "recovery": 5.0}], [one]))
    | scenario | runs | violations | recovery median | max | late |
    |---|---|---|---|---|---|
    | killed | 2 | 0 | 5.6 s | 6.2 s | 0 |
    >>> print(table([{**line, "recovery": None, "impossible": "no disk of our own"}], [one]).splitlines()[-1])
    | killed | 0, 1 not possible | 0 | – | – | 0 |
    """
    rows = ["| scenario | runs | violations | recovery median | max | late |", "|---|---|---|---|---|---|"]
    by_name = defaultdict(list)
    for line in lines:
        by_name[line["scenario"]].append(line)
    for one in chosen:
        ran = [line for line in by_name[one.name] if not line["impossible"]]
        impossible = len(by_name[one.name]) - len(ran)
        runs = f"{len(ran)}, {impossible} not possible" if impossible else f"{len(ran)}"
        took = [line["recovery"] for line in ran if line["recovery"] is not None]
        shown = f"{statistics.median(took):.1f} s | {max(took):.1f} s" if took else "– | –"
        failed = sum(1 for line in ran if line["violations"])
        late = sum(1 for line in ran if line["late"])
        rows.append(f"| {one.name.replace('_', ' ')} | {runs} | {failed} | {shown} | {late} |")
    return "\n".join(rows)
