"""The moves as PostgreSQL makes them, in any order, against a model of what docs/job-lifecycle.md says of each.

Messages that were sent once may come at any time and any number of times; tokens that were given once may be tried at
any time. Time passes by rewriting a row's timestamps.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from app.access import Actor
from app.errors import Aborted, Conflict
from app.repositories.batches import Line
from app.repositories.jobs import JobError
from app.services import scans, upkeep
from app.services.batches import Batches
from app.services.jobs import Jobs
from app.services.quotas import Quotas
from app.settings import Settings
from models.states import MAX_LOST, QUARANTINE_AFTER, settled
from tests.fakes import FakeTaskQueue

MAX_ATTEMPTS = 2
OPEN = ("pending", "queued", "running")
EXAMPLES = int(os.environ.get("MOVES_EXAMPLES", "25"))
JOB = st.integers(0, 4)
PICK = st.integers(0, 7)


@dataclass
class Job:
    """What the model knows of a row."""

    batch: int
    domain: str
    status: str = "pending"
    dispatch_no: int = 0
    token: UUID | None = None
    attempt: int = 0
    lost: int = 0
    delayed: bool = False


class Moves(RuleBasedStateMachine):
    """Two batches of one tenant; one domain stands in both, so that they get in each other's way.

    Rules have no preconditions: which of two equals is dispatched first is luck, and Hypothesis, which goes the same way
    again and on from there, wants to be asked the same questions by the same answers.
    """

    database = tenant_id = superuser = None

    @initialize()
    def submit(self):
        self.superuser.execute("TRUNCATE jobs, batch_jobs, batch_counts, domains CASCADE")
        self.actor = Actor(uuid4(), self.tenant_id, "somebody@example.com")
        self.quotas = Quotas(self.database, Settings(_env_file=None))
        self.jobs: dict[UUID, Job] = {}
        self.batches: list[UUID] = []
        self.states = ["pending", "pending"]
        self.messages: list[tuple[UUID, int]] = []
        self.tokens: list[tuple[UUID, UUID]] = []
        for number, domains in enumerate((["both", "a", "b"], ["both", "c"])):
            with self.database.for_tenant(self.tenant_id) as uow:
                batch = uow.batches.add(name=None, options={}, priority=5, created_by=None)
                lines = [Line(n, name, f"{name}.example", "/", None, None) for n, name in enumerate(domains)]
                uow.batches.land(batch, lines, max_attempts=MAX_ATTEMPTS)
                self.batches.append(batch.id)
                for word in uow.jobs.words_of_batch(batch.id):
                    self.jobs[word.id] = Job(number, word.host)
                uow.commit()
        self.ids = list(self.jobs)

    # The dispatcher

    @rule()
    def dispatch(self):
        queue = FakeTaskQueue()
        upkeep.dispatch(self.database, queue, slots=100, patience=60)
        sent = [(name, message) for name, message in queue.messages]
        due = {id_ for id_, job in self.jobs.items() if self._due(job) and job.lost < QUARANTINE_AFTER}
        ill = {id_ for id_, job in self.jobs.items() if self._due(job) and job.lost >= QUARANTINE_AFTER}
        assert {m.job_id for name, m in sent if name != "quarantine"} == due  # nobody is forgotten
        alone = {m.job_id for name, m in sent if name == "quarantine"}
        assert alone <= ill
        assert len(alone) <= 1
        for _, message in sent:
            job = self.jobs[message.job_id]
            job.status, job.dispatch_no = "queued", job.dispatch_no + 1
            assert message.dispatch_no == job.dispatch_no
            self.messages.append((message.job_id, message.dispatch_no))
            if self.states[job.batch] == "pending":
                self.states[job.batch] = "running"

    def _due(self, job):
        return job.status == "pending" and not job.delayed and self.states[job.batch] in ("pending", "running")

    # Workers

    @rule()
    def all_workers_are_quick(self):
        """What is due is dispatched, and each message taken at once."""
        before = len(self.messages)
        self.dispatch()
        for age in range(len(self.messages) - before):
            self.a_message_arrives(age)

    @rule(pick=PICK)
    def a_message_arrives(self, pick):
        """Any that was ever sent: late, again, out of order."""
        if not self.messages:
            return
        id_, dispatch_no = self.messages[-1 - pick % len(self.messages)]
        job = self.jobs[id_]
        assignment = scans.claim(
            self.database, tenant_id=self.tenant_id, job_id=id_, dispatch_no=dispatch_no, lease=60, worker="w:1"
        )
        if job.status != "queued" or job.dispatch_no != dispatch_no:
            assert assignment is None  # stale: nothing moves
        elif self.states[job.batch] not in ("pending", "running"):
            assert assignment is None
            job.status = "pending"
        elif any(o.status == "running" and o.domain == job.domain for o in self.jobs.values()):
            assert assignment is None
            job.status, job.delayed = "pending", True
        else:
            assert assignment is not None
            job.status, job.token, job.attempt = "running", assignment.token, job.attempt + 1
            assert assignment.attempt == job.attempt
            self.tokens.append((id_, assignment.token))

    @rule(pick=PICK, how=st.sampled_from(["land", "complete", "fail", "retry", "put back", "slice"]))
    def an_attempt_writes(self, pick, how):
        """Under any token that was ever given: only that of the running attempt is let through."""
        if not self.tokens:
            return
        id_, token = self.tokens[-1 - pick % len(self.tokens)]
        job = self.jobs[id_]
        holds = job.status == "running" and job.token == token
        try:
            with self.database.for_tenant(self.tenant_id) as uow:
                if how == "complete":
                    uow.jobs.complete(id_, token, outcome="no_sitemap", scheme=None, stats={}, spent=0)
                else:
                    self._write(uow.jobs, uow.jobs.hold(id_, token), how)
                uow.commit()
        except Aborted:
            assert not holds
            return
        assert holds
        if how == "land":
            return
        job.token = None
        job.status = {"complete": "complete", "fail": "failed"}.get(how, "pending")
        job.delayed = how == "retry"
        if how in ("put back", "slice"):
            job.attempt -= 1
        if how == "slice" and job.lost >= QUARANTINE_AFTER:
            job.lost -= 1

    def _write(self, jobs, row, how):
        if how == "land":
            jobs.checkpoint(row, percent=50, stats={}, lease=60)
        elif how == "fail":
            jobs.fail(row, JobError("http_4xx", "no", retryable=False), stats={}, spent=0)
        elif how == "retry":
            jobs.retry_later(row, JobError("http_5xx", "later", retryable=True), seconds=5, stats={}, spent=0)
        else:
            innocent = how == "slice"
            jobs.put_back(row, seconds=0, reason=None, stats={}, checkpoint=None, innocent=innocent, spent=0)

    @rule()
    def a_process_asks_what_is_its_own(self):
        if not self.tokens:
            return
        held = [(self.tenant_id, id_, token) for id_, token in self.tokens]
        running = {id_ for id_, token in self.tokens if self.jobs[id_].token == token}
        with self.database.system() as uow:
            prolonged = uow.queue.heartbeat(held, lease=60)
            ours = uow.queue.still_ours(held)
            uow.commit()
        assert prolonged == running
        states = {id_: self.states[self.jobs[id_].batch] for id_ in running}
        assert ours == {id_: state != "paused" for id_, state in states.items() if state != "cancelling"}

    # Time

    @rule(which=st.sets(JOB))
    def leases_pass(self, which):
        ids = self._rewritten("lease_until", "running", which)
        self._reap()
        for id_ in ids:
            job = self.jobs[id_]
            job.token, job.attempt, job.lost = None, job.attempt - 1, job.lost + 1
            job.status = "failed" if job.lost >= MAX_LOST else "pending"

    @rule(which=st.sets(JOB))
    def messages_are_overdue(self, which):
        ids = self._rewritten("dispatch_until", "queued", which)
        self._reap()
        for id_ in ids:
            self.jobs[id_].status = "pending"

    @rule(which=st.sets(JOB))
    def pauses_end(self, which):
        ids = [id_ for id_ in self._rewritten("available_at", "pending", which) if self.jobs[id_].delayed]
        self._reap()
        for id_ in ids:
            self.jobs[id_].delayed = False

    def _rewritten(self, column, status, which):
        ids = [self.ids[n] for n in which if self.jobs[self.ids[n]].status == status]
        # However slow this machine is, no pause ends by itself.
        self.superuser.execute(
            "UPDATE jobs SET available_at = now() + interval '1 hour' WHERE available_at IS NOT NULL"
        )
        self.superuser.execute(
            f"UPDATE jobs SET {column} = now() - interval '1 second' WHERE id = ANY(%s) AND {column} IS NOT NULL", [ids]
        )
        return ids

    def _reap(self):
        upkeep.reap(self.database, upkeep.Sightings(), patience=60, lease=0)

    # Owners

    @rule(n=st.integers(0, 1), wish=st.sampled_from(["pause", "resume", "cancel"]))
    def the_owner_of_a_batch_wishes(self, n, wish):
        state = self.states[n]
        getattr(Batches(self.database), wish)(self.actor, self.batches[n])
        if wish == "cancel" and state in ("pending", "running", "paused"):
            self.states[n] = "cancelling"
        elif wish == "pause" and state in ("pending", "running"):
            self.states[n] = "paused"
        elif wish == "resume" and state == "paused":
            started = self.superuser.execute("SELECT started_at FROM batch_jobs WHERE id = %s", [self.batches[n]])
            self.states[n] = "running" if started.fetchone()[0] else "pending"
        self._end_batches(n)  # the answer shows the batch as it is

    @rule(n=JOB)
    def the_owner_cancels_a_job(self, n):
        job = self.jobs[self.ids[n]]
        Jobs(self.database).cancel(self.actor, self.ids[n])
        if job.status in OPEN:
            job.status, job.token, job.delayed = "cancelled", None, False

    @rule(n=JOB)
    def the_owner_tries_a_job_again(self, n):
        job = self.jobs[self.ids[n]]
        allowed = job.status in ("failed", "cancelled") and self.states[job.batch] != "cancelling"
        try:
            Jobs(self.database).retry(self.actor, self.ids[n], quotas=self.quotas)
        except Conflict:
            assert not allowed
            return
        assert allowed
        job.status, job.attempt, job.lost, job.delayed = "pending", 0, 0, False
        if self.states[job.batch] not in ("pending", "running", "paused", "cancelling"):
            self.states[job.batch] = "running"

    @rule()
    def batches_are_swept_and_settled(self):
        upkeep.sweep(self.database)
        for job in self.jobs.values():
            if self.states[job.batch] == "cancelling" and job.status in OPEN:
                job.status, job.token, job.delayed = "cancelled", None, False
        upkeep.settle(self.database)
        self._end_batches(0, 1)

    def _end_batches(self, *numbers):
        for n in numbers:
            there = [job.status for job in self.jobs.values() if job.batch == n]
            if self.states[n] in ("pending", "running", "paused", "cancelling") and not set(there) & set(OPEN):
                counted = {status: there.count(status) for status in ("complete", "failed", "cancelled")}
                self.states[n] = settled(**counted, cancelling=self.states[n] == "cancelling").value

    # What holds after every move

    @invariant()
    def rows_are_as_the_model_says(self):
        if not hasattr(self, "ids"):
            return
        rows = self.superuser.execute(
            "SELECT id, status, dispatch_no, lease_token, attempt, lost, available_at IS NOT NULL FROM jobs"
        ).fetchall()
        assert {row[0]: row[1:] for row in rows} == {
            id_: (job.status, job.dispatch_no, job.token, job.attempt, job.lost, job.delayed)
            for id_, job in self.jobs.items()
        }
        for n, batch_id in enumerate(self.batches):
            with self.database.for_tenant(self.tenant_id) as uow:
                view = uow.batches.get(batch_id)
                assert view.batch.status == self.states[n]
                there = [job.status for job in self.jobs.values() if job.batch == n]
                assert {s: k for s, k in view.counts.items() if k} == {s: there.count(s) for s in there}
                assert sum(view.counts.values()) == view.batch.total == len(there)


@pytest.mark.slow
def test_every_order_of_moves_leaves_what_the_model_says(database, tenant_id, superuser_here):
    machine = type("Bound", (Moves,), {"database": database, "tenant_id": tenant_id, "superuser": superuser_here})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate],
        ),
    )
