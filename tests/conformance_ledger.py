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
    return ledger.enter(host, delay=delay, concurrency=concurrency)


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
        ledger.leave(HOST)
        assert enter(ledger, concurrency=2) == 0.0

    def test_leaving_once_too_often_gives_no_extra_place(self, ledger: Ledger) -> None:
        ledger.leave(HOST)
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
