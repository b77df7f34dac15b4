"""Requests made from the OpenAPI document, good ones and bad ones, and what is asked of each answer.

    make fuzz-api                         # 2,000 as each role; the suite makes fewer
    python -m tests.fuzz.api viewer --examples 50

The application is called directly, without a network. A request that succeeded may have ended the session, the account
or the tenant it was made with, so whoever attacks is somebody new after it; what a path may name is looked up each time.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.generation.feedback import FeedbackSources
from schemathesis.specs.openapi import checks

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]
# Good by the schema, and yet no domain, no cursor, a name nobody can see: what a schema has no words for.
BEYOND_SCHEMA = re.compile(
    r"/domain|/base_url|/domains|/domains/\d+|/lines/\d+|/name|/permissions(/\d+)?|/expires_at|/expires_in_days|/role"
    r"|/email|/password|/new|/reason|cursor|Idempotency-Key"
)
TERMS_IN_QUERY = {"POST /api/v2/batches", "POST /api/v2/batches/preflight"}
SPENT = "token_spent"
KEY_REUSED = "idempotency_key_reused"


class World(Protocol):
    """Where the attack takes place."""

    def headers(self) -> dict[str, str]:
        """Credentials that are good right now."""

    def renew(self) -> None:
        """Something was changed: put right what later requests need."""

    def named(self, before: str, path: str) -> str | None:
        """Something that is there for the parameter that stands after `before` in `path`; None: nothing is."""

    def body(self, operation: str) -> dict[str, Any]:
        """Fields that a body needs to lead anywhere."""


@dataclass
class Report:
    operations: int = 0
    examples: int = 0
    answers: Counter[int] = field(default_factory=Counter)
    succeeded: set[str] = field(default_factory=set)
    findings: dict[tuple[str, str], str] = field(default_factory=dict)


def attack(app: Any, document: dict[str, Any], world: World, *, examples: int) -> Report:
    """At least `examples` requests, half of them good by the document and half of them bad."""
    schema = _schema(app, document)
    operations = [result.ok() for result in schema.get_all_operations()]
    report = Report(operations=len(operations))
    waiting = [(operation, mode) for operation in operations for mode in GenerationMode if _varies(operation, mode)]
    while report.examples < examples and waiting:
        share = -(-(examples - report.examples) // len(waiting))
        waiting = [(operation, mode) for operation, mode in waiting if _try(operation, mode, share, world, report)]
    return report


def _varies(operation: Any, mode: GenerationMode) -> bool:
    """A path is free text: what names nothing is not wrong, and is 404."""
    return mode.is_positive or any((operation.query, operation.headers, operation.body))


def _schema(app: Any, document: dict[str, Any]) -> Any:
    document = deepcopy(document)  # an application has one
    # Credentials are the world's business: a request is not bad for a bad token.
    for operation in _operations(document):
        operation.pop("security", None)
    schema = schemathesis.openapi.from_dict(document)
    schema.config.generation.allow_x00 = False  # refused everywhere, as tests/api/test_problems.py shows
    bad = schema.config.checks.negative_data_rejection
    bad.expected_statuses = [*bad.expected_statuses, "413"]  # too large may be said before anything else
    schema.app = app
    return schema


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from (operation for operation in path.values() if isinstance(operation, dict))


def _try(operation: Any, mode: GenerationMode, share: int, world: World, report: Report) -> bool:
    """Whether there is more to try."""
    before = report.examples
    numbers = iter(range(share * 2))

    @settings(
        max_examples=share,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(mode, feedback=FeedbackSources()))
    def attempt(case: Any) -> None:
        if mode.is_positive and next(numbers, 1) % 2 == 0:
            _aim(case, world)
        _one(case, mode, world, report)

    try:
        attempt()
    except Unsatisfiable:
        return False
    return report.examples - before >= share


def _aim(case: Any, world: World) -> None:
    """Point it at something that is there."""
    for name in case.path_parameters:
        found = world.named(case.path.split(f"{{{name}}}")[0], case.path)
        if found is not None:
            case.path_parameters[name] = found
    wanted = world.body(case.operation.label)
    if wanted:
        case.body = {**(case.body if isinstance(case.body, dict) else {}), **wanted}
        case.media_type = "application/json"


def _one(case: Any, mode: GenerationMode, world: World, report: Report) -> None:
    response = case.call(headers=world.headers())
    report.examples += 1
    report.answers[response.status_code] += 1
    label = case.operation.label
    if response.status_code < 300:
        report.succeeded.add(label)
        if case.method.upper() not in {"GET", "HEAD"}:
            world.renew()
    try:
        case.validate_response(response, checks=CHECKS)
    except FailureGroup as group:
        for failure in group.exceptions:
            _note(report, label, type(failure).__name__, failure, case, response)
    if mode.is_positive and not _well_received(case, response):
        _note(report, label, "a good request was refused", response.text, case, response)


def _well_received(case: Any, response: Any) -> bool:
    """Whether a request that is good by its schema was answered with what it did, or with why it cannot be done."""
    if response.status_code == 422 and response.json().get("code") == KEY_REUSED:
        return True  # two requests made up the same key, as the second is told
    if response.status_code == 422:
        pointers = [error["pointer"] for error in response.json().get("errors", [])]
        # An upload has its terms in the query and JSON has them inside; OpenAPI knows only one list of parameters.
        elsewhere = set(case.query) if case.operation.label in TERMS_IN_QUERY else set()
        return bool(pointers) and all(name in elsewhere or BEYOND_SCHEMA.fullmatch(name) for name in pointers)
    if response.status_code == 400:
        return bool(response.json().get("code") == SPENT)
    return response.status_code not in {405, 413, 415}


def _note(report: Report, label: str, kind: str, what: object, case: Any, response: Any) -> None:
    curl = case.as_curl_command()
    report.findings.setdefault((label, kind), f"{response.status_code} {what}\n{curl}\n{response.text[:500]}")


class Table:
    """A pytest plugin that prints a line for each role as it is done."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        row = dict(report.user_properties)
        if report.when == "call" and "role" in row:
            print("\r" + LINE.format(*(str(row[name]) for name in COLUMNS)), flush=True)


COLUMNS = ("role", "examples", "operations", "succeeded", "findings")
LINE = "{:16}{:>10}{:>12}{:>11}{:>10}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("roles", nargs="*", metavar="ROLE", help="all without one")
    parser.add_argument("--examples", type=int, default=2_000, help="requests as each role (2000)")
    arguments = parser.parse_args()
    os.environ["EXAMPLES"] = str(arguments.examples)
    print(LINE.format(*COLUMNS))
    chosen = ["-k", " or ".join(f"[{role}]" for role in arguments.roles)] if arguments.roles else []
    return pytest.main(
        ["-qq", "--tb=short", "--disable-warnings", "-p", "no:randomly", "tests/api/test_schemathesis.py", *chosen],
        [Table()],
    )


if __name__ == "__main__":
    sys.exit(main())
