"""What every view may reach, hung on the Flask application; built once by `app.factory`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from flask import current_app

from app.queueing import TaskQueue
from app.services.accounts import AccountService
from app.services.features import Features
from app.services.passwords import Passwords
from app.services.quotas import Quotas
from app.services.rbac import RBACService
from app.settings import Settings
from app.unit_of_work import Database

KEY = "scrapersky"


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    settings: Settings
    database: Database
    queue: TaskQueue
    accounts: AccountService
    passwords: Passwords
    rbac: RBACService
    features: Features
    quotas: Quotas


def core() -> Core:
    return cast("Core", current_app.extensions[KEY])
