from __future__ import annotations

import threading

import pytest

from app.fetching.ledger import FORGET, LocalLedger
from tests.conformance_ledger import HOST, FakeClock, LedgerConformance, enter, leave, trip


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def ledger(clock: FakeClock) -> LocalLedger:
    return LocalLedger(clock=clock)


class TestLocalLedger(LedgerConformance):
    def test_forgets_hosts_that_no_one_asks(self, ledger: LocalLedger, clock: FakeClock) -> None:
        for number in range(1_000):
            host = f"h{number}.example"
            enter(ledger, host)
            leave(ledger, host)
        clock.advance(FORGET)
        for number in range(1_000):
            enter(ledger, f"new{number}.example")
        assert ledger.known_hosts <= 1_001

    def test_remembers_a_cool_down_and_who_is_inside(self, ledger: LocalLedger, clock: FakeClock) -> None:
        ledger.cool_down(HOST, 900.0)
        enter(ledger, "busy.example", concurrency=1)
        clock.advance(600.0)
        for number in range(50):
            enter(ledger, f"h{number}.example")
        assert enter(ledger) == pytest.approx(300.0)
        assert enter(ledger, "busy.example", concurrency=1) > 0

    def test_remembers_how_often_a_failing_host_tripped(self, ledger: LocalLedger, clock: FakeClock) -> None:
        trip(ledger)
        clock.advance(30.0 + FORGET - 1)
        enter(ledger, "other.example")
        ledger.failed(HOST)
        assert enter(ledger) == pytest.approx(60.0)

    def test_a_share_of_the_places_and_of_the_pace(self, clock: FakeClock) -> None:
        """Four processes that know nothing of each other are together no less polite than one ledger."""
        ledger = LocalLedger(share=1 / 4, clock=clock)
        assert [enter(ledger, concurrency=8) for _ in range(2)] == [0.0, 0.0]
        assert enter(ledger, concurrency=8) > 0
        assert enter(ledger, "other.example", concurrency=2, delay=1.0) == 0.0  # one place there always is
        assert enter(ledger, "other.example", concurrency=9, delay=1.0) == pytest.approx(4.0)

    def test_threads_never_get_in_beyond_the_concurrency(self) -> None:
        ledger, inside, most = LocalLedger(), 0, 0
        lock = threading.Lock()

        def visit() -> None:
            nonlocal inside, most
            for _ in range(200):
                if enter(ledger, concurrency=3) == 0.0:
                    with lock:
                        inside += 1
                        most = max(most, inside)
                    with lock:
                        inside -= 1
                    leave(ledger)

        threads = [threading.Thread(target=visit) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 1 <= most <= 3
        assert [enter(ledger, concurrency=3) for _ in range(3)] == [0.0, 0.0, 0.0]
