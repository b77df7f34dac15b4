"""The OpenAPI document and the API, held to each other by requests made from the document, as each role."""

from __future__ import annotations

import os

import pytest

from app.access import BUILT_IN_ROLES, READ_ONLY
from app.api.openapi import document
from tests.api.samples import KEYS_OWN, Tenant, documented

EXAMPLES = int(os.environ.get("EXAMPLES", "100"))
HELD = {**BUILT_IN_ROLES, "anonymous": (), "api_key": KEYS_OWN, "break_glass": READ_ONLY}
DELEGATES = {"api_key", "break_glass"}


@pytest.fixture
def settings(settings):
    """Nobody is told to come back later, else most answers would be that."""
    return settings.model_copy(update={"login_rate": "1000000/minute", "request_rate": "1000000/minute"})


@pytest.mark.slow
@pytest.mark.timeout(180 + EXAMPLES)
@pytest.mark.parametrize("role", HELD)
def test_answers_are_as_documented(app, superuser_here, new_user, tenant_id, role, record_property):
    from tests.fuzz import api as fuzzing  # noqa: PLC0415 - schemathesis takes a while to import

    app.testing = False  # an exception is a 500, as it is to a client
    with app.app_context():
        spec = document(app)
    report = fuzzing.attack(app, spec, Tenant(app, superuser_here, new_user, tenant_id, role), examples=EXAMPLES)
    may = set(open_to(app, role))
    missed = may - report.succeeded
    row = {"examples": report.examples, "operations": report.operations, "findings": len(report.findings)}
    for name, value in {"role": role, **row, "succeeded": f"{len(may - missed)}/{len(may)}"}.items():
        record_property(name, value)
    assert not report.findings, "\n\n".join(f"{found}\n{said}" for found, said in report.findings.items())
    assert report.examples >= EXAMPLES
    assert len(missed) <= 0.2 * len(may), f"locked out of {sorted(missed)}? {report.answers}"


def open_to(app, role):
    """The operations that a role may call, by the declarations."""
    for path, method, access in documented(app):
        may = bool(set(HELD[role]) & set(access.permissions)) or (
            access.kind == "authenticated" and role != "anonymous"
        )
        if access.kind == "public" or (may and (access.delegated or role not in DELEGATES)):
            yield f"{method} {path}"
