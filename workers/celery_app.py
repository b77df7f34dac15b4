"""Celery, made from the settings. The one task is registered by whoever runs it (`workers.process`)."""

from __future__ import annotations

from celery import Celery

from app import settings as configuration
from app.settings import Settings


def make(settings: Settings) -> Celery:
    celery = Celery("scrapersky", set_as_current=True)
    celery.config_from_object("celeryconfig")
    if settings.redis_url is not None:
        celery.conf.broker_url = settings.redis_url.get_secret_value()
    return celery


def __getattr__(name: str) -> Celery:
    """`celery -A workers.celery_app …` finds its application here; importing the module reads no setting."""
    if name in {"app", "celery"}:
        return make(configuration.load())
    raise AttributeError(name)
