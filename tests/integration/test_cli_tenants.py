"""`manage.py tenants`, on a database that is there."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from app.cli.main import main
from tests.conftest import NOWHERE


@pytest.fixture
def tenants(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    urls = {
        "SCRAPERSKY_DATABASE_URL": settings.database_url.get_secret_value(),
        "SCRAPERSKY_SYSTEM_DATABASE_URL": settings.system_database_url.get_secret_value(),
        "SCRAPERSKY_REDIS_URL": NOWHERE,
    }

    def run(*words):
        return CliRunner().invoke(main, ["tenants", *words], env=urls)

    return run


def states(result):
    assert result.exit_code == 0, result.output
    return [line.split()[1:] for line in result.stdout.splitlines()]


def test_tenants_are_listed_made_suspended_and_resumed(tenants, superuser_here):
    assert states(tenants()) == [["active", "default"]]
    assert states(tenants("--create", "Acme")) == [["active", "default"], ["active", "Acme"]]
    assert states(tenants("--suspend", "ACME"))[1] == ["suspended", "Acme"]
    acme = tenants().stdout.splitlines()[1].split()[0]
    assert states(tenants("--resume", acme))[1] == ["active", "Acme"]
    trail = superuser_here.execute("SELECT action, via, actor FROM audit_events ORDER BY id").fetchall()
    assert trail == [(f"tenant.{verb}", "command", None) for verb in ("created", "suspended", "resumed")]


@pytest.mark.parametrize("words", [("--create", "DEFAULT"), ("--suspend", "nobody"), ("--create", "a\nb")])
def test_what_cannot_be_done_is_told_in_one_line(tenants, words):
    result = tenants(*words)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
