"""What asking for a caller's permission costs the database."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from app.api.core import KEY
from app.api.security import authenticated, requires


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
