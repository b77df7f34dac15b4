"""What a worker process does about the jobs it holds."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from uuid import uuid4

import pytest

from app.errors import Aborted, Unavailable
from app.fetching.control import Control
from tests.running import until
from workers.leases import LOST, ON_HOLD, Leases
from workers.process import resident_mib


class Database:
    """Answers as told: these jobs are ours, or nobody answers at all."""

    def __init__(self):
        self.ours = set()
        self.on_hold = set()
        self.away = None
        self.prolonged = 0
        self.kept = set()

    @contextmanager
    def system(self):
        if self.away:
            raise self.away
        yield SimpleNamespace(queue=self, commit=lambda: None)

    def heartbeat(self, held, *, lease):
        self.prolonged += 1
        self.kept = {job for _, job, _ in held}
        return self.ours

    def still_ours(self, held):
        return {job: job not in self.on_hold for job in self.ours}


@pytest.fixture
def database():
    return Database()


@pytest.fixture
def replaced():
    """Each time the process was to be replaced: whether all its jobs are stuck."""
    return []


@pytest.fixture
def leases(database, replaced):
    leases = Leases(database, lease=0.8, stuck_after=1.0, on_stuck=replaced.append)
    yield leases
    leases.stop()


@contextmanager
def getting_on(*controls):
    """Somebody works under these controls: looks at them again and again."""
    over = threading.Event()

    def work():
        while not over.wait(0.05):
            for control in controls:
                with suppress(Aborted):
                    control.check()

    thread = threading.Thread(target=work)
    thread.start()
    yield
    over.set()
    thread.join()


def assignment():
    return SimpleNamespace(tenant_id=uuid4(), job_id=uuid4(), token=uuid4())


def test_what_is_no_longer_ours_or_may_not_go_on_is_aborted_and_the_rest_goes_on(leases, database):
    kept, lost, paused = assignment(), assignment(), assignment()
    controls = Control(), Control(), Control()
    database.ours = {kept.job_id, paused.job_id}
    database.on_hold = {paused.job_id}
    with (
        leases.holding(kept, controls[0]),
        leases.holding(lost, controls[1]),
        leases.holding(paused, controls[2]),
    ):
        leases.look()
        assert [control.reason for control in controls] == [None, LOST, ON_HOLD]


def test_leases_are_prolonged_well_before_they_pass(leases, database):
    held, control = assignment(), Control()
    database.ours = {held.job_id}
    with leases.holding(held, control), getting_on(control):
        leases.start()
        until(lambda: database.prolonged >= 3, seconds=5, what="three heartbeats")


def test_without_the_database_everything_is_given_up_before_the_lease_passes(leases, database):
    held, control = assignment(), Control()
    database.ours = {held.job_id}
    with leases.holding(held, control), getting_on(control):
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


def test_a_question_that_hangs_ends_the_work_as_well(leases, database, replaced):
    """A database that is stopped, not gone: nothing breaks the connection off."""
    held, control, asked, go = assignment(), Control(), threading.Event(), threading.Event()

    def hang(_):
        asked.set()
        go.wait(20)
        return set()

    database.still_ours = hang
    with leases.holding(held, control):
        leases.start()
        assert asked.wait(5)
        until(lambda: control.aborted, seconds=5, what="the work is given up")
        go.set()
    assert control.reason == LOST
    assert not replaced  # waiting for the database is no sign of being stuck


def test_a_job_that_does_not_get_on_loses_its_lease_and_the_process_is_replaced(leases, database, replaced):
    """As in an endless loop: no abort reaches it, so nothing else ends it."""
    stuck, well = assignment(), assignment()
    controls = Control(), Control()
    database.ours = {stuck.job_id, well.job_id}
    with leases.holding(stuck, controls[0]), leases.holding(well, controls[1]), getting_on(controls[1]):
        leases.start()
        until(lambda: replaced, seconds=5, what="the process is to be replaced")
        until(lambda: database.kept == {well.job_id}, seconds=5, what="a heartbeat for the other one only")
        assert (controls[0].reason, controls[1].reason) == (LOST, None)
        assert not any(replaced)
    with leases.holding(assignment(), Control()):
        until(lambda: any(replaced), seconds=5, what="nothing else is left")


def test_a_process_knows_its_own_size():
    assert 10 < (resident_mib() or 0) < 100_000
