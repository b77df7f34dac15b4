"""Named points of the program where a test may stand in the way. Everywhere else they are nothing.

The chaos suite (tests/chaos) stops, kills or poisons a process exactly between two steps, without sleeping:
`SCRAPERSKY_TEST_POINTS=tests.chaos.hooks:reached` names the function that every point calls. Production refuses it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from uuid import UUID

from app.errors import ConfigurationError

Reached = Callable[[str, UUID | None], object]
_reached: Reached | None = None


def install(target: str | None) -> None:
    """:raises ConfigurationError: there is no such function"""
    global _reached
    if target is None:
        _reached = None
        return
    module, _, name = target.partition(":")
    try:
        _reached = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"SCRAPERSKY_TEST_POINTS: {error}") from error


def reached(point: str, job_id: UUID | None = None) -> None:
    """This process is at `point` now, with that job in hand."""
    if _reached is not None:
        _reached(point, job_id)
