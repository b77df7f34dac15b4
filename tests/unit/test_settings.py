"""Settings: read from the environment, checked at start, every mistake named."""

from __future__ import annotations

import ipaddress

import pytest
from limits import parse_many

from app import settings as configuration
from app.errors import ConfigurationError
from app.settings import ConnectTo

STRONG = "kZ8s-3vQ1xW9pL6nB4tR7yU2iO5aD0fG"
KEYED = {"SCRAPERSKY_SECRET_KEY": STRONG}
EXTERNAL = {
    "SCRAPERSKY_DATABASE_URL": "postgresql://app@db/scrapersky",
    "SCRAPERSKY_SYSTEM_DATABASE_URL": "postgresql://system@db/scrapersky",
    "SCRAPERSKY_REDIS_URL": "redis://cache/0",
}


@pytest.fixture
def load(monkeypatch, tmp_path):
    """`load(SCRAPERSKY_PORT="1")` → the settings of an environment that holds just that."""

    def read(**environment):
        monkeypatch.chdir(tmp_path)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return configuration.load()

    return read


def test_without_any_variable_everything_has_a_default(load):
    settings = load()
    assert (settings.host, settings.port, settings.slots) == ("127.0.0.1", 8000, 64)
    assert not settings.is_production


def test_tests_have_no_way_into_a_production_program(load):
    """Security Q6"""
    points = {"SCRAPERSKY_TEST_POINTS": "tests.chaos.hooks:reached"}
    assert load(**points).test_points == points["SCRAPERSKY_TEST_POINTS"]
    with pytest.raises(ConfigurationError, match="SCRAPERSKY_TEST_POINTS"):
        load(SCRAPERSKY_ENVIRONMENT="production", **EXTERNAL, **points)


def test_lists_are_read_from_one_line(load):
    settings = load(
        SCRAPERSKY_ALLOWED_NETWORKS="127.0.0.0/8, ::1/128",
        SCRAPERSKY_ALLOWED_PORTS="80,8080",
        SCRAPERSKY_CONNECT_TO="*:443:127.0.0.1:8443,a.example::[::1]:80",
    )
    assert settings.allowed_networks == (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
    assert settings.allowed_ports == (80, 8080)
    assert settings.connect_to == (ConnectTo("*", 443, "127.0.0.1", 8443), ConnectTo("a.example", None, "::1", 80))


def test_a_file_beside_the_program_is_read_and_the_environment_goes_before_it(load, tmp_path):
    (tmp_path / ".env").write_text("SCRAPERSKY_PORT=9000\nSCRAPERSKY_LOG_LEVEL=DEBUG\n")
    settings = load(SCRAPERSKY_PORT="9001")
    assert (settings.port, settings.log_level) == (9001, "DEBUG")


def test_every_mistake_is_named_at_once_and_no_value_is_shown(load):
    with pytest.raises(ConfigurationError) as refused:
        load(
            SCRAPERSKY_PORT="a-secret-typed-into-the-wrong-line",
            SCRAPERSKY_CONNECT_TO="nonsense",
            SCRAPERSKY_LOG_FORMAT="xml",
            SCRAPERSKY_ALLOWED_NETWORKS="127.0.0.1/8",
        )
    for name in ("PORT", "CONNECT_TO", "LOG_FORMAT", "ALLOWED_NETWORKS"):
        assert f"SCRAPERSKY_{name}" in refused.value.detail
    assert "a-secret" not in refused.value.detail


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({}, "embedded"),
        ({**EXTERNAL, "SCRAPERSKY_SECRET_KEY": "short"}, "SECRET_KEY"),
        ({**EXTERNAL, "SCRAPERSKY_SECRET_KEY": "a" * 40}, "SECRET_KEY"),
        ({**EXTERNAL, "SCRAPERSKY_SECRET_KEY": "your-256-bit-secret-goes-in-here-soon"}, "SECRET_KEY"),
        ({**EXTERNAL, "SCRAPERSKY_SECRET_KEY": "dev-secret-key-change-in-production!"}, "SECRET_KEY"),
        ({**EXTERNAL, **KEYED, "SCRAPERSKY_SECRET_KEY_PREVIOUS": "short"}, "SECRET_KEY_PREVIOUS"),
        ({**EXTERNAL, **KEYED, "SCRAPERSKY_SECRET_KEY_PREVIOUS": STRONG}, "SECRET_KEY and .*_PREVIOUS are the same"),
        ({**EXTERNAL, **KEYED, "SCRAPERSKY_ADMIN_PASSWORD": STRONG}, "the same"),
        ({**EXTERNAL, **KEYED, "SCRAPERSKY_METRICS_TOKEN": STRONG}, "the same"),
        ({**EXTERNAL, **KEYED, "SCRAPERSKY_ADMIN_PASSWORD": "changeme"}, "ADMIN_PASSWORD"),
        ({**EXTERNAL, **KEYED, "SCRAPERSKY_ADMIN_PASSWORD": "Admin12345!"}, "ADMIN_PASSWORD"),
        ({**EXTERNAL, **KEYED, "SCRAPERSKY_ADMIN_PASSWORD": "20261126"}, "ADMIN_PASSWORD"),
        ({**EXTERNAL, **KEYED, "SCRAPERSKY_ADMIN_PASSWORD": "kZ8s-3"}, "ADMIN_PASSWORD"),
        ({**EXTERNAL, **KEYED, "SCRAPERSKY_METRICS_TOKEN": "example-token"}, "METRICS_TOKEN"),
        ({**EXTERNAL, **KEYED, "SCRAPERSKY_REDIS_URL": "redis://:redis123@cache/0"}, "REDIS_URL"),
        ({**EXTERNAL, **KEYED, "SCRAPERSKY_DATABASE_URL": "postgresql://app:p%61ssword@db/x"}, "DATABASE_URL"),
        (
            {
                **EXTERNAL,
                **KEYED,
                "SCRAPERSKY_DATABASE_URL": "postgresql://app:kZ8s-3vQ1xW9@db/x",
                "SCRAPERSKY_SYSTEM_DATABASE_URL": "postgresql://system:kZ8s%2D3vQ1xW9@db/x",
            },
            "the same",
        ),
    ],
)
@pytest.mark.parametrize("name", ["production", "staging", "PRODUCTION"])
def test_production_and_whatever_is_not_known_refuses_what_is_weak(load, environment, complaint, name):
    """Security Q6"""
    with pytest.raises(ConfigurationError, match=complaint) as refused:
        load(SCRAPERSKY_ENVIRONMENT=name, **environment)
    assert not [value for key, value in environment.items() if "_URL" not in key and value in refused.value.detail]


def test_production_with_servers_of_its_own_and_a_strong_key_starts(load):
    passwords = {
        "SCRAPERSKY_DATABASE_URL": "postgresql://app:Zm9vYmFyYmF6@db/x",
        "SCRAPERSKY_SYSTEM_DATABASE_URL": "postgresql://system:9dLq-2vXw8@db/x",
        "SCRAPERSKY_ADMIN_PASSWORD": "correct horse battery",
        "SCRAPERSKY_METRICS_TOKEN": "0c5a8f21d7",
    }
    assert load(SCRAPERSKY_ENVIRONMENT="production", **{**EXTERNAL, **KEYED, **passwords}).is_production
    assert load(SCRAPERSKY_ENVIRONMENT="production", SCRAPERSKY_SECRET_KEY=STRONG, **EXTERNAL).is_production


def test_one_database_url_without_the_other_role_is_refused(load):
    with pytest.raises(ConfigurationError, match="SYSTEM_DATABASE_URL"):
        load(SCRAPERSKY_DATABASE_URL="postgresql://app@db/scrapersky")


def test_pools_differ_by_environment_and_part_and_can_be_set(load):
    development = load().pool("api")
    production = load(SCRAPERSKY_ENVIRONMENT="production", SCRAPERSKY_SECRET_KEY=STRONG, **EXTERNAL)
    assert production.pool("api").size > development.size
    assert production.pool("worker") != production.pool("api")
    chosen = load(
        SCRAPERSKY_DATABASE_POOL_SIZE="3",
        SCRAPERSKY_DATABASE_POOL_OVERFLOW="0",
        SCRAPERSKY_DATABASE_POOL_TIMEOUT="1.5",
        SCRAPERSKY_DATABASE_POOL_RECYCLE="60",
        SCRAPERSKY_DATABASE_PRE_PING="false",
        SCRAPERSKY_DATABASE_PREPARE_THRESHOLD="-1",
    ).pool("worker")
    assert chosen == (3, 0, 1.5, 60, False, None)


def test_series_of_each_tenant_want_a_token(load):
    with pytest.raises(ConfigurationError, match="SCRAPERSKY_METRICS_TOKEN"):
        load(SCRAPERSKY_METRICS_BY_TENANT="true")
    assert load(SCRAPERSKY_METRICS_BY_TENANT="true", SCRAPERSKY_METRICS_TOKEN="m3trics").metrics_by_tenant


@pytest.mark.parametrize("rate", ["10 a minute", "0/minute", "10", "10/fortnight", "x/minute", "10/minute;x"])
@pytest.mark.parametrize("name", ["LOGIN_RATE", "REQUEST_RATE", "TENANT_RATE"])
def test_a_rate_that_cannot_be_read_stops_the_start(load, name, rate):
    """The limiter would log it, and limit nothing."""
    with pytest.raises(ConfigurationError, match=f"SCRAPERSKY_{name}"):
        load(**{f"SCRAPERSKY_{name}": rate})


@pytest.mark.parametrize("rate", ["10/minute", "10 per hour", "5/10 minutes", "20/second;600/minute"])
def test_rates_that_can_be_read(load, rate):
    assert parse_many(load(SCRAPERSKY_TENANT_RATE=rate).tenant_rate)
