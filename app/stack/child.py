"""One supervised process: how it is described, and what is known of it while it runs."""

from __future__ import annotations

import logging
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from selectors import EVENT_READ, BaseSelector
from typing import IO

from app.stack.liveness import VARIABLE
from app.stack.process import Program, kill_group, launch, open_log

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.1
MAX_PAUSE = 10.0
LONG_LIFE = 30.0  # who lived this long starts again with the first pause
START_GRACE = 60.0
CHUNK = 64 << 10


@dataclass(frozen=True, kw_only=True)
class Child:
    """What to run. `env` is added to the inherited environment; times are in seconds.

    With `liveness` it is given a pipe (see `liveness.start`) and killed once silent for so long; until its
    first byte it has 60 s to start up. The stack is ready without those that are not `awaited`. Who is asked a second
    time to stop is killed after `hurry_timeout`.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout: float = 10.0
    hurry_timeout: float = 0.0
    restart: bool = True
    liveness: float | None = None
    awaited: bool = True


class Running:
    """The life of one child, over all its restarts. Times are `time.monotonic()`."""

    def __init__(self, child: Child, selector: BaseSelector, log_dir: Path | None) -> None:
        self.child = child
        self.process: subprocess.Popen[bytes] | None = None
        self.deaths = 0  # in a row, none of them after a long life
        self.last_status = 0
        self.start_at = 0.0  # when to start it next, infinity for never
        self.asked_to_stop = False
        self.kill_at = math.inf  # when the stop signal has had its time
        self._selector = selector
        self._log_dir = log_dir
        self._started = 0.0
        self._heard: float | None = None
        self._pipe: int | None = None

    @property
    def alive(self) -> bool:
        return self.process is not None

    @property
    def has_begun(self) -> bool:
        """Alive and, where it has a pipe to say so, done with its start."""
        return self.alive and (self.child.liveness is None or self._heard is not None)

    def start(self) -> None:
        self.start_at, self.asked_to_stop = math.inf, False
        self._started, self._heard = time.monotonic(), None
        self._pipe, listening = self._open_pipe()
        try:
            if self._log_dir is None:
                self._launch(subprocess.PIPE, listening)
            else:
                with open_log(self._log_dir / f"{self.child.name}.log") as output:
                    self._launch(output, listening)
        finally:
            for descriptor in listening:
                os.close(descriptor)

    def reap(self) -> bool:
        """Take note of its death, if it died; then it starts again after a pause, or never."""
        if self.process is None or self.process.poll() is None:
            return False
        kill_group(self.process)  # what it led must not hold its port or its jobs
        now = time.monotonic()
        self.last_status = self.process.returncode
        self.deaths = 1 if self.asked_to_stop or now - self._started > LONG_LIFE else self.deaths + 1
        pause = min(FIRST_PAUSE * 2 ** (self.deaths - 1), MAX_PAUSE)
        self.start_at = now + pause if self.child.restart else math.inf
        self.process, self.kill_at = None, math.inf
        self._close_pipe()
        return True

    def silent_at(self) -> float:
        """When its silence becomes too long; infinity if nobody listens to it."""
        if self.process is None or self.child.liveness is None:
            return math.inf
        if self._heard is None:
            return self._started + START_GRACE
        return self._heard + self.child.liveness

    def excuse(self) -> None:
        """Its silence counts from now: nobody listened before."""
        if self._heard is None:
            self._started = time.monotonic()
        else:
            self._heard = max(self._heard, time.monotonic())

    def kill(self) -> None:
        if self.process is not None:
            self.kill_at = math.inf
            self._heard = math.inf  # it is not killed twice
            kill_group(self.process)

    def ask_to_stop(self) -> None:
        self.asked_to_stop = True
        if self.process is not None:
            self.kill_at = time.monotonic() + self.child.stop_timeout
            self.process.send_signal(self.child.stop_signal)

    def hurry(self) -> None:
        """The stop signal once more, and little time."""
        if self.process is None:
            return
        if not self.child.hurry_timeout:
            self.kill()
            return
        self.ask_to_stop()
        self.kill_at = time.monotonic() + self.child.hurry_timeout

    def _launch(self, output: int | IO[bytes], listening: Sequence[int]) -> None:
        spoken = {VARIABLE: str(listening[0])} if listening else {}
        self.process = launch(
            Program(
                name=self.child.name,
                argv=self.child.argv,
                env={**os.environ, **self.child.env, **spoken},
                output=output,
                pass_fds=listening,
            )
        )
        if self.process.stdout is not None:
            Forwarder(self.child.name, self.process.stdout, self._selector)

    def _open_pipe(self) -> tuple[int | None, Sequence[int]]:
        if self.child.liveness is None:
            return None, ()
        ours, theirs = os.pipe()
        os.set_blocking(ours, False)
        self._selector.register(ours, EVENT_READ, self._hear)
        return ours, (theirs,)

    def _hear(self) -> None:
        if self._pipe is not None:
            with suppress(BlockingIOError):
                if os.read(self._pipe, CHUNK):
                    self._heard = time.monotonic()
                else:  # closed without dying: its silence counts on
                    self._close_pipe()

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            self._selector.unregister(self._pipe)
            os.close(self._pipe)
            self._pipe = None


class Forwarder:
    """Passes a child's lines on to our stderr, each under the child's name, until it closes the stream."""

    def __init__(self, name: str, stream: IO[bytes], selector: BaseSelector) -> None:
        self._prefix = f"{name} | ".encode()
        self._stream = stream
        self._selector = selector
        self._rest = b""
        os.set_blocking(stream.fileno(), False)
        selector.register(stream, EVENT_READ, self.forward)

    def forward(self) -> None:
        try:
            chunk = os.read(self._stream.fileno(), CHUNK)
        except BlockingIOError:
            return
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if self._rest and (not chunk or len(self._rest) > CHUNK):  # the end, or endless: as it is
            lines, self._rest = [*lines, self._rest], b""
        with suppress(BrokenPipeError):  # nobody reads us any more; the child must not block on that
            sys.stderr.buffer.write(b"".join(self._prefix + line + b"\n" for line in lines))
            sys.stderr.buffer.flush()
        if not chunk:
            self._selector.unregister(self._stream)
            self._stream.close()
