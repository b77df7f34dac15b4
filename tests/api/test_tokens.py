"""Access tokens that somebody else made, or made into something else. The named cases are data beside the project; where
they are absent, only the tests of our own run.
"""

from __future__ import annotations

import base64
import json
import time
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr

from app.api.core import KEY
from app.errors import ConfigurationError
from app.factory import create_app
from app.settings import load
from app.stack import signing
from app.stack.signing import FileKeys, key_id
from tests.conftest import PASSWORD

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "adversarial.json"
LOGIN, REFRESH, ME = (f"/api/v2/auth/{name}" for name in ("login", "refresh", "me"))
NOBODY = "0193c0de-0000-7000-8000-00000000dead"
B64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def encoded(data):
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def public_key():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


class Forge:
    """Tokens made from a genuine one. Called, it changes claims (None takes one out) and signs with the genuine key."""

    def __init__(self, client, email, secret):
        self.client, self.secret, self.email = client, secret, email
        self.tokens = client.post(LOGIN, json={"email": email, "password": PASSWORD}).json
        self.genuine = self.tokens["access_token"]
        self.head, self.body, self.signature = self.genuine.split(".")
        self.claims = jwt.decode(self.genuine, options={"verify_signature": False})
        self.header = jwt.get_unverified_header(self.genuine)

    def __call__(self, *, header=(), key=None, **changes):
        claims = {name: value for name, value in {**self.claims, **changes}.items() if value is not None}
        headers = {name: value for name, value in {**self.header, **dict(header)}.items() if value is not None}
        signer = jwt.algorithms.HMACAlgorithm(
            {"HS384": jwt.algorithms.HMACAlgorithm.SHA384, "HS512": jwt.algorithms.HMACAlgorithm.SHA512}.get(
                headers.get("alg"), jwt.algorithms.HMACAlgorithm.SHA256
            )
        )
        signed = f"{encoded(headers)}.{encoded(claims)}"
        secret = key if isinstance(key, bytes) else (key or self.secret).encode()
        return f"{signed}.{encoded(signer.sign(signed.encode(), secret))}"

    def unsigned(self, algorithm):
        return f"{encoded({**self.header, 'alg': algorithm})}.{self.body}."


@pytest.fixture
def forge(client, new_user, settings):
    return Forge(client, new_user("operator"), settings.secret_key.get_secret_value())


@pytest.fixture
def status(client):
    """The status that a token gets, or a whole `Authorization`."""

    def ask(token="", **headers):
        return client.get(ME, headers=headers or {"Authorization": f"Bearer {token}"}).status_code

    return ask


def test_the_forge_itself_makes_good_tokens(forge, status):
    assert [status(forge()), status(forge.genuine)] == [200, 200]


# Each makes, from a forge, tokens that must all be refused.
FORGED = {
    "JWT-001": lambda forge: [forge.unsigned("none"), forge.unsigned("none") + "x"],
    "JWT-002": lambda forge: [forge.unsigned(name) for name in ("NoNe", "NONE", "nOnE", "none ", "", None)],
    "JWT-003": lambda forge: [forge(header={"alg": name}) for name in ("HS512", "HS384", "hs256", "HS256 ")],
    "JWT-004": lambda forge: [
        forge(key=pem) for key in [public_key()] for pem in (key, key.replace(b"\n", b"\r\n"), key.strip(), b" " + key)
    ],
    "JWT-005": lambda forge: [
        forge(header={name: value}, key=key)
        for name, value in {
            "jwk": {"kty": "oct", "k": encoded(b"the attacker's own key, of many bytes..")},
            "jku": "https://evil.example/keys",
            "x5u": "https://evil.example/chain",
            "x5c": ["AAAA"],
        }.items()
        for key in ("the attacker's own key, of many bytes..", None)
    ],
    "JWT-006": lambda forge: [
        forge(header={"kid": kid})
        for kid in ("../../dev/null", "' OR 1=1", "unknown", None, "", 0, ["a"], {"a": 1}, forge.header["kid"] + " ")
    ],
    "JWT-009": lambda forge: [forge(header={"crit": value}) for value in (["x"], ["b64"], [], "x", ["exp"])],
    "JWT-010": lambda forge: [
        *(forge.genuine + junk for junk in ("!", "!!!!", "=", "==", " x", ".", ".x", "A", "AAAA", "é", "%00")),
        *(f"{forge.head}{junk}.{forge.body}.{forge.signature}" for junk in ("!", "=")),
        # The last character has two bits to spare.
        forge.genuine[:-1] + B64[B64.index(forge.genuine[-1]) + 1],
    ],
    "JWT-011": lambda forge: [f"{forge.head}.{forge.body}.", f"{forge.head}.{forge.body}", forge.head],
    "JWT-012": lambda forge: [f"{forge.head}.{encoded({**forge.claims, 'tid': NOBODY})}.{forge.signature}"],
    "JWT-013": lambda forge: [forge(exp=None), forge(exp="4000000000"), forge(exp=4e9), forge(exp=True)],
    "JWT-014": lambda forge: [
        forge(exp=forge.claims["iat"] + int(timedelta(days=36_500).total_seconds())),
        forge(exp=forge.claims["iat"] + 901),
        forge(exp=10**400),
    ],
    "JWT-015": lambda forge: [forge(jti=None), forge(jti=1), forge(jti=["x"])],
    "JWT-020": lambda forge: [
        forge(aud=value)
        for value in (["other", "scrapersky-api"], ["scrapersky-api"], "other", "scrapersky", [], {}, "SCRAPERSKY-API")
    ],
    "JWT-021": lambda forge: [
        forge(iss=value) for value in ("other", None, "scraper", "scrapersky ", "", ["scrapersky"], 1)
    ],
    "JWT-022": lambda forge: [
        forge(exp=int(time.time()) - 1, iat=int(time.time()) - 900),
        forge(nbf=int(time.time()) + 600),
        forge(iat=int(time.time()) + 300, exp=int(time.time()) + 600),
        forge(nbf="later"),
        forge(iat=None),
    ],
    "JWT-023": lambda forge: [
        forge(tid=value)
        for value in (
            None, NOBODY, [forge.claims["tid"]], 1, f" {forge.claims['tid']}", f"{forge.claims['tid']} ",
            forge.claims["tid"].upper(), "{" + forge.claims["tid"] + "}", f"urn:uuid:{forge.claims['tid']}",
            forge.claims["tid"].replace("-", ""), forge.claims["tid"].replace("-", " "), "",
        )
    ],
}  # fmt: skip


# Those that take more than a token: what is done, and what must come of it.
def after(sql, expected):
    def case(forge, status, superuser_here, forget):
        assert status(forge.genuine) == 200
        superuser_here.execute(sql)
        forget()
        assert status(forge.genuine) == expected

    return case


def a_retired_key(forge, status, **_):
    assert (
        status(forge(header={"kid": key_id("a key that was retired long ago")}, key="a key that was retired long ago"))
        == 401
    )


def a_raised_role_in_the_token(forge, status, client, **_):
    token = forge(role="tenant_admin", roles=["tenant_admin"], permissions=["apikey:manage"])
    assert status(token) == 200  # what it says beside is not read
    assert client.get("/api/v2/api-keys", headers={"Authorization": f"Bearer {token}"}).status_code == 403


def a_leaked_test_key(**_):
    for known in ("secret", "test", "changeme" * 5, "a" * 64):
        with pytest.raises(ConfigurationError):
            load(
                environment="production",
                secret_key=known,
                database_url="postgresql://a:b@h/d",
                system_database_url="postgresql://c:d@h/d",
                redis_url="redis://h/0",
            )


def an_access_token_where_a_refresh_token_belongs(forge, client, **_):
    answers = [
        client.post(REFRESH, json={"refresh_token": forge.genuine}),
        client.post(REFRESH, headers={"Authorization": f"Bearer {forge.genuine}"}),
    ]
    assert [answer.status_code for answer in answers] == [401, 401]


def a_refresh_token_twice(forge, client, status, **_):
    newer = client.post(REFRESH, json={"refresh_token": forge.tokens["refresh_token"]}).json
    assert client.post(REFRESH, json={"refresh_token": forge.tokens["refresh_token"]}).status_code == 401
    assert client.post(REFRESH, json={"refresh_token": newer["refresh_token"]}).status_code == 401
    assert status(newer["access_token"]) == 401


def elsewhere_than_in_the_header(forge, client, **_):
    for path in (f"{ME}?jwt={forge.genuine}", f"{ME}?access_token={forge.genuine}"):
        assert client.get(path).status_code == 401
    client.set_cookie("access_token_cookie", forge.genuine)
    assert client.get(ME).status_code == 401


def several_schemes(forge, status, **_):
    for header in (
        f"Basic zzz, Bearer {forge.genuine}", f"Bearer {forge.genuine}, Basic zzz", f"Bearer {forge.genuine},x",
        f"Bearer {forge.genuine} {forge.genuine}", f"Bearer Bearer {forge.genuine}", forge.genuine,
    ):  # fmt: skip
        assert status(Authorization=header) == 401


def another_spelling_of_the_scheme(forge, status, **_):
    assert [status(Authorization=f"{word} {forge.genuine}") for word in ("bearer", "BEARER", "JWT")] == [401] * 3


def very_long_tokens(status, **_):
    assert [status(token) for token in ("a" * 1_000_000, "." * 5_000, "a." * 2_000, "." * 2)] == [401] * 4


def weak_keys(settings, queue, **_):
    for weak in ("", "k" * 31, "0123456789abcdef"):
        with pytest.raises(ConfigurationError):
            create_app(settings.model_copy(update={"secret_key": SecretStr(weak)}), queue=queue)


ACTED = {
    "JWT-007": a_retired_key,
    "JWT-018": an_access_token_where_a_refresh_token_belongs,
    "JWT-024": after("UPDATE users SET status = 'disabled'", 401),
    "JWT-025": a_leaked_test_key,
    "JWT-026": a_raised_role_in_the_token,
    "JWT-027": after("DELETE FROM user_roles", 401),
    "JWT-029": after("UPDATE users SET authz_version = authz_version + 1", 401),
    "JWT-030": a_refresh_token_twice,
    "JWT-034": elsewhere_than_in_the_header,
    "JWT-035": several_schemes,
    "JWT-037": another_spelling_of_the_scheme,
    "JWT-039": very_long_tokens,
    "JWT-040": weak_keys,
}
ELSEWHERE = {"JWT-008": "test_tokens_outlive_a_rotation_of_the_key, below"}


@pytest.fixture
def forget(app, database):
    """All caches are empty."""
    parts = app.extensions[KEY]

    def do():
        for cache in (parts.accounts.standings._cache, parts.rbac._cache):
            cache._entries.clear()

    return do


def test_no_forged_token_lets_in(forge, status):
    for name, make in FORGED.items():
        for number, token in enumerate(make(forge)):
            assert status(token) == 401, f"{name}: {number}"


@pytest.mark.parametrize("name", ACTED)
def test_nor_does_any_other_way(name, forge, status, client, superuser_here, forget, settings, queue):
    given = {"forge": forge, "status": status, "client": client, "superuser_here": superuser_here, "forget": forget}
    case = ACTED[name]
    wanted = case.__code__.co_varnames[: case.__code__.co_argcount]
    more = {**given, "settings": settings, "queue": queue}
    case(**{argument: more[argument] for argument in wanted})


def test_every_case_handed_to_us_is_one_of_these():
    if not CASES.exists():
        pytest.skip("no cases beside the project")
    named = {case["id"] for case in json.loads(CASES.read_text(encoding="utf-8")) if case["area"] == "jwt"}
    assert named == FORGED.keys() | ACTED.keys() | ELSEWHERE.keys()


# ---- our own -----------------------------------------------------------------------------------------------------


def test_what_only_resembles_a_token_is_refused(status):
    deep = encoded(b"[" * 1_500)
    odd = [
        f"{deep}.{deep}.AAAA",
        f"{encoded(b'null')}.{encoded(b'null')}.AAAA",
        f"{encoded(b'[]')}.{encoded(b'[]')}.AAAA",
        f"{encoded(b'1')}.{encoded(b'1')}.AAAA",
        f"{encoded(b'{}')}.{encoded(b'{}')}.AAAA",
        f"{encoded(bytes(40))}.{encoded(bytes(40))}.AAAA",
        "a.b.c.d.e",
        "..",
        "ssk_" + "0" * 32 + "_" + "A" * 43,
    ]
    assert [status(token) for token in odd] == [401] * len(odd)


def test_numbers_that_are_none_are_refused(forge, status):
    for text in (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"true", b'"1"'):
        for claim in ("exp", "iat", "nbf", "ver"):
            claims = {**forge.claims, claim: "PLACE"}
            body = encoded(json.dumps(claims).encode().replace(b'"PLACE"', text))
            signer = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
            signed = f"{forge.head}.{body}"
            token = f"{signed}.{encoded(signer.sign(signed.encode(), forge.secret.encode()))}"
            assert status(token) == 401, (text, claim)


def test_ids_in_another_spelling_are_refused(forge, status):
    for claim in ("sub", "sid"):
        genuine = forge.claims[claim]
        for value in (genuine.upper(), f"{{{genuine}}}", genuine.replace("-", ""), f" {genuine}", [genuine], NOBODY):
            assert status(forge(**{claim: value})) == 401, (claim, value)


def test_a_token_of_one_session_is_none_of_another(forge, status, client, new_user, settings):
    other = Forge(client, new_user("tenant_admin"), settings.secret_key.get_secret_value())
    for changes in ({"sub": other.claims["sub"]}, {"sid": other.claims["sid"]}):
        assert status(forge(**changes)) == 401
    assert UUID(other.claims["sid"])


def test_tokens_outlive_a_rotation_of_the_key(settings, queue, passwords, new_user, tmp_path):
    """Security A2, JWT-008: what a key signed counts while it may; then it does not (JWT-007)."""
    file = tmp_path / "keys.json"
    now = time.time()
    (old,) = signing.rotate(file, now=now - 2 * signing.OVERLAP_SECONDS)
    by_file = settings.model_copy(update={"secret_key": None, "signing_keys_file": file})
    app = create_app(by_file, queue=queue, passwords=passwords)
    email, client = new_user("viewer"), app.test_client()

    def token():
        return client.post(LOGIN, json={"email": email, "password": PASSWORD}).json["access_token"]

    def status(text):
        return client.get(ME, headers={"Authorization": f"Bearer {text}"}).status_code

    before = token()
    *_, fresh = signing.rotate(file, now=now, lead=0.0)
    keys: FileKeys = app.extensions["scrapersky-signing-keys"]
    keys._timer = lambda: time.monotonic() + 10
    assert jwt.get_unverified_header(token())["kid"] == fresh.id
    assert [status(before), status(token())] == [200, 200]
    keys._clock = lambda: now + signing.OVERLAP_SECONDS + 1
    assert jwt.get_unverified_header(before)["kid"] == old.id
    assert status(before) == 401
    app.extensions[KEY].database.close()
