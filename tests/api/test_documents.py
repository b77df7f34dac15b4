"""The OpenAPI document and the page that shows it."""

from __future__ import annotations

import json
import re

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from app.access import PERSONAL
from app.api.security import declared

UNDOCUMENTED = {"/docs", "/static/<path:name>"}  # pages for people


@pytest.fixture
def spec(client):
    return client.get("/openapi.json").json


def test_the_document_is_valid_openapi(spec):
    assert spec["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(spec).validate()


def test_every_route_is_in_it_with_its_access(app, spec):
    for rule, method, access in declared(app):
        if rule.rule in UNDOCUMENTED or method == "HEAD":
            continue
        path = re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule)
        operation = spec["paths"][path][method.lower()]
        assert operation["summary"], path
        assert operation["security"] == credentials(access), path
        if access.kind != "public":
            assert "401" in operation["responses"]
        if access.kind == "requires":
            assert operation["x-permission"] == str(access)
            assert operation.get("x-feature") == access.feature
            assert "403" in operation["responses"]


def test_every_status_is_documented_by_its_number(spec):
    for path, operations in spec["paths"].items():
        for method in {"get", "post", "put", "patch", "delete"} & set(operations):
            answers = set(operations[method]["responses"])
            assert "default" not in answers, f"{method} {path}"  # it would stand for every status
            assert "400" in answers
            assert not path.startswith("/api/") or {"422", "429", "503"} <= answers, f"{method} {path}"
            assert "{" not in path or "404" in answers, f"{method} {path}"


def test_every_body_in_json_is_shown_by_an_example_that_is_good(spec):
    for operations in spec["paths"].values():
        for method in {"post", "put", "patch"} & set(operations):
            content = operations[method].get("requestBody", {}).get("content", {}).get("application/json")
            if content is not None:
                schema = {**content["schema"], "components": spec["components"]}
                Draft202012Validator(schema).validate(content["example"])


def credentials(access):
    """What the document says that a route takes: API keys only where one could get in."""
    if access.kind == "public":
        return []
    keys = access.delegated and (access.kind == "authenticated" or set(access.permissions) - PERSONAL)
    return [{"bearer": []}, {"apiKey": []}] if keys else [{"bearer": []}]


def test_patterns_speak_of_the_whole_text(spec):
    patterns = re.findall(r'"pattern": "((?:[^"\\]|\\.)*)"', json.dumps(spec))
    assert patterns
    assert [text for text in patterns if not (text.startswith("^") and text.endswith("$"))] == []


def test_errors_are_documented_as_problems(spec):
    for response in spec["components"]["responses"].values():
        if "content" in response:
            assert list(response["content"]) == ["application/problem+json"]
    assert {"type", "title", "status", "detail", "code", "request_id"} <= set(
        spec["components"]["schemas"]["Problem"]["properties"]
    )


@pytest.mark.parametrize("path", ["/api/v2/batches", "/api/v2/batches/preflight"])
def test_the_terms_of_an_upload_are_documented(spec, path):
    parameters = {parameter["name"]: parameter for parameter in spec["paths"][path]["post"]["parameters"]}
    assert {"name", "priority", "on_invalid", "max_pages", "crawl_delay", "country"} <= set(parameters)
    assert (parameters["max_pages"]["in"], parameters["max_pages"]["schema"]["maximum"]) == ("query", 10_000)


def test_the_document_is_served_with_an_etag(client):
    first = client.get("/openapi.json")
    assert client.get("/openapi.json", headers={"If-None-Match": first.headers["ETag"]}).status_code == 304


def test_the_page_and_all_it_loads_come_from_here(client):
    page = client.get("/docs")
    assert page.status_code == 200
    assert page.mimetype == "text/html"
    assert "style=" not in page.text
    assert not re.search(r"<script(?![^>]*src=)", page.text)  # the policy forbids inline scripts
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(links) >= 3
    for link in links:
        assert link.startswith("/"), link
        assert not link.startswith("//"), link
        assert client.get(link).status_code == 200, link
    assert not re.search(r"https?://", page.text)
    assert not re.search(r"https?://", client.get("/static/docs/docs.js").text)


def test_vendored_code_carries_its_licence(client):
    assert "Apache License" in client.get("/static/vendor/swagger-ui/LICENSE").text


@pytest.mark.parametrize("name", ["../pages.py", "..%2fpages.py", "%2e%2e/pages.py", "/etc/passwd", "vendor"])
def test_nothing_else_of_the_disk_is_served(client, name):
    assert client.get(f"/static/{name}").status_code == 404
