"""Bodies at rest: small ones in memory, larger ones in an unlinked file within the process's disk budget."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import weakref
from collections.abc import Iterator
from typing import IO, Final

from app.errors import FetchError
from app.scanning.values import MIB, Body

IN_MEMORY: Final = MIB


class SpoolBudget:
    """Disk that the bodies of one process may hold at a time."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._lock = threading.Lock()

    @property
    def left(self) -> int:
        return self._left

    def take(self, size: int) -> None:
        """:raises FetchError: `disk_full`"""
        with self._lock:
            if size > self._left:
                raise FetchError("disk_full")
            self._left -= size

    def give_back(self, size: int) -> None:
        with self._lock:
            self._left += size


class MemoryBody:
    def __init__(self, data: bytes, digest: bytes) -> None:
        self._data = data
        self._digest = digest

    @property
    def size(self) -> int:
        return len(self._data)

    @property
    def sha256(self) -> bytes:
        return self._digest

    def chunks(self, size: int = 65_536) -> Iterator[bytes]:
        for start in range(0, len(self._data), size):
            yield self._data[start : start + size]

    def close(self) -> None:
        return


class SpooledBody:
    """Reads by position, so that several readers do not disturb each other."""

    def __init__(self, spool: _Spool, digest: bytes) -> None:
        self._spool = spool
        self._digest = digest

    @property
    def size(self) -> int:
        return self._spool.size

    @property
    def sha256(self) -> bytes:
        return self._digest

    def chunks(self, size: int = 65_536) -> Iterator[bytes]:
        position = 0
        while piece := self._spool.read(size, position):
            position += len(piece)
            yield piece

    def close(self) -> None:
        self._spool.close()


class _Spool:
    """A file without a name. Its disk is given back when it is closed, or forgotten."""

    def __init__(self, budget: SpoolBudget) -> None:
        self.size = 0
        self._budget = budget
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  lives as long as the body
        self._held = [0]
        self._finish = weakref.finalize(self, _discard, self._file, budget, self._held)

    def write(self, data: bytes) -> None:
        self._budget.take(len(data))
        self._held[0] += len(data)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self.size += len(data)

    def read(self, size: int, position: int) -> bytes:
        return os.pread(self._file.fileno(), size, position)

    def close(self) -> None:
        self._finish()


def _discard(file: IO[bytes], budget: SpoolBudget, held: list[int]) -> None:
    file.close()
    budget.give_back(held[0])


class Sink:
    """Takes a body as it arrives, hashing it; `close` unless it was finished."""

    def __init__(self, budget: SpoolBudget) -> None:
        self.size = 0
        self._budget = budget
        self._hash = hashlib.sha256()
        self._pieces: list[bytes] = []
        self._spool: _Spool | None = None

    def write(self, data: bytes) -> None:
        """:raises FetchError: `disk_full`"""
        self._hash.update(data)
        self.size += len(data)
        if self._spool is None and self.size <= IN_MEMORY:
            self._pieces.append(data)
            return
        try:
            self._to_disk(data)
        except OSError as error:
            raise FetchError("disk_full") from error

    def finish(self) -> Body:
        digest = self._hash.digest()
        if self._spool is not None:
            return SpooledBody(self._spool, digest)
        return MemoryBody(b"".join(self._pieces), digest)

    def close(self) -> None:
        if self._spool is not None:
            self._spool.close()

    def _to_disk(self, data: bytes) -> None:
        if self._spool is None:
            self._spool = _Spool(self._budget)
            for piece in self._pieces:
                self._spool.write(piece)
            self._pieces.clear()
        self._spool.write(data)
