"""What a worker process does to its machine, seen from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import ROOT

STAND_BACK = "from workers.process import stand_back; stand_back(7); print('done', flush=True); input()"


@pytest.mark.parametrize("leads", [True, False], ids=["of a session of its own", "within its parent's"])
def test_it_stands_back_as_a_session_where_it_has_one(leads):
    """Linux shares the processor out among sessions first: nice alone is for those within one."""
    told = subprocess.Popen(
        [sys.executable, "-c", STAND_BACK],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=leads,
    )
    try:
        assert told.stdout.readline() == "done\n"
        assert os.getpriority(os.PRIO_PROCESS, told.pid) == os.getpriority(os.PRIO_PROCESS, 0) + 7
        ours = autogroup("self")
        if ours is not None:
            assert autogroup(told.pid) == (7 if leads else ours)
    finally:
        told.communicate("\n", timeout=60)


def autogroup(process: int | str) -> int | None:
    """The niceness of a process's session; None where sessions share nothing out: no such thing, or control groups do.

    Source: sched(7), "The autogroup feature": it has no effect on a process that is in a CPU control group.
    """
    file = Path(f"/proc/{process}/autogroup")
    told = file.read_text().split() if file.exists() else []
    return int(told[-1]) if told else None
