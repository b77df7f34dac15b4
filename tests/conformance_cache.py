"""What every cache of rights keeps to, wherever it lives.

Derive a test class and give it fixtures `cache` (keys are strings, a key's tag is what stands before its dot; values are
texts; entries live `SECONDS`) and `clock`, a `FakeClock` that moves the time by which entries die.
"""

from __future__ import annotations

import pytest

SECONDS = 3.0


class FakeClock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def tags(key: str) -> tuple[str, ...]:
    return (key.partition(".")[0],)


class CacheConformance:
    def test_what_was_put_is_found(self, cache):
        assert cache.get("a.1") is None
        cache.put("a.1", "one")
        cache.put("a.2", "zwei, 二, \0")
        assert (cache.get("a.1"), cache.get("a.2")) == ("one", "zwei, 二, \0")

    def test_the_last_put_counts(self, cache):
        cache.put("a.1", "old")
        cache.put("a.1", "new")
        assert cache.get("a.1") == "new"

    def test_an_entry_dies_in_time(self, cache, clock):
        cache.put("a.1", "one")
        clock.now += SECONDS - 0.01
        assert cache.get("a.1") == "one"
        clock.now += 0.02
        assert cache.get("a.1") is None

    def test_its_time_counts_from_when_the_value_was_asked_for(self, cache, clock):
        cache.put("a.1", "one", age=2.0)
        assert cache.get("a.1") == "one"
        clock.now += 1.01
        assert cache.get("a.1") is None

    @pytest.mark.parametrize("age", [SECONDS, 60.0])
    def test_what_was_too_long_under_way_is_not_kept(self, cache, age):
        cache.put("a.1", "one", age=age)
        assert cache.get("a.1") is None

    def test_one_is_dropped_by_its_key(self, cache):
        cache.put("a.1", "one")
        cache.put("a.2", "two")
        cache.drop("a.1")
        cache.drop("a.3")
        assert (cache.get("a.1"), cache.get("a.2")) == (None, "two")

    def test_all_that_share_a_tag_are_dropped_and_no_others(self, cache):
        for key in ("a.1", "a.2", "ab.1", "b.1"):
            cache.put(key, key)
        cache.drop_tagged("a")
        cache.drop_tagged("nothing has it")
        assert [cache.get(key) for key in ("a.1", "a.2", "ab.1", "b.1")] == [None, None, "ab.1", "b.1"]
        cache.put("a.1", "again")
        assert cache.get("a.1") == "again"
