"""The envelope we write by hand is the one Celery itself would send."""

from __future__ import annotations

import base64
import json
import socket
from contextlib import suppress
from uuid import uuid4

import pytest
from pydantic import SecretStr

from app.queueing import SCAN_TASK, ScanMessage
from app.redis import connection
from app.redis.queue import RedisTaskQueue
from workers import celery_app

MESSAGE = ScanMessage(
    tenant_id=uuid4(), job_id=uuid4(), dispatch_no=3, until=1_800_000_000.25, domain="a.example", batch_id=uuid4()
)


@pytest.fixture
def broker(settings, valkey_url):
    queue = RedisTaskQueue(valkey_url)
    queue._redis.flushdb()
    yield queue, settings.model_copy(update={"redis_url": SecretStr(valkey_url)})
    queue.close()


def test_the_envelope_is_celerys_own(broker):
    queue, settings = broker
    assert queue.publish("scans", [MESSAGE])
    ours = json.loads(queue._redis.rpop("scans"))
    celery = celery_app.make(settings)
    celery.send_task(
        SCAN_TASK,
        args=[str(MESSAGE.tenant_id), str(MESSAGE.job_id), MESSAGE.dispatch_no],
        task_id=str(MESSAGE.job_id),
        queue="scans",
        argsrepr=MESSAGE.label(),
        kwargsrepr="{}",
        ignore_result=True,
        headers={"until": MESSAGE.until},
    )
    theirs = json.loads(queue._redis.rpop("scans"))
    celery.close()
    for message in (ours, theirs):  # differ from message to message
        message["headers"].pop("origin")
        message["properties"].pop("delivery_tag")
        message["properties"].pop("reply_to")
        for echo in ("argsrepr", "kwargsrepr"):  # send_task repeats its options there; workers read the headers
            message["properties"].pop(echo, None)
        message["body"] = json.loads(base64.b64decode(message["body"]))
    assert ours == theirs


def test_a_window_is_one_round_trip_and_counted(broker):
    queue, _ = broker
    assert queue.publish("scans", [MESSAGE] * 200)
    assert (queue.depth("scans"), queue.depth("single")) == (200, 0)


def test_a_broker_that_is_away_raises_nothing():
    queue = RedisTaskQueue("redis://127.0.0.1:1/0")
    assert queue.publish("scans", [MESSAGE]) is False
    assert queue.depth("scans") is None
    queue.close()


def test_a_broker_that_hangs_costs_one_caller_its_patience_and_the_others_nothing(monkeypatch):
    """It accepts, as the kernel does for a process that is stopped, and says nothing."""
    monkeypatch.setattr(connection, "SOCKET_SECONDS", 0.1)
    now, asked = [0.0], 0
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.3)
        queue = RedisTaskQueue(f"redis://127.0.0.1:{listening.getsockname()[1]}/0", clock=lambda: now[0])
        for at in (0.0, 0.1, 0.2, 4.0):
            now[0] = at
            assert (queue.depth("scans"), queue.look(), queue.publish("scans", [MESSAGE])) == (None, None, False)
        with suppress(TimeoutError):
            while True:
                listening.accept()[0].close()
                asked += 1
        queue.close()
    assert asked == 2
