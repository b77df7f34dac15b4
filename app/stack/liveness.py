"""A child's side of the liveness pipe: a byte at least every second says that its threads still run.

A blocking C call that keeps the interpreter's lock silences every thread, this one too; that is the point.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress

VARIABLE = "SCRAPERSKY_LIVENESS_FD"
BEAT_SECONDS = 0.5


def start() -> threading.Event | None:
    """Beat from a daemon thread until the returned event is set; None if no supervisor listens."""
    given = os.environ.get(VARIABLE)  # not a setting: the supervisor's word to this one process
    if given is None:
        return None
    descriptor = int(given)
    os.set_blocking(descriptor, False)
    os.set_inheritable(descriptor, False)  # a grandchild must not speak for us
    enough = threading.Event()
    threading.Thread(target=_beat, args=(descriptor, enough), name="liveness", daemon=True).start()
    return enough


def _beat(descriptor: int, enough: threading.Event) -> None:
    with suppress(BrokenPipeError):  # the supervisor is gone, and we soon will be
        while True:
            with suppress(BlockingIOError):  # it is not reading just now; the pipe is full of our bytes
                os.write(descriptor, b".")
            if enough.wait(BEAT_SECONDS):
                return
