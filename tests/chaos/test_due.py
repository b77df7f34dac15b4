"""Which scenarios are run again: those that have not had their runs, for as long as the machine allows them."""

from __future__ import annotations

from collections import Counter
from itertools import chain, repeat

import pytest

from tests.chaos.__main__ import GIVE_UP_AFTER, due
from tests.chaos.scenarios import Scenario

QUICK, LONG, DISK = Scenario("quick", print), Scenario("long", print, heavy=True), Scenario("disk", print)
NO = "this machine does not let us"


def told(one: Scenario, impossible: str | None = None) -> dict:
    return {"scenario": one.name, "impossible": impossible}


def handed_out(*chosen: Scenario, earlier=(), runs: int, disk=()) -> Counter[str]:
    """How often each is run; `disk` says run by run why that one is not possible."""
    lines: list[dict] = []
    why = chain(disk, repeat(None))
    for one in due(chosen, earlier, lines, runs):
        lines.append(told(one, next(why) if one is DISK else None))
    return Counter(line["scenario"] for line in lines)


def test_each_has_its_runs_and_long_ones_a_quarter():
    assert handed_out(QUICK, LONG, runs=8) == {"quick": 8, "long": 2}


def test_runs_of_another_evening_count():
    assert handed_out(QUICK, earlier=[told(QUICK), told(QUICK), told(LONG)], runs=8) == {"quick": 6}


@pytest.mark.parametrize("earlier", [[], [told(DISK, NO)] * 9])
def test_what_was_not_possible_is_no_run(earlier):
    assert handed_out(QUICK, DISK, earlier=earlier, runs=4, disk=[None, NO, NO, None, NO]) == {"quick": 4, "disk": 7}


def test_what_is_never_possible_is_given_up_and_keeps_nobody_from_theirs():
    assert handed_out(QUICK, DISK, runs=20, disk=repeat(NO)) == {"quick": 20, "disk": GIVE_UP_AFTER}
