"""Celery's consumer, but that events of tasks, which only people look at, are sent once a second.

Celery sends them after each: three messages a job, a fifth of all that a worker does for a job besides the scan.
"""

from __future__ import annotations

from typing import Any

from celery.worker import consumer

EVENTS_SECONDS = 1.0


class Consumer(consumer.Consumer):
    """Named in celeryconfig.py."""

    _sending: Any = None

    def register_with_event_loop(self, hub: Any) -> None:
        super().register_with_event_loop(hub)
        if self._sending is not None:  # the loop begins anew after each loss of the broker
            self._sending.cancel()
        self._sending = hub.call_repeatedly(EVENTS_SECONDS, self._flush_events)

    def on_send_event_buffered(self) -> None:
        """Nothing: the timer sends it, or the buffer, when it is full."""
