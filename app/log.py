"""Logs: one line an event, as JSON or for a console, with the request's id, without secrets and without forgery."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO

import structlog

SECRET = re.compile(r"passw|secret|token|authorization|api_?key|cookie", re.IGNORECASE)
URL_PASSWORD = re.compile(r"(://[^\s:/@]*:)[^\s@/]+(?=@)")
# Hashes of passwords, signed tokens, and the house's own: an id and what nobody can guess.
SECRET_VALUE = re.compile(r"\$argon2\S+|(?<![\w-])eyJ[\w-]+\.[\w-]+\.[\w-]*|[0-9a-f]{32}[._][\w-]{32,}")
HIDDEN = "***"
MAX_TEXT = 1_000
MAX_TRACE = 20_000
# Line breaks, escape sequences and what editors and terminals take for them.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
NOISY = ("urllib3", "flask-limiter", "alembic.runtime")
Event = MutableMapping[str, Any]


def configure(*, level: str, style: Literal["console", "json"], stream: TextIO | None = None) -> None:
    """Send everything, structlog's and the standard library's, to stderr as one kind of line."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        hide_secrets,
        shorten,
    ]
    render = structlog.processors.JSONRenderer(ensure_ascii=True, default=str) if style == "json" else console_line
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def hide_secrets(_logger: Any, _method: str, event: Event) -> Event:
    """
    >>> hide_secrets(None, "info", {"event": "x", "refresh_token": "abc", "url": "redis://:pw@host/0"})
    {'event': 'x', 'refresh_token': '***', 'url': 'redis://:***@host/0'}
    """
    return {name: without_secrets(value, name) for name, value in event.items()}


def without_secrets(value: Any, name: str = "") -> Any:
    """`value` with all hidden that stands under a name which says secret, or looks like one, however deep it lies.

    >>> without_secrets({"key": {"token": "abc", "old": ["$argon2id$v=19$x"]}, "password_changed": True})
    {'key': {'token': '***', 'old': ['***']}, 'password_changed': True}
    """
    if isinstance(value, dict):
        return {key: without_secrets(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(item, name) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if SECRET.search(name):
        return HIDDEN
    return SECRET_VALUE.sub(HIDDEN, URL_PASSWORD.sub(rf"\1{HIDDEN}", value)) if isinstance(value, str) else value


def shorten(_logger: Any, _method: str, event: Event) -> Event:
    """Nobody fills the disk with one long word; of a traceback the end tells most.

    >>> len(shorten(None, "info", {"event": "x", "path": "A" * 100_000})["path"]) < 1_100
    True
    """
    return {name: _end(value) if name == "exception" else _beginning(value) for name, value in event.items()}


def _beginning(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else str(value)
    return value if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… ({len(text):,} characters)"


def _end(text: str) -> str:
    return text if len(text) <= MAX_TRACE else f"({len(text):,} characters) …{text[-MAX_TRACE:]}"


def console_line(_logger: Any, _method: str, event: Event) -> str:
    r"""One event, one line; a traceback follows indented, so nothing in it can pass for an event.

    >>> console_line(None, "", {"timestamp": "T", "level": "info", "event": "hello", "who": "a\n2026 error forged"})
    'T info     hello who="a\\n2026 error forged"'
    """
    trace = event.pop("exception", None)
    event.pop("logger", None)
    stamp, level, said = event.pop("timestamp", "-"), event.pop("level", "-"), event.pop("event", "")
    words = [f"{stamp} {level:<8} {_plain(said)}", *(f"{key}={_quoted(value)}" for key, value in event.items())]
    lines = [" ".join(words)]
    if trace:
        lines += [f"    | {_plain(line)}" for line in str(trace).splitlines()]
    return "\n".join(lines)


def _plain(value: object) -> str:
    return CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), str(value))


def _quoted(value: object) -> str:
    text = _plain(value)
    return f'"{text}"' if re.search(r"[\s=\"\\]", text) else text
