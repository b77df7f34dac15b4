"""How often somebody may ask. Counted in the broker's Redis, so that all API processes count together; in this
process while Redis is away.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Any

from flask import Flask, Response, current_app, g, request
from flask_limiter import Limiter
from limits import RateLimitItem, parse_many
from limits.storage import StorageTypes
from limits.strategies import STRATEGIES, FixedWindowRateLimiter
from werkzeug.exceptions import HTTPException

from app.api import requests
from app.api.core import core
from app.api.security import access_of, claims_sent, current_actor, key_known
from app.errors import RateLimited, ScraperSkyError
from app.services.emails import looked_for
from app.services.invitations import InvitationService
from app.settings import Settings

KEY_PREFIX = "scrapersky"
UNLIMITED = ("/health", "/metrics")
LOTS = 200  # that a limit is taken in
MOST_LOTS = 10_000  # begun ones that a process remembers
# A dead Redis is noticed by the first request of a while; the others count in process.
STORAGE_OPTIONS: dict[str, str | int] = {"socket_connect_timeout": 1, "socket_timeout": 1}


Key = tuple[RateLimitItem, tuple[str, ...]]


class InLots(FixedWindowRateLimiter):
    """A fixed window of which a process takes a two-hundredth at a time: most requests cost no way to Redis.

    So the processes together let through what is allowed, and may refuse what is less than a lot each below it. Limits
    that are small are counted one by one.
    """

    def __init__(self, storage: StorageTypes) -> None:
        super().__init__(storage)
        self._lock = threading.Lock()
        self._left: dict[Key, tuple[float, int]] = {}

    def hit(self, item: RateLimitItem, *identifiers: str, cost: int = 1) -> bool:
        lot = item.amount // LOTS
        if cost > 1 or lot < 2:
            return super().hit(item, *identifiers, cost=cost)
        key, now = (item, identifiers), time.monotonic()
        if self._add(key, -1, until=now):
            return True
        if not super().hit(item, *identifiers, cost=lot):
            return False
        self._add(key, lot - 1, until=now + item.get_expiry())
        return True

    def _add(self, key: Key, count: int, *, until: float) -> bool:
        """To what is left, which is never less than nothing; threads that take a lot each at once all keep theirs."""
        with self._lock:
            ends, left = self._left.get(key, (0.0, 0))
            left = count + (left if time.monotonic() < ends else 0)
            if left < 0:
                return False
            if len(self._left) >= MOST_LOTS:
                self._left.clear()
            self._left[key] = (max(ends, until), left)
        return True


STRATEGIES["in-lots"] = InLots


def install(app: Flask, settings: Settings) -> Limiter:
    """Limit every request by caller. Runs before the guard, so that wrong tokens are counted too.

    `limit_tenants` goes with it, to be called after the guard is installed.
    """
    app.before_request(_small_when_public)
    limiter = Limiter(
        caller,
        application_limits=[settings.request_rate],
        application_limits_exempt_when=_unlimited,
        storage_uri=settings.redis_url.get_secret_value() if settings.redis_url else "memory://",
        storage_options=STORAGE_OPTIONS if settings.redis_url else {},
        strategy="in-lots",
        in_memory_fallback_enabled=True,
        # Of several threads that find Redis dead at once, the library falls back in one; the others pass this time.
        swallow_errors=True,
        key_prefix=KEY_PREFIX,
    )
    limiter.init_app(app)
    return limiter


def limit_tenants(app: Flask, limiter: Limiter, rate: str) -> None:
    """All callers of a tenant together, once it is known that they are: nobody uses up another tenant's rate."""
    items = parse_many(rate)

    def count() -> None:
        actor = g.get("actor")
        if actor is None:
            return
        key = (KEY_PREFIX, "tenant", str(actor.tenant_id))
        for item in items:
            if not _hit(limiter, item, key):
                raise RateLimited(f"the limit of your tenant is {item}", retry_after=_wait(limiter, item, key))

    app.before_request(count)


def protect_sign_in(app: Flask, limiter: Limiter, rate: str) -> None:
    """Count wrong passwords per account, from wherever, and per address, for whichever account.

    Wherever a password can be tried, it is one count. Wrong tokens are counted per address.
    """
    for endpoint, whose in TRY_PASSWORDS.items():
        view: Any = app.view_functions[endpoint]
        for key in (whose, address):
            view = limiter.shared_limit(rate, scope="passwords", key_func=key, deduct_when=_refused)(view)
        app.view_functions[endpoint] = view
    for endpoint in TRY_TOKENS:
        view = app.view_functions[endpoint]
        app.view_functions[endpoint] = limiter.limit(rate, key_func=address, deduct_when=_is_no_token)(view)


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
    return f"address:{neighbourhood(request.remote_addr or '')}"


def neighbourhood(text: str) -> str:
    """Whoever has one address of IPv6 has 2**64 of them.

    >>> neighbourhood("2001:db8:1:2:3:4:5:6")
    '2001:db8:1:2::/64'
    >>> neighbourhood("::ffff:192.0.2.1")
    '192.0.2.1'
    >>> neighbourhood("unknown")
    'unknown'
    """
    try:
        found = ip_address(text)
    except ValueError:
        return text
    if isinstance(found, IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or IPv6Network((int(found) >> 64 << 64, 64)))


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

# Where whoever has a token good for one use needs nothing else.
TRY_TOKENS = ("v2-auth.refresh", "v2-auth.accept", "v2-auth.reset")


def _sent(name: str) -> object:
    """A field of the body; of a body that is none the view will say so."""
    try:
        body = requests.read_json(request)
    except (HTTPException, ScraperSkyError):
        return None
    return body.get(name) if isinstance(body, dict) else None


def _hit(limiter: Limiter, item: RateLimitItem, key: tuple[str, ...]) -> bool:
    try:
        return limiter.limiter.hit(item, *key)
    except Exception:  # noqa: BLE001 - whatever the storage raises that died since the caller was counted
        return True


def _wait(limiter: Limiter, item: RateLimitItem, key: tuple[str, ...]) -> int:
    try:
        reset = limiter.limiter.get_window_stats(item, *key).reset_time
    except Exception:  # noqa: BLE001 - the same
        return item.get_expiry()
    return max(1, math.ceil(reset - time.time()))


def _refused(response: Response) -> bool:
    return response.status_code == 401


def _is_no_token(response: Response) -> bool:
    return response.status_code in {400, 401}  # spent or none; expired or reused


def _unlimited() -> bool:
    return request.path.startswith(UNLIMITED)


def _small_when_public() -> None:
    """Nobody unknown sends megabytes."""
    if request.endpoint is None:
        return
    access = access_of(current_app, request.endpoint, request.method)
    if access is None or access.kind == "public":
        request.max_content_length = requests.SMALL_BODY
