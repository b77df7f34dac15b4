"""Finding the servers a command works with: external ones, those of a running stack, or our own for a moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import ConfigurationError
from app.settings import Settings
from app.stack import servers, signing


def running(settings: Settings) -> Settings:
    """Settings that lead to servers which run already.

    :raises ConfigurationError: neither set nor started by `manage.py up`
    """
    if settings.database_url and settings.redis_url:
        return signing.with_keys(settings)
    found = servers.attach(settings)
    if found is None:
        raise ConfigurationError(
            f"no stack runs on {settings.data_dir}: start `manage.py up`, or set SCRAPERSKY_DATABASE_URL, "
            "SCRAPERSKY_SYSTEM_DATABASE_URL and SCRAPERSKY_REDIS_URL"
        )
    return found


@contextmanager
def reachable(settings: Settings) -> Iterator[Settings]:
    """As `running`; where nothing runs, embedded servers are started and, at the end, stopped."""
    external = settings.database_url and settings.redis_url
    found = signing.with_keys(settings) if external else servers.attach(settings)
    if found is not None:
        yield found
        return
    with servers.start(settings) as started:
        yield started.settings
