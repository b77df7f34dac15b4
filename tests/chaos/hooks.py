"""Loaded into the program's own processes by SCRAPERSKY_TEST_POINTS: the other end of `barriers.py`.

Every process tells its name to PostgreSQL, every fenced transaction the token it believes in (`audit.sql` holds what
it writes against that), and at an armed point a process waits for its orders.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
import time
from pathlib import Path

import sqlalchemy as sa

from app.errors import Aborted
from app.repositories.jobs import Jobs
from app.repositories.pages import Pages
from app.repositories.reads import Reads
from tests.chaos.barriers import REFUSED, SOCKET

DIRECTORY = Path(os.environ["CHAOS_DIRECTORY"])
_held: list[bytearray] = []


def reached(point, job_id):
    if (DIRECTORY / point).exists():
        _obey(_ask(point, job_id))


def _ask(point, job_id):
    told = {"point": point, "pid": os.getpid(), "job": str(job_id) if job_id else None}
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(DIRECTORY / SOCKET))
            line.sendall(json.dumps(told).encode() + b"\n")
            return line.makefile().readline().strip()
    except OSError:  # the test is over
        return "go"


def _obey(order):
    if order == "exit":
        os._exit(70)
    elif order == "memory":  # until the supervisor, the kernel or the process's own watch ends it
        while True:
            _held.append(bytearray(b".") * (16 << 20))
            time.sleep(0.05)
    elif order == "spin":
        while True:
            pass
    elif order == "block":  # in C, with the interpreter's lock: every thread of the process is silent
        ctypes.PyDLL(None).sleep(600)


def _name_us():
    os.environ["PGAPPNAME"] = f"{Path(sys.argv[0]).stem}:{os.getpid()}"  # libpq's own variable


def _tell_tokens():
    told = ((Jobs, "hold"), (Jobs, "complete"), (Reads, "hold"), (Reads, "record"), (Pages, "record"))
    for rows, fenced in told:
        setattr(rows, fenced, _telling(getattr(rows, fenced)))


def _telling(fenced):
    def telling(self, job_id, token, *further, **values):
        self._session.execute(sa.text("SELECT set_config('chaos.token', :token, true)"), {"token": str(token)})
        try:
            return fenced(self, job_id, token, *further, **values)
        except Aborted:
            with (DIRECTORY / REFUSED).open("a", encoding="utf-8") as file:
                file.write(f"{os.getpid()} {job_id} {token}\n")
            raise

    return telling


_name_us()
_tell_tokens()
