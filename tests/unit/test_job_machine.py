"""The life of a job as a small machine, every state of which is visited: two jobs, two workers, a broker that lies.

Messages are lost, doubled and taken in any order; workers and dispatchers crash between any two steps; leases and
messages are given up too early (a frozen worker goes on afterwards and does not know); the batch is paused, resumed,
cancelled. Whatever came before, in every state what was promised holds, and from every state all jobs can still end
without anything further going wrong.

The machine makes the moves of docs/job-lifecycle.md under their guards. That the statements in PostgreSQL are those
moves is `tests/workers/test_moves.py`'s business.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import NamedTuple

import pytest

WORKERS = 2
ENDED = ("complete", "cancelled")


class Job(NamedTuple):
    status: str = "pending"
    dispatch_no: int = 0
    token: int = 0  # of the newest attempt: attempts are numbered
    landings: int = 0  # of its one sitemap file
    ends: int = 0
    by_stale: bool = False  # claimed by a message that was not its newest


class Took(NamedTuple):
    """A worker with a message in hand."""

    job: int
    dispatch_no: int


class Works(NamedTuple):
    """A worker with a claim. `resumed`: the file had landed before."""

    job: int
    token: int
    resumed: bool
    landed: bool = False


class State(NamedTuple):
    jobs: tuple[Job, ...]
    faults: int
    workers: tuple[Took | Works | None, ...] = (None,) * WORKERS
    broker: tuple[tuple[int, int], ...] = ()  # (job, dispatch number), in no order
    unsent: tuple[tuple[int, int], ...] = ()  # committed by a dispatcher or the API, on its way to the broker
    batch: str = "active"
    wishes: tuple[str, ...] = ("pause", "cancel")  # that the owner may still have


class Machine:
    """`without` leaves guards out, to show that something would then go wrong."""

    def __init__(self, *without: str) -> None:
        self.without = without

    def moves(self, state: State):
        """What may happen without anything going wrong: (what, next state)."""
        for n, job in enumerate(state.jobs):
            if job.status == "pending" and state.batch == "active":
                queued = job._replace(status="queued", dispatch_no=job.dispatch_no + 1)
                yield (
                    "dispatch",
                    with_job(state, n, queued)._replace(unsent=added(state.unsent, (n, queued.dispatch_no))),
                )
            if job.status in ("pending", "queued", "running") and state.batch == "cancelling":
                yield "sweep", with_job(state, n, job._replace(status="cancelled", ends=job.ends + 1))
            if (
                job.status == "queued"
                and "reap messages" not in self.without
                and not in_flight(state, n, job.dispatch_no)
            ):
                yield "reap message", with_job(state, n, job._replace(status="pending"))
            if job.status == "running" and "reap leases" not in self.without and not held(state, n, job.token):
                yield "reap lease", with_job(state, n, job._replace(status="pending"))
        for message in set(state.unsent):
            yield "send", state._replace(unsent=removed(state.unsent, message), broker=added(state.broker, message))
        for n, worker in enumerate(state.workers):
            if worker is None:
                for message in set(state.broker):
                    yield "take", with_worker(state, n, Took(*message))._replace(broker=removed(state.broker, message))
            elif isinstance(worker, Took):
                yield "claim", self.claimed(with_worker(state, n, None), n, worker)
            else:
                yield "write", self.written(state, n, worker)
        if state.batch == "paused":
            yield "resume", state._replace(batch="active")

    def claimed(self, state: State, n: int, took: Took) -> State:
        job = state.jobs[took.job]
        newest = took.dispatch_no == job.dispatch_no or "dispatch number" in self.without
        if not newest or (job.status != "queued" and "status" not in self.without):
            return state
        if state.batch != "active":
            return with_job(state, took.job, job._replace(status="pending"))
        stale = took.dispatch_no != job.dispatch_no
        running = job._replace(status="running", token=job.token + 1, by_stale=stale)
        works = Works(took.job, running.token, resumed=job.landings > 0)
        return with_worker(with_job(state, took.job, running), n, works)

    def written(self, state: State, n: int, works: Works) -> State:
        """The landing of its file, or the last transaction: one statement's guard each."""
        job = state.jobs[works.job]
        if not (job.status == "running" and job.token == works.token) and "token" not in self.without:
            return with_worker(state, n, None)  # no row matched: the attempt has lost its job
        if not works.resumed and not works.landed:
            landed = with_job(state, works.job, job._replace(landings=job.landings + 1))
            return with_worker(landed, n, works._replace(landed=True))
        ended = with_job(state, works.job, job._replace(status="complete", ends=job.ends + 1))
        return with_worker(ended, n, None)

    def faults(self, state: State):
        """What may go wrong, as long as there is something left to go wrong; and what the owner may wish."""
        if state.faults:
            worse = state._replace(faults=state.faults - 1)
            for message in set(state.broker):
                yield "lose", worse._replace(broker=removed(state.broker, message))
                yield "double", worse._replace(broker=added(state.broker, message))
            if len(state.broker) > 1:
                yield "flush", worse._replace(broker=())
            if state.unsent:
                yield "sender crashes", worse._replace(unsent=())
            for n, worker in enumerate(state.workers):
                if worker is not None:
                    yield "worker crashes", with_worker(worse, n, None)
                if isinstance(worker, Works):
                    job = state.jobs[worker.job]
                    if (job.status, job.token) == ("running", worker.token):  # an attempt that ends without an end
                        yield "yield", with_worker(with_job(worse, worker.job, job._replace(status="pending")), n, None)
            for n, job in enumerate(state.jobs):
                if job.status in ("queued", "running"):
                    yield "given up too early", with_job(worse, n, job._replace(status="pending"))
        if "pause" in state.wishes and state.batch == "active":
            yield "pause", state._replace(batch="paused", wishes=removed(state.wishes, "pause"))
        if "cancel" in state.wishes and state.batch in ("active", "paused"):
            yield "cancel", state._replace(batch="cancelling", wishes=removed(state.wishes, "cancel"))


def broken(state: State) -> str | None:
    """The promise that this state breaks."""
    for job in state.jobs:
        if job.ends > 1:
            return "a job ended twice"
        if job.landings > 1:
            return "a file landed twice"
        if (job.status in ENDED) != (job.ends == 1):
            return "an ended job went on"
        if job.by_stale:
            return "a stale message was worked on"
    return None


def explore(machine: Machine, *, jobs: int, faults: int) -> tuple[int, str | None]:
    """How many states there are, and the first promise broken, with the way there."""
    start = State((Job(),) * jobs, faults)
    came_from: dict[State, tuple[State, str] | None] = {start: None}
    before: dict[State, list[State]] = defaultdict(list)  # by moves that need no fault
    waiting, resting = deque([start]), []
    while waiting:
        state = waiting.popleft()
        if (promise := broken(state)) is not None:
            return len(came_from), f"{promise}: {way(came_from, state)}"
        if all(job.status in ENDED for job in state.jobs):
            resting.append(state)
        for faulty, moves in ((False, machine.moves(state)), (True, machine.faults(state))):
            for what, found in moves:
                following = canonical(found)
                if not faulty:
                    before[following].append(state)
                if following not in came_from:
                    came_from[following] = (state, what)
                    waiting.append(following)
    stuck = came_from.keys() - can_reach(resting, before)
    if stuck:
        return len(came_from), f"a job can never end: {min((way(came_from, state) for state in stuck), key=len)}"
    return len(came_from), None


def can_reach(goals: list[State], before: dict[State, list[State]]) -> set[State]:
    found, waiting = set(goals), list(goals)
    while waiting:
        for state in before[waiting.pop()]:
            if state not in found:
                found.add(state)
                waiting.append(state)
    return found


def way(came_from: dict[State, tuple[State, str] | None], state: State) -> list[str]:
    steps = []
    while (step := came_from[state]) is not None:
        state, what = step
        steps.append(what)
    return steps[::-1]


def canonical(state: State) -> State:
    """Workers are alike, and messages have no order."""
    return state._replace(workers=tuple(sorted(state.workers, key=repr)), broker=tuple(sorted(state.broker)))


def with_job(state: State, n: int, job: Job) -> State:
    return state._replace(jobs=(*state.jobs[:n], job, *state.jobs[n + 1 :]))


def with_worker(state: State, n: int, worker: Took | Works | None) -> State:
    return state._replace(workers=(*state.workers[:n], worker, *state.workers[n + 1 :]))


def added(some: tuple, one: object) -> tuple:
    return tuple(sorted((*some, one)))


def removed(some: tuple, one: object) -> tuple:
    place = some.index(one)
    return (*some[:place], *some[place + 1 :])


def in_flight(state: State, job: int, dispatch_no: int) -> bool:
    message = (job, dispatch_no)
    return message in state.broker or message in state.unsent or Took(*message) in state.workers


def held(state: State, job: int, token: int) -> bool:
    return any(isinstance(w, Works) and (w.job, w.token) == (job, token) for w in state.workers)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("jobs", "faults", "at_least"), [(2, 2, 300_000), (1, 3, 40_000)])
def test_in_every_state_the_promises_hold_and_every_job_can_still_end(jobs, faults, at_least):
    states, wrong = explore(Machine(), jobs=jobs, faults=faults)
    assert wrong is None
    assert states > at_least  # else it explored nothing worth the name


@pytest.mark.parametrize("guard", ["dispatch number", "status", "token", "reap messages", "reap leases"])
def test_no_guard_can_be_left_out(guard):
    _, wrong = explore(Machine(guard), jobs=1, faults=2)
    assert wrong is not None
