"""The documents hold to the code: settings, endpoints, permissions, commands, links, examples."""

from __future__ import annotations

import ast
import doctest
import re
import shlex
from importlib.util import module_from_spec, spec_from_file_location
from itertools import takewhile
from pathlib import Path

import click
import pytest
import yaml

from app.api.security import declared
from app.cli.main import COMMANDS, main
from app.errors import SCAN_FAILURES
from app.settings import Settings
from models.states import JobStatus
from tests.chaos.scenarios import SCENARIOS
from tests.guards.tree import ROOT, files

DOCUMENTS = sorted(path for path in files() if path.suffix == ".md" and "vendor" not in path.parts)
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
TEXTS = {name: path.read_text(encoding="utf-8") for name, path in zip(NAMES, DOCUMENTS, strict=True)}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_ACCESS = "`[a-z:]+`(?: or `[a-z:]+`)*|public|authenticated"
ENDPOINT = re.compile(rf"^\| `([A-Z]+) (/[^`]*)` \|.*\| ({_ACCESS}) \|$", re.MULTILINE)
TARGET = re.compile(r"^([a-z-]+):.*## ", re.MULTILINE)
REQUIREMENT = "[FP][0-9]{1,2}|A[1-6]|D[1-4]|Q6"  # of the security page
# Names of the contract that compose or the tests give to somebody else than the program.
COMPOSE = set(re.findall(r"SCRAPERSKY_\w+", (ROOT / ".env.example").read_text(encoding="utf-8")))


def fenced(text, *languages):
    return [body for language, body in FENCE.findall(text) if language in languages]


def test_the_documents_are_found():
    assert {"README.md", "CONTRIBUTING.md", "docs/api.md", "docs/adr/README.md"} <= set(NAMES)


def test_generated_tables_are_up_to_date():
    tables = _script("tables.py")
    written = {name for name in tables.DOCUMENTS if "<!-- table: " in TEXTS[f"docs/{name}"]}
    assert written == set(tables.DOCUMENTS)
    for name in tables.DOCUMENTS:
        text = TEXTS[f"docs/{name}"]
        assert text == tables.filled(text), f"run .venv/bin/python docs/tables.py; docs/{name} should be as shown"


def test_every_setting_is_in_its_table_with_a_description():
    rows = re.findall(r"^\| `SCRAPERSKY_(\w+)` \| [^|]+ \| \S.* \|$", TEXTS["docs/configuration.md"], re.MULTILINE)
    assert sorted(rows) == sorted(name.upper() for name in Settings.model_fields)


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_named_exists(name):
    known = {f"SCRAPERSKY_{field.upper()}" for field in Settings.model_fields} | COMPOSE
    named = set(re.findall(r"\bSCRAPERSKY_[A-Z_]*[A-Z]\b", TEXTS[name]))
    assert named <= known, named - known


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    here = (ROOT / name).parent
    for link in LINK.findall(TEXTS[name]):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (here / path).resolve() if path else ROOT / name
        assert target.exists(), link
        if anchor:
            assert anchor in _anchors(target.read_text(encoding="utf-8")), link


def test_every_document_can_be_reached_from_the_readme():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        document = waiting.pop()
        if document in reached or document.suffix != ".md":
            continue
        reached.add(document)
        for link in LINK.findall(document.read_text(encoding="utf-8")):
            if not re.match(r"[a-z]+:|#", link):
                waiting.append((document.parent / link.partition("#")[0]).resolve())
    assert set(DOCUMENTS) <= reached


@pytest.mark.parametrize("name", NAMES)
def test_every_command_named_exists(name):
    assert set(re.findall(r"manage\.py ([a-z][a-z-]*)", TEXTS[name])) <= set(COMMANDS)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_shown_can_be_parsed(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for file in ("domains.csv",):  # a list of the reader's own
        Path(file).touch()
    for body in fenced(TEXTS[name], "sh"):
        for line in body.splitlines():
            words = shlex.split(line, comments=True)
            if "manage.py" not in " ".join(words) or line.startswith("#"):
                continue
            start = next(place for place, word in enumerate(words) if word.endswith("manage.py"))
            command, *rest = takewhile(lambda word: word not in {"|", ">"}, words[start + 1 :])
            found = main.get_command(click.Context(main), command)
            assert found is not None, line
            found.make_context(command, rest)


@pytest.mark.parametrize("name", NAMES)
def test_every_make_target_named_exists(name):
    targets = set(TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
    assert targets
    quoted = re.findall(r"`make ([a-z][a-z-]*)", TEXTS[name])
    shown = re.findall(r"^make ([a-z][a-z-]*)", "\n".join(fenced(TEXTS[name], "sh")), re.MULTILINE)
    assert {*quoted, *shown} <= targets


@pytest.mark.parametrize("name", NAMES)
def test_compose_services_named_exist(name):
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    scaled = re.findall(r"--scale (\w+)=", TEXTS[name])
    entered = re.findall(r"docker compose exec (\w+)", TEXTS[name])
    assert {*scaled, *entered} <= set(services)


def test_every_endpoint_is_documented_with_its_permission_and_none_besides(app):
    documented = [
        (method, _shape(path), access.replace("`", ""))
        for method, path, access in ENDPOINT.findall(TEXTS["docs/api.md"])
    ]
    true = {
        (method, _shape(rule.rule), str(access))
        for rule, method, access in declared(app)
        if method not in {"HEAD", "OPTIONS"}
    }
    assert len(documented) == len(set(documented))
    assert set(documented) == true


def test_error_codes_named_exist():
    named = re.findall(r"jobs fail with `(\w+)`", TEXTS["docs/operations.md"])
    assert named
    assert set(named) <= set(SCAN_FAILURES)


def test_every_promise_names_what_shows_it_and_every_scenario_shows_one():
    rows = re.findall(r"^\| .+\. \| .+ \| (.+) \|$", TEXTS["docs/guarantees.md"], re.MULTILINE)
    named = [name for row in rows for names in re.findall("`--only ([^`]+)`", row) for name in names.split(",")]
    assert len(rows) >= 15
    assert all("`--only " in row for row in rows)
    assert set(named) == SCENARIOS.keys()


def test_every_state_of_a_job_is_drawn():
    drawn = TEXTS["docs/job-lifecycle.md"]
    for status in JobStatus:
        assert re.search(rf"--> {status.value}\b", drawn), status


@pytest.mark.parametrize("name", [name for name in NAMES if fenced(TEXTS[name], "python")])
def test_python_examples_are_true(name):
    for body in fenced(TEXTS[name], "python"):
        example = doctest.DocTestParser().get_doctest(body, {}, name, name, 0)
        assert example.examples
        assert doctest.DocTestRunner().run(example).failed == 0


def test_the_roles_in_operations_are_those_compose_makes():
    def statements(text):
        kept = re.findall(r"^(?:CREATE|REVOKE|GRANT) .*;$", text, re.MULTILINE)
        return [re.sub(r"PASSWORD \S+;", "PASSWORD;", line) for line in kept]

    script = (ROOT / "deploy" / "postgres-roles.sh").read_text(encoding="utf-8")
    sql, *_ = fenced(TEXTS["docs/operations.md"], "sql")
    assert statements(sql) == statements(script) != []


def test_the_picture_is_small_and_loads_nothing_from_elsewhere():
    picture = ROOT / "docs" / "images" / "demo.svg"
    assert picture.stat().st_size < 200_000
    text = picture.read_text(encoding="utf-8")
    assert "url(http" not in text.replace('"', "").replace("'", "")
    assert "8&#160;complete,&#160;0&#160;failed" in text


def test_the_picture_is_the_last_state_of_the_terminal():
    told = doctest.testmod(_script("images/demo.py"))
    assert told.attempted
    assert not told.failed


def _script(name):
    """A script under docs/, which are in no package."""
    spec = spec_from_file_location(f"docs_{Path(name).stem}", ROOT / "docs" / name)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _anchors(text):
    """As GitHub makes them of headings."""
    plain = FENCE.sub("", text)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(plain)}


def _shape(path):
    """A path whatever its parameters are called: {id}, <key>, <path:key>."""
    return re.sub(r"\{[^}]*\}|<[^>]*>", "{}", path)


def test_every_line_of_the_security_page_has_tests_that_name_it():
    lines = set(re.findall(rf"^\| ({REQUIREMENT}) \| \S", TEXTS["docs/security.md"], re.MULTILINE))
    named = {name for path in (ROOT / "tests").rglob("test_*.py") for name in _named_in(path)}
    assert lines == named


def _named_in(path):
    """The names in the docstrings of a test file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield from re.findall(rf"\b(?:{REQUIREMENT})\b", ast.get_docstring(node) or "")
