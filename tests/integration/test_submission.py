"""Submissions against a real database: what is promised when things happen at once, or break in the middle."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event
from uuid import UUID, uuid4

import pytest

from app.access import Actor
from app.errors import QuotaExceeded, RequestInFlight
from app.repositories.batches import Line
from app.services.domain_lines import from_values
from app.services.features import Features
from app.services.quotas import Quotas
from app.services.submission import Answer, BatchOrder, Once, ScanOrder, Submissions
from tests.fakes import FakeTaskQueue
from tests.running import until

ORDER = BatchOrder(options={})


class Broken(Exception):
    """The client, the disk or the process went away."""


@pytest.fixture
def actor(tenant_id):
    return Actor(uuid4(), tenant_id, "somebody@example.com")


@pytest.fixture
def submissions(database, settings, queue):
    return taking_in(database, queue, settings)


@pytest.fixture
def count(superuser_here):
    def rows(table):
        return superuser_here.execute(f"SELECT count(*) FROM {table}").fetchone()[0]

    return rows


def once(key="one", body=b"body"):
    return Once(route="batches", key=key, body_hash=body)


def taking_in(database, queue, settings):
    return Submissions(database, queue, settings, quotas=Quotas(database, settings), features=Features(database))


def told(view):
    return Answer(202, "", str(view.batch.id))


def submit(submissions, actor, lines, key=None):
    return submissions.batch(actor, ORDER, lines, once=key, answer=told, pointer=str)


def breaking(after: int) -> Iterator[Line]:
    yield from from_values(f"s{n}.example.com" for n in range(after))
    raise Broken


@pytest.mark.parametrize("after", [0, 10, 20_000])
def test_a_submission_that_breaks_leaves_nothing_and_its_key_free(submissions, actor, count, after):
    with pytest.raises(Broken):
        submit(submissions, actor, breaking(after), once())
    assert [count(table) for table in ("batch_jobs", "jobs", "domains", "batch_counts", "idempotency_keys")] == [0] * 5
    assert submit(submissions, actor, from_values(["a.example.com"]), once()).replayed is False


def test_an_answer_that_cannot_be_made_takes_the_batch_back(submissions, actor, count):
    def fail(_view):
        raise Broken

    with pytest.raises(Broken):
        submissions.batch(actor, ORDER, from_values(["a.example.com"]), once=None, answer=fail, pointer=str)
    assert count("jobs") == 0


def test_of_many_at_once_under_one_key_one_counts(submissions, actor, count):
    start = Barrier(6)

    def attempt(_n):
        start.wait()
        try:
            return submit(submissions, actor, from_values(["a.example.com", "b.example.com"]), once()).body
        except RequestInFlight:
            return None

    with ThreadPoolExecutor(6) as pool:
        answers = set(pool.map(attempt, range(6))) - {None}
    assert len(answers) == 1
    assert (count("batch_jobs"), count("jobs")) == (1, 2)


def test_lists_that_overlap_can_be_landed_at_once(submissions, actor, count):
    """Domains are inserted in one order, so that two lists never wait for each other in a ring."""
    names = [f"s{n}.example.com" for n in range(2_000)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: submit(submissions, actor, from_values(names if n % 2 else names[::-1])), range(4)))
    assert (count("batch_jobs"), count("domains"), count("jobs")) == (4, 2_000, 8_000)


def test_a_message_is_sent_only_once_its_job_is_safe(submissions, actor, database, queue):
    seen = []

    def look(_queue, messages):
        with database.for_tenant(actor.tenant_id) as uow:
            seen.extend(uow.jobs.get(message.job_id).job.dispatch_no for message in messages)
        return True

    queue.publish = look
    submissions.scan(
        actor, ScanOrder(text="example.com", options={}), once=None, answer=lambda _view: Answer(202, "", "")
    )
    assert seen == [1]


def test_no_message_is_sent_for_a_scan_that_was_not_taken(submissions, actor, queue):
    def fail(_view):
        raise Broken

    with pytest.raises(Broken):
        submissions.scan(actor, ScanOrder(text="example.com", options={}), once=None, answer=fail)
    assert queue.messages == []


def test_a_broker_that_goes_away_after_the_commit_costs_no_job(database, settings, actor, tenant_id):
    class Leaving(FakeTaskQueue):
        def publish(self, queue, messages):
            self.away = True
            return super().publish(queue, messages)

    kept = []
    submissions = taking_in(database, Leaving(), settings)
    submissions.scan(
        actor,
        ScanOrder(text="example.com", options={}),
        once=None,
        answer=lambda view: kept.append(view.job.id) or Answer(202, "", ""),
    )
    with database.for_tenant(tenant_id) as uow:
        assert uow.jobs.get(kept[0]).job.status == "queued"  # the reaper sends it again


def test_with_nobody_to_read_single_scans_they_wait_for_the_dispatcher(database, settings, queue, actor):
    nobody = settings.model_copy(update={"single_concurrency": 0})
    states = []
    taking_in(database, queue, nobody).scan(
        actor,
        ScanOrder(text="example.com", options={}),
        once=None,
        answer=lambda view: states.append(view.job.status) or Answer(202, "", ""),
    )
    assert (states, queue.messages) == (["pending"], [])


def test_ids_of_a_batch_are_uuid_7_in_the_order_of_its_lines(submissions, actor, database):
    batch_id = UUID(submit(submissions, actor, from_values(f"s{9 - n}.example.com" for n in range(10))).body)
    with database.for_tenant(actor.tenant_id) as uow:
        views = uow.jobs.listing(limit=100, cursor=None, batch_id=batch_id).items
    assert [view.domain.host for view in views] == [f"s{9 - n}.example.com" for n in range(10)]
    assert {view.job.id.version for view in views} == {view.domain.id.version for view in views} == {7}


def test_a_known_domain_is_not_made_twice(submissions, actor, count):
    submit(submissions, actor, from_values(["a.example.com", "b.example.com"]))
    submit(submissions, actor, from_values(["b.example.com", "c.example.com"]))
    assert (count("domains"), count("jobs")) == (3, 4)


@pytest.fixture
def at_the_end(database, queue, settings, actor, superuser_here):
    """Two submissions of two domains each: the first is written and waits before its commit, then the second begins.

    Answers what became of the second, and how many wait for their turn once it has begun.
    """
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"

    def meet(**limits):
        submissions = taking_in(database, queue, settings.model_copy(update=limits))
        written, go_on = Event(), Event()

        def hold(view):
            written.set()
            assert go_on.wait(20)
            return told(view)

        def second():
            try:
                return submit(submissions, actor, from_values(["c.example.com", "d.example.com"])).status
            except QuotaExceeded as error:
                return error.excess

        with ThreadPoolExecutor(2) as pool:
            lines = from_values(["a.example.com", "b.example.com"])
            first = pool.submit(submissions.batch, actor, ORDER, lines, once=None, answer=hold, pointer=str)
            assert written.wait(20)
            later = pool.submit(second)
            until(lambda: later.done() or superuser_here.execute(waiting).fetchone()[0], seconds=20, what="its turn")
            waits = not later.done()
            go_on.set()
            assert first.result().status == 202
            return later.result(), waits

    return meet


def test_two_submissions_cannot_both_take_the_last_place(at_the_end, count):
    excess, waits = at_the_end(tenant_open_jobs=3)
    assert waits
    assert excess == ("open_jobs", 3, 2, 2)
    assert (count("jobs"), count("batch_jobs")) == (2, 1)


def test_two_submissions_that_both_have_room_both_pass(at_the_end, count):
    assert at_the_end(tenant_open_jobs=4) == (202, True)
    assert count("jobs") == 4


def test_without_a_limit_no_submission_waits_for_another(at_the_end, count):
    assert at_the_end() == (202, False)
    assert count("jobs") == 4


def test_many_at_once_fill_a_quota_to_the_brim_and_no_further(database, queue, settings, actor, count):
    submissions = taking_in(database, queue, settings.model_copy(update={"tenant_open_jobs": 7}))
    start = Barrier(8)

    def one(number):
        start.wait()
        try:
            order = ScanOrder(text=f"s{number}.example.com", options={})
            return submissions.scan(actor, order, once=None, answer=lambda view: Answer(202, "", "")).status
        except QuotaExceeded:
            return 403

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(one, range(8))) == [202] * 7 + [403]
    assert count("jobs") == 7
