"""The shared ledger keeps to what every ledger keeps to, and manages without its Redis."""

from __future__ import annotations

import pytest

from app.fetching.ledger import LocalLedger
from app.redis.ledger import KEPT_MS, RedisLedger
from tests.conformance_ledger import HOST, FakeClock, LedgerConformance, enter, trip


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def make(valkey_url, clock):
    made = []

    def ledger(*, url=valkey_url, clock=clock):
        made.append(RedisLedger(url, fallback=LocalLedger(**({"clock": clock} if clock else {})), clock=clock))
        return made[-1]

    ledger()._redis.flushdb()
    yield ledger
    for one in made:
        one.close()


@pytest.fixture
def ledger(make):
    return make()


class TestRedisLedger(LedgerConformance):
    def test_places_are_shared_between_processes(self, make):
        here, there = make(), make()
        assert enter(here, concurrency=1) == 0.0
        assert enter(there, concurrency=1) > 0
        here.leave(HOST)
        assert enter(there, concurrency=1) == 0.0

    def test_a_cool_down_holds_for_every_process(self, make):
        here, there = make(), make()
        trip(here)
        assert enter(there) > 0

    def test_a_success_elsewhere_clears_the_failures(self, make, clock):
        here, there = make(), make()
        trip(here)
        clock.advance(enter(there))
        assert enter(there) == 0.0
        there.succeeded(HOST)
        here.failed(HOST)
        assert enter(here) == 0.0

    def test_the_place_of_a_killed_process_comes_free(self, make, clock):
        killed, other = make(), make()
        assert enter(killed, concurrency=1) == 0.0
        clock.advance(KEPT_MS / 1000 + 1)
        assert enter(other, concurrency=1) == 0.0

    def test_its_keys_expire(self, ledger):
        enter(ledger, delay=1.0)
        trip(ledger, "failing.example")
        left = [ledger._redis.pttl(key) for key in ledger._redis.keys("polite:*")]
        assert left
        assert all(0 < ms <= 30_000 + KEPT_MS for ms in left)

    def test_on_the_servers_own_clock(self, make):
        ledger = make(clock=None)
        assert enter(ledger, delay=30.0) == 0.0
        assert 29.0 < enter(ledger, delay=30.0) <= 30.0


def test_without_redis_a_process_keeps_its_own_manners(make):
    ledger = make(url="redis://127.0.0.1:1/0")
    assert enter(ledger, concurrency=1) == 0.0
    assert enter(ledger, concurrency=1) > 0
    ledger.leave(HOST)
    trip(ledger)
    assert enter(ledger) > 0
