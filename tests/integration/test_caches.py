"""The caches of rights keep to what every such cache keeps to; the shared one manages without its Redis."""

from __future__ import annotations

import json
import socket
import threading

import pytest

from app.redis.cache import PAUSE_SECONDS, Circuit, RedisCache
from app.services.caching import Tiered, TtlCache
from tests.conformance_cache import SECONDS, CacheConformance, FakeClock, tags


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def make(valkey_url, clock):
    """`make()` → a cache over the shared Redis, as another process would have it."""
    made = []

    def cache(*, url=valkey_url, seal=b"a secret", **options):
        options = {"prefix": "t:", "seconds": SECONDS, "clock": clock, **options}
        made.append(
            RedisCache(
                url,
                dump=lambda text: {"text": text},
                load=lambda row: row["text"],
                tags=tags,
                seal=lambda: seal,
                **options,
            )
        )
        return made[-1]

    cache()._redis.flushdb()
    yield cache
    for one in made:
        one.close()


class TestInProcess(CacheConformance):
    @pytest.fixture
    def cache(self, clock):
        return TtlCache(seconds=SECONDS, tags=tags, clock=clock)

    def test_it_keeps_no_more_than_its_size(self, clock):
        cache = TtlCache(seconds=SECONDS, size=2, clock=clock)
        for key in "abc":
            cache.put(key, key)
        assert [cache.get(key) for key in "abc"] == [None, "b", "c"]


class TestRedis(CacheConformance):
    @pytest.fixture
    def cache(self, make):
        return make()

    def test_it_is_shared_between_processes(self, make):
        here, there = make(), make()
        here.put("a.1", "one")
        assert there.get("a.1") == "one"
        there.drop_tagged("a")
        assert here.get("a.1") is None

    def test_nothing_stays_for_good(self, cache):
        cache.put("a.1", "one")
        assert [name for name in cache._redis.scan_iter() if cache._redis.ttl(name) < 0] == []
        assert all(cache._redis.pttl(name) <= SECONDS * 2000 for name in cache._redis.scan_iter())

    def test_the_list_of_a_tag_does_not_grow_with_time(self, cache, clock):
        for number in range(50):
            cache.put(f"a.{number}", "x")
            clock.now += SECONDS
        assert cache._redis.zcard("t:all:a") <= 4

    @pytest.mark.parametrize(
        "change",
        [
            lambda entry: entry[:-3] + b'x"}',
            lambda entry: bytes(32) + entry[32:],
            lambda entry: entry[32:],
            lambda _entry: b"",
            lambda _entry: b"\xff" * 100,
        ],
    )
    def test_what_another_wrote_there_is_not_believed(self, cache, change):
        cache.put("a.1", "one")
        cache._redis.set("t:a.1", change(cache._redis.get("t:a.1")))
        assert cache.get("a.1") is None

    def test_an_entry_counts_under_its_own_key_only(self, cache):
        cache.put("a.1", "administrator")
        cache._redis.set("t:b.1", cache._redis.get("t:a.1"))
        assert cache.get("b.1") is None

    def test_one_that_was_hoarded_is_dead(self, cache, clock):
        cache.put("a.1", "one")
        hoarded = cache._redis.get("t:a.1")
        clock.now += SECONDS
        cache._redis.set("t:a.1", hoarded)
        assert cache.get("a.1") is None

    def test_one_under_another_secret_is_no_entry(self, make):
        make(seal=b"another").put("a.1", "one")
        assert make().get("a.1") is None

    def test_one_of_another_release_is_no_entry(self, make):
        here = make()
        other = RedisCache(
            url="redis://127.0.0.1:1/0",
            prefix="t:",
            seconds=SECONDS,
            clock=here._clock,
            dump=lambda text: {"words": text},
            load=dict,
            seal=lambda: b"a secret",
        )
        here._redis.set("t:a.1", other._sealed("t:a.1", "one", 0.0))
        assert here.get("a.1") is None
        other.close()

    def test_it_is_json(self, cache):
        cache.put("a.1", "one")
        assert json.loads(cache._redis.get("t:a.1")[32:])["value"] == {"text": "one"}


class TestTiered(CacheConformance):
    @pytest.fixture
    def cache(self, make, clock):
        # A moment only, for what they keep to together is the sum of both times.
        return Tiered(TtlCache(seconds=0.005, tags=tags, clock=clock), make(), clock=clock)

    @pytest.fixture
    def pair(self, make, clock):
        """Two processes, each with a cache of its own before the shared one."""
        return [Tiered(TtlCache(seconds=1.0, tags=tags, clock=clock), make(), clock=clock) for _ in range(2)]

    def test_what_one_process_drops_another_forgets_within_its_own_second(self, pair, clock):
        here, there = pair
        here.put("a.1", "one")
        assert there.get("a.1") == "one"
        here.drop_tagged("a")
        assert here.get("a.1") is None
        assert there.get("a.1") == "one"
        clock.now += 1.0
        assert there.get("a.1") is None

    def test_nothing_is_older_than_both_times_together(self, pair, clock):
        here, there = pair
        here.put("a.1", "one")
        clock.now += SECONDS - 0.01
        assert there.get("a.1") == "one"  # and keeps it
        clock.now += 1.0
        assert there.get("a.1") is None


def test_without_its_redis_nothing_is_found_and_nothing_raises(make):
    cache = make(url="redis://127.0.0.1:1/0")
    cache.put("a.1", "one")
    cache.drop("a.1")
    cache.drop_tagged("a")
    assert cache.get("a.1") is None


def test_a_redis_that_hangs_is_waited_for_once(make, clock):
    """It takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        connected = []

        def accept():
            while True:
                try:
                    connected.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        cache = make(url=f"redis://127.0.0.1:{server.getsockname()[1]}/0")
        assert cache.get("a.1") is None
        tried = len(connected)
        assert 1 <= tried <= 2
        assert [cache.get("a.1") for _ in range(50)] == [None] * 50
        assert len(connected) == tried
    for one in connected:
        one.close()


def test_after_a_pause_one_tries_and_its_success_is_for_all():
    now = [0.0]
    circuit = Circuit(clock=lambda: now[0])
    assert [circuit.lets_through() for _ in range(3)] == [True] * 3
    circuit.open()
    now[0] = PAUSE_SECONDS - 0.1
    assert not circuit.lets_through()
    now[0] = PAUSE_SECONDS
    assert [circuit.lets_through() for _ in range(3)] == [True, False, False]
    circuit.close()
    assert [circuit.lets_through() for _ in range(3)] == [True] * 3
