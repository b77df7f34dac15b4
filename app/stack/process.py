"""Starting one program, and ending it: the only place that forks."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import platform
import pwd
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from app.errors import StackError

LINUX = platform.system() == "Linux"
PR_SET_PDEATHSIG = 1
LOG_BYTES = 10 << 20
POLL_SECONDS = 0.01


class Account(NamedTuple):
    """Whom a program runs as."""

    uid: int
    gid: int


class Step(NamedTuple):
    """One step of ending a process: a signal, and how many seconds it has to work."""

    signal: signal.Signals
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to start. Without `account` it runs as ourselves, without `output` it writes to our stderr."""

    name: str
    argv: Sequence[str]
    cwd: Path | None = None
    env: Mapping[str, str] | None = None
    account: Account | None = None
    output: int | IO[bytes] | None = None
    stdin: int | IO[bytes] = subprocess.DEVNULL
    pass_fds: Sequence[int] = ()
    death_signal: signal.Signals = signal.SIGKILL


def launch(program: Program) -> subprocess.Popen[bytes]:
    """Start it in a session of its own, so that a terminal's Ctrl-C reaches only us.

    On Linux it gets `death_signal` when the thread that called this ends, however it ends: call it from a
    thread that lives as long as the program should.

    :raises StackError: it cannot be executed
    """
    account = program.account
    output = program.output if program.output is not None else sys.stderr
    try:
        return subprocess.Popen(  # noqa: S603 - argv is ours, no shell
            list(program.argv),
            cwd=program.cwd,
            env=None if program.env is None else dict(program.env),
            stdin=program.stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=program.pass_fds,
            start_new_session=True,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            preexec_fn=_die_with_parent(program.death_signal),  # noqa: PLW1509 - two system calls, no locks
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise StackError(f"{program.name} cannot be started: {error}") from error


def _die_with_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    if not LINUX:
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork: loading takes locks
    parent = os.getpid()

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return ask


def run(program: Program) -> tuple[int, bytes]:
    """Start it, wait for its end; its exit status and all it wrote."""
    process = launch(dataclasses.replace(program, output=subprocess.PIPE))
    try:
        written, _ = process.communicate()
    except BaseException:  # a Ctrl-C must not leave it at work
        kill_group(process)
        process.wait()
        raise
    return process.returncode, written


@contextmanager
def input_of(text: str, account: Account | None) -> Iterator[IO[bytes]]:
    """Standard input that says `text`: a nameless file, so nothing is left anywhere after a kill.

    It belongs to the account, so that a program may open it again as /dev/stdin.
    """
    with tempfile.TemporaryFile() as file:
        file.write(text.encode())
        file.seek(0)
        if account is not None:
            os.fchown(file.fileno(), *account)
        yield file


def end(process: subprocess.Popen[bytes], steps: Sequence[Step]) -> int:
    """Go through the steps until it has ended, at last SIGKILL; then clear away what its group left."""
    for step in steps:
        if process.poll() is None:
            process.send_signal(step.signal)
            with suppress(subprocess.TimeoutExpired):
                process.wait(step.seconds)
    kill_group(process)
    return process.wait()


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to all that the process leads, itself too if it lives: it leads its own session."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def end_orphan(pid_file: Path, directory: Path, steps: Sequence[Step]) -> None:
    """End the server that a killed predecessor left at work in `directory`.

    `pid_file` names it in its first line. A number that by now belongs to another program, or to a zombie
    nobody reaps, must not keep the server from starting, so then the file goes.
    """
    try:
        pid = int(pid_file.read_text(encoding="utf-8").split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return
    for step in (*steps, Step(signal.SIGKILL, 5.0)):
        if not _works_in(pid, directory):
            break
        with suppress(ProcessLookupError):
            os.kill(pid, step.signal)
        deadline = time.monotonic() + step.seconds
        while _works_in(pid, directory) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
    if _works_in(pid, directory):
        raise StackError(f"process {pid} still works in {directory} and does not end")
    pid_file.unlink(missing_ok=True)


def _works_in(pid: int, directory: Path) -> bool:
    if LINUX:
        try:
            return Path(f"/proc/{pid}/cwd").samefile(directory)
        except OSError:  # gone, a zombie, or another user's: not ours in any case
            return False
    command = subprocess.run(  # noqa: S603
        ["/bin/ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return str(directory) in command.stdout


def service_account(data: Path) -> Account | None:
    """Who runs a server: ourselves, or, if we are root (which PostgreSQL refuses), somebody unprivileged.

    Data that an ordinary user made earlier stays that user's.
    """
    if os.geteuid() != 0:
        return None
    with suppress(FileNotFoundError):
        kept = data.stat()
        if kept.st_uid != 0:
            return Account(kept.st_uid, kept.st_gid)
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            found = pwd.getpwnam(name)
            return Account(found.pw_uid, found.pw_gid)
    raise StackError("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")


def open_log(path: Path) -> IO[bytes]:
    """Append to the log; one that has grown past 10 MiB is put aside first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        if path.stat().st_size > LOG_BYTES:
            path.replace(path.with_name(f"{path.name}.1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab")
