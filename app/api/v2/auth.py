"""Sign-in and the tokens that follow from it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import marshmallow as ma
from flask import request

from app.api import security
from app.api.core import core
from app.api.routers import Router
from app.api.schemas import Schema
from app.api.security import authenticated, current_actor, public
from app.api.v2.invitations import TOKEN
from app.errors import AuthenticationFailed
from app.services.accounts import Grant, Profile
from app.services.invitations import InvitationService
from app.services.users import UserService

router = Router("auth", prefix="/auth", description="Sign in, go on, sign out")
MAX_EMAIL = 254
JOINED: Final = {
    "user": {"id": "0193c0de-0000-7000-8000-000000000002", "email": "ann@example.com"},
    "tenant": {"id": "0193c0de-0000-7000-8000-000000000001", "name": "acme"},
    "role": "operator",
}


class Credentials(Schema):
    email = ma.fields.String(required=True, validate=ma.validate.Length(1, MAX_EMAIL))
    password = ma.fields.String(required=True, validate=ma.validate.Length(1, 8192))
    tenant = ma.fields.String(
        load_default=None,
        allow_none=True,
        validate=ma.validate.Length(1, 200),
        metadata={"description": "name or id; by default the oldest membership"},
    )


class RefreshToken(Schema):
    refresh_token = ma.fields.String(
        load_default=None,
        validate=ma.validate.Length(1, security.MAX_TOKEN),
        metadata={"description": "or as `Authorization: Bearer`"},
    )


class TenantChoice(Schema):
    tenant = ma.fields.String(
        required=True, validate=ma.validate.Length(1, 200), metadata={"description": "name or id"}
    )


class Tokens(Schema):
    access_token = ma.fields.String(required=True)
    refresh_token = ma.fields.String(required=True, metadata={"description": "good for one use"})
    token_type = ma.fields.Constant("Bearer", required=True)
    expires_in = ma.fields.Integer(required=True, metadata={"description": "seconds the access token lasts"})


class UserView(Schema):
    id = ma.fields.UUID(required=True)
    email = ma.fields.String(required=True)


class TenantView(Schema):
    id = ma.fields.UUID(required=True)
    name = ma.fields.String(required=True)


class Me(Schema):
    user = ma.fields.Nested(UserView, required=True)
    tenant = ma.fields.Nested(TenantView, required=True, metadata={"description": "where the token acts"})
    roles = ma.fields.List(ma.fields.String(), required=True)
    permissions = ma.fields.List(ma.fields.String(), required=True)
    tenants = ma.fields.List(ma.fields.Nested(TenantView), required=True)


class Acceptance(Schema):
    token = ma.fields.String(required=True, validate=ma.validate.Length(1, 512))
    password = ma.fields.String(
        load_default=None,
        validate=ma.validate.Length(1, 8192),
        metadata={"description": "yours, if you have an account; else the one you choose. Not needed when signed in"},
    )


class NewPassword(Schema):
    token = ma.fields.String(required=True, validate=ma.validate.Length(1, 512))
    password = ma.fields.String(required=True, validate=ma.validate.Length(1, 8192))


class PasswordChange(Schema):
    current = ma.fields.String(required=True, validate=ma.validate.Length(1, 8192))
    new = ma.fields.String(required=True, validate=ma.validate.Length(1, 8192))


class JoinedView(Schema):
    user = ma.fields.Nested(UserView, required=True)
    tenant = ma.fields.Nested(TenantView, required=True)
    role = ma.fields.String(required=True)


@router.route("/login", methods=["POST"])
@public("whoever signs in has no token yet")
@router.arguments(Credentials, example={"email": "ada@example.com", "password": "a word for every door"})
@router.response(200, Tokens)
@router.alt_response(401, "UNAUTHORIZED")
@router.alt_response(403, "FORBIDDEN")
@router.alt_response(429, "TOO_MANY_REQUESTS")
def login(body: dict[str, Any]) -> dict[str, Any]:
    """Sign in"""
    grant = core().accounts.sign_in(
        body["email"],
        body["password"],
        tenant=body["tenant"],
        user_agent=request.user_agent.string or None,
        origin=security.origin(),
    )
    return tokens(grant)


@router.route("/refresh", methods=["POST"])
@public("the refresh token is the credential; the access token may have expired")
@router.arguments(RefreshToken, required=False, example={"refresh_token": TOKEN})
@router.response(200, Tokens)
@router.alt_response(401, "UNAUTHORIZED")
@router.alt_response(403, "FORBIDDEN")
def refresh(body: dict[str, Any]) -> dict[str, Any]:
    """Trade the refresh token for new tokens

    Each is good for one use: a second one ends the session, since one of its two users has stolen it.
    """
    token = body["refresh_token"] or security.bearer()
    if token is None:
        raise AuthenticationFailed("send the refresh token")
    return tokens(core().accounts.refresh(token, origin=security.origin()))


@router.route("/logout", methods=["POST"])
@public("ends the session of whichever of the two tokens is sent; without one there is nothing to end")
@router.arguments(RefreshToken, required=False, example={"refresh_token": TOKEN})
@router.response(204)
@router.alt_response(401, "UNAUTHORIZED")
def logout(body: dict[str, Any]) -> tuple[str, int]:
    """Sign out: the session ends, its tokens die"""
    claims = security.claims_sent()
    if claims is not None:
        core().accounts.sign_out(claims, origin=security.origin())
    if body["refresh_token"] is not None:
        core().accounts.sign_out_with(body["refresh_token"], origin=security.origin())
    if claims is None and body["refresh_token"] is None:
        raise AuthenticationFailed("send the access token or the refresh token")
    return "", HTTPStatus.NO_CONTENT


@router.route("/switch", methods=["POST"])
@authenticated("anybody may go to another tenant she is a member of; the service checks that")
@router.arguments(TenantChoice, example={"tenant": "default"})
@router.response(200, Tokens)
@router.alt_response(404, "NOT_FOUND")
def switch(body: dict[str, Any]) -> dict[str, Any]:
    """Go on in another tenant"""
    grant = core().accounts.switch(
        current_actor(),
        body["tenant"],
        user_agent=request.user_agent.string or None,
    )
    return tokens(grant)


@router.route("/accept", methods=["POST"])
@public("whoever is invited may have no account yet; the invitation's token is the credential")
@router.arguments(Acceptance, example={"token": TOKEN, "password": "a word for every door"})
@router.response(201, JoinedView, example=JOINED)
@router.alt_response(400, "BAD_REQUEST")
@router.alt_response(401, "UNAUTHORIZED")
@router.alt_response(403, "FORBIDDEN")
@router.alt_response(409, "CONFLICT")
@router.alt_response(429, "TOO_MANY_REQUESTS")
def accept(body: dict[str, Any]) -> dict[str, Any]:
    """Accept an invitation

    Somebody new gets an account with this password. Who has one shows its password, or sends its access token. Each
    invitation is good once.
    """
    invitations = InvitationService(core().database, core().settings, passwords=core().passwords)
    joined = invitations.accept(
        body["token"], password=body["password"], caller=security.caller(), origin=security.origin()
    )
    return {
        "user": {"id": joined.user_id, "email": joined.email},
        "tenant": {"id": joined.tenant_id, "name": joined.tenant},
        "role": joined.role,
    }


@router.route("/reset", methods=["POST"])
@public("whoever forgot the password cannot sign in; the reset token is the credential")
@router.arguments(NewPassword, example={"token": TOKEN, "password": "a word for every door"})
@router.response(204)
@router.alt_response(400, "BAD_REQUEST")
@router.alt_response(429, "TOO_MANY_REQUESTS")
def reset(body: dict[str, Any]) -> tuple[str, int]:
    """Set a password with a reset token; all sessions end"""
    _users().reset_password(body["token"], body["password"], origin=security.origin())
    return "", HTTPStatus.NO_CONTENT


@router.route("/password", methods=["POST"])
@authenticated("everybody may change her own password; the present one is asked for")
@router.arguments(PasswordChange, example={"current": "a word for every door", "new": "and another for this one"})
@router.response(204)
@router.alt_response(401, "UNAUTHORIZED")
@router.alt_response(403, "FORBIDDEN")
@router.alt_response(429, "TOO_MANY_REQUESTS")
def change_password(body: dict[str, Any]) -> tuple[str, int]:
    """Change your password; your other sessions end

    This one goes on with its refresh token: the access token is worth nothing any more.
    """
    _users().change_password(current_actor(), current=body["current"], new=body["new"])
    return "", HTTPStatus.NO_CONTENT


@router.route("/me")
@authenticated("everybody may know who she is", delegated=True)
@router.response(200, Me)
def me() -> dict[str, Any]:
    """Who am I, where, and what may I do"""
    return _shown(core().accounts.profile(current_actor()))


def _users() -> UserService:
    return UserService(core().database, passwords=core().passwords, forget=core().accounts.forget)


def tokens(grant: Grant) -> dict[str, Any]:
    lasts = security.seconds_of(grant)
    return {
        "access_token": security.access_token(grant),
        "refresh_token": grant.refresh_token,
        "expires_in": lasts,
    }


def _shown(profile: Profile) -> dict[str, Any]:
    actor = profile.actor
    return {
        "user": {"id": actor.user_id, "email": actor.email},
        "tenant": profile.tenant,
        "roles": sorted(actor.roles),
        "permissions": sorted(actor.permissions),
        "tenants": profile.tenants,
    }
