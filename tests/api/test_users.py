"""Users as members of a tenant, over HTTP."""

from __future__ import annotations

import pytest

from tests.api.answers import problem, without_id

USERS = "/api/v2/users"
NOBODY = "00000000-0000-7000-8000-000000000000"


@pytest.fixture
def people(new_user, new_tenant):
    """Three of ours, the first of whom belongs to another tenant too, and one of that tenant."""
    other = new_tenant("other")
    for name in ("ann", "Bob", "cat"):
        new_user("viewer", email=f"{name}@ours.example")
    new_user("tenant_admin", tenant=other, email="ann@ours.example")
    new_user("viewer", tenant=other, email="stranger@other.example")
    return other


def listed(client, headers, query=""):
    answer = client.get(f"{USERS}?{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    return {user["email"]: user for user in answer.json["items"]}


def test_a_member_sees_the_members_of_her_tenant_and_what_they_are_there(client, login, people):
    headers = login("operator")
    seen = listed(client, headers)
    assert [email for email in seen if "@ours." in email] == [
        "ann@ours.example",
        "Bob@ours.example",
        "cat@ours.example",
    ]
    assert "stranger@other.example" not in seen
    ann = seen["ann@ours.example"]
    assert (ann["roles"], ann["tenants"], ann["status"]) == (["viewer"], None, "active")
    assert client.get(f"{USERS}/{ann['id']}", headers=headers).json == ann


def test_a_platform_administrator_sees_everybody_and_where_each_belongs(client, login, people):
    seen = listed(client, login("platform_admin"))
    ann = seen["ann@ours.example"]
    assert [(place["name"], place["roles"]) for place in ann["tenants"]] == [
        ("default", ["viewer"]),
        ("other", ["tenant_admin"]),
    ]
    assert seen["stranger@other.example"]["roles"] == []
    assert seen["stranger@other.example"]["tenants"][0]["id"] == str(people)


def test_members_come_in_pages_and_are_found_by_the_start_of_the_address(client, login, people):
    headers = login("operator")
    page = client.get(f"{USERS}?limit=2", headers=headers).json
    rest = client.get(f"{USERS}?limit=2&cursor={page['next_cursor']}", headers=headers).json
    assert [user["email"] for user in page["items"] + rest["items"]] == list(listed(client, headers))
    assert list(listed(client, headers, "email=BO")) == ["Bob@ours.example"]
    assert list(listed(client, headers, "email=%25")) == []


def test_another_tenants_user_is_answered_as_one_who_does_not_exist(client, login, people):
    stranger = listed(client, login("platform_admin"))["stranger@other.example"]["id"]
    answers = [client.get(f"{USERS}/{key}", headers=login("tenant_admin")) for key in (stranger, NOBODY, "x")]
    problem(answers[0], 404, "not_found")
    assert without_id(answers[0]) == without_id(answers[1]) == without_id(answers[2])
