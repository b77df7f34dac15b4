"""The first administrator, and those who get in again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import SecretStr

from app.access import BUILT_IN_ROLES
from app.errors import AuthenticationFailed, InvalidInput
from app.services.accounts import AccountService, bootstrap_admin, create_admin
from tests.conftest import PASSWORD


@pytest.fixture
def accounts(database, settings, passwords):
    return AccountService(database, settings, passwords=passwords)


def test_the_first_administrator_holds_both_roles_in_the_default_tenant(
    database, settings, passwords, accounts, tenant_id
):
    password = bootstrap_admin(database, settings, passwords=passwords)
    assert len(password) >= 20
    actor = accounts.standings.of(accounts.sign_in(settings.admin_email, password).claims)
    assert actor.tenant_id == tenant_id
    assert actor.roles == {"platform_admin", "tenant_admin"}
    assert actor.permissions == {*BUILT_IN_ROLES["platform_admin"], *BUILT_IN_ROLES["tenant_admin"]}


def test_of_many_starts_at_once_one_makes_it(database, settings, passwords):
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda _: bootstrap_admin(database, settings, passwords=passwords), range(6)))
    assert len([password for password in made if password]) == 1
    assert bootstrap_admin(database, settings, passwords=passwords) is None


def test_a_chosen_password_is_not_given_back(database, settings, passwords, accounts):
    chosen = settings.model_copy(update={"admin_password": SecretStr(PASSWORD), "admin_email": "Root@Example.com"})
    assert bootstrap_admin(database, chosen, passwords=passwords) is None
    assert accounts.sign_in("root@example.com", PASSWORD)


def test_a_weak_chosen_password_stops_the_start(database, settings, passwords):
    with pytest.raises(InvalidInput):
        bootstrap_admin(
            database, settings.model_copy(update={"admin_password": SecretStr("short")}), passwords=passwords
        )


def test_create_admin_makes_one_and_lets_one_in_again(database, passwords, accounts):
    create_admin(database, email="ann@example.com", password=PASSWORD, passwords=passwords)
    before = accounts.sign_in("ann@example.com", PASSWORD)
    create_admin(database, email="ann@example.com", password="another password", passwords=passwords)
    with pytest.raises(AuthenticationFailed):
        accounts.sign_in("ann@example.com", PASSWORD)
    with pytest.raises(AuthenticationFailed):
        accounts.standings.of(before.claims)
    assert accounts.sign_in("ann@example.com", "another password")


def test_create_admin_takes_one_spelling_and_no_easy_password(database, passwords, accounts):
    create_admin(database, email="\u0130ngrid@Example.com", password=PASSWORD, passwords=passwords)
    assert accounts.sign_in("ingrid@example.com", PASSWORD)
    for email, password in (("ingrid", PASSWORD), ("ingrid@example.com", "password1234"), ("i@x.org", "scrapersky1")):
        with pytest.raises(InvalidInput):
            create_admin(database, email=email, password=password, passwords=passwords)


def test_whoever_is_in_several_tenants_gets_in_where_none_is_suspended(accounts, new_user, new_tenant, superuser_here):
    first = new_tenant("first")
    email = new_user("viewer", tenant=first)
    new_user("operator", email=email)
    assert accounts.sign_in(email, PASSWORD).claims.tenant_id == first
    superuser_here.execute("UPDATE tenants SET status = 'suspended' WHERE name = 'first'")
    assert accounts.standings.of(accounts.sign_in(email, PASSWORD).claims).roles == {"operator"}
