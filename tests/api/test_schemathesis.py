"""The OpenAPI document and the API, held to each other by requests made from the document, as each role."""

from __future__ import annotations

import os

import pytest

from app.access import BUILT_IN_ROLES
from app.api.openapi import document
from tests.api.samples import Tenant, documented

EXAMPLES = int(os.environ.get("EXAMPLES", "100"))
ROLES = ("anonymous", *BUILT_IN_ROLES)


@pytest.fixture
def settings(settings):
    """Nobody is told to come back later, else most answers would be that."""
    return settings.model_copy(update={"login_rate": "1000000/minute", "request_rate": "1000000/minute"})


@pytest.mark.slow
@pytest.mark.timeout(180 + EXAMPLES)
@pytest.mark.parametrize("role", ROLES)
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
    held = set(BUILT_IN_ROLES.get(role, ()))
    for path, method, access in documented(app):
        known = role != "anonymous"
        if access.kind == "public" or (known and (access.kind == "authenticated" or held & set(access.permissions))):
            yield f"{method} {path}"
