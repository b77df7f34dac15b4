"""Sign-in and tokens, over HTTP."""

from __future__ import annotations

from tests.conftest import PASSWORD


def test_signing_in_and_asking_who_i_am(client, new_user):
    email = new_user("operator")
    answer = client.post("/api/v2/auth/login", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    tokens = answer.json
    me = client.get("/api/v2/auth/me", headers={"Authorization": f"Bearer {tokens['access_token']}"})
    assert me.json["user"]["email"] == email
    assert me.json["roles"] == ["operator"]
    assert "job:run" in me.json["permissions"]
