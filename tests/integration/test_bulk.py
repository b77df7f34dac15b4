"""Rows staged in bulk arrive as they were, whatever is in them."""

from __future__ import annotations

import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.repositories import bulk
from app.repositories.batches import Line

CREATE = "CREATE TEMP TABLE IF NOT EXISTS staged_test (n int, a text, b text) ON COMMIT DELETE ROWS"
NASTY = [
    "",
    "\\N",
    "\\.",
    "\\",
    "\t",
    "a\tb",
    "line\nbreak",
    "cr\rlf\r\n",
    "\x1e\x1f\x01",
    "ü🙂",
    "''",
    '"',
    "\\n",
    "x" * 9_000,
]


def arrived(database, tenant_id, rows):
    with database.for_tenant(tenant_id) as uow:
        assert bulk.stage(uow.session, CREATE, "staged_test", ("n", "a", "b"), bulk.batched(rows)) == len(rows)
        return [tuple(row) for row in uow.session.execute(sa.text("SELECT n, a, b FROM staged_test ORDER BY n"))]


def test_text_that_copy_would_read_as_its_own_signs(database, tenant_id):
    rows = [(n, text, None if n % 2 else text) for n, text in enumerate(NASTY)]
    assert arrived(database, tenant_id, rows) == rows


text = st.one_of(st.none(), st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20))


@hypothesis_settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=st.lists(st.tuples(text, text), max_size=30))
def test_any_text_arrives_as_it_was(database, tenant_id, pairs):
    rows = [(n, *pair) for n, pair in enumerate(pairs)]
    assert arrived(database, tenant_id, rows) == rows


def test_more_rows_than_one_buffer(database, tenant_id):
    rows = [(n, str(n) * 20, None) for n in range(5_000)]
    assert arrived(database, tenant_id, rows) == rows


def test_plans_made_for_a_few_rows_are_not_those_for_many(database, tenant_id, superuser_here):
    """A connection keeps plans, also those by which a job's domain is looked up; of a small table it reads the whole."""
    for n in range(12):
        submitted(database, tenant_id, n, 1)
    superuser_here.execute("ANALYZE domains")
    for n in range(12, 24):
        submitted(database, tenant_id, n, 1)
    assert submitted(database, tenant_id, 24, 3_000) < 3_000 * 10


def submitted(database, tenant_id, n, count):
    """How many rows of `domains` it took to take in a batch of so many."""
    lines = (Line(at, host, host, "/", None, None) for at in range(count) if (host := f"h{at}.b{n}.example"))
    with database.for_tenant(tenant_id) as uow:
        uow.batches.land(uow.batches.add(name=None, options={}, priority=5, created_by=None), lines, max_attempts=3)
        read = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'domains'"
        taken = uow.session.scalar(sa.text(read))
        uow.commit()
    return taken
