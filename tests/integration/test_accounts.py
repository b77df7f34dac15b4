"""The first administrator, and those who get in again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import SecretStr

from app.access import BUILT_IN_ROLES
from app.errors import AuthenticationFailed, InvalidInput, NotFound
from app.services.accounts import AccountService
from app.services.administrators import bootstrap_admin, create_admin
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


def test_create_admin_lets_in_the_last_one_who_was_disabled_and_tells_of_it(
    database, passwords, accounts, superuser_here, tenant_id
):
    create_admin(database, email="ann@example.com", password=PASSWORD, passwords=passwords)
    old = accounts.sign_in("ann@example.com", PASSWORD)
    superuser_here.execute("UPDATE users SET status = 'disabled'")
    create_admin(database, email="ann@example.com", password="another password", passwords=passwords)
    assert accounts.sign_in("ann@example.com", "another password")
    with pytest.raises(AuthenticationFailed):
        accounts.refresh(old.refresh_token)
    told = superuser_here.execute(
        "SELECT action, via, tenant_id, after->>'email' FROM audit_events WHERE action LIKE 'user.%' ORDER BY id"
    ).fetchall()
    assert told == [(f"user.{verb}", "command", tenant_id, "ann@example.com") for verb in ("created", "recovered")]


def test_create_admin_of_one_tenant_is_none_of_the_platform(database, passwords, accounts, new_tenant):
    acme = new_tenant("acme")
    create_admin(database, email="ann@example.com", password=PASSWORD, tenant="acme", passwords=passwords)
    actor = accounts.standings.of(accounts.sign_in("ann@example.com", PASSWORD).claims)
    assert (actor.tenant_id, actor.roles) == (acme, {"tenant_admin"})
    with pytest.raises(NotFound, match="nowhere"):
        create_admin(database, email="ann@example.com", password=PASSWORD, tenant="nowhere", passwords=passwords)


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
