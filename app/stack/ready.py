"""Asking an HTTP server on loopback whether it is ready."""

from __future__ import annotations

import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

PAUSE_SECONDS = 0.1


def probe_http(url: str, *, timeout: float = 2.0) -> bool:
    """Whether a GET is answered with 200; no proxies, no redirects."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=timeout)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def wait_http(url: str, timeout: float, alive: Callable[[], bool]) -> bool:
    """Ask until it is ready (True), or `alive` says no or the seconds are over (False)."""
    deadline = time.monotonic() + timeout
    while alive():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        if probe_http(url, timeout=min(2.0, left)):
            return True
        time.sleep(min(PAUSE_SECONDS, max(0.0, left)))
    return False
