"""Seconds of CPU and MiB of memory of whole process trees, and contestants that take turns."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.running import ROOT, descendants

MIB = 1 << 20
TICK = os.sysconf("SC_CLK_TCK")
OWN = 0  # as a root: this process without those it has started, which may be the platform's; ended ones count


class Disagreement(Exception):
    """The contestants did not do the same work, so their figures say nothing."""


def agree(found: Mapping[str, object]) -> None:
    """
    >>> agree({"one": 3, "other": 3})

    :raises Disagreement: not all found the same
    """
    if len(set(found.values())) > 1:
        raise Disagreement(f"the contestants do not agree: {dict(found)}")


# Process trees


def tree(*roots: int) -> list[int]:
    return [*roots, *(pid for root in roots if root != OWN for pid in descendants(root))]


def cpu(*roots: int) -> float:
    """Seconds of CPU of these processes and of all they have started, ended ones included."""
    return sum(map(_cpu, tree(*roots)))


def resident(pid: int, line: str) -> float:
    """A line of /proc/PID/status in MiB: `VmRSS` for now, `VmHWM` for the most so far."""
    for told in Path(f"/proc/{pid or 'self'}/status").read_text().splitlines():
        if told.startswith(line + ":"):
            return int(told.split()[1]) / 1024
    raise LookupError(line)


def forget_peak(*pids: int) -> None:
    for pid in pids:
        with suppress(OSError):  # it has just ended
            Path(f"/proc/{pid or 'self'}/clear_refs").write_text("5")


def peak(*roots: int) -> float:
    """The most memory that these trees had, in MiB: the sum of each process's most, so an upper bound."""
    found = 0.0
    for pid in tree(*roots):
        with suppress(OSError, LookupError):
            found += resident(pid, "VmHWM")
    return found


def _cpu(pid: int) -> float:
    """Its own, and that of its children which have ended: those that live are counted by themselves."""
    if pid == OWN:
        return sum(os.times()[:4])
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:  # it has just ended: its parent has its figures now
        return 0.0
    return sum(int(fields[n]) for n in (11, 12, 13, 14)) / TICK


@dataclass
class Spent:
    """What a piece of work took: seconds of wall, seconds of CPU by part, MiB at most of the first part."""

    wall: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)
    peak: float = 0.0

    @property
    def all_cpu(self) -> float:
        return sum(self.cpu.values())


class Meter:
    """Measures by parts, each some process trees: Meter(client=[pid], database=[pid])."""

    def __init__(self, **parts: Sequence[int]) -> None:
        self._parts = parts
        self._first = next(iter(parts.values()))

    @contextmanager
    def running(self) -> Iterator[Spent]:
        spent = Spent()
        forget_peak(*tree(*self._first))
        before, began = self._now(), time.monotonic()
        yield spent
        spent.wall = time.monotonic() - began
        spent.cpu = {name: now - before[name] for name, now in self._now().items()}
        spent.peak = peak(*self._first)

    def _now(self) -> dict[str, float]:
        return {name: cpu(*roots) for name, roots in self._parts.items()}


# Turns


def in_turns(contestants: Mapping[str, Callable[[int], Any]], turns: int, *, warm: int = 1) -> dict[str, list[Any]]:
    """A B C A B C …: each is called with the number of its turn; what the first `warm` turns answer is dropped.

    >>> in_turns({"a": lambda turn: turn, "b": lambda turn: -turn}, 2)
    {'a': [1, 2], 'b': [-1, -2]}
    """
    found: dict[str, list[Any]] = {name: [] for name in contestants}
    for turn in range(turns + warm):
        for name, run in contestants.items():
            answer = run(turn)
            if turn >= warm:
                found[name].append(answer)
    return found


def ratio(ones: Sequence[float], others: Sequence[float]) -> float:
    """The median of the turns' ratios: a machine's speed drifts between turns, less so within one.

    >>> ratio([2, 40, 6], [1, 10, 3])
    2.0
    """
    return statistics.median(ratios(ones, others))


def ratios(ones: Sequence[float], others: Sequence[float]) -> list[float]:
    return [one / max(other, 1e-9) for one, other in zip(ones, others, strict=True)]


def p95(found: Sequence[float]) -> float:
    """Of few values the largest.

    >>> p95([1.0, 2.0, 3.0])
    3.0
    """
    return statistics.quantiles(found, n=20)[-1] if len(found) >= 20 else max(found)


class Contestant:
    """A process that does its work when told: a line of JSON in, a line of JSON out. Use as a context."""

    def __init__(self, python: str, script: str, *arguments: str, **environment: str) -> None:
        self.name = arguments[0]
        self._process = subprocess.Popen(
            [python, str(ROOT / "benchmarks" / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        )
        if self._line() != "ready":
            raise SystemExit(f"{self.name} did not start")

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, question: object = None) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._line()
        if not line:
            raise SystemExit(f"{self.name} ended without an answer")
        return json.loads(line)

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pid in tree(self.pid)[::-1]:
            with suppress(OSError):
                os.kill(pid, 9)
        self._process.communicate()
