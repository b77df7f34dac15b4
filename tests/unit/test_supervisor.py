"""The supervisor over real, tiny processes."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from app.errors import StackError
from app.stack import child as child_module
from app.stack import process
from app.stack import supervisor as supervisor_module
from app.stack.child import Child
from app.stack.supervisor import Supervisor

ROOT = Path(__file__).resolve().parents[2]
BEAT = "import os, time\nwhile True: os.write(int(os.environ['SCRAPERSKY_LIVENESS_FD']), b'.'); time.sleep(0.05)"


def until(holds: Callable[[], object], *, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def gone(pid: int) -> bool:
    """Dead, or a zombie whose new parent does not care."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def shell(name: str, script: str, **options: object) -> Child:
    return Child(name=name, argv=["/bin/sh", "-c", script], **options)


def python(name: str, script: str, **options: object) -> Child:
    return Child(name=name, argv=[sys.executable, "-S", "-c", script], **options)


def drive(supervisor: Supervisor, script: Callable[[], None], **ready: object) -> int:
    """Run the supervisor here while a thread plays the outer world; at its end all is stopped."""

    def play() -> None:
        try:
            script()
        finally:
            supervisor.stop()

    with ThreadPoolExecutor(1) as pool:
        played = pool.submit(play)
        try:
            return supervisor.run(**ready)
        finally:
            played.result(30)


def test_a_killed_child_starts_again(tmp_path):
    pids = tmp_path / "pids"
    supervisor = Supervisor([[shell("one", f"echo $$ >> {pids}; exec sleep 60")]])

    def script():
        until(lambda: len(lines(pids)) == 1)
        os.kill(int(lines(pids)[0]), signal.SIGKILL)
        until(lambda: len(lines(pids)) == 2)
        assert supervisor.pids() == {"one": int(lines(pids)[1])}

    assert drive(supervisor, script) == 0
    assert all(gone(int(pid)) for pid in lines(pids))


def test_pauses_between_starts_double(tmp_path):
    times = tmp_path / "times"
    supervisor = Supervisor([[shell("bad", f"date +%s.%N >> {times}; exit 3")]])
    drive(supervisor, lambda: until(lambda: len(lines(times)) == 4))
    at = [float(line) for line in lines(times)]
    gaps = [later - earlier for earlier, later in pairwise(at)]
    assert [gap >= least for gap, least in zip(gaps, (0.09, 0.19, 0.39), strict=True)] == [True] * 3


def test_a_long_life_forgets_earlier_deaths(tmp_path, monkeypatch):
    monkeypatch.setattr(child_module, "LONG_LIFE", 0.0)
    times = tmp_path / "times"
    supervisor = Supervisor([[shell("bad", f"date +%s.%N >> {times}; exit 3")]])
    began = time.monotonic()
    drive(supervisor, lambda: until(lambda: len(lines(times)) == 6))
    assert time.monotonic() - began < 2.0  # doubling would have taken 3.1 s


def test_run_returns_when_nobody_will_start_again(tmp_path):
    mark = tmp_path / "mark"
    assert Supervisor([[shell("once", f"echo done > {mark}", restart=False)]]).run() == 0
    assert lines(mark) == ["done"]


def test_a_program_that_does_not_exist_is_a_stack_error():
    with pytest.raises(StackError, match="ghost"):
        Supervisor([[Child(name="ghost", argv=["/nonexistent/ghost"])]]).run()


def test_a_frozen_child_is_killed_and_replaced_while_a_beating_one_lives():
    supervisor = Supervisor([[python("frozen", BEAT, liveness=0.6), python("well", BEAT, liveness=0.6)]])

    def script():
        until(lambda: len(supervisor.pids()) == 2)
        before = supervisor.pids()
        time.sleep(1.0)  # longer than the allowed silence: beats must count
        assert supervisor.pids() == before
        os.kill(before["frozen"], signal.SIGSTOP)
        until(lambda: supervisor.pids().get("frozen", before["frozen"]) != before["frozen"])
        assert gone(before["frozen"])
        assert supervisor.pids()["well"] == before["well"]

    assert drive(supervisor, script) == 0


def test_a_supervisor_that_stood_still_itself_calls_nobody_silent(tmp_path):
    heard = tmp_path / "heard"
    beat = f"import os, time\nfor n in range(9999):\n os.write(int(os.environ['SCRAPERSKY_LIVENESS_FD']), b'.')\n if n == 9: open({str(heard)!r}, 'w')\n time.sleep(0.05)"
    script = (
        "import sys\nfrom app.stack.child import Child\nfrom app.stack.supervisor import Supervisor\n"
        f"child = Child(name='well', argv=[sys.executable, '-S', '-c', {beat!r}], liveness=0.6)\n"
        "raise SystemExit(Supervisor([[child]]).run())"
    )
    said = tmp_path / "said"
    with said.open("wb") as output:
        supervisor = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stderr=output)
    children = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children")
    try:
        until(heard.exists)
        before = children.read_text()
        os.kill(supervisor.pid, signal.SIGSTOP)
        time.sleep(2.5)  # for the kernel: it is stopped, and no word of its child is heard
        os.kill(supervisor.pid, signal.SIGCONT)
        until(lambda: "stood still" in said.read_text())
        assert children.read_text() == before
    finally:
        supervisor.terminate()
        assert supervisor.wait(timeout=20) == 0
    assert "no sign of life" not in said.read_text()


def test_silence_counts_only_after_the_first_byte_or_the_grace(monkeypatch):
    monkeypatch.setattr(child_module, "START_GRACE", 0.8)
    supervisor = Supervisor([[shell("slow", "exec sleep 60", liveness=0.1)]])
    lived: list[float] = []

    def script():
        until(supervisor.pids)
        pid, began = supervisor.pids()["slow"], time.monotonic()
        until(lambda: gone(pid))
        lived.append(time.monotonic() - began)

    drive(supervisor, script)
    assert 0.5 < lived[0] < 5


def test_closing_the_pipe_is_silence():
    closing = "import os, time\nfd = int(os.environ['SCRAPERSKY_LIVENESS_FD'])\nos.write(fd, b'.'); os.close(fd); time.sleep(60)"
    supervisor = Supervisor([[python("mute", closing, liveness=0.3)]])

    def script():
        until(supervisor.pids)
        pid = supervisor.pids()["mute"]
        until(lambda: gone(pid))

    assert drive(supervisor, script) == 0


def test_the_childs_side_beats_until_told_otherwise(tmp_path):
    pids = tmp_path / "pids"
    script = (
        "import os, time\nfrom app.stack import liveness\n"
        f"open({str(pids)!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
        "beat = liveness.start()\ntime.sleep(1.5)\nbeat.set()\ntime.sleep(60)"
    )
    child = Child(name="beats", argv=[sys.executable, "-S", "-c", script], env={"PYTHONPATH": str(ROOT)}, liveness=0.9)
    began = time.monotonic()
    drive(Supervisor([[child]]), lambda: until(lambda: len(lines(pids)) == 2))
    assert time.monotonic() - began > 1.9


def test_stages_stop_one_after_the_other(tmp_path):
    order = tmp_path / "order"

    def child(name: str, seconds: float) -> Child:
        work = f"trap 'sleep {seconds}; echo {name} >> {order}; exit 0' TERM; echo up >> {order}.up; while :; do sleep 0.02; done"
        return shell(name, work)

    supervisor = Supervisor([[child("api", 0.3)], [child("worker", 0.1)], [child("broker", 0)]])

    def script():
        until(lambda: len(lines(Path(f"{order}.up"))) == 3)
        os.kill(os.getpid(), signal.SIGTERM)

    assert drive(supervisor, script) == 0
    assert lines(order) == ["api", "worker", "broker"]


def test_sigint_counts_also_where_a_shell_set_it_to_be_ignored():
    """As `… &` in a script does; SIGHUP stays ignored under nohup."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGHUP)}
    supervisor = Supervisor([[shell("one", "exec sleep 60")]])

    def script():
        until(supervisor.pids)
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0.1)
        assert not supervisor.is_stopping
        os.kill(os.getpid(), signal.SIGINT)
        until(lambda: supervisor.is_stopping)

    try:
        assert drive(supervisor, script) == 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_who_ignores_the_stop_signal_is_killed(tmp_path):
    up = tmp_path / "up"
    deaf = shell("deaf", f"trap '' TERM; echo $$ > {up}; while :; do sleep 0.05; done", stop_timeout=0.3)

    def script():
        until(lambda: lines(up))
        os.kill(os.getpid(), signal.SIGINT)

    began = time.monotonic()
    assert drive(Supervisor([[deaf]]), script) == 0
    assert time.monotonic() - began < 5
    assert gone(int(lines(up)[0]))


def test_a_second_signal_kills_at_once(tmp_path):
    up = tmp_path / "up"
    deaf = shell("deaf", f"trap '' TERM; echo $$ > {up}; while :; do sleep 0.05; done", stop_timeout=60)
    other = shell("other", "exec sleep 60")

    def script():
        until(lambda: lines(up))
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(supervisor_module.ECHO_SECONDS + 0.1)
        os.kill(os.getpid(), signal.SIGINT)

    began = time.monotonic()
    assert drive(Supervisor([[deaf], [other]]), script) == 1
    assert time.monotonic() - began < 5
    assert gone(int(lines(up)[0]))


def test_who_can_hurry_gets_the_signal_again_and_a_moment(tmp_path):
    up, told = tmp_path / "up", tmp_path / "told"
    slow = shell(
        "slow",
        f"trap 'echo told >> {told}; [ $(wc -l < {told}) = 2 ] && exit 0' TERM; echo > {up}; while :; do sleep 0.02; done",
        stop_timeout=60,
        hurry_timeout=60,
    )

    def script():
        until(lambda: lines(up))
        os.kill(os.getpid(), signal.SIGINT)
        until(lambda: lines(told))
        time.sleep(supervisor_module.ECHO_SECONDS + 0.1)
        os.kill(os.getpid(), signal.SIGINT)

    assert drive(Supervisor([[slow]]), script) == 1
    assert lines(told) == ["told", "told"]


def test_a_third_signal_kills_who_hurries_too_slowly(tmp_path):
    up = tmp_path / "up"
    deaf = shell(
        "deaf", f"trap '' TERM; echo $$ > {up}; while :; do sleep 0.05; done", stop_timeout=60, hurry_timeout=60
    )

    def script():
        until(lambda: lines(up))
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(supervisor_module.ECHO_SECONDS + 0.1)

    assert drive(Supervisor([[deaf]]), script) == 1
    assert gone(int(lines(up)[0]))


def test_rolling_replaces_one_child_after_another(tmp_path):
    """And leaves alone who has no pipe to say that its successor works."""
    order = tmp_path / "order"
    beat = f"open({str(order)!r}, 'a').write('up {{}}\\n')\n{BEAT}"
    workers = [python(name, beat.format(name), liveness=30) for name in ("one", "two")]
    supervisor = Supervisor([[shell("other", "exec sleep 60")], workers])

    def script():
        until(supervisor.all_begun)
        before = supervisor.pids()
        os.kill(os.getpid(), signal.SIGUSR1)
        until(lambda: all(supervisor.pids().get(name) not in (None, before[name]) for name in ("one", "two")))
        assert supervisor.pids()["other"] == before["other"]
        until(supervisor.all_begun)

    assert drive(supervisor, script) == 0
    assert sorted(lines(order)[:2]) == ["up one", "up two"]
    assert lines(order)[2:] == ["up one", "up two"]


def test_an_echo_of_the_first_signal_leaves_time_to_finish(tmp_path):
    done = tmp_path / "done"
    slow = shell(
        "slow", f"trap 'sleep 0.4; echo done > {done}; exit' TERM; echo up > {done}.up; while :; do sleep 0.02; done"
    )

    def script():
        until(lambda: lines(Path(f"{done}.up")))
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)

    assert drive(Supervisor([[slow]]), script) == 0
    assert lines(done) == ["done"]


def test_what_a_dead_child_led_goes_with_it(tmp_path):
    pid = tmp_path / "pid"
    leader = shell("leader", f"sleep 600 & echo $! > {pid}; exit 1", restart=False)
    assert Supervisor([[leader]]).run() == 0
    until(lambda: gone(int(lines(pid)[0])))


@pytest.mark.skipif(not process.LINUX, reason="parent-death signals are Linux's")
def test_children_do_not_outlive_a_killed_supervisor(tmp_path):
    pid = tmp_path / "pid"
    script = (
        "from app.stack.child import Child\nfrom app.stack.supervisor import Supervisor\n"
        f"Supervisor([[Child(name='c', argv=['/bin/sh', '-c', 'echo $$ > {pid}; exec sleep 600'])]]).run()"
    )
    outer = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    until(lambda: lines(pid))
    outer.kill()
    outer.wait()
    until(lambda: gone(int(lines(pid)[0])))


def test_a_terminals_ctrl_c_does_not_reach_children():
    supervisor = Supervisor([[shell("one", "exec sleep 60")]])
    sessions: list[int] = []

    def script():
        until(supervisor.pids)
        sessions.append(os.getsid(supervisor.pids()["one"]))

    drive(supervisor, script)
    assert sessions[0] != os.getsid(0)


def test_ready_is_told_once_and_handlers_come_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)]
    asked: list[int] = []
    told: list[str] = []
    supervisor = Supervisor([[shell("one", "exec sleep 60")]])

    def ready() -> bool:
        asked.append(1)
        return len(asked) == 3

    def on_ready() -> None:
        told.append("ready")

    def script():
        until(lambda: told)
        time.sleep(0.3)

    assert drive(supervisor, script, until_ready=ready, on_ready=on_ready) == 0
    assert (told, len(asked)) == (["ready"], 3)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)] == before


def test_never_ready_is_an_error_and_leaves_nothing_running():
    supervisor = Supervisor([[shell("one", "exec sleep 60")]], ready_seconds=0.3)
    with pytest.raises(StackError, match="not ready within"):
        supervisor.run(until_ready=lambda: False)
    assert supervisor.pids() == {}


def test_a_child_that_cannot_stay_up_before_ready_is_named():
    supervisor = Supervisor([[shell("fine", "exec sleep 60")], [shell("broken", "exit 7")]])
    began = time.monotonic()
    with pytest.raises(StackError, match=r"broken .* 7"):
        supervisor.run(until_ready=lambda: False)
    assert time.monotonic() - began < 10
    assert supervisor.pids() == {}


def test_lines_are_passed_on_under_the_childs_name(capfd):
    talk = "echo to stdout; echo to stderr >&2; printf 'no end'"
    Supervisor([[shell("talker", talk, restart=False)]]).run()
    assert capfd.readouterr().err.splitlines() == [
        "talker | to stdout",
        "talker | to stderr",
        "talker | no end",
    ]


def test_logs_are_appended_and_put_aside_when_large(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "LOG_BYTES", 5)
    for word in ("first", "second", "third"):
        Supervisor([[shell("talker", f"echo {word}", restart=False)]], log_dir=tmp_path / "logs").run()
    assert (tmp_path / "logs/talker.log").read_text() == "third\n"
    assert (tmp_path / "logs/talker.log.1").read_text() == "second\n"
    assert (tmp_path / "logs/talker.log").stat().st_mode & 0o777 == 0o600


def test_an_idle_supervisor_uses_no_processor():
    supervisor = Supervisor([[shell("one", "exec sleep 60")]])
    spent: list[float] = []

    def script():
        until(supervisor.pids)
        before = time.process_time()
        time.sleep(0.5)
        spent.append(time.process_time() - before)

    drive(supervisor, script)
    assert spent[0] < 0.05


def test_upkeep_is_called_again_after_the_seconds_it_asks_for():
    calls: list[float] = []

    def upkeep() -> float:
        calls.append(time.monotonic())
        return 0.05

    drive(Supervisor([[shell("one", "exec sleep 60")]], upkeep=upkeep), lambda: until(lambda: len(calls) > 5))


def test_deaths_are_logged(caplog):
    with caplog.at_level(logging.WARNING):
        Supervisor([[shell("mortal", "exit 9", restart=False)]]).run()
    assert "mortal ended with status 9" in caplog.text
