"""How often somebody may ask. Counted in the broker's Redis, so that all API processes count together; in this
process while Redis is away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask, Response, current_app, request
from flask_limiter import Limiter
from werkzeug.exceptions import HTTPException

from app.api import requests
from app.api.core import core
from app.api.security import access_of, claims_sent, current_actor, key_known
from app.errors import ScraperSkyError
from app.services.emails import looked_for
from app.services.invitations import InvitationService
from app.settings import Settings

UNLIMITED = ("/health", "/metrics")
# A dead Redis is noticed by the first request of a while; the others count in process.
STORAGE_OPTIONS: dict[str, str | int] = {"socket_connect_timeout": 1, "socket_timeout": 1}


def install(app: Flask, settings: Settings) -> Limiter:
    """Limit every request by caller. Runs before the guard, so that wrong tokens are counted too."""
    app.before_request(_small_when_public)
    limiter = Limiter(
        caller,
        application_limits=[settings.request_rate],
        application_limits_exempt_when=_unlimited,
        storage_uri=settings.redis_url.get_secret_value() if settings.redis_url else "memory://",
        storage_options=STORAGE_OPTIONS if settings.redis_url else {},
        strategy="fixed-window",
        in_memory_fallback_enabled=True,
        # Of several threads that find Redis dead at once, the library falls back in one; the others pass this time.
        swallow_errors=True,
        key_prefix="scrapersky",
    )
    limiter.init_app(app)
    return limiter


def protect_sign_in(app: Flask, limiter: Limiter, rate: str) -> None:
    """Count wrong passwords per account, from wherever, and per address, for whichever account.

    Wherever a password can be tried, it is one count.
    """
    for endpoint, whose in TRY_PASSWORDS.items():
        view: Any = app.view_functions[endpoint]
        for key in (whose, address):
            view = limiter.shared_limit(rate, scope="passwords", key_func=key, deduct_when=_refused)(view)
        app.view_functions[endpoint] = view


def caller() -> str:
    """The user whose token it is, or the API key, else the address. Checks the signature, asks no database.

    A key that has not just been used counts for its address: anybody can send made-up ones.
    """
    claims = claims_sent()
    if claims is not None:
        return f"user:{claims.user_id}"
    key = key_known()
    return f"key:{key}" if key else address()


def address() -> str:
    return f"address:{request.remote_addr}"


def account() -> str:
    return f"account:{looked_for(str(_sent('email')))}"


def invited() -> str:
    """The account an invitation is for: who sends one out could try its password with it."""
    invitations = InvitationService(core().database, core().settings, passwords=core().passwords)
    try:
        return f"account:{invitations.address_of(str(_sent('token')))}"
    except ScraperSkyError:
        return "account:"  # the view will say what is wrong with it


def own() -> str:
    return f"account:{current_actor().email}"


# Where a password is checked, and whose.
TRY_PASSWORDS: dict[str, Callable[[], str]] = {
    "v2-auth.login": account,
    "v2-auth.accept": invited,
    "v2-auth.change_password": own,
}


def _sent(name: str) -> object:
    """A field of the body; of a body that is none the view will say so."""
    try:
        body = requests.read_json(request)
    except (HTTPException, ScraperSkyError):
        return None
    return body.get(name) if isinstance(body, dict) else None


def _refused(response: Response) -> bool:
    return response.status_code == 401


def _unlimited() -> bool:
    return request.path.startswith(UNLIMITED)


def _small_when_public() -> None:
    """Nobody unknown sends megabytes."""
    if request.endpoint is None:
        return
    access = access_of(current_app, request.endpoint, request.method)
    if access is None or access.kind == "public":
        request.max_content_length = requests.SMALL_BODY
