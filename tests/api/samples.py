"""A tenant with one of everything, and what the paths and bodies of the API need to lead to it."""

from __future__ import annotations

import re
import secrets
from itertools import count

from app.access import PERSONAL, TENANT_PERMISSIONS
from app.api.core import KEY
from app.api.security import access_token, declared
from tests.conftest import PASSWORD

UNDOCUMENTED = {"/docs", "/static/{name}"}  # pages for people
NOTHING = "0193c0de-0000-7000-8000-00000000dead"
NUMBERS = count(1)
# What the parameters of a path may name: by the path up to them, or by all of it.
NAMED = {
    "/api/v1/batch/status/": "SELECT id FROM batch_jobs",
    "/api/v1/status/": "SELECT id FROM jobs",
    "/api/v2/api-keys/": "SELECT id FROM api_keys WHERE revoked_at IS NULL",
    "/api/v2/batches/": "SELECT id FROM batch_jobs ORDER BY status = 'pending' DESC",
    "/api/v2/batches/{}/retry": "SELECT id FROM batch_jobs WHERE status IN ('failed', 'cancelled')",
    "/api/v2/domains/": "SELECT host FROM domains",
    "/api/v2/invitations/": "SELECT id FROM invitations WHERE revoked_at IS NULL AND accepted_at IS NULL",
    "/api/v2/jobs/": "SELECT number FROM jobs",
    "/api/v2/jobs/{}/retry": "SELECT id FROM jobs WHERE status IN ('failed', 'cancelled')",
    "/api/v2/roles/": "SELECT name FROM roles r WHERE tenant_id IS NOT NULL "
    "ORDER BY EXISTS (SELECT FROM user_roles WHERE role_id = r.id)",
    "/api/v2/sessions/": "SELECT id FROM sessions WHERE revoked_at IS NULL AND user_id = %(me)s",
    "/api/v2/tenants/": "SELECT %(tenant)s",
    "/api/v2/tenants/{}/features/": "SELECT 'exports'",
    "/api/v2/users/": "SELECT u.id FROM users u JOIN user_roles ON user_id = u.id "
    "WHERE email LIKE 'spare%%' AND status = 'active' ORDER BY u.id",
    "/api/v2/users/{}/enable": "SELECT id FROM users WHERE email LIKE 'spare%%' ORDER BY status = 'disabled' DESC",
    "/api/v2/users/{}/roles/": "SELECT name FROM roles WHERE tenant_id IS NOT NULL",
}
SEEDS = {
    "/api/v2/api-keys/": "INSERT INTO api_keys (tenant_id, name, key_hash, permissions, created_by, expires_at) "
    "VALUES (%(tenant)s, 'seed', %(hash)s, '{job:read}', %(me)s, now() + interval '1 day')",
    "/api/v2/invitations/": "INSERT INTO invitations (tenant_id, email, role_id, token_hash, expires_at) "
    "SELECT %(tenant)s, 'invited@example.com', id, %(hash)s, now() + interval '1 day' FROM roles WHERE name = 'viewer'",
    "/api/v2/roles/": "INSERT INTO roles (tenant_id, name) VALUES (%(tenant)s, 'seeded')",
}


KEYS_OWN = sorted(TENANT_PERMISSIONS - PERSONAL)
GOOD = "a word for every door "


class Tenant:
    """A tenant with one of everything, attacked by somebody new each time something was changed.

    :param role: a built-in one, `api_key`, `break_glass`, `anonymous`, or `everything` an administrator may
    """

    def __init__(self, app, superuser, new_user, tenant_id, role):
        self._app, self._superuser, self._new_user, self._role = app, superuser, new_user, role
        self._accounts = app.extensions[KEY].accounts
        self._known = {"tenant": tenant_id, "me": None}
        self._headers = {}
        self.renew()

    def headers(self):
        return self._headers

    def renew(self):
        self._superuser.execute("DELETE FROM tenant_features")
        self._superuser.execute(
            "UPDATE tenants SET status = 'active', name = 'default', max_running = NULL, max_batch_domains = NULL, "
            "max_open_jobs = NULL, max_urls = NULL, max_host_requests = NULL WHERE id = %(tenant)s",
            self._known,
        )
        self._headers = self._credentials()
        if not self.named("/api/v2/users/"):
            self._new_user("operator", email=f"spare-{next(NUMBERS)}@example.com")
        if not self.named("/api/v2/batches/"):
            self._ask("POST", "/api/v2/batches", {"domains": ["example.com", "example.org", "no domain"]})
        for path, statement in SEEDS.items():
            if self._known["me"] and not self.named(path):
                self._superuser.execute(statement, {**self._known, "hash": secrets.token_bytes(32)})

    def named(self, before, path=""):
        before, path = (re.sub(r"{[^{}]*}", "{}", text) for text in (before, path))
        query = NAMED.get(path) or NAMED[before]
        row = self._superuser.execute(f"SELECT * FROM ({query}) AS named LIMIT 1", self._known).fetchone()
        return row and str(row[0])

    def known(self):
        return {**self._known, "spare": self.named("/api/v2/users/"), "role": self.named("/api/v2/users/{}/roles/")}

    def body(self, operation):
        match operation:
            case "POST /api/v2/auth/login":
                return {"email": self._new_user("viewer"), "password": PASSWORD, "tenant": "default"}
            case "POST /api/v2/auth/refresh":
                return {"refresh_token": self._grant("viewer").refresh_token}
            case "POST /api/v2/auth/switch":
                return {"tenant": "default"}
            case "POST /api/v2/scans":
                return {"domain": f"{next(NUMBERS)}.example.com"}
            case "POST /api/v1/scrapersky":
                return {"base_url": f"{next(NUMBERS)}.example.net", "tenant_id": None}
            case "POST /api/v2/batches" | "POST /api/v2/batches/preflight":
                return {"domains": [f"{next(NUMBERS)}.example.net"]}
            case "POST /api/v1/batch":
                return {"domains": [f"{next(NUMBERS)}.example.net"], "tenant_id": None}
            case "POST /api/v2/auth/accept":
                return {"token": self._invited(), "password": GOOD + str(next(NUMBERS))}
            case "POST /api/v2/auth/reset":
                user = self.named("/api/v2/users/")
                token = self._ask("POST", f"/api/v2/users/{user}/reset-password")["token"]
                return {"token": token, "password": GOOD + str(next(NUMBERS))}
            case "POST /api/v2/auth/password":
                return {"current": PASSWORD, "new": GOOD + str(next(NUMBERS))}
            case "POST /api/v2/users":
                return {"email": f"new-{next(NUMBERS)}@example.com", "role": "viewer"}
            case "POST /api/v2/roles" | "PATCH /api/v2/roles/{key}":
                return {"name": f"role-{next(NUMBERS)}", "permissions": ["job:read"]}
            case "POST /api/v2/api-keys":
                return {"name": "nightly", "permissions": ["job:read"], "expires_at": None, "expires_in_days": 1}
            case "POST /api/v2/tenants" | "PATCH /api/v2/tenants/{key}":
                return {"name": f"tenant {next(NUMBERS)}"}
            case "POST /api/v2/tenants/{key}/break-glass":
                return {"reason": "somebody asked", "minutes": 5}
        return {}

    def path(self, rule):
        """A rule's path with things that are there, and the same with things that are not."""
        there = nowhere = rule
        for parameter in re.findall(r"{[^{}]*}", rule):
            there = there.replace(parameter, self.named(rule.split(parameter)[0], rule) or "1")
            nowhere = nowhere.replace(parameter, NOTHING)
        return there, nowhere

    def _credentials(self):
        match self._role:
            case "anonymous":
                return {}
            case "api_key":
                body = {"name": "attack", "permissions": KEYS_OWN}
                return {"X-API-Key": self._ask("POST", "/api/v2/api-keys", body)["key"]}
            case "break_glass":
                body, path = {"reason": "a test", "minutes": 60}, f"/api/v2/tenants/{self._known['tenant']}/break-glass"
                return {"Authorization": f"Bearer {self._ask('POST', path, body)['access_token']}"}
            case "everything":
                return self._signed_in("tenant_admin", "platform_admin")
            case role:
                return self._signed_in(role)

    def _invited(self):
        body = {"email": f"new-{next(NUMBERS)}@example.com", "role": "viewer"}
        return self._ask("POST", "/api/v2/users", body)["token"]

    def _ask(self, method, path, body=None):
        headers, client = self._signed_in("tenant_admin", "platform_admin"), self._app.test_client()
        answer = client.open(path, method=method, json=body or {}, headers=headers)
        assert answer.status_code < 300, answer.text
        return answer.json

    def _signed_in(self, *roles):
        with self._app.app_context():
            return {"Authorization": f"Bearer {access_token(self._grant(*roles))}"}

    def _grant(self, *roles):
        grant = self._accounts.sign_in(self._new_user(*roles), PASSWORD)
        self._known["me"] = grant.claims.user_id
        return grant


def documented(app):
    """Every documented path × method, and who may call it."""
    for rule, method, access in declared(app):
        path = re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule)
        if method != "HEAD" and path not in UNDOCUMENTED:
            yield path, method, access
