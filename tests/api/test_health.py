"""Probes and metrics."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from app.factory import create_app


def test_all_is_well(client):
    assert client.get("/health").json["status"] == "healthy"
    assert client.get("/health/live").status_code == 200
    ready = client.get("/health/ready")
    assert ready.status_code == 200
    assert ready.json["parts"] == {name: {"ok": True, "error": None} for name in ("database", "migrations", "broker")}


@pytest.fixture
def database_away(settings, superuser):
    name = settings.database_url.get_secret_value().rsplit("/", 1)[1]

    def cut():
        superuser.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        superuser.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])

    yield cut
    superuser.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def test_without_the_database_it_lives_and_is_not_ready(client, database_away):
    database_away()
    for path in ("/health", "/health/ready"):
        answer = client.get(path)
        assert answer.status_code == 503
        assert "@" not in answer.text
        assert "127.0.0.1" not in answer.text
    assert client.get("/health").json["status"] == "unhealthy"
    assert "database" in client.get("/health").json["error"]
    assert client.get("/health/ready").json["parts"]["database"]["ok"] is False
    assert client.get("/health/ready").json["parts"]["broker"]["ok"] is True
    assert client.get("/health/live").status_code == 200
    assert client.get("/metrics").status_code == 200


def test_without_the_broker_it_is_not_ready(client, queue):
    queue.away = True
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json["parts"]["broker"] == {"ok": False, "error": "cannot be reached"}
    assert client.get("/health").status_code == 503


def test_a_database_of_an_older_release_is_not_ready(client, superuser_here):
    superuser_here.execute("UPDATE alembic_version SET version_num = '0001'")
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json["parts"]["migrations"]["ok"] is False


def test_between_migrating_and_restarting_the_older_release_serves_on(client, superuser_here):
    superuser_here.execute("UPDATE alembic_version SET version_num = 'a newer one'")
    assert client.get("/health/ready").status_code == 200


def test_requests_are_counted_by_route_not_by_path(client):
    client.get("/api/v2/auth/me")
    client.get("/nothing/1")
    client.get("/nothing/2")
    client.open("/nothing", method="INVENTED")
    text = client.get("/metrics").text
    assert 'scrapersky_http_requests_total{method="GET",route="/api/v2/auth/me",status="401"} 1.0' in text
    assert 'scrapersky_http_requests_total{method="GET",route="unmatched",status="404"} 2.0' in text
    assert "INVENTED" not in text
    assert "scrapersky_http_request_seconds_bucket" in text
    assert 'scrapersky_queue_depth{queue="scans"} 0.0' in text
    assert 'scrapersky_jobs{state="queued"} 0.0' in text
    assert "scrapersky_oldest_pending_seconds 0.0" in text


def test_metrics_may_want_a_token(settings, queue, passwords):
    app = create_app(
        settings.model_copy(update={"metrics_token": SecretStr("m3trics")}), queue=queue, passwords=passwords
    )
    client = app.test_client()
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/metrics", headers={"Authorization": "Bearer m3trics"}).status_code == 200
    app.extensions["scrapersky"].database.close()


def test_each_tenants_queue_is_a_series_where_that_is_wanted(settings, queue, passwords, client, operator, tenant_id):
    client.post("/api/v2/batches", headers=operator, json={"domains": ["a.example", "b.example"]})
    client.post("/api/v2/scans", headers=operator, json={"domain": "c.example"})
    assert "c.example" not in client.get("/metrics").text
    wanted = settings.model_copy(update={"metrics_token": SecretStr("m3trics"), "metrics_by_tenant": True})
    app = create_app(wanted, queue=queue, passwords=passwords)
    text = app.test_client().get("/metrics", headers={"Authorization": "Bearer m3trics"}).text
    assert f'scrapersky_tenant_jobs{{state="pending",tenant="{tenant_id}"}} 2.0' in text
    assert f'scrapersky_tenant_jobs{{state="queued",tenant="{tenant_id}"}} 1.0' in text
    assert f'scrapersky_tenant_oldest_pending_seconds{{tenant="{tenant_id}"}}' in text
    assert 'scrapersky_host_jobs{host="c.example",state="queued"} 1.0' in text
    app.extensions["scrapersky"].database.close()
