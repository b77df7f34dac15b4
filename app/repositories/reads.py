"""What a job meets at sitemap files, written down under its attempt's token: two statements, for however many files.

The first holds the job and finds the files' ids; the second writes what was met, what is still to be fetched and how
far the job is. Between them a file's URLs may land. Under any other token neither touches anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from app.errors import Aborted
from app.repositories import direct
from app.repositories.hashes import url_key
from app.repositories.jobs import NOT_OURS, Stats

EXPECTED_AT_ONCE = 1_000


class Read(NamedTuple):
    """What was met at one file. `whole`: it was read to its end, so that the next scan may ask whether it changed."""

    file_id: int
    parent_id: int | None
    discovered_by: str
    depth: int
    status: str
    kind: str
    http_status: int | None
    size: int
    url_count: int
    rejected: dict[str, int] | None
    error_code: str | None
    error_detail: str | None
    error_line: int | None
    etag: str | None
    last_modified: str | None
    content_hash: bytes | None
    children: list[str] | None
    whole: bool


class Expected(NamedTuple):
    """A file that an index names and the job has yet to fetch."""

    file_id: int
    parent_id: int
    depth: int


# Only the job that is held writes files of its domain: what this finds is all there is. The file about to land is
# locked as well, in place of a foreign key from each of its URLs.
_HOLD = direct.statement("""
    WITH held AS MATERIALIZED (
        SELECT domain_id FROM jobs WHERE tenant_id = :tenant AND id = :job AND lease_token = :token FOR UPDATE
    ), known AS MATERIALIZED (
        SELECT url_hash, id FROM sitemap_files
        WHERE tenant_id = :tenant AND domain_id = (SELECT domain_id FROM held)
          AND url_hash = ANY(CAST(:keys AS uuid[]))
    ), landing AS MATERIALIZED (
        SELECT url_hash, id FROM sitemap_files
        WHERE tenant_id = :tenant AND domain_id = (SELECT domain_id FROM held) AND url_hash = CAST(:landing AS uuid)
        FOR UPDATE
    ), added AS (
        INSERT INTO sitemap_files (tenant_id, domain_id, url_hash, url)
        SELECT :tenant, held.domain_id, named.url_hash, named.url
        FROM held, unnest(CAST(:keys AS uuid[]), CAST(:urls AS text[])) AS named (url_hash, url)
        WHERE named.url_hash NOT IN (SELECT url_hash FROM known)
        RETURNING url_hash, id
    )
    SELECT * FROM known UNION ALL SELECT * FROM landing UNION ALL SELECT * FROM added""")

_MET = """
    file_id bigint, parent_id bigint, discovered_by text, depth smallint, status text, kind text, http_status smallint,
    size bigint, url_count integer, rejected jsonb, error_code text, error_detail text, error_line integer, etag text,
    last_modified text, content_hash bytea, children text[], whole boolean"""
_KEPT = (
    "parent_id", "discovered_by", "depth", "status", "kind", "http_status", "size", "url_count", "rejected",
    "error_code", "error_detail", "error_line", "etag", "content_hash",
)  # fmt: skip

# What was partly read keeps no validators: the next scan must read it again.
_RECORD = direct.statement(f"""
    WITH held AS MATERIALIZED (
        SELECT id FROM jobs WHERE tenant_id = :tenant AND id = :job AND lease_token = :token FOR UPDATE
    ), met AS MATERIALIZED (
        SELECT met.* FROM held, jsonb_to_recordset(CAST(:met AS jsonb)) AS met ({_MET})
    ), unchanged AS (
        UPDATE sitemap_files f SET last_scan = :scan, gone_scan = NULL, removed_at = NULL
        FROM met WHERE f.tenant_id = :tenant AND f.id = met.file_id AND met.status = 'unchanged'
    ), read AS (
        UPDATE sitemap_files f
        SET kind = met.kind, url_count = met.url_count, children = met.children, last_scan = :scan, gone_scan = NULL,
            removed_at = NULL, etag = CASE WHEN met.whole THEN met.etag END,
            last_modified = CASE WHEN met.whole THEN met.last_modified END,
            content_hash = CASE WHEN met.whole THEN met.content_hash END
        FROM met WHERE f.tenant_id = :tenant AND f.id = met.file_id AND met.status IN ('read', 'partial')
    ), recorded AS (
        INSERT INTO sitemap_reads (tenant_id, job_id, file_id, read_at, {", ".join(_KEPT)})
        SELECT :tenant, :job, file_id, now(), {", ".join(_KEPT)} FROM met
        ON CONFLICT (tenant_id, job_id, file_id) DO UPDATE
        SET read_at = now(), {", ".join(f"{name} = excluded.{name}" for name in _KEPT)}
    ), expected AS (
        INSERT INTO sitemap_reads (tenant_id, job_id, file_id, parent_id, depth, discovered_by, status)
        SELECT :tenant, held.id, file.*, 'index', 'pending'
        FROM held, unnest(CAST(:files AS bigint[]), CAST(:parents AS bigint[]), CAST(:depths AS smallint[])) AS file
        ON CONFLICT DO NOTHING
    )
    UPDATE jobs SET progress = greatest(progress, :progress), stats = CAST(:stats AS jsonb),
                    lease_until = clock_timestamp() + make_interval(secs => :lease)
    FROM held WHERE jobs.tenant_id = :tenant AND jobs.id = :job""")


class Reads:
    def __init__(self, session: Session, tenant_id: UUID) -> None:
        self._session = session
        self._tenant_id = tenant_id

    def hold(self, job_id: UUID, token: UUID, urls: Iterable[str], *, landing: str | None = None) -> dict[str, int]:
        """Hold the job; the ids of these files of its domain, by URL, new ones made. `landing` is locked with it.

        :raises Aborted: another attempt owns the job, or it has ended
        """
        keys = {url_key(url): url for url in urls}
        values = {
            "tenant": self._tenant_id, "job": job_id, "token": token,
            "keys": list(keys), "urls": list(keys.values()), "landing": landing and url_key(landing),
        }  # fmt: skip
        found = direct.run(self._session, _HOLD, values).fetchall()
        if not found:
            raise Aborted(NOT_OURS)
        return {keys[key]: number for key, number in found}

    def record(
        self,
        job_id: UUID,
        token: UUID,
        met: Sequence[Read],
        expected: Sequence[Expected],
        *,
        scan_no: int,
        percent: int,
        stats: Stats,
        lease: float,
    ) -> None:
        """Write down what was met, and prolong the lease: landing a large file may have outlasted it.

        Each file comes once; what is `expected` and was met before stays as it was.

        :raises Aborted: another attempt owns the job, or it has ended
        """
        told: dict[str, Any] = {
            "tenant": self._tenant_id, "job": job_id, "token": token, "scan": scan_no, "progress": min(percent, 99),
            "stats": json.dumps(stats), "lease": lease,
        }  # fmt: skip
        files = {one.file_id for one in met}
        firsts = {one.file_id: one for one in reversed(expected)}
        wanted = [one for one in firsts.values() if one.file_id not in files]
        self._run({**told, "met": json.dumps([one._asdict() for one in met], default=_bytea)}, wanted)

    def _run(self, told: Mapping[str, Any], expected: Sequence[Expected]) -> None:
        some, more = expected[:EXPECTED_AT_ONCE], expected[EXPECTED_AT_ONCE:]
        files, parents, depths = (list(column) for column in zip(*some, strict=True)) if some else ([], [], [])
        values = {**told, "files": files, "parents": parents, "depths": depths}
        if not direct.run(self._session, _RECORD, values).rowcount:
            raise Aborted(NOT_OURS)
        if more:
            self._run({**told, "met": "[]"}, more)


def _bytea(value: bytes) -> str:
    r"""
    >>> _bytea(b"\x01\xff")
    '\\x01ff'
    """
    return rf"\x{value.hex()}"
