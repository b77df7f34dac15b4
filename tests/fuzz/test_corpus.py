"""Every seed, and what a cut, a flip or a doubling makes of it, holds what its target asserts."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
SEEDS = sorted(path for path in CORPUS.glob("*/*") if path.is_file())


def variants(data: bytes) -> Iterator[bytes]:
    """The same ones every time: which, the data decides."""
    choose = random.Random(zlib.crc32(data))
    yield data
    for _ in range(20):
        at, to = sorted(choose.randrange(len(data) + 1) for _ in range(2))
        yield data[:at]
        yield data[:at] + data[to:]
        yield data[:to] + data[at:]
        yield data[:at] + bytes([choose.randrange(256)]) + data[at + 1 :]


@pytest.mark.parametrize("seed", SEEDS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_seeds_and_their_variants_hold(seed):
    target = TARGETS[seed.parent.name]
    for data in variants(seed.read_bytes()):
        target(data)


def test_every_target_has_seeds():
    assert {path.parent.name for path in SEEDS} == set(TARGETS)
