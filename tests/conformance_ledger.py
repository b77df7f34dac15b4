"""What every politeness ledger keeps to, wherever it lives.

Derive a test class and give it fixtures `ledger` and `clock` (a `FakeClock` that the ledger reads).
"""

from __future__ import annotations

import pytest

from app.fetching.ledger import (
    FAILURES_TO_TRIP,
    FIRST_COOL_DOWN,
    LONGEST_COOL_DOWN,
    LONGEST_RETRY_AFTER,
    Ledger,
    Place,
)

HOST = "example.com"


class FakeClock:
    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def enter(ledger: Ledger, host: str = HOST, *, delay: float = 0.0, concurrency: int = 9) -> float:
    return ledger.enter([Place(host, concurrency, delay)])


def leave(ledger: Ledger, host: str = HOST) -> None:
    ledger.leave([Place(host, 9)])


def visit(name: str, *addresses: str, concurrency: int = 9, shared: int = 9, delay: float = 0.0) -> list[Place]:
    """What a request to a name wants a place of."""
    return [Place(name, concurrency, delay), *(Place(address, shared) for address in addresses)]


def trip(ledger: Ledger, host: str = HOST) -> None:
    for _ in range(FAILURES_TO_TRIP):
        ledger.failed(host)


class LedgerConformance:
    def test_an_unknown_host_may_be_asked_at_once(self, ledger: Ledger) -> None:
        assert enter(ledger) == 0.0

    def test_requests_keep_the_delay_between_their_starts(self, ledger: Ledger, clock: FakeClock) -> None:
        assert enter(ledger, delay=3.0) == 0.0
        clock.advance(1.0)
        assert enter(ledger, delay=3.0) == pytest.approx(2.0, abs=0.01)
        clock.advance(2.0)
        assert enter(ledger, delay=3.0) == 0.0

    def test_asking_in_vain_does_not_push_the_turn_away(self, ledger: Ledger, clock: FakeClock) -> None:
        enter(ledger, delay=2.0)
        for _ in range(5):
            assert enter(ledger, delay=2.0) > 0
        clock.advance(2.0)
        assert enter(ledger, delay=2.0) == 0.0

    def test_no_more_than_concurrency_are_inside(self, ledger: Ledger) -> None:
        assert [enter(ledger, concurrency=2) for _ in range(2)] == [0.0, 0.0]
        assert 0 < enter(ledger, concurrency=2) <= 1
        leave(ledger)
        assert enter(ledger, concurrency=2) == 0.0

    def test_leaving_once_too_often_gives_no_extra_place(self, ledger: Ledger) -> None:
        leave(ledger)
        assert enter(ledger, concurrency=1) == 0.0
        assert enter(ledger, concurrency=1) > 0

    def test_hosts_do_not_disturb_each_other(self, ledger: Ledger) -> None:
        enter(ledger, delay=60.0, concurrency=1)
        trip(ledger)
        assert enter(ledger, "other.example", concurrency=1) == 0.0

    def test_retry_after_holds_everyone_back(self, ledger: Ledger, clock: FakeClock) -> None:
        ledger.cool_down(HOST, 90.0)
        assert enter(ledger) == pytest.approx(90.0, abs=0.01)
        clock.advance(90.0)
        assert enter(ledger) == 0.0

    def test_a_shorter_cool_down_does_not_end_a_longer_one(self, ledger: Ledger) -> None:
        ledger.cool_down(HOST, 90.0)
        ledger.cool_down(HOST, 1.0)
        assert enter(ledger) == pytest.approx(90.0, abs=0.01)

    def test_no_host_locks_itself_out_for_ever(self, ledger: Ledger) -> None:
        ledger.cool_down(HOST, 1e10)
        assert enter(ledger) <= LONGEST_RETRY_AFTER

    def test_failures_in_a_row_trip_the_breaker(self, ledger: Ledger, clock: FakeClock) -> None:
        for _ in range(FAILURES_TO_TRIP - 1):
            ledger.failed(HOST)
        assert enter(ledger) == 0.0
        ledger.failed(HOST)
        assert enter(ledger) == pytest.approx(FIRST_COOL_DOWN, abs=0.01)

    def test_a_success_between_failures_keeps_it_closed(self, ledger: Ledger) -> None:
        for _ in range(FAILURES_TO_TRIP - 1):
            ledger.failed(HOST)
        ledger.succeeded(HOST)
        for _ in range(FAILURES_TO_TRIP - 1):
            ledger.failed(HOST)
        assert enter(ledger) == 0.0

    def test_a_host_that_has_not_recovered_rests_longer_each_time(self, ledger: Ledger, clock: FakeClock) -> None:
        trip(ledger)
        pauses = []
        for _ in range(8):
            pauses.append(enter(ledger))
            clock.advance(pauses[-1])
            ledger.failed(HOST)
        assert pauses[:3] == pytest.approx([FIRST_COOL_DOWN, 2 * FIRST_COOL_DOWN, 4 * FIRST_COOL_DOWN], abs=0.01)
        assert pauses[-1] == pytest.approx(LONGEST_COOL_DOWN, abs=0.01)

    def test_a_host_that_has_recovered_starts_afresh(self, ledger: Ledger, clock: FakeClock) -> None:
        trip(ledger)
        clock.advance(FIRST_COOL_DOWN)
        ledger.succeeded(HOST)
        trip(ledger)
        assert enter(ledger) == pytest.approx(FIRST_COOL_DOWN, abs=0.01)

    def test_names_on_one_address_share_its_places(self, ledger: Ledger) -> None:
        """Ten thousand names do not each get full concurrency of one machine."""
        inside = [visit(f"site-{n}.example", "@192.0.2.7", concurrency=2, shared=3) for n in range(5)]
        waits = [ledger.enter(places) for places in inside]
        assert waits[:3] == [0.0, 0.0, 0.0]
        assert all(0 < wait <= 1 for wait in waits[3:])
        ledger.leave(inside[0])
        assert ledger.enter(inside[3]) == 0.0
        assert ledger.enter(inside[4]) > 0

    def test_another_address_has_places_of_its_own(self, ledger: Ledger) -> None:
        assert ledger.enter(visit("a.example", "@192.0.2.7", shared=1)) == 0.0
        assert ledger.enter(visit("b.example", "@192.0.2.8", shared=1)) == 0.0
        assert ledger.enter(visit("c.example", "@2001:db8::1", shared=1)) == 0.0

    def test_every_address_of_a_name_is_asked_for(self, ledger: Ledger) -> None:
        """A busy one in second place is not flooded by names that list a dead one first."""
        busy = visit("a.example", "@192.0.2.7", shared=1)
        assert ledger.enter(busy) == 0.0
        assert ledger.enter(visit("b.example", "@192.0.2.66", "@192.0.2.7", shared=1)) > 0

    def test_who_may_not_enter_everywhere_takes_no_place_anywhere(self, ledger: Ledger, clock: FakeClock) -> None:
        first = visit("a.example", "@192.0.2.7", shared=1)
        second = visit("b.example", "@192.0.2.7", concurrency=1, shared=1, delay=5.0)
        assert ledger.enter(first) == 0.0
        for _ in range(3):
            assert ledger.enter(second) > 0
        ledger.leave(first)
        assert ledger.enter(second) == 0.0  # neither a place of the name was kept, nor its delay begun

    def test_a_name_at_its_concurrency_leaves_the_address_to_others(self, ledger: Ledger) -> None:
        assert ledger.enter(visit("a.example", "@192.0.2.7", concurrency=1, shared=2)) == 0.0
        assert ledger.enter(visit("a.example", "@192.0.2.7", concurrency=1, shared=2)) > 0
        assert ledger.enter(visit("b.example", "@192.0.2.7", concurrency=1, shared=2)) == 0.0

    def test_one_site_in_trouble_does_not_speak_for_its_neighbours(self, ledger: Ledger) -> None:
        """A large address serves thousands of sites."""
        for _ in range(FAILURES_TO_TRIP):
            places = visit("dead.example", "@192.0.2.7")
            assert ledger.enter(places) == 0.0
            ledger.failed("dead.example")
            ledger.leave(places)
        ledger.cool_down("slow.example", 60.0)
        assert ledger.enter(visit("dead.example", "@192.0.2.7")) > 1
        assert ledger.enter(visit("slow.example", "@192.0.2.7")) > 1
        assert ledger.enter(visit("fine.example", "@192.0.2.7")) == 0.0

    def test_the_longest_wait_of_all_places_counts(self, ledger: Ledger) -> None:
        ledger.enter(visit("a.example", "@192.0.2.7", shared=1))
        ledger.cool_down("b.example", 90.0)
        assert ledger.enter(visit("b.example", "@192.0.2.7", shared=1)) == pytest.approx(90.0, abs=0.01)
