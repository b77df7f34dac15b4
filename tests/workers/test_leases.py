"""What a worker process does about the jobs it holds."""

from __future__ import annotations

import time
from contextlib import contextmanager
from types import SimpleNamespace
from uuid import uuid4

import pytest

from app.errors import Unavailable
from app.fetching.control import Control
from tests.running import until
from workers.leases import LOST, Leases
from workers.process import resident_mib


class Database:
    """Answers as told: these jobs are ours, or nobody answers at all."""

    def __init__(self):
        self.ours = set()
        self.away = None
        self.prolonged = 0

    @contextmanager
    def system(self):
        if self.away:
            raise self.away
        yield SimpleNamespace(queue=self, commit=lambda: None)

    def heartbeat(self, held, *, lease):
        self.prolonged += 1
        return self.ours

    def still_ours(self, held):
        return self.ours


@pytest.fixture
def database():
    return Database()


@pytest.fixture
def leases(database):
    leases = Leases(database, lease=0.8)
    yield leases
    leases.stop()


def assignment():
    return SimpleNamespace(tenant_id=uuid4(), job_id=uuid4(), token=uuid4())


def test_what_is_no_longer_ours_is_aborted_and_the_rest_goes_on(leases, database):
    kept, lost = assignment(), assignment()
    controls = Control(), Control()
    database.ours = {kept.job_id}
    with leases.holding(kept, controls[0]), leases.holding(lost, controls[1]):
        leases.look()
        assert [control.reason for control in controls] == [None, LOST]


def test_leases_are_prolonged_well_before_they_pass(leases, database):
    held = assignment()
    database.ours = {held.job_id}
    with leases.holding(held, Control()):
        leases.start()
        until(lambda: database.prolonged >= 3, seconds=5, what="three heartbeats")


def test_without_the_database_everything_is_given_up_before_the_lease_passes(leases, database):
    held, control = assignment(), Control()
    database.ours = {held.job_id}
    with leases.holding(held, control):
        leases.start()
        until(lambda: database.prolonged, seconds=5, what="a heartbeat")
        database.away = Unavailable()
        gone = time.monotonic()
        until(lambda: control.aborted, seconds=5, what="the work is given up")
        assert control.reason == LOST
        assert time.monotonic() - gone > 0.3  # a short absence is no reason


def test_an_unforeseen_error_does_not_end_the_watch(leases, database):
    held, control = assignment(), Control()
    with leases.holding(held, control):
        database.away = RuntimeError("a defect")
        leases.start()
        until(lambda: control.aborted, seconds=5, what="the work is given up")


def test_a_process_knows_its_own_size():
    assert 10 < (resident_mib() or 0) < 100_000
