"""The platform in use: kept from scenario to scenario while it is the right one and well."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from tests.chaos.arena import Arena, arena
from tests.chaos.scenarios import Scenario


class Platforms:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._number = 0
        self._open = ExitStack()
        self._current: tuple[dict[str, str], Arena] | None = None

    @contextmanager
    def used_by(self, one: Scenario, seed: int) -> Iterator[Arena]:
        """A platform at rest. Whatever is raised under it is its end: the next scenario gets a fresh one."""
        try:
            current = self._for(one.environment)
            current.begin(seed)
            yield current
        except BaseException as error:
            if self._current is not None:
                error.add_note(self._current[1].standing())  # nothing of it is left in a moment
            self._discard()
            raise

    def _for(self, environment: dict[str, str]) -> Arena:
        if self._current is None or self._current[0] != environment:
            self._discard()
            self._number += 1
            home = self._directory / str(self._number)
            self._open.callback(shutil.rmtree, home / "var", ignore_errors=True)
            self._current = (environment, self._open.enter_context(arena(home, **environment)))
        return self._current[1]

    def _discard(self) -> None:
        self._current = None
        kept, self._open = self._open, ExitStack()
        try:
            kept.close()
        except AssertionError as error:  # it did not end well: the scenario's finding says why
            print(f"  the platform: {str(error)[-600:]}", file=sys.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._discard()
