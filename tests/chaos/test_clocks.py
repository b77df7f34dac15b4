"""That a process whose clock is moved is told so by whatever it asks, and by whichever name it knows that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from tests.chaos.scenarios import CLOCKS
from tests.running import PATIENCE

ASKS = """
import calendar, datetime, json, logging, time
from datetime import datetime as known_by_another_name
from time import time as known_so_too

class Own(datetime.datetime):
    pass

asked = {
    "time": time.time(), "time, by name": known_so_too(), "time_ns": time.time_ns() / 1e9,
    "clock_gettime": time.clock_gettime(time.CLOCK_REALTIME),
    "clock_gettime_ns": time.clock_gettime_ns(time.CLOCK_REALTIME) / 1e9,
    "gmtime": calendar.timegm(time.gmtime()), "localtime": time.mktime(time.localtime()),
    "strftime": int(time.strftime("%s")), "asctime": time.mktime(time.strptime(time.asctime())),
    "ctime": time.mktime(time.strptime(time.ctime())),
    "now": datetime.datetime.now().timestamp(), "now, by name": known_by_another_name.now().timestamp(),
    "now in UTC": known_by_another_name.now(datetime.UTC).timestamp(), "now of a subclass": Own.now().timestamp(),
    "utcnow": datetime.datetime.utcnow().replace(tzinfo=datetime.UTC).timestamp(),
    "today": datetime.datetime.today().timestamp(), "a log's": logging.makeLogRecord({}).created,
}
fixed = [calendar.timegm(time.gmtime(7)), time.strftime("%S", time.gmtime(7)), time.asctime(time.gmtime(7))[17:19]]
print(json.dumps([asked, fixed, type(Own.now()).__name__, time.monotonic() - time.clock_gettime(time.CLOCK_MONOTONIC)]))
"""


@pytest.mark.parametrize(("name", "seconds"), [("ahead", 3600), ("behind", -3600), ("neither", 0)])
def test_all_clocks_of_a_process_are_moved_alike(name, seconds):
    environment = {**os.environ, "PYTHONPATH": CLOCKS, "CHAOS_CLOCKS": "ahead:3600,behind:-3600"}
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ASKS, f"--name={name}"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    asked, fixed, made, monotonic = json.loads(told.stdout)
    wrong = {which: at - time.time() for which, at in asked.items() if abs(at - time.time() - seconds) > PATIENCE}
    assert not wrong
    assert fixed == [7, "07", "07"]  # a time that is given is left as it is
    assert made == "Own"
    assert abs(monotonic) < PATIENCE
