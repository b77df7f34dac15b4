"""The short scenarios, once. `make chaos RUNS=20` runs all of them, again and again (docs/guarantees.md)."""

from __future__ import annotations

import random

import pytest

from tests.chaos.platforms import Platforms
from tests.chaos.scenarios import SCENARIOS

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def platforms(tmp_path_factory):
    """One platform survives them all; one that a scenario failed on is not used again."""
    with Platforms(tmp_path_factory.mktemp("chaos")) as kept:
        yield kept


@pytest.mark.parametrize("name", [one.name for one in SCENARIOS.values() if one.short])
def test_nothing_is_lost_doubled_or_stuck(name, platforms):
    seed = random.SystemRandom().randrange(2**32)
    print(f"{name}: seed {seed}")
    with platforms.used_by(SCENARIOS[name], seed) as arena:
        SCENARIOS[name].happens(arena)
