"""The life of a job as a small machine, every state of which is visited: two jobs, two workers, a broker that lies.

Messages are lost, doubled and taken in any order; workers and dispatchers crash between any two steps; leases and
messages are given up too early (a frozen worker goes on afterwards and does not know); PostgreSQL crashes, and the
claims whose commit did not wait for the disk were never made, while their workers go on; sites fail. The batch is
paused, resumed, cancelled, tried again. Whatever came before, in every state what was promised holds, and from every
state all jobs can still end without anything further going wrong.

The machine makes the moves of docs/job-lifecycle.md under their guards. That the statements in PostgreSQL are those
moves is `tests/workers/test_moves.py`'s business.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import NamedTuple

import pytest

from models.states import MAX_LOST

WORKERS = 2
MAX_ATTEMPTS = 2
OPEN, ENDED = ("pending", "queued", "running"), ("complete", "failed", "cancelled")
STATUSES = (*OPEN, *ENDED)


class Job(NamedTuple):
    status: str = "pending"
    dispatch_no: int = 1
    token: int = 1  # of the newest attempt
    attempt: int = 0
    lost: int = 0
    landings: int = 0  # of its one sitemap file
    # What the row does not know, to be held against it:
    ends: int = 0
    failures: int = 0  # of its site
    losses: int = 0  # of its worker
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
    counts: tuple[int, ...]  # the batch's, by status
    wishes: tuple[str, ...]  # that the owner may still have
    workers: tuple[Took | Works | None, ...] = (None,) * WORKERS
    broker: tuple[tuple[int, int], ...] = ()  # (job, dispatch number), in no order
    unsent: tuple[tuple[int, int], ...] = ()  # committed by a dispatcher or the API, on its way to the broker
    batch: str = "active"
    seen_over: bool = False  # somebody has seen that no job is open, and is about to write that down
    undone: tuple[tuple[int, Job], ...] = ()  # (job, row before) of each commit that is not on disk, oldest first


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
            if job.status in OPEN and state.batch == "cancelling":
                yield "sweep", with_job(state, n, job._replace(status="cancelled", ends=job.ends + 1))
            if (
                job.status == "queued"
                and "reap messages" not in self.without
                and not in_flight(state, n, job.dispatch_no)
            ):
                yield "reap message", with_job(state, n, job._replace(status="pending"))
            if job.status == "running" and "reap leases" not in self.without and not held(state, n, job.token):
                yield "reap lease", with_job(state, n, self.lost(job))
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
            yield "resume", with_batch(state, "active")
        if state.seen_over:
            yield "settle", with_batch(state, "ended")._replace(seen_over=False)
        elif state.batch != "ended" and not any(state.counts[: len(OPEN)]):
            one_step = "batch's lock" not in self.without
            yield "see it over", with_batch(state, "ended") if one_step else state._replace(seen_over=True)

    def claimed(self, state: State, n: int, took: Took) -> State:
        job = state.jobs[took.job]
        newest = took.dispatch_no == job.dispatch_no or "dispatch number" in self.without
        if not newest or (job.status != "queued" and "status" not in self.without):
            return state
        if state.batch != "active":
            return with_job(state, took.job, job._replace(status="pending"), on_disk=False)
        token = 1 + (job.token if "token of its own" in self.without else newest_token(state, took.job))
        stale = took.dispatch_no != job.dispatch_no
        running = job._replace(status="running", token=token, attempt=job.attempt + 1, by_stale=stale)
        works = Works(took.job, token, resumed=job.landings > 0)
        return with_worker(with_job(state, took.job, running, on_disk=False), n, works)

    def written(self, state: State, n: int, works: Works) -> State:
        """The landing of its file, or the last transaction: one statement's guard each."""
        job = state.jobs[works.job]
        if not self.is_ours(job, works):
            return with_worker(state, n, None)  # no row matched: the attempt has lost its job
        if not works.resumed and not works.landed:
            landed = with_job(state, works.job, job._replace(landings=job.landings + 1))
            return with_worker(landed, n, works._replace(landed=True))
        ended = with_job(state, works.job, job._replace(status="complete", ends=job.ends + 1))
        return with_worker(ended, n, None)

    def is_ours(self, job: Job, works: Works) -> bool:
        return (job.status == "running" and job.token == works.token) or "token" in self.without

    def failed(self, job: Job) -> Job:
        """By its site: the attempt is spent."""
        failed = job._replace(failures=job.failures + 1)
        if job.attempt < MAX_ATTEMPTS or "attempts" in self.without:
            return failed._replace(status="pending")
        return failed._replace(status="failed", ends=job.ends + 1)

    def lost(self, job: Job) -> Job:
        """With its worker: the attempt is not spent, and vanished workers are counted."""
        lost = put_back(job)._replace(lost=job.lost + 1, losses=job.losses + 1)
        if lost.lost < MAX_LOST or "losses" in self.without:
            return lost
        return lost._replace(status="failed", ends=job.ends + 1)

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
                if isinstance(worker, Works) and self.is_ours(job := state.jobs[worker.job], worker):
                    gone = with_worker(worse, n, None)
                    yield "yield", with_job(gone, worker.job, put_back(job))
                    yield "site fails", with_job(gone, worker.job, self.failed(job))
            for n, job in enumerate(state.jobs):
                if job.status == "queued":
                    yield "message given up too early", with_job(worse, n, job._replace(status="pending"))
                if job.status == "running":
                    yield "lease given up too early", with_job(worse, n, self.lost(job))
                    yield "lease passes while the database is away", with_job(worse, n, put_back(job))
            for n in range(len(state.undone)):
                yield "database crashes", self.crashed(worse, state.undone[n:])
        yield from self.wishes(state)

    def wishes(self, state: State):
        if "pause" in state.wishes and state.batch == "active":
            yield "pause", with_batch(state, "paused", wish="pause")
        if "cancel" in state.wishes and state.batch in ("active", "paused"):
            yield "cancel", with_batch(state, "cancelling", wish="cancel")
        if "retry" in state.wishes and state.batch in ("active", "ended"):
            for n, job in enumerate(state.jobs):
                if job.status in ("failed", "cancelled"):
                    fresh = Job(dispatch_no=job.dispatch_no, token=job.token, landings=job.landings)
                    yield "retry", with_batch(with_job(state, n, fresh), "active", wish="retry")

    def crashed(self, state: State, undone: tuple[tuple[int, Job], ...]) -> State:
        """The last commits, whose log had not come to the disk, were never made. Workers go on, and do not know."""
        counts = state.counts
        for n, before in reversed(undone):
            state = with_job(state, n, before)
        return state._replace(counts=counts) if "counts with the rows" in self.without else state


def broken(state: State) -> str | None:
    """The promise that this state breaks."""
    by_hand = [job.status for job in state.jobs]
    if state.counts != tuple(map(by_hand.count, STATUSES)):
        return "a batch's counts are not what its jobs are"
    if state.batch == "ended" and any(status in OPEN for status in by_hand):
        return "a batch has ended with an open job"
    return next(filter(None, map(broken_by, state.jobs)), None)


def broken_by(job: Job) -> str | None:
    if job.ends > 1:
        return "a job ended twice"
    if job.landings > 1:
        return "a file landed twice"
    if (job.status in ENDED) != (job.ends == 1):
        return "an ended job went on"
    if job.by_stale:
        return "a stale message was worked on"
    if job.status in OPEN and job.attempt != job.failures + (job.status == "running"):
        return "something else than its site spent a job's attempt"
    if job.lost != job.losses or job.failures > MAX_ATTEMPTS or job.losses > MAX_LOST:
        return "a job's failures or losses were forgotten"
    if job.status == "failed" and job.failures < MAX_ATTEMPTS and job.losses < MAX_LOST:
        return "a job failed before its time"
    return None


def explore(machine: Machine, *, jobs: int, faults: int, wishes: tuple[str, ...]) -> tuple[int, str | None]:
    """How many states there are, and the first promise broken, with the way there."""
    start = State((Job(),) * jobs, faults, (jobs, *(0 for _ in STATUSES[1:])), wishes)
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
    """The same state by another name. Jobs are alike, as are workers, and messages have no order; of numbers all that
    counts is whether they are the row's, older, or never came to it. What no crash can undo any more is on disk."""
    jobs = state.jobs
    order = sorted(range(len(jobs)), key=jobs.__getitem__)
    if order != [*range(len(jobs))] or any(job.dispatch_no != 1 or job.token != 1 for job in jobs):
        state = renamed(state, [order.index(n) for n in range(len(jobs))])
    workers = tuple(sorted(state.workers, key=lambda worker: worker or ()))
    undone = state.undone if state.faults else ()
    if workers == state.workers and undone == state.undone:
        return state
    return state._replace(workers=workers, undone=undone)


def renamed(state: State, to: list[int]) -> State:
    def message(of: int, number: int) -> tuple[int, int]:
        return to[of], against(number, state.jobs[of].dispatch_no)

    def worker(one: Took | Works | None) -> Took | Works | None:
        if isinstance(one, Took):
            return Took(*message(*one))
        return one and one._replace(job=to[one.job], token=against(one.token, state.jobs[one.job].token))

    def row(of: int, job: Job) -> Job:
        return job._replace(dispatch_no=1, token=against(job.token, state.jobs[of].token))

    return state._replace(
        jobs=tuple(row(of, state.jobs[of]) for of in sorted(range(len(to)), key=to.__getitem__)),
        workers=tuple(map(worker, state.workers)),
        broker=tuple(sorted(message(*one) for one in state.broker)),
        unsent=tuple(sorted(message(*one) for one in state.unsent)),
        undone=tuple((to[of], row(of, before)) for of, before in state.undone),
    )


def against(number: int, of_row: int) -> int:
    return 1 + (number > of_row) - (number < of_row)


def with_job(state: State, n: int, job: Job, *, on_disk: bool = True) -> State:
    """In one commit with the batch's counts. One that waits for the disk brings there all that was before it."""
    before = state.jobs[n]
    counts = list(state.counts)
    counts[STATUSES.index(before.status)] -= 1
    counts[STATUSES.index(job.status)] += 1
    return state._replace(
        jobs=(*state.jobs[:n], job, *state.jobs[n + 1 :]),
        counts=tuple(counts),
        undone=() if on_disk else (*state.undone, (n, before)),
    )


def with_batch(state: State, status: str, *, wish: str | None = None) -> State:
    return state._replace(batch=status, wishes=removed(state.wishes, wish) if wish else state.wishes, undone=())


def with_worker(state: State, n: int, worker: Took | Works | None) -> State:
    return state._replace(workers=(*state.workers[:n], worker, *state.workers[n + 1 :]))


def put_back(job: Job) -> Job:
    """Without blame: the attempt does not count."""
    return job._replace(status="pending", attempt=job.attempt - 1)


def newest_token(state: State, n: int) -> int:
    """Of those that a row or a worker knows: tokens are drawn, and none is ever drawn twice."""
    held = (worker.token for worker in state.workers if isinstance(worker, Works) and worker.job == n)
    return max(state.jobs[n].token, *held, 0)


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
@pytest.mark.parametrize(
    ("jobs", "faults", "wishes", "at_least"),
    [
        (2, 2, ("pause", "cancel"), 100_000),
        (2, 3, (), 60_000),
        (1, 3, ("pause", "cancel", "retry"), 60_000),
        (1, MAX_LOST + 1, (), 60_000),
    ],
)
def test_in_every_state_the_promises_hold_and_every_job_can_still_end(jobs, faults, wishes, at_least):
    states, wrong = explore(Machine(), jobs=jobs, faults=faults, wishes=wishes)
    assert wrong is None
    assert states > at_least  # else it explored nothing worth the name


@pytest.mark.parametrize(
    ("guard", "faults"),
    [
        ("dispatch number", 2),
        ("status", 2),
        ("token", 2),
        ("token of its own", 2),
        ("reap messages", 2),
        ("reap leases", 2),
        ("counts with the rows", 2),
        ("batch's lock", 2),
        ("attempts", MAX_ATTEMPTS + 1),
        ("losses", MAX_LOST + 1),
    ],
)
def test_no_guard_can_be_left_out(guard, faults):
    wishes = ("pause", "cancel", "retry") if faults == 2 else ()
    _, wrong = explore(Machine(guard), jobs=1, faults=faults, wishes=wishes)
    assert wrong is not None
