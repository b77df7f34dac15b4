"""What keeps the queue moving, move by move."""

from __future__ import annotations

from uuid import uuid4

import pytest
import sqlalchemy as sa

from app.repositories import direct, jobs
from app.repositories.batches import Line
from app.repositories.queue import DISPATCH_LOCK
from app.services import scans, upkeep
from app.unit_of_work import Database
from tests.fakes import FakeTaskQueue


class Clock:
    """Seconds that pass when told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def reap(database, seen=None, *, patience=60.0, lease=0.0):
    return upkeep.reap(database, seen or upkeep.Sightings(), patience=patience, lease=lease)


@pytest.fixture
def batch(database, tenant_id):
    """`batch(5)` → the id of a new batch of that many domains; `tenant=` for another tenant's."""

    def make(size, *, tenant=tenant_id, priority=5):
        with database.for_tenant(tenant) as uow:
            made = uow.batches.add(name=None, options={}, priority=priority, created_by=None)
            lines = [
                Line(n, f"d{n}-{made.id}.example", f"d{n}-{made.id}.example", "/", None, None) for n in range(size)
            ]
            uow.batches.land(made, lines, max_attempts=3)
            uow.commit()
        return made.id

    return make


@pytest.fixture
def counts(database, tenant_id):
    def read(batch_id, tenant=tenant_id):
        with database.for_tenant(tenant) as uow:
            found = uow.batches.get(batch_id).counts
            truth = dict(
                uow.session.execute(
                    sa.text("SELECT status, count(*) FROM jobs WHERE batch_id = :b GROUP BY status"), {"b": batch_id}
                ).all()
            )
        assert {status: n for status, n in found.items() if n} == truth
        return truth

    return read


@pytest.fixture
def sql(database, tenant_id):
    def run(statement, **values):
        with database.for_tenant(tenant_id) as uow:
            uow.session.execute(sa.text(statement), values)
            uow.commit()

    return run


def run_all(database, messages, *, end=False):
    """Workers have taken these messages; with `end`, their jobs are over."""
    for message in messages:
        claim = scans.claim(
            database,
            tenant_id=message.tenant_id,
            job_id=message.job_id,
            dispatch_no=message.dispatch_no,
            lease=60,
            worker="w",
        )
        assert claim
        if end:
            with database.for_tenant(message.tenant_id) as uow:
                uow.jobs.cancel(message.job_id)
                uow.commit()


def test_the_window_is_bounded_and_every_queued_job_has_its_message(database, batch, counts):
    queue = FakeTaskQueue()
    batch_id = batch(50)
    assert upkeep.dispatch(database, queue, slots=4, patience=60) == 8
    assert upkeep.dispatch(database, queue, slots=4, patience=60) == 0
    assert counts(batch_id) == {"pending": 42, "queued": 8}
    assert len({message.job_id for _, message in queue.messages}) == 8
    assert [queue.depth(name) for name in ("express", "scans")] == [4, 4]


def test_messages_that_nobody_takes_do_not_pile_up(database, batch, counts, sql):
    """No worker lives: rows are overdue and put back, the broker keeps their messages."""
    queue = FakeTaskQueue()
    batch_id = batch(50)
    for _ in range(5):
        upkeep.dispatch(database, queue, slots=4, patience=60)
        sql("UPDATE jobs SET dispatch_until = now() - interval '1 second' WHERE status = 'queued'")
        reap(database)
    assert len(queue.messages) == 8
    assert counts(batch_id) == {"pending": 50}


def test_nothing_is_handed_to_a_broker_that_is_away(database, batch, counts):
    queue = FakeTaskQueue()
    queue.away = True
    batch_id = batch(5)
    assert upkeep.dispatch(database, queue, slots=4, patience=60) == 0
    assert counts(batch_id) == {"pending": 5}


def test_a_small_batch_does_not_wait_behind_another_tenants_large_one(database, batch, counts, new_tenant):
    """Not for a place in the window, nor in the broker behind what the large one has there."""
    queue = FakeTaskQueue()
    other = new_tenant("other")
    large = batch(200)
    upkeep.dispatch(database, queue, slots=10, patience=60)
    taken = [message for name, message in queue.messages if name == "express"]
    queue.messages = [(name, message) for name, message in queue.messages if name == "scans"]
    run_all(database, taken)
    small = batch(3, tenant=other)
    upkeep.dispatch(database, queue, slots=10, patience=60)
    assert counts(small, other) == {"queued": 3}
    assert counts(large) == {"running": 10, "queued": 10, "pending": 180}
    assert {message.batch_id for name, message in queue.messages if name == "express"} == {small}


def test_tenants_get_slots_by_their_weight(database, batch, counts, new_tenant, superuser_here):
    other = new_tenant("other")
    superuser_here.execute("UPDATE tenants SET weight = 3 WHERE id = %s", [other])
    light, heavy = batch(100), batch(100, tenant=other)
    upkeep.dispatch(database, FakeTaskQueue(), slots=20, patience=60)
    assert (counts(light)["queued"], counts(heavy, other)["queued"]) == (10, 30)


def test_a_tenant_never_has_more_in_flight_than_its_cap(database, batch, counts, superuser_here, tenant_id):
    superuser_here.execute("UPDATE tenants SET max_running = 3")
    first, second = batch(20), batch(20)
    for _ in range(3):
        upkeep.dispatch(database, FakeTaskQueue(), slots=20, patience=60)
    assert counts(first)["queued"] + counts(second)["queued"] == 3
    with database.for_tenant(tenant_id) as uow:
        assert not uow.jobs.may_start_single(8)


def test_with_more_tenants_than_slots_nobody_is_passed_over_for_ever(database, batch, counts, new_tenant):
    """Each has a job or none in flight: those who came first must not win every time."""
    tenants = [new_tenant(f"tenant {n}") for n in range(12)]
    batches = [(tenant, batch(200, tenant=tenant)) for tenant in tenants]
    served = set()
    for _ in range(60):
        queue = FakeTaskQueue()
        upkeep.dispatch(database, queue, slots=2, patience=60)
        served |= {message.tenant_id for _, message in queue.messages}
        run_all(database, [message for _, message in queue.messages], end=True)
    assert served == set(tenants)
    assert all(counts(batch_id, tenant).get("cancelled") for tenant, batch_id in batches)


def test_batches_of_one_tenant_take_turns(database, batch, counts):
    first, second = batch(50), batch(50)
    upkeep.dispatch(database, FakeTaskQueue(), slots=5, patience=60)
    assert counts(first)["queued"] == counts(second)["queued"] == 5


def test_only_what_is_dispatched_is_locked(database, batch):
    """However many batches are open: each row locked and let go again would be a row written."""
    for _ in range(3):
        batch(20)
    with database.system() as dispatching, database.system() as other:
        assert len(dispatching.queue.dispatch(express=5, scans=5, slots=5, patience=60)) == 10
        free = other.session.execute(sa.text("SELECT id FROM jobs FOR UPDATE SKIP LOCKED")).all()
        assert len(free) == 60 - 10


def test_more_batches_than_the_window_holds_all_get_their_turns(database, batch, counts, new_tenant):
    batches = [batch(3) for _ in range(40)]
    other = new_tenant("other")
    large = batch(50, tenant=other)
    urgent = batch(4, priority=9)
    upkeep.dispatch(database, FakeTaskQueue(), slots=8, patience=60)
    assert counts(large, other)["queued"] == 8
    assert counts(urgent) == {"queued": 4}
    assert sorted(counts(one).get("queued", 0) for one in batches) == [0] * 36 + [1] * 4


def test_single_scans_on_their_own_queue_take_no_room_from_batches(database, batch, counts, tenant_id):
    batch_id = batch(20)
    queue = FakeTaskQueue()
    with database.for_tenant(tenant_id) as uow:
        domain = uow.domains.ensure("single.example", "/")
        for _ in range(8):
            uow.jobs.add_single(
                domain_id=domain.id, scheme=None, submitted_as=None, options={}, max_attempts=3, created_by=None,
                dispatch_seconds=60,
            )  # fmt: skip
        uow.commit()
    assert upkeep.dispatch(database, queue, slots=4, patience=60) == 8
    assert counts(batch_id) == {"pending": 12, "queued": 8}


@pytest.mark.parametrize("hold", ["UPDATE batch_jobs SET status = 'paused'", "suspend"])
def test_a_message_of_a_paused_batch_or_suspended_tenant_gives_its_place_back(
    database, batch, counts, sql, tenant_id, superuser_here, hold
):
    batch_id = batch(1)
    queue = FakeTaskQueue()
    upkeep.dispatch(database, queue, slots=1, patience=60)
    ((_, message),) = queue.messages
    if hold == "suspend":
        superuser_here.execute("UPDATE tenants SET status = 'suspended'")
    else:
        sql(hold)
    claim = {"tenant_id": tenant_id, "job_id": message.job_id, "lease": 60, "worker": "w"}
    assert scans.claim(database, **claim, dispatch_no=message.dispatch_no - 1) is None
    assert counts(batch_id) == {"queued": 1}  # a stale message moves nothing
    assert scans.claim(database, **claim, dispatch_no=message.dispatch_no) is None
    assert counts(batch_id) == {"pending": 1}


def test_a_paused_batch_is_not_dispatched(database, batch, counts, sql):
    batch_id = batch(3)
    sql("UPDATE batch_jobs SET status = 'paused'")
    upkeep.dispatch(database, FakeTaskQueue(), slots=5, patience=60)
    assert counts(batch_id) == {"pending": 3}


@pytest.mark.parametrize(("patience", "status"), [(0.0, "pending"), (60.0, "queued")])
def test_an_overdue_message_puts_its_job_back(database, batch, counts, patience, status):
    batch_id = batch(2)
    upkeep.dispatch(database, FakeTaskQueue(), slots=5, patience=patience)
    reap(database)
    assert counts(batch_id) == {status: 2}


@pytest.fixture
def seen():
    return upkeep.Sightings(clock=Clock())


def test_messages_lost_with_the_broker_are_noticed_long_before_they_are_overdue(database, batch, counts, sql, seen):
    batch_id = batch(2)
    upkeep.dispatch(database, FakeTaskQueue(), slots=5, patience=60)
    seen.look(FakeTaskQueue())  # empty
    reap(database, seen)
    assert counts(batch_id) == {"queued": 2}  # taken in this moment, maybe: their claims may be on the way
    sql("UPDATE jobs SET dispatch_until = dispatch_until - interval '5 seconds'")  # five seconds later
    seen._clock.now = 4.0
    reap(database, seen)
    assert counts(batch_id) == {"pending": 2}


def test_a_message_lost_from_among_others_is_noticed_as_well(database, batch, counts, sql, seen):
    """As one whose sender died before it could send it, on a platform that is never idle."""
    queue = FakeTaskQueue()
    lost = batch(1)
    upkeep.dispatch(database, queue, slots=1, patience=60)
    queue.messages.clear()
    sql("UPDATE jobs SET dispatch_until = dispatch_until - interval '5 seconds' WHERE status = 'queued'")
    kept = batch(1)
    upkeep.dispatch(database, queue, slots=9, patience=60)
    seen.look(queue)
    seen._clock.now = 4.0
    reap(database, seen)
    assert counts(lost) == {"pending": 1}
    assert counts(kept) == {"queued": 1}


def test_a_broker_that_came_back_is_looked_at_anew(database, batch, counts, sql, seen):
    batch_id = batch(1)
    upkeep.dispatch(database, FakeTaskQueue(), slots=1, patience=60)
    sql("UPDATE jobs SET dispatch_until = dispatch_until - interval '50 seconds'")
    away = FakeTaskQueue()
    away.away = True
    for at, queue in ((0.0, FakeTaskQueue()), (4.0, away), (5.0, FakeTaskQueue())):
        seen._clock.now = at
        seen.look(queue)
    reap(database, seen)
    assert counts(batch_id) == {"queued": 1}


def test_a_lease_that_passed_is_lost_and_after_five_the_job_has_failed(database, batch, counts, sql, tenant_id):
    queue = FakeTaskQueue()
    batch_id = batch(1)
    sql("UPDATE jobs SET error_code = 'reset', error_detail = 'the host broke the connection off'")
    for round_ in range(1, 6):
        upkeep.dispatch(database, queue, slots=1, patience=60)
        (name, _) = queue.messages.pop()
        assert name == ("express" if round_ <= 2 else "quarantine")
        sql(
            "UPDATE jobs SET status = 'running', attempt = 1, dispatch_until = NULL, lease_token = :t, "
            "lease_until = now() - interval '1 second'",
            t=uuid4(),
        )
        reap(database)
        assert counts(batch_id) == ({"pending": 1} if round_ < 5 else {"failed": 1})
    with database.for_tenant(tenant_id) as uow:
        (view,) = uow.jobs.listing(limit=1, cursor=None, batch_id=batch_id).items
    assert (view.job.attempt, view.job.lost, view.job.error_code) == (0, 5, "worker_lost")
    assert view.job.error_detail.endswith("before that: the host broke the connection off")


def test_a_lease_that_the_database_let_pass_is_held_against_nobody(database, batch, counts, sql, tenant_id):
    """It was away: no heartbeat could reach it."""
    batch_id = batch(1)
    upkeep.dispatch(database, FakeTaskQueue(), slots=1, patience=60)
    sql(
        "UPDATE jobs SET status = 'running', attempt = 1, dispatch_until = NULL, lease_token = :t, "
        "lease_until = pg_postmaster_start_time() - interval '1 second'",
        t=uuid4(),
    )
    reap(database, lease=8)
    assert counts(batch_id) == {"pending": 1}
    with database.for_tenant(tenant_id) as uow:
        (view,) = uow.jobs.listing(limit=1, cursor=None, batch_id=batch_id).items
    assert (view.job.attempt, view.job.lost) == (0, 0)


def test_the_quarantine_takes_one_job_at_a_time_and_holds_up_nobody_else(database, batch, counts, sql, new_tenant):
    queue = FakeTaskQueue()
    poisoned = batch(30)
    sql("UPDATE jobs SET lost = 2")
    well = batch(2)
    for _ in range(5):
        upkeep.dispatch(database, queue, slots=4, patience=60)
    assert counts(well) == {"queued": 2}
    assert counts(poisoned) == {"pending": 28, "queued": 2}
    assert {message.batch_id for name, message in queue.messages if name == "quarantine"} == {poisoned}
    sql("UPDATE batch_jobs SET status = 'paused'")
    assert upkeep.dispatch(database, FakeTaskQueue(), slots=4, patience=60) == 0


def test_a_heartbeat_steps_over_a_row_that_is_being_written(database, batch, tenant_id, sql):
    batch(1)
    token = uuid4()
    upkeep.dispatch(database, FakeTaskQueue(), slots=1, patience=60)
    sql(
        "UPDATE jobs SET status = 'running', dispatch_until = NULL, lease_token = :t, lease_until = now() + interval '9 s'",
        t=token,
    )
    with database.for_tenant(tenant_id) as landing:
        (view,) = landing.jobs.listing(limit=1, cursor=None).items
        landing.jobs.hold(view.job.id, token)
        held = [(tenant_id, view.job.id, token)]
        with database.system() as uow:  # would hang until the statement's time limit if it waited
            assert uow.queue.heartbeat(held, lease=60) == set()
            assert uow.queue.still_ours(held) == {view.job.id: True}


def test_cancelling_sweeps_everything_open_and_counts_stay_true(database, batch, counts, sql, tenant_id):
    batch_id = batch(20)
    upkeep.dispatch(database, FakeTaskQueue(), slots=3, patience=60)
    sql("UPDATE batch_jobs SET status = 'cancelling'")
    assert upkeep.sweep(database) == 20
    assert upkeep.settle(database) == 1
    assert counts(batch_id) == {"cancelled": 20}
    with database.for_tenant(tenant_id) as uow:
        assert uow.batches.get(batch_id).batch.status == "cancelled"


def test_a_long_landing_holds_up_no_cancellation(database, batch, counts, sql, tenant_id):
    landing_batch, other_batch = batch(2), batch(2)
    upkeep.dispatch(database, FakeTaskQueue(), slots=1, patience=60)
    token = uuid4()
    sql(
        "UPDATE jobs SET status = 'running', dispatch_until = NULL, lease_token = :t, lease_until = now() + interval '9 s'"
        " WHERE status = 'queued' AND batch_id = :b",
        t=token,
        b=landing_batch,
    )
    with database.for_tenant(tenant_id) as landing:
        running = landing.session.scalar(sa.text("SELECT id FROM jobs WHERE status = 'running'"))
        landing.jobs.hold(running, token)
        sql("UPDATE batch_jobs SET status = 'cancelling'")
        assert upkeep.sweep(database) == 3  # would hang until the statement's time limit if it waited
        assert counts(landing_batch) == {"cancelled": 1, "running": 1}
        assert counts(other_batch) == {"cancelled": 2}
    assert upkeep.sweep(database) == 1
    assert counts(landing_batch) == {"cancelled": 2}


def test_folding_keeps_the_sums(database, batch, counts, sql, tenant_id):
    batch_id = batch(40)
    for _ in range(15):
        upkeep.dispatch(database, FakeTaskQueue(), slots=1, patience=60)
        sql("UPDATE jobs SET status = 'cancelled', dispatch_until = NULL, finished_at = now() WHERE status = 'queued'")
    with database.for_tenant(tenant_id) as uow:
        before = uow.session.scalar(sa.text("SELECT count(*) FROM batch_counts"))
    upkeep.settle(database)
    with database.for_tenant(tenant_id) as uow:
        after = uow.session.scalar(sa.text("SELECT count(*) FROM batch_counts"))
    assert before > 24 > after
    assert counts(batch_id) == {"pending": 10, "cancelled": 30}


def test_who_stands_still_holds_up_nobody_for_long(settings, database):
    """PostgreSQL ends the transaction of a frozen process: one that holds a duty, soon; a job's, with its lease."""
    idle = sa.text("SHOW idle_in_transaction_session_timeout")
    worker = Database(settings.model_copy(update={"lease_seconds": 8.0}), "worker")
    with worker.system() as uow:
        assert uow.session.scalar(idle) == "8s"
        assert uow.queue.try_lock(DISPATCH_LOCK)
        assert uow.session.scalar(idle) == "5s"
    worker.close()


def test_two_rounds_at_once_never_dispatch_a_job_twice(database, batch):
    batch(30)
    with database.system() as first:
        assert first.queue.try_lock(0x5C01)
        first.queue.dispatch(express=5, scans=5, slots=5, patience=60)
        queue = FakeTaskQueue()
        assert upkeep.dispatch(database, queue, slots=10, patience=60) == 0
        first.commit()


@pytest.mark.parametrize("statement", ["_CLAIM", "_HOLD"])
def test_a_job_is_found_by_its_key_though_statistics_know_of_none_in_flight(
    database, batch, tenant_id, superuser_here, statement
):
    """They are of a quiet moment, as a rule; the index of those in flight would be read from end to end."""
    batch(500)
    superuser_here.execute("ANALYZE jobs")
    upkeep.dispatch(database, FakeTaskQueue(), slots=200, patience=60)
    values = {"tenant": tenant_id, "job": uuid4(), "token": uuid4(), "dispatch": 1, "lease": 60, "worker": "w"}
    with database.for_tenant(tenant_id) as uow:
        plan = direct.run(uow.session, "EXPLAIN " + getattr(jobs, statement), values).fetchall()
    read = "\n".join(line for (line,) in plan)
    assert "pk_jobs on jobs" in read
    assert "ix_jobs_taken" not in read
