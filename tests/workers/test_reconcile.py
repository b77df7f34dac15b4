"""Each kind of difference, brought about, found and mended; and work in progress that is none."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from pydantic import SecretStr

from app.queueing import ScanMessage
from app.redis.contents import Contents
from app.redis.queue import RedisTaskQueue, envelope
from app.repositories.batches import Line
from app.services import upkeep
from app.services.reconcile import Kind, Reconciler
from workers import celery_app, roster


@pytest.fixture
def queue(valkey_url):
    queue = RedisTaskQueue(valkey_url)
    queue._redis.flushdb()
    yield queue
    queue.close()


@pytest.fixture
def redis(queue):
    return queue._redis


@pytest.fixture
def alive():
    """Names of the worker processes that answer."""
    return {"scans-1@host:7"}


@pytest.fixture
def reconciler(database, valkey_url, queue, alive):
    contents = Contents(valkey_url)
    yield Reconciler(database, contents, workers=lambda: frozenset(alive), pause=0.0, lease=0.0)
    contents.close()


@pytest.fixture
def sql(superuser_here):
    return superuser_here.execute


@pytest.fixture
def batch(database, tenant_id):
    """`batch(3)` → the id of a new batch of so many domains."""

    def make(size):
        with database.for_tenant(tenant_id) as uow:
            made = uow.batches.add(name=None, options={}, priority=5, created_by=None)
            hosts = [f"d{n}-{made.id}.example" for n in range(size)]
            uow.batches.land(
                made, [Line(n, host, host, "/", None, None) for n, host in enumerate(hosts)], max_attempts=3
            )
            uow.commit()
        return made.id

    return make


@pytest.fixture
def dispatched(database, queue, batch):
    """A batch of four, all handed to the broker: its id."""
    made = batch(4)
    assert upkeep.dispatch(database, queue, slots=8, patience=60) == 4
    return made


@pytest.fixture
def run(database, redis, tenant_id):
    """`run(2)`: a worker takes so many messages and claims their jobs. Answers the ids of the jobs."""

    def take(count, worker="scans-1@host:7"):
        taken = []
        for _ in range(count):
            body = json.loads(base64.b64decode(json.loads(redis.rpop("express") or redis.rpop("scans"))["body"]))
            with database.for_tenant(tenant_id) as uow:
                claim = uow.jobs.claim(body[0][1], dispatch_no=body[0][2], token=uuid4(), lease=60, worker=worker)
                uow.commit()
            assert claim is not None
            taken.append(body[0][1])
        return taken

    return take


def kinds(found):
    return [(one.kind, one.about) for one in found]


def only(reconciler, kind, count=1):
    """The one kind of difference there is, as often as expected."""
    found = reconciler.differences()
    assert [one.kind for one in found] == [kind] * count, found
    return found


def mended(reconciler, found):
    assert all(one.mended for one in reconciler.mend(found))
    assert reconciler.differences() == []


def test_at_rest_nothing_differs(reconciler, batch, sql, run, dispatched):
    assert reconciler.differences() == []
    run(2)
    batch(3)
    assert reconciler.differences() == []
    sql("UPDATE jobs SET status = 'complete', outcome = 'no_sitemap', finished_at = now(), lease_token = NULL, "
        "lease_until = NULL WHERE status = 'running'")  # fmt: skip
    assert reconciler.differences() == []


def test_a_lost_message_puts_its_job_back(reconciler, redis, dispatched, sql, database, queue):
    redis.rpop("express")
    (lost,) = only(reconciler, Kind.MESSAGE_LOST)
    (row,) = sql("SELECT id FROM jobs WHERE status = 'queued' ORDER BY id LIMIT 1").fetchall()
    assert lost.about == str(row[0])  # the first that was sent
    mended(reconciler, [lost])
    assert upkeep.dispatch(database, queue, slots=8, patience=60) == 1
    assert reconciler.differences() == []


def test_a_flushed_broker_is_a_lost_message_a_job(reconciler, redis, dispatched):
    redis.flushdb()
    mended(reconciler, only(reconciler, Kind.MESSAGE_LOST, 4))


def test_a_message_that_waits_too_long_is_put_back_and_then_stale(reconciler, dispatched, sql):
    sql("UPDATE jobs SET dispatch_until = now() - interval '1 second'")
    overdue = only(reconciler, Kind.MESSAGE_OVERDUE, 4)
    assert all(one.mended for one in reconciler.mend(overdue))
    mended(reconciler, only(reconciler, Kind.MESSAGE_STALE, 4))


def test_messages_of_ended_and_of_unknown_jobs_are_taken_out(reconciler, redis, dispatched, sql, tenant_id):
    sql("UPDATE jobs SET status = 'cancelled', finished_at = now(), dispatch_until = NULL WHERE id = "
        "(SELECT id FROM jobs ORDER BY id LIMIT 1)")  # fmt: skip
    stranger = ScanMessage(
        tenant_id=tenant_id, job_id=uuid4(), dispatch_no=1, until=0.0, domain="x.example", batch_id=None
    )
    redis.lpush("single", envelope("single", stranger))
    found = only(reconciler, Kind.MESSAGE_STALE, 2)
    assert {"cancelled" in one.detail for one in found} == {True, False}
    mended(reconciler, found)
    assert (redis.llen("express"), redis.llen("single")) == (3, 0)


def test_a_message_of_an_earlier_dispatch_is_taken_out_and_the_newest_stays(reconciler, redis, dispatched, sql):
    old = redis.lindex("express", -1)
    (job,) = [only_job for (only_job,) in sql("UPDATE jobs SET dispatch_no = 2 WHERE id = (SELECT id FROM jobs "
              "ORDER BY id LIMIT 1) RETURNING id").fetchall()]  # fmt: skip
    stale, lost = sorted(reconciler.differences(), key=lambda one: one.kind, reverse=True)
    assert (stale.kind, lost.kind) == (Kind.MESSAGE_STALE, Kind.MESSAGE_LOST)
    assert stale.about == lost.about == str(job)
    mended(reconciler, [stale, lost])
    assert old not in redis.lrange("express", 0, -1)


def test_a_message_sent_three_times_is_left_once(reconciler, redis, dispatched):
    copy = redis.lindex("express", 0)
    again = json.loads(copy)
    again["properties"]["delivery_tag"] = str(uuid4())
    redis.lpush("express", copy, json.dumps(again))
    mended(reconciler, only(reconciler, Kind.MESSAGE_DOUBLED, 2))
    assert redis.llen("express") == 4


@pytest.mark.parametrize("junk", [b"\xff", b"{}", b'{"body": "bm8="}', b'{"body": 7}', b"[]"])
def test_a_message_of_somebody_else_is_told_and_left(reconciler, redis, junk):
    redis.lpush("express", junk)
    (found,) = only(reconciler, Kind.MESSAGE_UNREADABLE)
    assert [one.mended for one in reconciler.mend([found])] == [False]
    assert redis.llen("express") == 1


def test_a_passed_lease_is_taken_up(reconciler, dispatched, run, sql):
    (job,) = run(1)
    sql("UPDATE jobs SET lease_until = now() - interval '1 second' WHERE status = 'running'")
    (found,) = only(reconciler, Kind.LEASE_PASSED)
    assert found.about == job
    mended(reconciler, [found])
    assert sql("SELECT status, lost FROM jobs WHERE id = %s", [job]).fetchone() == ("pending", 1)


def test_a_worker_that_is_gone_is_told_and_its_lease_waited_for(reconciler, dispatched, run, alive):
    (job,) = run(1)
    alive.clear()
    (found,) = only(reconciler, Kind.WORKER_GONE)
    assert found.about == job
    assert "scans-1@host:7" in found.detail
    assert [one.mended for one in reconciler.mend([found])] == [False]


def test_workers_that_cannot_be_asked_are_not_called_gone(database, valkey_url, dispatched, run):
    run(1)
    contents = Contents(valkey_url)
    assert Reconciler(database, contents, workers=lambda: None, pause=0.0, lease=0.0).differences() == []
    contents.close()


def test_a_pause_that_is_over_is_ended(reconciler, batch, sql):
    batch(2)
    sql("UPDATE jobs SET waiting_on = 'retry', available_at = now() - interval '1 second'")
    mended(reconciler, only(reconciler, Kind.PAUSE_OVER, 2))
    assert sql("SELECT count(*) FROM jobs WHERE available_at IS NULL").fetchone() == (2,)


@pytest.mark.parametrize("damage", ["DELETE FROM batch_counts", "UPDATE batch_counts SET n = n + 5"])
def test_counts_are_made_to_say_what_the_rows_do(reconciler, batch, sql, database, tenant_id, damage):
    made, other = batch(3), batch(2)
    sql(f"{damage} WHERE batch_id = %s", [made])
    (found,) = only(reconciler, Kind.COUNTS_WRONG)
    assert found.about == str(made)
    mended(reconciler, [found])
    with database.for_tenant(tenant_id) as uow:
        assert [uow.batches.get(one).counts["pending"] for one in (made, other)] == [3, 2]


def test_counts_are_mended_right_while_jobs_move(database, reconciler, batch, sql, tenant_id):
    made = batch(6)
    sql("DELETE FROM batch_counts")
    found = only(reconciler, Kind.COUNTS_WRONG)
    with database.for_tenant(tenant_id) as uow:  # this move is seen by neither the look nor the mending
        job = uow.jobs.listing(limit=1, cursor=None, batch_id=made).items[0].job
        uow.jobs.cancel(job.id)
        reconciler.mend(found)
        uow.commit()
    assert reconciler.differences() == []


@pytest.mark.parametrize(
    ("status", "jobs", "right"),
    [
        ("running", ["complete", "complete"], "complete"),  # never settled
        ("pending", ["failed", "cancelled"], "failed"),
        ("cancelling", ["complete", "cancelled"], "cancelled"),
        ("complete", ["complete", "failed"], "partial"),
        ("failed", ["complete", "complete"], "complete"),
        ("cancelled", ["complete", "complete"], "complete"),
        ("complete", ["complete", "pending"], "running"),  # would never be dispatched
        ("cancelled", ["cancelled", "pending"], "cancelling"),
        ("pending", ["complete", "pending"], "running"),
    ],
)
def test_a_batch_whose_status_its_jobs_belie_is_put_right(reconciler, batch, sql, status, jobs, right):
    made = batch(len(jobs))
    ids = [row[0] for row in sql("SELECT id FROM jobs ORDER BY id").fetchall()]
    for job, word in zip(ids, jobs, strict=True):
        if word != "pending":
            sql("UPDATE jobs SET status = %s, finished_at = now(), outcome = %s WHERE id = %s",
                [word, "no_sitemap" if word == "complete" else None, job])  # fmt: skip
    sql("UPDATE batch_jobs SET status = %s, finished_at = CASE WHEN %s THEN now() END",
        [status, status in {"complete", "failed", "cancelled"}])  # fmt: skip
    (found,) = only(reconciler, Kind.STATUS_WRONG)
    assert found.about == str(made)
    mended(reconciler, [found])
    assert sql("SELECT status FROM batch_jobs").fetchone() == (right,)


def test_a_total_that_is_not_the_number_of_jobs_is_told(reconciler, batch, sql):
    batch(2)
    sql("UPDATE batch_jobs SET total = 3")
    (found,) = only(reconciler, Kind.TOTAL_WRONG)
    assert "3" in found.detail and "2" in found.detail
    assert [one.mended for one in reconciler.mend([found])] == [False]


def test_keys_of_ours_that_would_stay_for_ever_are_given_an_end_and_others_told(reconciler, redis):
    redis.hset("polite:{a.example}", "next", 1)
    redis.hset("polite:{b.example}", "next", 1)
    redis.expire("polite:{b.example}", 100)
    redis.set("[somebody]'s", 1)
    theirs, ours = sorted(only(reconciler, Kind.KEY_LASTS, 2), key=lambda one: one.about)
    assert (theirs.about, ours.about) == ("[somebody]'s", "polite:{a.example}")
    assert [one.mended for one in reconciler.mend([theirs, ours])] == [False, True]
    assert kinds(reconciler.differences()) == [(Kind.KEY_LASTS, "[somebody]'s")]
    assert 0 < redis.ttl("polite:{a.example}") <= 120


def test_what_differs_in_one_look_only_is_work_in_progress(database, valkey_url, redis, dispatched, queue, run):
    """A message that is just being taken is missing for a moment, and its job still queued."""
    contents = Contents(valkey_url)
    reconciler = Reconciler(database, contents, workers=lambda: None, pause=0.0, lease=0.0)
    first = reconciler.look
    taken = redis.rpop("express")

    def look():
        seen = first()
        if not redis.lpos("express", taken):
            redis.rpush("express", taken)  # by the next look it has been claimed, or is back
        return seen

    reconciler.look = look
    assert reconciler.differences() == []
    contents.close()


def test_upkeep_at_work_is_no_difference(database, valkey_url, queue, batch, run, sql):
    """Dispatching, claiming and ending jobs while looks are taken: nothing lasts."""
    contents = Contents(valkey_url)
    reconciler = Reconciler(database, contents, workers=lambda: None, pause=0.3, lease=0.0)
    batch(120)
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(work_off, database, queue, run, sql)
        looks = 0
        while not work.done():
            assert reconciler.differences() == []
            looks += 1
        work.result()
    assert looks
    assert reconciler.differences() == []
    contents.close()


def work_off(database, queue, run, sql):
    while upkeep.dispatch(database, queue, slots=8, patience=60):
        run(queue.depth("express") + queue.depth("scans"))
        sql("UPDATE jobs SET status = 'failed', finished_at = now(), lease_token = NULL, lease_until = NULL "
            "WHERE status = 'running'")  # fmt: skip
        upkeep.settle(database)


def test_nobody_answers_where_no_worker_runs(settings, valkey_url, queue):
    celery = celery_app.make(settings.model_copy(update={"redis_url": SecretStr(valkey_url)}))
    assert roster.seen(celery) == frozenset()
    celery.close()
    contents = Contents(valkey_url)
    assert contents.lasting_keys() == []  # the question has left nothing behind
    contents.close()


def test_a_broker_that_is_away_cannot_be_asked(settings):
    celery = celery_app.make(settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")}))
    assert roster.seen(celery) is None
    celery.close()
