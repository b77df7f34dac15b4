"""Python loads this before anything else in a process that has this directory on its PYTHONPATH: a wrong wall clock.

CHAOS_CLOCKS=scans-1:3600,scans-2:-3600 moves it in the processes of those names (`--name=scans-1`), for all Python
that runs there, whoever imported what, and when. Time that is only measured, the monotonic clock, goes on as it was,
as it does on a machine whose clock is wrong. Not moved is what is not asked in Python: OpenSSL's look at a
certificate's dates, and the times of files.
"""

import ctypes
import datetime as dt
import gc
import os
import sys
import time

WALL = (time.CLOCK_REALTIME, getattr(time, "CLOCK_TAI", time.CLOCK_REALTIME))


def seconds_of(argv, rules):
    """
    >>> seconds_of(["python", "-m", "worker", "--name=a-1"], "a:60,a-1:-3600")
    -3600.0
    """
    moved = dict(rule.split(":") for rule in rules.split(",") if rule)
    return next((float(moved[name]) for name in moved if f"--name={name}" in argv), 0.0)


def shift(seconds):
    time.time = _later(time.time, seconds)
    time.time_ns = _later(time.time_ns, int(seconds * 10**9))
    time.clock_gettime = _later_of_wall(time.clock_gettime, seconds)
    time.clock_gettime_ns = _later_of_wall(time.clock_gettime_ns, int(seconds * 10**9))
    for name in ("localtime", "gmtime", "ctime"):
        setattr(time, name, _of_now(getattr(time, name)))
    time.asctime = _of_today(time.asctime)
    time.strftime = _of_today(time.strftime)
    # `today` asks time.time already. The class itself is changed: a subclass would not be what C code makes.
    own = gc.get_referents(dt.datetime.__dict__)[0]
    own["now"] = classmethod(lambda cls, tz=None: cls.fromtimestamp(time.time(), tz))
    own["utcnow"] = classmethod(lambda cls: cls.fromtimestamp(time.time(), dt.UTC).replace(tzinfo=None))
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(dt.datetime))


def _later(clock, by):
    return lambda: clock() + by


def _later_of_wall(clock, by):
    return lambda which: clock(which) + (by if which in WALL else 0)


def _of_now(told):
    return lambda seconds=None: told(time.time() if seconds is None else seconds)


def _of_today(told):
    """Of functions whose last argument is a time as `localtime` tells it."""
    wanted = 2 if told is time.strftime else 1
    return lambda *given: told(*given) if len(given) == wanted else told(*given, time.localtime())


if seconds := seconds_of(sys.orig_argv, os.environ.get("CHAOS_CLOCKS", "")):
    shift(seconds)
