"""Keeps a set of child processes running, and stops them in order. One thread, one selector, no polling."""

from __future__ import annotations

import logging
import math
import selectors
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from app.errors import StackError
from app.stack.child import Child, Running

log = logging.getLogger(__name__)

STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ROLL = signal.SIGUSR1
# A wrapper (make, uv, npm) passes on the Ctrl-C that the terminal gave us too: that is still the first.
ECHO_SECONDS = 0.25
CALLED = 0  # on the wake-up socket among signal numbers: somebody called `stop`
PROBE_SECONDS = 0.1
DEATHS_BEFORE_READY = 5
STANDSTILL = 1.0  # later than that nobody wakes who was let run


def heeded() -> list[signal.Signals]:
    """The stop signals that count. SIGHUP does not under nohup; SIGINT does even where a shell that started us
    in the background set it to be ignored: who sends it by hand means it.
    """
    return [number for number in STOP if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]


class Supervisor:
    """Runs children until told to stop.

    `stages` say the order of stopping: all of a stage at once, the next when it is over. `upkeep` is called
    whenever anything happened, a death above all, and after as many seconds as it returned
    (`Servers.revive`). Without
    `log_dir` the children's lines go to our stderr, else to `log_dir/NAME.log`.
    """

    def __init__(
        self,
        stages: Sequence[Sequence[Child]],
        *,
        log_dir: Path | None = None,
        upkeep: Callable[[], float | None] = lambda: None,
        ready_seconds: float = 60.0,
    ) -> None:
        self._selector = selectors.DefaultSelector()
        self._stages = [[Running(child, self._selector, log_dir) for child in stage] for stage in stages]
        self._upkeep = upkeep
        self._ready_seconds = ready_seconds
        self._wake, self._waker = socket.socketpair()
        self._until_ready: Callable[[], bool] | None = None
        self._on_ready: Callable[[], None] = lambda: None
        self._started = 0.0
        self._stop_asked: float | None = None
        self._forced = 0
        self._rolling: deque[tuple[Running, subprocess.Popen[bytes] | None]] = deque()
        self._failure: StackError | None = None

    def run(
        self,
        until_ready: Callable[[], bool] | None = None,
        on_ready: Callable[[], None] = lambda: None,
    ) -> int:
        """Run until SIGINT, SIGTERM, SIGHUP or `stop`, or until no child is left that starts again.

        `until_ready` is asked every 0.1 s until it says yes, then `on_ready` is called once; both hold the
        supervisor up while they work. SIGUSR1 replaces the children that have a liveness pipe, one after another.
        Main thread only. Returns 0, or 1 if a second signal cut it short.

        :raises StackError: not ready in time, or a child cannot stay up before that; all are stopped by then
        """
        self._until_ready, self._on_ready = until_ready, on_ready
        self._started = time.monotonic()
        try:
            with self._signals():
                due = self._turn()
                while not self._over():
                    self._wait(due)
                    due = self._turn()
        finally:
            self._end()
        if self._failure is not None:
            raise self._failure
        return int(self._forced > 0)

    def stop(self) -> None:
        """Begin the ordered stop; from any thread."""
        with suppress(OSError):  # it is over already
            self._waker.send(bytes([CALLED]))

    def pids(self) -> dict[str, int]:
        """The children alive at this moment."""
        return {each.child.name: each.process.pid for each in self._all() if each.process is not None}

    def all_begun(self) -> bool:
        """Whether every awaited child lives and each of them with a liveness pipe has spoken."""
        return all(each.has_begun for each in self._all() if each.child.awaited)

    @property
    def is_stopping(self) -> bool:
        return self._stop_asked is not None

    def _all(self) -> Iterator[Running]:
        """What stops last comes first: the order of starting."""
        for stage in reversed(self._stages):
            yield from stage

    def _over(self) -> bool:
        return not any(each.alive or (each.start_at < math.inf and not self.is_stopping) for each in self._all())

    def _turn(self) -> float:
        """Do all that is due now. Returns when something will be due next."""
        steps = (
            self._reap,
            self._start_due,
            self._kill_silent,
            self._stop_next,
            self._roll,
            self._ask_ready,
            self._keep,
        )
        return min(step() for step in steps)

    def _wait(self, due: float) -> None:
        timeout = None if due == math.inf else max(0.0, due - time.monotonic())
        for key, _ in self._selector.select(timeout):
            key.data()
        self._excuse(time.monotonic() - due)

    def _excuse(self, late: float) -> None:
        """Whoever stood still (a paused machine, SIGSTOP) must not call the others silent on waking."""
        if late > STANDSTILL:
            log.warning("stood still for %.1f s", late)
            for each in self._all():
                each.excuse()

    def _reap(self) -> float:
        for each in self._all():
            if each.reap() and not self.is_stopping:
                log.warning("%s ended with status %d", each.child.name, each.last_status)
                if self._until_ready is not None and each.deaths >= DEATHS_BEFORE_READY:
                    self._fail(f"{each.child.name} does not stay up: it ended with status {each.last_status}")
        return math.inf

    def _start_due(self) -> float:
        if self.is_stopping:
            return math.inf
        for each in self._all():
            if not each.alive and each.start_at <= time.monotonic():
                each.start()
        return min((each.start_at for each in self._all()), default=math.inf)

    def _kill_silent(self) -> float:
        for each in self._all():
            if each.silent_at() <= time.monotonic():
                log.error("%s gives no sign of life; killing it", each.child.name)
                each.kill()
        return min((each.silent_at() for each in self._all()), default=math.inf)

    def _stop_next(self) -> float:
        if not self.is_stopping:
            return math.inf
        stage = next((stage for stage in self._stages if any(each.alive for each in stage)), [])
        for each in stage:
            if not each.asked_to_stop:
                each.ask_to_stop()
            self._kill_late(each)
        return min((each.kill_at for each in stage), default=math.inf)

    def _roll(self) -> float:
        """One child after another: the next when the one before has been started anew and has spoken."""
        while self._rolling and not self.is_stopping:
            each, old = self._rolling[0]
            if old is not None and each.process is old:
                if not each.asked_to_stop:
                    log.warning("%s is being replaced", each.child.name)
                    each.ask_to_stop()
                return self._kill_late(each)
            if not each.has_begun:
                return math.inf
            self._rolling.popleft()
        return math.inf

    def _kill_late(self, each: Running) -> float:
        if each.kill_at <= time.monotonic():
            log.warning("%s did not stop in time; killing it", each.child.name)
            each.kill()
        return each.kill_at

    def _ask_ready(self) -> float:
        if self._until_ready is None or self.is_stopping:
            return math.inf
        if self._until_ready():
            self._until_ready = None
            self._on_ready()
        elif time.monotonic() - self._started > self._ready_seconds:
            self._fail(f"the stack was not ready within {self._ready_seconds:g} s")
        return time.monotonic() + PROBE_SECONDS

    def _keep(self) -> float:
        pause = self._upkeep()
        return math.inf if pause is None else time.monotonic() + pause

    def _fail(self, reason: str) -> None:
        self._failure = self._failure or StackError(reason)
        self._begin_stop()

    def _begin_stop(self) -> None:
        self._stop_asked = self._stop_asked or time.monotonic()

    def _woken(self) -> None:
        for number in self._wake.recv(4096):
            if number in STOP and self._stop_asked and time.monotonic() - self._stop_asked > ECHO_SECONDS:
                self._force()
            elif number == CALLED or number in STOP:
                self._begin_stop()
            elif number == ROLL and not self._rolling:
                self._rolling.extend((each, each.process) for each in self._all() if each.child.liveness is not None)

    def _force(self) -> None:
        """A second signal leaves little time, a third none."""
        self._forced += 1
        log.warning("asked again; %s", "hurrying what is left" if self._forced == 1 else "killing what is left")
        for each in self._all():
            if self._forced == 1:
                each.hurry()
            else:
                each.kill()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Signals become bytes on our socket, so that a wait ends at once and nothing is lost."""
        self._wake.setblocking(False)
        self._waker.setblocking(False)
        self._selector.register(self._wake, selectors.EVENT_READ, self._woken)
        before = signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, lambda *_: None) for number in (*heeded(), signal.SIGCHLD, ROLL)}
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)

    def _end(self) -> None:
        """After an error children may still be alive; after an ordered stop there are only last lines."""
        for each in self._all():
            each.kill()
            if each.process is not None:
                each.process.wait()
                each.reap()
        self._selector.unregister(self._wake)
        while self._selector.get_map():
            ready = self._selector.select(1.0)
            if not ready:  # a stray descendant holds the stream
                break
            for key, _ in ready:
                key.data()
        self._selector.close()
        self._wake.close()
        self._waker.close()
