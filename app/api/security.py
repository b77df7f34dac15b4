"""Who may call what. Every view declares exactly one of

    @requires("job:run")     a signed-in caller whose role holds the permission, or one of several
    @authenticated("why")    any signed-in caller; an API key or break-glass only with `delegated=True`
    @public("why")           anybody

and `check_declared` refuses to start otherwise. The decorators only mark; one `before_request` hook decides, before
any body is read. A view that slipped through unmarked is denied.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http import HTTPMethod
from typing import Any, Literal, TypeVar, cast
from urllib.parse import quote
from uuid import UUID

import structlog
from flask import Flask, current_app, g, request
from flask_jwt_extended import JWTManager, create_access_token, decode_token
from flask_jwt_extended.exceptions import JWTExtendedException
from jwt import PyJWTError
from werkzeug.routing import Rule

from app.access import FEATURES, PERMISSIONS, Actor, Origin, Via
from app.api.core import Core, core
from app.errors import AuthenticationFailed, ConfigurationError, PermissionDenied
from app.services.accounts import Grant
from app.services.break_glass import BreakGlass
from app.services.credentials import Claims, Credential, PresentedKey
from app.settings import MAX_ACCESS_TOKEN_SECONDS
from app.stack.signing import SigningKeys

ALGORITHM = "HS256"
ISSUER = "scrapersky"
AUDIENCE = "scrapersky-api"
REQUIRED_CLAIMS = frozenset({"exp", "iat", "jti", "sub", "type", "aud", "iss", "sid", "tid", "ver"})
HEADER = frozenset({"alg", "typ", "kid"})  # no key, no address of one, no `crit`
MAX_TOKEN = 4_096  # characters; ours have some 600
API_KEY_HEADER = "X-API-Key"
KEYS = "scrapersky-signing-keys"
MARK = "access"  # the key in `_apidoc`, which flask-smorest's decorators carry along and its documents are made from

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Access:
    """What a view declared."""

    kind: Literal["requires", "authenticated", "public"]
    permissions: tuple[str, ...] = ()  # any one of them lets in
    feature: str | None = None  # and this must not be switched off for the tenant
    reason: str | None = None
    delegated: bool = True  # whether it is open to API keys and break-glass, as far as their permissions go

    def __str__(self) -> str:
        return " or ".join(self.permissions) or self.kind


def requires(*permissions: str, feature: str | None = None) -> Callable[[View], View]:
    """Any one of them is enough; what the caller is shown may follow from which.

    :raises ConfigurationError: there is no such permission, or feature
    """
    if feature is not None and feature not in FEATURES:
        raise ConfigurationError(f"{feature!r} is no feature of app/access.py")
    for permission in permissions:
        if permission not in PERMISSIONS:
            raise ConfigurationError(f"{permission!r} is no permission of app/access.py")
    return _mark(Access("requires", permissions=permissions, feature=feature))


def authenticated(reason: str, *, delegated: bool = False) -> Callable[[View], View]:
    return _mark(Access("authenticated", reason=reason, delegated=delegated))


def public(reason: str) -> Callable[[View], View]:
    return _mark(Access("public", reason=reason))


def current_actor() -> Actor:
    """The caller; only in views that are not public."""
    return cast("Actor", g.actor)


def current_claims() -> Claims:
    return cast("Claims", g.claims)


def caller() -> Actor | None:
    """In a public view: who is signed in, if anybody.

    :raises AuthenticationFailed: a credential was sent, and is not good
    """
    return _caller() if any(name in request.headers for name in ("Authorization", API_KEY_HEADER)) else None


def origin(via: Via = "nobody") -> Origin:
    """Where this request comes from, for the audit trail."""
    return Origin(via, request.remote_addr, g.request_id)


def access_of(app: Flask, endpoint: str, method: str) -> Access | None:
    return notes_of(app, endpoint, method).get(MARK)


def notes_of(app: Flask, endpoint: str, method: str) -> dict[str, Any]:
    """What the decorators of a view noted of it: its access, where its arguments stand."""
    view: Any = app.view_functions[endpoint]
    view_class = getattr(view, "view_class", None)
    if view_class is not None:
        name = HTTPMethod.GET if method == HTTPMethod.HEAD and not hasattr(view_class, "head") else method
        view = getattr(view_class, name.lower(), None)
    notes: dict[str, Any] = getattr(view, "_apidoc", {})
    return notes


def declared(app: Flask) -> Iterator[tuple[Rule, str, Access | None]]:
    """Every rule × method and what it declares."""
    for rule in app.url_map.iter_rules():
        for method in sorted(rule.methods or ()):
            yield rule, method, access_of(app, rule.endpoint, method)


def check_declared(app: Flask) -> None:
    """:raises ConfigurationError: naming each rule that does not say who may call it"""
    silent = [f"{method} {rule.rule}" for rule, method, access in declared(app) if access is None]
    if silent:
        raise ConfigurationError(f"no @requires, @authenticated or @public on {', '.join(silent)}")


def install(app: Flask, keys: SigningKeys) -> None:
    """Tokens and the guard. Call after everything that must run before a caller is known."""
    app.config.update(
        JWT_ALGORITHM=ALGORITHM,
        JWT_DECODE_ALGORITHMS=[ALGORITHM],
        JWT_TOKEN_LOCATION=["headers"],
        JWT_ENCODE_ISSUER=ISSUER,
        JWT_DECODE_ISSUER=ISSUER,
        JWT_ENCODE_AUDIENCE=AUDIENCE,
        JWT_DECODE_AUDIENCE=AUDIENCE,
    )
    app.extensions[KEYS] = keys
    manager = JWTManager(app)
    manager.encode_key_loader(lambda _identity: g.signing_key.secret)

    @manager.decode_key_loader
    def _key(header: dict[str, Any], unverified: dict[str, Any]) -> str:
        # The library fills in a missing `type`, `jti` and `exp`: ask before it does.
        if not _well_formed(header, unverified):
            raise AuthenticationFailed("the token is not one of ours")
        secret = keys.find(header["kid"])
        if secret is None:
            raise AuthenticationFailed("the token is signed with a key that is not in use")
        return secret

    app.before_request(_guard)


def signing_keys() -> SigningKeys:
    return cast("SigningKeys", current_app.extensions[KEYS])


def access_token(grant: Grant) -> str:
    keys: SigningKeys = current_app.extensions[KEYS]
    g.signing_key = keys.newest()  # the id in the header must be that of the key, whatever is rotated meanwhile
    claims = grant.claims
    return str(
        create_access_token(
            str(claims.user_id),
            expires_delta=timedelta(seconds=seconds_of(grant)),
            additional_claims={"sid": str(claims.session_id), "tid": str(claims.tenant_id), "ver": claims.version},
            additional_headers={"kid": g.signing_key.id},
        )
    )


def seconds_of(grant: Grant) -> int:
    """How long an access token of this session lasts: not past the session's end."""
    longest = core().settings.access_token_seconds
    if grant.ends_at is None:
        return longest
    return max(1, min(longest, int((grant.ends_at - datetime.now(UTC)).total_seconds())))


def bearer() -> str | None:
    """The token of `Authorization: Bearer …`, the scheme spelt so; None when there is no such header."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme == "Bearer" and token.strip() else None


def claims_sent() -> Claims | None:
    """The claims of the request's token if its signature holds; no database is asked. Read once a request."""
    if "claims" not in g:
        token = bearer()
        try:
            g.claims = _claims(token) if token else None
        except AuthenticationFailed as error:
            g.claims, g.refusal = None, error
    return cast("Claims | None", g.claims)


def key_known() -> UUID | None:
    """Of the API key sent, if it was found good a moment ago. Asks no database."""
    try:
        key = _key_sent()
    except AuthenticationFailed:
        return None
    return key.id if key is not None and core().accounts.standings.known(key) else None


def recheck(*permissions: str) -> Callable[[], None]:
    """What the guard decided, to be decided again while the answer is under way: PostgreSQL is asked each time.

    The check raises what the guard would: AuthenticationFailed, PermissionDenied or Unavailable.

    :param permissions: where a view lets in by one of several, those by which the caller was shown what she is shown
    """
    parts, shown = core(), _shown()
    access = access_of(current_app, request.endpoint or "", request.method)

    def check() -> None:
        actor = parts.accounts.standings.fresh(shown)
        _check(parts, actor, access)
        if permissions:
            actor.require(*permissions)

    return check


def _guard() -> None:
    if request.endpoint is None:
        return  # Flask answers 404 or 405 itself
    access = access_of(current_app, request.endpoint, request.method)
    if access is not None and access.kind == "public":
        return
    g.actor = actor = _caller()
    structlog.contextvars.bind_contextvars(user=str(actor.user_id), tenant=str(actor.tenant_id))
    if actor.origin.via == "break_glass":
        BreakGlass(core().database).witness(g.actor, request.method, quote(request.path), request.query_string)
    _check(core(), g.actor, access)


def _check(parts: Core, actor: Actor, access: Access | None) -> None:
    if access is None:
        raise PermissionDenied("this endpoint does not say who may call it")
    if actor.is_delegate and not access.delegated:
        raise PermissionDenied("this is for a person who has signed in, not for an API key or break-glass")
    if access.permissions:
        actor.require(*access.permissions)
    if access.feature is not None:
        parts.features.require(actor.tenant_id, access.feature)


def _caller() -> Actor:
    actor = core().accounts.standings.of(_shown())
    return replace(actor, origin=origin(actor.origin.via))


def _shown() -> Credential:
    """:raises AuthenticationFailed: none, two, or one that cannot be good"""
    key = _key_sent()
    if key is not None:
        return key
    claims = claims_sent()
    if claims is None:
        raise g.get("refusal") or AuthenticationFailed(
            "sign in and send `Authorization: Bearer <access token>`, or send `X-API-Key: <key>`"
        )
    return claims


def _key_sent() -> PresentedKey | None:
    sent = request.headers.get(API_KEY_HEADER)
    if sent is None:
        return None
    if "Authorization" in request.headers:
        raise AuthenticationFailed("send an access token or an API key, not both")
    return PresentedKey.read(sent)


def _claims(token: str) -> Claims:
    if len(token) > MAX_TOKEN or not all(map(_is_canonical, token.split("."))):
        raise AuthenticationFailed("this is not an access token")
    try:
        raw = decode_token(token)
        return Claims(
            user_id=UUID(raw["sub"]),
            tenant_id=UUID(raw["tid"]),
            session_id=UUID(raw["sid"]),
            version=raw["ver"],
        )
    # RecursionError: JSON that nests deeper than Python calls.
    except (PyJWTError, JWTExtendedException, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise AuthenticationFailed("the access token is expired or not valid") from error


def _is_canonical(segment: str) -> bool:
    """Base64 in the one way that we write it. The library skips what is no Base64: many texts were one token.

    >>> _is_canonical("YQ"), _is_canonical("YR"), _is_canonical("YQ=="), _is_canonical("Y!Q"), _is_canonical("")
    (True, False, False, False, False)
    """
    try:
        data = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except (ValueError, binascii.Error):
        return False
    return segment != "" and base64.urlsafe_b64encode(data).rstrip(b"=").decode() == segment


def _well_formed(header: dict[str, Any], claims: dict[str, Any]) -> bool:
    """Whether a token says what ours say, in our way, with nothing more in its header. Who signed it, comes later."""
    if header.keys() != HEADER or not isinstance(header["kid"], str) or not claims.keys() >= REQUIRED_CLAIMS:
        return False
    if any(type(claims[name]) is not int for name in ("exp", "iat", "ver")) or type(claims.get("nbf", 0)) is not int:
        return False
    return (
        claims["type"] == "access"
        and claims["aud"] == AUDIENCE
        and 0 < claims["exp"] - claims["iat"] <= MAX_ACCESS_TOKEN_SECONDS
        and isinstance(claims["jti"], str)
        and all(_is_id(claims[name]) for name in ("sub", "sid", "tid"))
    )


def _is_id(value: object) -> bool:
    """An id in the one way that we write it: UUID() takes braces, blanks and underscores too."""
    try:
        return isinstance(value, str) and str(UUID(value)) == value
    except ValueError:
        return False


def _mark(access: Access) -> Callable[[View], View]:
    def mark(view: View) -> View:
        notes = getattr(view, "_apidoc", {})
        if MARK in notes:
            raise ConfigurationError(f"{view.__qualname__} declares its access twice")
        view._apidoc = {**notes, MARK: access}  # type: ignore[attr-defined]  # noqa: SLF001 - flask-smorest's own place
        return view

    return mark
