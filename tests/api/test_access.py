"""Every view says who may call it, and the guard keeps to it."""

from __future__ import annotations

import pytest
from flask import Flask

from app.access import BUILT_IN_ROLES, PERMISSIONS
from app.api import security
from app.api.security import authenticated, check_declared, declared, public, requires
from app.errors import ConfigurationError
from app.factory import create_app


def probe(app, declaration, path="/probe"):
    """Hang a view under `declaration` on the application."""

    def view():
        return {"in": True}

    view.__name__ = "probe_" + path.strip("/").replace("/", "_")
    # Flask refuses late routes; a test's is harmless.
    app._got_first_request = False
    app.add_url_rule(path, view_func=declaration(view) if declaration else view)


def test_every_rule_and_method_declares_one_known_access(app):
    for rule, method, access in declared(app):
        assert access is not None, f"{method} {rule}"
        assert access.kind in {"requires", "authenticated", "public"}
        if access.kind == "requires":
            assert access.permissions
            assert set(access.permissions) <= PERMISSIONS
        else:
            assert access.reason


def test_options_are_not_answered_behind_the_guards_back(app):
    assert not [rule for rule in app.url_map.iter_rules() if "OPTIONS" in (rule.methods or ())]


def test_a_view_that_declares_nothing_stops_the_start():
    app = Flask("bare", static_folder=None)
    app.add_url_rule("/open", view_func=lambda: "x", endpoint="open")
    with pytest.raises(ConfigurationError, match="GET /open"):
        check_declared(app)


def test_static_files_of_flask_itself_count_as_undeclared():
    with pytest.raises(ConfigurationError, match="/static/"):
        check_declared(Flask("bare"))


def test_an_undeclared_view_that_slipped_in_is_denied(app, client, login):
    probe(app, None)
    assert client.get("/probe", headers=login("platform_admin")).status_code == 403


def test_declaring_twice_or_an_unknown_permission_is_refused():
    with pytest.raises(ConfigurationError, match="twice"):
        requires("job:run")(public("because")(lambda: None))
    with pytest.raises(ConfigurationError, match="no permission"):
        requires("job:fly")
    with pytest.raises(ConfigurationError, match="no feature"):
        requires("job:run", feature="flying")


def test_each_permission_lets_in_whose_role_holds_it_and_nobody_else(app, client, login):
    headers = {role: login(role) for role in BUILT_IN_ROLES}
    for permission in sorted(PERMISSIONS):
        path = "/probe/" + permission.replace(":", "/")
        probe(app, requires(permission), path)
        assert client.get(path).status_code == 401
        for role, held in BUILT_IN_ROLES.items():
            expected = 200 if permission in held else 403
            assert client.get(path, headers=headers[role]).status_code == expected, (role, permission)


def test_one_of_several_permissions_is_enough(app, client, login):
    probe(app, requires("platform:queue", "job:run"))
    for role, expected in {"operator": 200, "platform_admin": 200, "viewer": 403}.items():
        assert client.get("/probe", headers=login(role)).status_code == expected, role
    with pytest.raises(ConfigurationError, match="job:fly"):
        requires("job:run", "job:fly")


def test_roles_add_up(app, client, login):
    probe(app, requires("job:run"), "/tenant")
    probe(app, requires("platform:users"), "/platform")
    both = login("platform_admin", "tenant_admin")
    assert client.get("/tenant", headers=both).status_code == 200
    assert client.get("/platform", headers=both).status_code == 200


def test_a_refusal_names_the_permission(app, client, login):
    probe(app, requires("job:run"))
    answer = client.get("/probe", headers=login("viewer"))
    assert answer.json["code"] == "permission_denied"
    assert "job:run" in answer.json["detail"]


def test_any_signed_in_caller_passes_authenticated(app, client, login):
    probe(app, authenticated("a test"))
    assert client.get("/probe", headers=login("viewer")).status_code == 200
    assert client.get("/probe").status_code == 401


def test_the_guard_decides_before_the_body_is_read(app, client, login):
    @requires("job:run")
    def view():
        raise AssertionError("never reached")

    app._got_first_request = False
    app.add_url_rule("/probe", view_func=view, methods=["POST"])
    answer = client.post("/probe", data=b"{broken", content_type="application/json", headers=login("viewer"))
    assert answer.status_code == 403


def test_head_asks_for_what_get_asks(app, client, login):
    probe(app, requires("job:run"))
    assert client.head("/probe").status_code == 401
    assert client.head("/probe", headers=login("operator")).status_code == 200


def test_a_mighty_database_role_stops_the_start(settings, superuser_here, queue, passwords):
    mighty = superuser_here.info
    url = f"postgresql://{mighty.user}:{mighty.password}@{mighty.host}:{mighty.port}/{mighty.dbname}"
    wrong = settings.model_copy(update={"database_url": type(settings.database_url)(url)})
    with pytest.raises(ConfigurationError, match="SCRAPERSKY_DATABASE_URL"):
        create_app(wrong, queue=queue, passwords=passwords)


def test_debugging_is_no_way_to_run_in_production(settings, queue, passwords, monkeypatch):
    monkeypatch.setenv("FLASK_DEBUG", "1")
    with pytest.raises(ConfigurationError, match="FLASK_DEBUG"):
        create_app(settings.model_copy(update={"environment": "staging"}), queue=queue, passwords=passwords)


def test_required_claims_are_the_documented_ones():
    assert {"exp", "iat", "jti", "sub", "type", "aud", "iss"} <= set(security.REQUIRED_CLAIMS)
