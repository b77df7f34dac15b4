"""Wires the web side. `gunicorn "app.factory:create_app()"` serves it."""

from __future__ import annotations

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from app import log, points
from app import settings as configuration
from app.access import Rights
from app.api import health, limits, metrics, openapi, pages, problems, requests, routers, security
from app.api.core import KEY, Core
from app.api.versions import VERSIONS
from app.errors import ConfigurationError
from app.queueing import TaskQueue
from app.redis.cache import RedisCache
from app.redis.queue import RedisTaskQueue
from app.services import rbac as rbac_service
from app.services import standing
from app.services.accounts import AccountService
from app.services.caching import Tiered, TtlCache
from app.services.features import Features
from app.services.passwords import Passwords
from app.services.quotas import Quotas
from app.services.rbac import RBACService, RightsKey
from app.services.standing import OWN_SECONDS, SHARED_SECONDS, Holder, Standings
from app.settings import Settings
from app.stack import signing
from app.stack.signing import SigningKeys
from app.unit_of_work import Database

COMMON = (health.router, metrics.router, openapi.router)


def create_app(
    settings: Settings | None = None,
    *,
    queue: TaskQueue | None = None,
    passwords: Passwords | None = None,
) -> Flask:
    """
    :raises ConfigurationError: a secret is weak, a database role too mighty, or a view does not declare its access
    :raises Unavailable: PostgreSQL cannot be reached
    """
    if settings is None:
        settings = configuration.load()
        log.configure(level=settings.log_level, style=settings.log_format)
    points.install(settings.test_points)
    passwords = passwords or Passwords.beside(settings.api_threads)
    database = Database(settings, "api")
    database.check()
    app = Flask("app.api", static_folder=None)
    if app.debug and settings.is_production:
        raise ConfigurationError("FLASK_DEBUG is set: never in production")
    _routing(app, settings)
    keys = signing.of(settings)
    rbac, standings = _standings(settings, database, keys)
    app.extensions[KEY] = parts = Core(
        settings=settings,
        database=database,
        queue=queue or _queue(settings),
        accounts=AccountService(database, settings, passwords=passwords, standings=standings),
        passwords=passwords,
        rbac=rbac,
        features=Features(database),
        quotas=Quotas(database, settings),
    )
    requests.install(app, max_json_bytes=settings.max_json_bytes)
    metrics.install(app, parts)
    limiter = limits.install(app, settings)
    security.install(app, keys)
    limits.limit_tenants(app, limiter, settings.tenant_rate)
    openapi.install(app, mounted := routers.mounted(COMMON, VERSIONS))
    problems.install(app)
    for one in mounted:
        app.register_blueprint(one.router, name=one.name, url_prefix=one.prefix)
    app.register_blueprint(pages.pages)
    limits.protect_sign_in(app, limiter, settings.login_rate)
    security.check_declared(app)
    return app


def _routing(app: Flask, settings: Settings) -> None:
    # A client is told what is wrong, never sent elsewhere: a redirected POST loses its body.
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.config["TRUSTED_HOSTS"] = list(settings.trusted_hosts) or None
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops)  # type: ignore[method-assign]


def _standings(settings: Settings, database: Database, keys: SigningKeys) -> tuple[RBACService, Standings]:
    """Who a caller is, remembered in Redis where there is one, and for a moment in this process before it."""
    if settings.redis_url is None:
        rbac = RBACService(database)
        return rbac, Standings(database, rbac)
    url = settings.redis_url.get_secret_value()

    def seal() -> bytes:
        return keys.newest().secret.encode()

    rights = RedisCache[RightsKey, Rights](
        url, prefix="cached:rights:1:", seconds=SHARED_SECONDS, seal=seal,
        dump=rbac_service.to_json, load=rbac_service.from_json, name=rbac_service.name, tags=rbac_service.tags,
    )  # fmt: skip
    holders = RedisCache[str, Holder](
        url,
        prefix="cached:holder:1:",
        seconds=SHARED_SECONDS,
        seal=seal,
        dump=standing.to_json,
        load=standing.from_json,
    )
    rbac = RBACService(database, cache=Tiered(TtlCache(seconds=OWN_SECONDS, tags=rbac_service.tags), rights))
    return rbac, Standings(database, rbac, Tiered(TtlCache(seconds=OWN_SECONDS), holders))


def _queue(settings: Settings) -> TaskQueue:
    if settings.redis_url is None:
        raise ConfigurationError("no broker: start the embedded one or set SCRAPERSKY_REDIS_URL")
    return RedisTaskQueue(settings.redis_url.get_secret_value())
