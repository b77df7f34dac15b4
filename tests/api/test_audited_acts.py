"""Every administrative act over HTTP leaves its event: played through once, and no route left out."""

from __future__ import annotations

import json
import re

import pytest

from app.api.security import declared
from tests.conftest import PASSWORD

CHANGES = {"POST", "PUT", "PATCH", "DELETE"}
# What tenants do all day, and is told of by what it makes: batches, jobs.
WORK = {"job:run", "job:cancel"}
NO_ACT = {"POST /api/v2/auth/refresh"}  # a session goes on
CHOSEN = "osprey-Ledger-77-tumbling"
SECRETS = re.compile(r"password|token|^key$|^new$|^current$")


class Stage:
    """Plays acts, and keeps which routes were played and every secret that was sent or answered."""

    def __init__(self, client, superuser):
        self._client, self._superuser = client, superuser
        self.played: set[str] = set()
        self.secrets = {PASSWORD}

    def act(self, route, action, *values, by=None, status=(200, 201, 202, 204), **sent):
        """Ask for the route; the events it left must have that action, the caller and the request in them."""
        method, rule = route.split()
        given = iter(values)
        path = "/api/v2" + re.sub(r"<[^>]+>", lambda _: str(next(given)), rule)
        before = self._events()
        answer = self._client.open(path, method=method, headers=by, json=sent or None)
        assert answer.status_code in status, (route, answer.text)
        made = [event for event in self._events() if event not in before]
        told = [event for event in made if event[0] == action]
        assert told, (route, [event[0] for event in made])
        for _, address, request_id, _, actor, *_ in told:
            assert actor is not None or by is None, route
            assert (address, request_id) == ("127.0.0.1", answer.headers["X-Request-ID"]), route
        self.played.add(f"{method} /api/v2{rule}")
        self._keep(sent)
        said = answer.json if answer.data else None
        self._keep(said)
        return said

    def _events(self):
        return self._superuser.execute(
            "SELECT action, address, request_id, id, actor, object_type, object_id, before::text, after::text "
            "FROM audit_events ORDER BY id"
        ).fetchall()

    def _keep(self, said):
        if isinstance(said, dict):
            for name, value in said.items():
                if isinstance(value, str) and SECRETS.search(name) and name != "token_type":
                    self.secrets.add(value)

    def whole_trail(self):
        return json.dumps(self._events(), default=str)


@pytest.fixture
def stage(client, superuser_here):
    return Stage(client, superuser_here)


@pytest.fixture
def enter(stage):
    """`enter(email, password)` → headers of a session opened over HTTP."""

    def sign_in(email, password=PASSWORD):
        tokens = stage.act("POST /auth/login", "session.opened", email=email, password=password)
        return {"Authorization": f"Bearer {tokens['access_token']}"}

    return sign_in


def test_every_administrative_act_leaves_its_event(app, client, stage, enter, new_user, new_tenant, tenant_id):
    play_people(client, stage, enter, new_user)
    play_roles_and_keys(client, stage, enter, new_user)
    play_platform(stage, enter, new_user, new_tenant)
    play_sessions(client, stage, enter, new_user, new_tenant)
    acts = {
        f"{method} {rule}"
        for rule, method, access in declared(app)
        if method in CHANGES
        and rule.rule.startswith("/api/v2/")
        and not (access.permissions and set(access.permissions) <= WORK)
    }
    assert stage.played == acts - NO_ACT
    trail = stage.whole_trail()
    assert [secret for secret in stage.secrets if secret in trail] == []


def play_people(client, stage, enter, new_user):
    admin = enter(new_user("tenant_admin"))
    stage.act("POST /users", "invitation.created", by=admin, email="bob@example.com", role="viewer")
    waiting = client.get("/api/v2/invitations", headers=admin).json["items"]
    stage.act("DELETE /invitations/<key>", "invitation.revoked", waiting[0]["id"], by=admin)
    invited = stage.act("POST /users", "invitation.created", by=admin, email="cleo@example.com", role="viewer")
    joined = stage.act("POST /auth/accept", "invitation.accepted", token=invited["token"], password=CHOSEN)
    cleo = joined["user"]["id"]
    reset = stage.act("POST /users/<key>/reset-password", "user.reset_token_made", cleo, by=admin)
    stage.act("POST /auth/reset", "user.password_reset", token=reset["token"], password=CHOSEN + "!")
    hers = enter("cleo@example.com", CHOSEN + "!")
    stage.act("POST /auth/password", "user.password_changed", by=hers, current=CHOSEN + "!", new=CHOSEN + "?")
    stage.act("PUT /users/<key>/roles/<role>", "member.role_assigned", cleo, "operator", by=admin)
    stage.act("DELETE /users/<key>/roles/<role>", "member.role_revoked", cleo, "operator", by=admin)
    stage.act("POST /users/<key>/disable", "user.disabled", cleo, by=admin)
    stage.act("POST /users/<key>/enable", "user.enabled", cleo, by=admin)
    stage.act("DELETE /users/<key>", "member.removed", cleo, by=admin)


def play_roles_and_keys(client, stage, enter, new_user):
    admin = enter(new_user("tenant_admin"))
    stage.act("POST /roles", "role.created", by=admin, name="reader", permissions=["job:read"])
    stage.act("PATCH /roles/<key>", "role.changed", "reader", by=admin, permissions=["job:read", "result:read"])
    stage.act("DELETE /roles/<key>", "role.deleted", "reader", by=admin)
    made = stage.act("POST /api-keys", "api_key.created", by=admin, name="nightly", permissions=["job:read"])
    stage.act("DELETE /api-keys/<key>", "api_key.revoked", made["id"], by=admin)


def play_platform(stage, enter, new_user, new_tenant):
    keeper, other = enter(new_user("platform_admin")), new_tenant("other")
    stage.act("POST /tenants", "tenant.created", by=keeper, name="fresh")
    stage.act("PATCH /tenants/<key>", "tenant.changed", other, by=keeper, weight=3)
    stage.act("PUT /tenants/<key>/features/<name>", "feature.switched", other, "exports", by=keeper, enabled=False)
    stage.act("POST /tenants/<key>/break-glass", "break_glass.opened", other, by=keeper, reason="a look", minutes=5)
    stage.act("POST /tenants/<key>/suspend", "tenant.suspended", other, by=keeper)
    stage.act("POST /tenants/<key>/resume", "tenant.resumed", other, by=keeper)


def play_sessions(client, stage, enter, new_user, new_tenant):
    email, elsewhere = new_user("viewer"), new_tenant("elsewhere")
    new_user("viewer", tenant=elsewhere, email=email)
    first = enter(email)
    enter(email)
    sessions = client.get("/api/v2/sessions", headers=first).json["items"]
    stage.act("DELETE /sessions/<key>", "session.ended", sessions[0]["id"], by=first)
    enter(email)
    stage.act("DELETE /sessions", "session.ended", by=first)
    stage.act("POST /auth/logout", "session.ended", by=first)
    third = enter(email)
    stage.act("POST /auth/switch", "session.opened", by=third, tenant=str(elsewhere))
