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
        group = Path(f"/proc/{told.pid}/autogroup")
        if group.exists():  # Linux, built with it
            before = int(Path("/proc/self/autogroup").read_text().split()[-1])
            assert int(group.read_text().split()[-1]) == (7 if leads else before)
    finally:
        told.communicate("\n", timeout=60)
