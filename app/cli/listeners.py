"""The ports the stack listens on, settled before anything starts."""

from __future__ import annotations

import os
import socket

from app.errors import StackError
from app.settings import Settings

ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - where to reach what listens everywhere


def settle(settings: Settings) -> Settings:
    """Check that our ports are free; for the API's port 0 choose one.

    :raises StackError: a port is taken, or the address is not this machine's
    """
    port = probe(settings.host, settings.port, "SCRAPERSKY_PORT")
    if settings.flower_port:
        probe(settings.host, settings.flower_port, "SCRAPERSKY_FLOWER_PORT")
    return settings.model_copy(update={"port": port})


def probe(host: str, port: int, setting: str) -> int:
    """The port, if it can be listened on now; any free one for 0."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        # As gunicorn and Flower set it: connections of a predecessor in TIME_WAIT are no obstacle.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            why = os.strerror(error.errno).lower() if error.errno else str(error)
            raise StackError(f"cannot listen on {host}:{port}: {why}; set {setting} to another port") from error
        free: int = listener.getsockname()[1]
    return free


def url(settings: Settings, *, local: bool = False) -> str:
    """Where the API is; `local` for somebody on this machine, also if it listens on all addresses."""
    host = ANY.get(settings.host, settings.host) if local else settings.host
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
