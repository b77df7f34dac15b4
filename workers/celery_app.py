"""Celery, made from the settings. The one task is registered by whoever runs it (`workers.process`)."""

from __future__ import annotations

from celery import Celery

from app import settings as configuration
from app.settings import Settings


def make(settings: Settings) -> Celery:
    celery = Celery("scrapersky", set_as_current=True)
    celery.config_from_object("celeryconfig")
    if settings.redis_url is not None:
        celery.conf.broker_url = verified(settings.redis_url.get_secret_value())
    return celery


def verified(url: str) -> str:
    """Kombu takes any certificate where the URL does not say; redis-py, and this platform, ask for a good one.

    >>> verified("rediss://:pw@cache:6380/0")
    'rediss://:pw@cache:6380/0?ssl_cert_reqs=required'
    >>> verified("redis://cache/0")
    'redis://cache/0'
    """
    if not url.startswith("rediss://") or "ssl_cert_reqs=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}ssl_cert_reqs=required"


def __getattr__(name: str) -> Celery:
    """`celery -A workers.celery_app …` finds its application here; importing the module reads no setting."""
    if name in {"app", "celery"}:
        return make(configuration.load())
    raise AttributeError(name)
