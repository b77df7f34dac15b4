"""No transaction is open while a socket to a site is."""

from __future__ import annotations

import threading

import pytest

HOST = "a.example"
URLSET = f"<urlset><url><loc>http://{HOST}/1</loc></url></urlset>".encode()


@pytest.mark.parametrize("path", ["/robots.txt", "/sitemap.xml", "/"])
def test_while_a_site_is_slow_no_connection_is_inside_a_transaction(web, path, submit, work, superuser_here, look):
    bodies = {
        "/robots.txt": f"Sitemap: http://{HOST}/sitemap.xml".encode(),
        "/sitemap.xml": URLSET,
        "/": b"<title>x</title>",
    }
    web.resources |= {(HOST, name): body for name, body in bodies.items()}
    asked, go = web.gate(HOST, path, bodies[path])
    _, job_id = submit()
    worker = threading.Thread(target=work, args=(job_id,))
    worker.start()
    assert asked.wait(20)
    inside = superuser_here.execute(
        "SELECT usename, state, query FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'"
    ).fetchall()
    go.set()
    worker.join(20)
    assert inside == []
    assert look(job_id).job.status == "complete"
