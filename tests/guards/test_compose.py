"""docker-compose.yml and the Dockerfile, as far as a machine without a container engine can hold them to the code."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from app.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
KNOWN = {f"SCRAPERSKY_{name.upper()}" for name in Settings.model_fields}
OURS = ("migrate", "api", "worker", "flower")


def environment(service):
    return service.get("environment", {})


def test_every_variable_our_containers_get_is_a_setting():
    for name in OURS:
        unknown = {key for key in environment(SERVICES[name]) if key.startswith("SCRAPERSKY_")} - KNOWN
        assert not unknown, name


def test_only_the_migration_step_gets_the_owner():
    holders = {name for name in SERVICES if "SCRAPERSKY_OWNER_DATABASE_URL" in environment(SERVICES[name])}
    assert holders == {"migrate"}


def test_each_variable_compose_asks_for_is_in_the_example():
    asked = set(re.findall(r"\$\{(SCRAPERSKY_\w+)", (ROOT / "docker-compose.yml").read_text()))
    example = set(re.findall(r"^#? ?(SCRAPERSKY_\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert asked <= example, asked - example


def test_everything_waits_for_what_it_needs():
    for name, service in SERVICES.items():
        for needed, condition in service.get("depends_on", {}).items():
            assert needed in SERVICES, name
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[needed], (name, needed)


def test_nothing_is_published_to_the_world_and_servers_not_at_all():
    assert not SERVICES["postgres"].get("ports")
    assert not SERVICES["redis"].get("ports")
    for name in ("api", "flower"):
        for port in SERVICES[name]["ports"]:
            assert ":-127.0.0.1:" in port, (name, port)


def test_the_worker_can_be_scaled():
    worker = SERVICES["worker"]
    assert not worker.get("ports")
    assert not worker.get("container_name")


def test_named_volumes_are_declared():
    declared = set(COMPOSE["volumes"])
    used = {v.split(":")[0] for s in SERVICES.values() for v in s.get("volumes", []) if not v.startswith(".")}
    assert used == declared


def test_the_image_runs_without_root_and_holds_every_room():
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^USER scrapersky$", dockerfile, re.MULTILINE)
    for room in ("app", "workers", "models", "migrations", "manage.py", "celeryconfig.py"):
        assert re.search(rf"^COPY .*\b{re.escape(room)}\b", dockerfile, re.MULTILINE), room


def test_the_roles_script_names_the_roles_compose_signs_in_with():
    script = (ROOT / "deploy" / "postgres-roles.sh").read_text()
    used = set(re.findall(r"postgresql\+psycopg://(\w+):", (ROOT / "docker-compose.yml").read_text()))
    assert used == set(re.findall(r"CREATE ROLE (\w+) ", script))
