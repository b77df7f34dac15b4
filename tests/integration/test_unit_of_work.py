"""Transactions whose PostgreSQL stands still: its machine takes all that is sent, and nobody answers."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager, suppress

import psycopg
import pytest
import sqlalchemy as sa

from app.errors import TookTooLong, Unavailable
from app.repositories import direct
from app.unit_of_work import Database


@pytest.fixture
def hasty(settings, monkeypatch):
    """A second for a statement, and half a one more."""
    monkeypatch.setattr(direct, "GRACE_SECONDS", 0.5)
    opened = Database(settings.model_copy(update={"database_statement_timeout": 1}), "api")
    yield opened
    opened.close()


@contextmanager
def standing_still(pid):
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def pid_of(uow):
    return uow.session.scalar(sa.text("SELECT pg_backend_pid()"))


def asked(sql, answer=lambda rows: rows[0][0], **values):
    return direct.Question(direct.statement(sql), values, answer)


PID = asked("SELECT pg_backend_pid()")


def asked_again(uow):
    uow.session.execute(sa.text("SELECT 1"))


def asked_past_the_session(uow):
    direct.run(uow.session, "SELECT 1", {})


def committed(uow):
    uow.commit()


@pytest.mark.timeout(30)
@pytest.mark.parametrize("step", [asked_again, asked_past_the_session, committed])
def test_a_postgresql_that_stands_still_holds_nobody_for_ever(hasty, tenant_id, step):
    with pytest.raises(Unavailable), hasty.for_tenant(tenant_id) as uow, standing_still(pid_of(uow)):
        step(uow)
    with hasty.for_tenant(tenant_id) as uow:  # by another connection
        assert uow.session.scalar(sa.text("SELECT count(*) FROM domains")) == 0


@pytest.mark.timeout(30)
def test_nor_does_it_before_a_connection_is_lent_out_again(hasty, tenant_id):
    with hasty.for_tenant(tenant_id) as uow:
        pid = pid_of(uow)
    with standing_still(pid), pytest.raises(Unavailable), hasty.for_tenant(tenant_id):
        pass


def test_connections_that_were_cut_while_nobody_used_them_are_nobodys_error(hasty, tenant_id, superuser_here):
    with hasty.for_tenant(tenant_id) as uow, hasty.for_tenant(tenant_id) as beside:
        pids = [pid_of(uow), pid_of(beside)]
    superuser_here.execute("SELECT pg_terminate_backend(pid, 5000) FROM unnest(%s::int[]) pid", [pids])
    with hasty.for_tenant(tenant_id) as uow, hasty.for_tenant(tenant_id) as beside:
        assert {pid_of(uow), pid_of(beside)}.isdisjoint(pids)


def test_a_question_is_asked_over_a_new_connection_if_its_own_was_cut(hasty, tenant_id, superuser_here):
    pid = hasty.ask(tenant_id, PID)
    superuser_here.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    assert hasty.ask(tenant_id, PID) != pid


@pytest.mark.timeout(30)
def test_nor_does_a_question_wait_for_ever(hasty, tenant_id):
    with standing_still(hasty.ask(tenant_id, PID)), pytest.raises(Unavailable):
        hasty.ask(tenant_id, PID)
    with pytest.raises(TookTooLong):
        hasty.ask(tenant_id, asked("SELECT pg_sleep(20)"))
    assert hasty.ask(tenant_id, PID)


def test_a_question_leaves_nothing_behind_on_its_connection(hasty, tenant_id):
    told = asked("SELECT pg_backend_pid(), current_setting('app.tenant_id', true)", lambda rows: rows[0])
    pid, tenant = hasty.ask(tenant_id, told)
    assert tenant == str(tenant_id)
    for broken in (asked("SELECT 1 / :n", n=0), asked("SELECT set_config('app.tenant_id', 'other', false)")):
        with suppress(psycopg.errors.DivisionByZero):
            hasty.ask(tenant_id, broken)
        with hasty._app.connect() as connection:
            assert tuple(connection.exec_driver_sql(told.sql).one()) == (pid, "")


def test_what_postgresql_itself_ends_in_time_is_no_silence(hasty, tenant_id):
    with pytest.raises(TookTooLong), hasty.for_tenant(tenant_id) as uow:
        uow.session.execute(sa.text("SELECT pg_sleep(20)"))


def test_whoever_was_given_more_time_has_it_once(hasty, tenant_id):
    with hasty.for_tenant(tenant_id) as uow:
        direct.take_time(uow.session)
        uow.session.execute(sa.text("SELECT pg_sleep(2)"))
        uow.commit()
    with pytest.raises(TookTooLong), hasty.for_tenant(tenant_id) as uow:
        uow.session.execute(sa.text("SELECT pg_sleep(2)"))
