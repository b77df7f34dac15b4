"""A worker process's parts in this process: real database, real broker, a real site on loopback."""

from __future__ import annotations

import threading

import pytest
from pydantic import SecretStr

from app.repositories.batches import Line
from app.scanning.urls import site as parse_site
from app.settings import parse_connect_to
from tests.site_server import serving
from workers import scan
from workers.runtime import Runtime


class Web:
    """Sites made of a dict: (host, path) → body, or (status, headers, body), or a function without arguments."""

    def __init__(self):
        self.resources = {}
        self.server = None

    def __call__(self, host, path):
        found = self.resources.get((host, path))
        if callable(found):
            found = found()
        if isinstance(found, bytes):
            return 200, {}, found
        return found

    def asked(self, path):
        return sum(1 for _, asked in self.server.requests if asked == path)

    def gate(self, host, path, body):
        """A resource that waits: answers (somebody asked, let go) events."""
        asked, go = threading.Event(), threading.Event()

        def wait():
            asked.set()
            go.wait(30)
            return 200, {}, body

        self.resources[host, path] = wait
        return asked, go


@pytest.fixture
def web(tmp_path):
    web = Web()
    with serving(web, tmp_path, ["a.example"], tls_hosts={"a.example"}) as server:
        web.server = server
        yield web


@pytest.fixture
def worker_settings(settings, valkey_url, web):
    rules = (f"*:443:127.0.0.1:{web.server.https_port}", f"*:80:127.0.0.1:{web.server.http_port}")
    return settings.model_copy(
        update={
            "redis_url": SecretStr(valkey_url),
            "connect_to": tuple(parse_connect_to(rule) for rule in rules),
            "ca_file": web.server.ca_file,
            "lease_seconds": 8.0,
            "retry_base_seconds": 0.0,
        }
    )


@pytest.fixture
def runtime(worker_settings):
    runtime = Runtime(worker_settings, name="test")
    runtime.queue._redis.flushdb()
    runtime.leases.start()
    yield runtime
    runtime.stop()


@pytest.fixture
def submit(database, tenant_id):
    """`submit("http://a.example/")` → the ids of a new batch and of its one job."""

    def make(base="http://a.example/", **options):
        address = parse_site(base)
        named = address.scheme if address.scheme_named else None
        with database.for_tenant(tenant_id) as uow:
            batch = uow.batches.add(name=None, options=options, priority=5, created_by=None)
            uow.batches.land(batch, [Line(1, base, address.authority, address.path, named, None)], max_attempts=3)
            (view,) = uow.jobs.listing(limit=2, cursor=None, batch_id=batch.id).items
            uow.commit()
        return batch.id, view.job.id

    return make


@pytest.fixture
def look(database, tenant_id):
    """`look(job_id)` → the job with its domain, as the database has it now."""

    def read(job_id):
        with database.for_tenant(tenant_id) as uow:
            return uow.jobs.get(job_id)

    return read


@pytest.fixture
def dispatch(database):
    """`dispatch()`: all that is due is handed out. Answers the rows by job."""

    def run():
        with database.system() as uow:
            uow.queue.wake()
            rows = uow.queue.dispatch(express=100, scans=100, slots=100, patience=60)
            rows += uow.queue.dispatch_quarantined(patience=60)
            uow.commit()
        return {row.job_id: row for row in rows}

    return run


@pytest.fixture
def work(runtime, dispatch, look):
    """`work(job_id)`: dispatch what is due, as a worker would be told, and run that job here. Answers the job."""

    def run(job_id):
        row = dispatch()[job_id]
        scan.run(runtime, row.tenant_id, row.job_id, row.dispatch_no)
        return look(job_id)

    return run


@pytest.fixture
def urls_of(database, tenant_id):
    def read(job_id):
        with database.for_tenant(tenant_id) as uow:
            job = uow.jobs.get(job_id).job
            return sorted(view.row.url for view in uow.inventory.urls(job, limit=1000, cursor=None).items)

    return read
