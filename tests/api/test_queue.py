"""What waits and what runs, over HTTP: the figures, and whose they are."""

from __future__ import annotations

from uuid import UUID

import pytest

from app.queueing import QUEUES
from app.services import upkeep
from tests.api.answers import problem

QUEUE = "/api/v2/queue"
NOTHING = {"pending": 0, "delayed": 0, "paused": 0, "queued": 0, "running": 0}


@pytest.fixture
def watch(client):
    def look(headers):
        answer = client.get(QUEUE, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json

    return look


@pytest.fixture
def submit(client):
    """`submit(headers, "a.example", …)` → the id of the batch."""

    def send(headers, *domains):
        answer = client.post("/api/v2/batches", headers=headers, json={"domains": domains})
        assert answer.status_code == 202, answer.text
        return answer.json["id"]

    return send


@pytest.fixture
def sql(superuser_here):
    return superuser_here.execute


@pytest.fixture
def run(superuser_here):
    """`run(batch, 2)`: so many of a batch's queued jobs are with a worker; `lease` seconds from now it passes."""

    def start(batch_id, count, *, lease=60):
        superuser_here.execute(
            "UPDATE jobs SET status = 'running', dispatch_until = NULL, worker = 'scans-1@host:7', lease_token = id, "
            "lease_until = now() + make_interval(secs => %s) WHERE id IN (SELECT id FROM jobs WHERE batch_id = %s "
            "AND status = 'queued' ORDER BY id LIMIT %s)",
            [lease, batch_id, count],
        )

    return start


def test_an_empty_queue_is_all_noughts(watch, operator):
    shown = watch(operator)
    assert (shown["scope"], shown["depths"], shown["oldest"]) == ("tenant", NOTHING, None)
    assert (shown["tenants"], shown["hosts"]) == ([], [])
    assert shown["leases"] == {"live": 0, "passed": 0, "next_end_at": None, "workers": None}


def test_depths_follow_the_jobs_through_their_lives(watch, submit, operator, database, queue, run, client, sql):
    batch = submit(operator, *(f"d{n}.example" for n in range(10)))
    assert watch(operator)["depths"] == {**NOTHING, "pending": 10}
    upkeep.dispatch(database, queue, slots=3, patience=60)
    run(batch, 2)
    sql(
        "UPDATE jobs SET available_at = now() + interval '1 hour' WHERE id = (SELECT id FROM jobs ORDER BY id DESC LIMIT 1)"
    )
    shown = watch(operator)
    assert shown["depths"] == {"pending": 4, "delayed": 1, "paused": 0, "queued": 4, "running": 2}
    assert (shown["leases"]["live"], shown["leases"]["passed"]) == (2, 0)
    assert shown["window"]["queued"] == 4
    client.post(f"/api/v2/batches/{batch}/pause", headers=operator)
    shown = watch(operator)
    assert shown["depths"]["paused"] == 4
    assert shown["oldest"] is None  # what is paused waits for its owner, not for a worker
    sql("UPDATE jobs SET status = 'cancelled', finished_at = now(), dispatch_until = NULL, lease_token = NULL, "
        "lease_until = NULL, available_at = NULL")  # fmt: skip
    assert watch(operator)["depths"] == NOTHING


def test_single_scans_count_too(watch, client, operator, queue):
    queue.away = True  # so that they stay pending
    for n in range(12):
        assert client.post("/api/v2/scans", headers=operator, json={"domain": f"s{n}.example"}).status_code == 202
    depths = watch(operator)["depths"]
    assert depths["pending"] + depths["queued"] == 12
    assert depths["pending"] > 0


def test_the_age_is_that_of_the_oldest_that_waits_for_a_worker_only(watch, submit, operator, sql):
    first, second = submit(operator, "a.example"), submit(operator, "b.example")
    sql(f"UPDATE jobs SET created_at = now() - interval '3 hours' WHERE batch_id = '{first}'")
    sql(f"UPDATE jobs SET created_at = now() - interval '1 hour' WHERE batch_id = '{second}'")
    assert 3 * 3600 <= watch(operator)["oldest"]["age_seconds"] < 3 * 3600 + 60
    sql(f"UPDATE jobs SET available_at = now() + interval '1 hour' WHERE batch_id = '{first}'")
    shown = watch(operator)
    assert 3600 <= shown["oldest"]["age_seconds"] < 3660
    assert shown["tenants"][0]["oldest"] == shown["oldest"] | {
        "age_seconds": shown["tenants"][0]["oldest"]["age_seconds"]
    }


def test_hosts_show_what_is_in_hand_and_what_cools(watch, submit, operator, database, queue, run, sql):
    busy = submit(operator, "busy.example/a/", "busy.example/b/")
    upkeep.dispatch(database, queue, slots=1, patience=60)
    run(busy, 1)
    cool = submit(operator, "cool.example")
    sql("UPDATE jobs SET waiting_on = 'host_cooldown', available_at = now() + interval '5 minutes' "
        f"WHERE batch_id = '{cool}'")  # fmt: skip
    busy_host, cool_host = watch(operator)["hosts"]
    assert busy_host == {"host": "busy.example", "running": 1, "queued": 1, "cooling": 0, "cools_until": None}
    assert (cool_host["host"], cool_host["cooling"]) == ("cool.example", 1)
    assert cool_host["cools_until"].endswith("Z")


def test_a_passed_lease_is_told_apart(watch, submit, login, operator, database, queue, run):
    batch = submit(operator, "a.example", "b.example")
    upkeep.dispatch(database, queue, slots=1, patience=60)
    run(batch, 1, lease=-5)
    leases = watch(login("platform_admin"))["leases"]
    assert (leases["live"], leases["passed"]) == (0, 1)
    assert leases["workers"] == [{"name": "scans-1@host:7", "jobs": 1, "passed": 1}]


def test_a_tenant_sees_its_own_and_the_platform_sees_all(
    watch, submit, login, operator, new_tenant, tenant_id, database, queue
):
    acme = new_tenant("acme")
    theirs = login("operator", tenant=acme)
    submit(operator, "ours.example", "more.example")
    submit(theirs, "secret.example")
    upkeep.dispatch(database, queue, slots=8, patience=60)
    shown = watch(theirs)
    assert (shown["scope"], shown["depths"]) == ("tenant", {**NOTHING, "queued": 1})
    assert [(one["id"], one["name"]) for one in shown["tenants"]] == [(str(acme), "acme")]
    assert [one["host"] for one in shown["hosts"]] == ["secret.example"]
    assert shown["window"] == {"size": 128, "queued": 1, "messages": None}
    for roles in (["platform_admin"], ["platform_admin", "tenant_admin"]):
        whole = watch(login(*roles))
        assert (whole["scope"], whole["depths"]["queued"]) == ("platform", 3)
        assert [UUID(one["id"]) for one in whole["tenants"]] == [tenant_id, acme]
        assert {one["host"] for one in whole["hosts"]} == {"ours.example", "more.example", "secret.example"}
        assert whole["window"]["messages"] == {"express": 3, "scans": 0, "single": 0, "quarantine": 0}


def test_a_broker_that_is_away_is_null_not_nought(watch, login, queue):
    queue.away = True
    assert watch(login("platform_admin"))["window"]["messages"] == dict.fromkeys(QUEUES)


def test_a_suspended_tenants_jobs_are_pending_and_wait_for_no_worker(watch, submit, login, new_tenant, superuser_here):
    acme = new_tenant("acme")
    submit(login("operator", tenant=acme), "a.example")
    watcher = login("platform_admin")
    assert watch(watcher)["oldest"] is not None
    superuser_here.execute("UPDATE tenants SET status = 'suspended' WHERE id = %s", [acme])
    shown = watch(watcher)
    assert (shown["depths"]["pending"], shown["oldest"]) == (1, None)


def test_it_takes_no_arguments(client, operator):
    problem(client.get(f"{QUEUE}?tenant=other", headers=operator), 422, "invalid_input")


def test_who_is_not_signed_in_is_told_nothing(client):
    problem(client.get(QUEUE), 401, "authentication_failed")
