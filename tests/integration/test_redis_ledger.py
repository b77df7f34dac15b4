"""The shared ledger keeps to what every ledger keeps to, and manages without its Redis."""

from __future__ import annotations

import threading

import pytest
import redis

from app.fetching.ledger import LocalLedger
from app.redis.ledger import KEPT_MS, RedisLedger
from tests.conformance_ledger import HOST, FakeClock, LedgerConformance, enter, leave, trip, visit


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def make(valkey_url, clock):
    made = []

    def ledger(*, url=valkey_url, clock=clock, **options):
        fallback = LocalLedger(**({"clock": clock} if clock else {}))
        made.append(RedisLedger(url, fallback=fallback, clock=clock, **options))
        return made[-1]

    ledger()._redis.flushdb()
    yield ledger
    for one in made:
        one.close()


def mute(**_):
    raise redis.ConnectionError


@pytest.fixture
def ledger(make):
    return make()


class TestRedisLedger(LedgerConformance):
    def test_places_are_shared_between_processes(self, make):
        here, there = make(), make()
        assert enter(here, concurrency=1) == 0.0
        assert enter(there, concurrency=1) > 0
        leave(here)
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

    def test_places_that_a_breaking_connection_left_taken_come_free(self, make, monkeypatch):
        """Taken, but the answer was lost; and left, but nobody heard. Other processes need not wait two minutes."""
        here, there = make(), make()
        real = here._enter

        def lose_the_answer(**arguments):
            real(**arguments)
            raise redis.ConnectionError

        monkeypatch.setattr(here, "_enter", lose_the_answer)
        assert enter(here, concurrency=1) == 0.0  # by its own fallback
        leave(here)
        assert enter(there, concurrency=1) > 0
        monkeypatch.undo()
        with monkeypatch.context() as broken:
            assert enter(here, host="b.example", concurrency=1) == 0.0  # and what went astray is given back
            assert enter(there, concurrency=1) == 0.0
            broken.setattr(here._redis, "pipeline", mute)
            leave(here, host="b.example")
            assert enter(there, host="b.example", concurrency=1) > 0
        assert enter(here, host="c.example") == 0.0
        assert enter(there, host="b.example", concurrency=1) == 0.0

    def test_the_place_of_a_killed_process_comes_free_when_its_request_would_have_ended(self, make, clock):
        killed, other = make(longest_request=30), make(longest_request=30)
        assert enter(killed, concurrency=1) == 0.0
        clock.advance(29)
        assert enter(other, concurrency=1) > 0.0
        clock.advance(2)
        assert enter(other, concurrency=1) == 0.0

    def test_places_at_an_address_are_shared_between_processes(self, make):
        here, there = make(), make()
        first = visit("a.example", "@192.0.2.7", shared=1)
        assert here.enter(first) == 0.0
        assert there.enter(visit("b.example", "@192.0.2.7", shared=1)) > 0
        here.leave(first)
        assert there.enter(visit("b.example", "@192.0.2.7", shared=1)) == 0.0

    def test_many_threads_at_once_are_no_reason_to_take_redis_for_away(self, make):
        """256 slots and their fetching threads ask one ledger."""
        ledger, ready, waits = make(clock=None), threading.Barrier(200), []

        def ask(number):
            ready.wait(30)
            waits.append(enter(ledger, f"h{number}.example", concurrency=1))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert waits == [0.0] * 200
        assert ledger._fallback.known_hosts == 0

    def test_its_keys_expire(self, ledger):
        ledger.enter(visit("a.example", "@192.0.2.7", delay=1.0))
        assert all(0 < ms <= KEPT_MS for ms in self.left(ledger, 3))
        trip(ledger, "failing.example")
        assert all(0 < ms <= 30_000 + KEPT_MS for ms in self.left(ledger, 4))

    @staticmethod
    def left(ledger, keys):
        found = [ledger._redis.pttl(key) for key in ledger._redis.keys("polite:*")]
        assert len(found) == keys
        return found

    def test_a_request_costs_two_round_trips(self, ledger, monkeypatch):
        """However many places it takes; that it went well costs none."""
        trips = []
        places = visit("a.example", "@192.0.2.7", "@192.0.2.8", delay=1.0)
        ledger.enter(places)  # the script is loaded
        ledger.leave(places)
        pool = ledger._redis.connection_pool
        get = pool.get_connection
        monkeypatch.setattr(pool, "get_connection", lambda *a, **k: (trips.append(1), get(*a, **k))[1])
        places = visit("b.example", "@192.0.2.7", "@192.0.2.8")
        assert ledger.enter(places) == 0.0
        ledger.succeeded("b.example")
        ledger.leave(places)
        assert len(trips) == 2

    def test_on_the_servers_own_clock(self, make):
        ledger = make(clock=None)
        assert enter(ledger, delay=30.0) == 0.0
        assert 29.0 < enter(ledger, delay=30.0) <= 30.0


def test_without_redis_a_process_keeps_its_own_manners(make):
    ledger = make(url="redis://127.0.0.1:1/0")
    assert enter(ledger, concurrency=1) == 0.0
    assert enter(ledger, concurrency=1) > 0
    leave(ledger)
    trip(ledger)
    assert enter(ledger) > 0
