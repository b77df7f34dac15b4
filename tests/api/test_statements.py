"""What asking for a caller's permission costs the database."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy import event

from app.api.core import KEY
from app.api.security import access_token, authenticated, requires
from app.factory import create_app
from tests.conftest import PASSWORD


@pytest.fixture
def statements(app):
    """The statements of this process, as they are sent."""
    sent = []

    def note(_connection, _cursor, statement, *_):
        sent.append(statement)

    event.listen(sa.Engine, "before_cursor_execute", note)
    yield sent
    event.remove(sa.Engine, "before_cursor_execute", note)


@pytest.mark.parametrize("declaration", [authenticated("a test"), requires("job:run")])
def test_a_check_costs_one_statement_and_none_while_it_is_remembered(app, client, login, statements, declaration):
    @declaration
    def view():
        return {}

    app._got_first_request = False
    app.add_url_rule("/probe", view_func=view)
    headers = login("operator")
    statements.clear()
    assert client.get("/probe", headers=headers).status_code == 200
    asked = [statement for statement in statements if "permissions" in statement]
    assert len(asked) == 1
    assert len(statements) == 2  # the other is for the session
    statements.clear()
    assert client.get("/probe", headers=headers).status_code == 200
    assert statements == []


def test_what_one_process_remembers_costs_the_others_nothing_either(
    settings, queue, passwords, valkey_url, new_user, statements
):
    shared = settings.model_copy(update={"redis_url": SecretStr(valkey_url)})
    apps = [create_app(shared, queue=queue, passwords=passwords) for _ in range(2)]
    grant = apps[0].extensions[KEY].accounts.sign_in(new_user("operator"), PASSWORD)
    with apps[0].app_context():
        headers = {"Authorization": f"Bearer {access_token(grant)}"}
    asked = []
    for app in apps:
        statements.clear()
        # The guard lets her pass; what the view itself asks the database for comes to the same in both.
        assert app.test_client().post("/api/v2/scans", headers=headers, json={}).status_code == 422
        asked.append(
            len([statement for statement in statements if "sessions" in statement or "permissions" in statement])
        )
    assert asked == [2, 0]
    for app in apps:
        app.extensions[KEY].database.close()


def test_the_service_asks_once_and_again_when_it_was_told_to_forget(app, tenant_id, new_user, statements):
    rbac = app.extensions[KEY].rbac
    with app.extensions[KEY].database.system() as uow:
        user = uow.sign_in.user_by_email(new_user("operator")).id
    statements.clear()
    for _ in range(3):
        rbac.check_permission(user, "job:run", tenant_id)
        rbac.permissions_of(user, tenant_id)
    assert len(statements) == 1
    rbac.forget_user(user)
    rbac.check_permission(user, "job:run", tenant_id)
    assert len(statements) == 2
