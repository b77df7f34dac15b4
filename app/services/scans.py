"""One running attempt of one job: claim it, write down what the scan finds, end it.

Every write is fenced by the attempt's token and short; no transaction is open while the scan fetches. After each
sitemap file that was read the job has a checkpoint: the next attempt goes on from there. What costs a host next to
nothing to be asked again, unchanged files and pages, is written with what comes next, or after a moment.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from itertools import chain
from typing import Any, Final, cast
from uuid import UUID, uuid4

from app import points
from app.errors import Conflict, ScanFailed
from app.repositories.hashes import url_digest
from app.repositories.inventory import Stored, UrlRow, extras_json
from app.repositories.jobs import Claimed, Held, JobError
from app.repositories.reads import Expected, Read
from app.scanning import page_types
from app.scanning.urls import site as parse_site
from app.scanning.values import (
    Candidate,
    DiscoveredBy,
    DocumentKind,
    Event,
    FileStatus,
    Home,
    Interrupted,
    Limits,
    Page,
    PageRead,
    Resume,
    RobotsRead,
    ScanFinished,
    ScanOptions,
    ScanStats,
    Site,
    SitemapFile,
    SitemapRead,
    StoredFile,
    UrlEntry,
)
from app.services.quotas import UNLIMITED, Allowance
from app.unit_of_work import Database, TenantUnit

LONGEST_RETRY = 3_600.0
WAIT_SECONDS = 5.0  # that what may be asked for again waits to be written, and how much of it does
WAITING_AT_MOST = 200
EXTRAS = ("images", "videos", "news", "alternates", "mobile", "pagemap")
PAGE_COLUMNS = ("title", "description", "language", "page_type")
PAGE_READ_FIELDS = ("url", "final_url", "http_status", "partial", "problem", "links", *PAGE_COLUMNS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A claimed job with everything a scan needs. `seconds_left` of the job's own time limit, at the claim."""

    tenant_id: UUID
    job_id: UUID
    domain_id: UUID
    token: UUID
    attempt: int
    scan_no: int
    site: Site
    options: ScanOptions
    limits: Limits
    resume: Resume
    seconds_left: float
    follows: bool = False  # the scan before this one read the whole tree and ended


def claim(
    database: Database,
    *,
    tenant_id: UUID,
    job_id: UUID,
    dispatch_no: int,
    lease: float,
    worker: str,
    allowance: Allowance = UNLIMITED,
) -> Assignment | None:
    """Make the job ours; None when the message is stale, its batch paused or its domain busy.

    The commit does not wait for the disk. Should PostgreSQL crash within a moment and forget the claim, the job is
    queued as it was and is sent again like any whose message is lost, and this attempt, whose token is nowhere, writes
    nothing: no later commit can outlive an earlier one.
    """
    token = uuid4()
    try:
        with database.for_tenant(tenant_id, durable=False) as uow:
            claimed = uow.jobs.claim(job_id, dispatch_no=dispatch_no, token=token, lease=lease, worker=worker)
            if claimed is None:
                uow.jobs.give_back(job_id, dispatch_no=dispatch_no)
            assignment = _assignment(uow, job_id, token, claimed, allowance) if claimed else None
            uow.commit()
    except Conflict:
        give_back(database, tenant_id=tenant_id, job_id=job_id, dispatch_no=dispatch_no)
        return None
    if assignment is not None:
        points.reached("claimed", job_id)
    return assignment


def give_back(database: Database, *, tenant_id: UUID, job_id: UUID, dispatch_no: int) -> None:
    """A message that nobody acts on here: its job is due again."""
    with database.for_tenant(tenant_id) as uow:
        uow.jobs.give_back(job_id, dispatch_no=dispatch_no)
        uow.commit()


def _assignment(uow: TenantUnit, job_id: UUID, token: UUID, claimed: Claimed, allowance: Allowance) -> Assignment:
    options = allowance.narrow(options_from(claimed.options or {}))
    named = claimed.scheme is not None
    address = parse_site(f"{claimed.scheme or 'https'}://{claimed.host}{claimed.path}")
    scheme = cast("Any", claimed.scheme if named else claimed.learnt_scheme)
    return Assignment(
        tenant_id=uow.tenant_id,
        job_id=job_id,
        domain_id=claimed.domain_id,
        token=token,
        attempt=claimed.attempt,
        scan_no=claimed.scan_no,
        site=Site(host=address.host, port=address.port, path=address.path, scheme=scheme, scheme_named=named),
        options=options,
        limits=Limits(urls=allowance.room(claimed.kept_urls)),
        resume=Resume() if claimed.fresh else _resume(uow, job_id, claimed),
        seconds_left=options.timeout_seconds - claimed.spent_seconds,
        follows=claimed.follows,
    )


def options_from(stored: dict[str, Any]) -> ScanOptions:
    """Stored options were checked when they were accepted; names a newer release no longer knows are left out."""
    known = {field.name for field in fields(ScanOptions)}
    return ScanOptions(**{name: value for name, value in stored.items() if name in known})


def _resume(uow: TenantUnit, job_id: UUID, claimed: Claimed) -> Resume:
    """Where the job's earlier attempts got to."""
    reads = uow.inventory.all_reads(job_id)
    again = ("pending", "failed")  # a new attempt gives what failed another chance
    done = {view.url: cast("FileStatus", view.read.status) for view in reads if view.read.status not in again}
    pending = [
        Candidate(
            url=view.url,
            discovered_by=cast("DiscoveredBy", view.read.discovered_by),
            parent=view.parent_url,
            depth=view.read.depth,
        )
        for view in reads
        if view.read.status in again
    ]
    kept = claimed.checkpoint or {}
    known = {candidate.url for candidate in pending} | done.keys()
    return Resume(
        done=done,
        pending=pending + [c for c in (Candidate(**told) for told in kept.get("pending", ())) if c.url not in known],
        missed=frozenset(kept.get("missed", ())),
        home=Home(**kept["home"]) if kept.get("home") else None,
        pages_done=frozenset(uow.pages.urls_of_job(job_id)),
        stats=stats_from(claimed.stats),
    )


def stats_from(stored: dict[str, Any] | None) -> ScanStats:
    known = {field.name for field in fields(ScanStats)}
    return ScanStats(**{name: int(value) for name, value in (stored or {}).items() if name in known})


class StoredInventory:
    """`app.scanning.values.Inventory` over PostgreSQL: each answer is a transaction of its own, or none.

    A scan asks for some twenty names of which a site has one or two, so what is stored is read once.
    """

    def __init__(self, database: Database, assignment: Assignment) -> None:
        self._database = database
        self._assignment = assignment
        self._files: dict[str, StoredFile] | None = {} if assignment.scan_no == 1 else None

    def stored_file(self, url: str) -> StoredFile | None:
        if self._files is None:
            with self._database.for_tenant(self._assignment.tenant_id) as uow:
                kept = uow.inventory.stored_files(self._assignment.domain_id)
            self._files = {file.url: _stored(file) for file in kept}
        return self._files.get(url)

    def page_candidates(self, limit: int) -> Sequence[str]:
        with self._database.for_tenant(self._assignment.tenant_id) as uow:
            return uow.inventory.first_urls(self._assignment.domain_id, limit)


def _stored(file: Stored) -> StoredFile:
    return StoredFile(
        url=file.url,
        kind=cast("DocumentKind", file.kind),
        etag=file.etag,
        last_modified=file.last_modified,
        content_hash=file.content_hash,
        url_count=file.url_count,
        children=tuple(file.children or ()),
    )


class Recorder:
    """Writes a scan's events down, in fenced transactions. `check` is asked between the rows of a file.

    Time spent counts from when this is made: in all attempts, for the job's own limit.
    """

    def __init__(
        self,
        database: Database,
        assignment: Assignment,
        *,
        lease: float,
        check: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._assignment = assignment
        self._lease = lease
        self._check = check
        self._clock = clock
        self._claimed = self._written = clock()
        self._unchanged: list[SitemapRead] = []
        self._pages: list[PageRead] = []
        self._interrupted: Interrupted | None = None
        self._scheme: str | None = None
        self.stats = assignment.resume.stats

    def take(self, event: Event) -> None:
        """:raises Aborted: another attempt owns the job, or it has ended"""
        match event:
            case RobotsRead():
                self._scheme = event.scheme
            case SitemapRead():
                self.stats = event.stats
                self._sitemap(event)
            case PageRead():
                self.stats = event.stats
                self._pages.append(event)
                self._write_soon()
            case Interrupted():
                self._interrupted = event
                self.stats = event.stats
            case ScanFinished():
                self._finished(event)

    def asked(self, requests: int, received: int) -> None:
        """What this attempt asked and got: a scan that fails before its first event has told nobody."""
        before = self._assignment.resume.stats
        self.stats = replace(
            self.stats,
            requests=max(self.stats.requests, before.requests + requests),
            bytes=max(self.stats.bytes, before.bytes + received),
        )

    def fail(self, failure: ScanFailed, *, max_attempts: int, base_seconds: float) -> bool:
        """End the job, or put it back for another attempt after a pause; True if there will be one."""
        with self._database.for_tenant(self._assignment.tenant_id) as uow:
            self._catch_up(uow)
            job = self._hold(uow)
            told, spent = asdict(self.stats), self._spent()
            error = JobError(failure.code, failure.detail, failure.retryable)
            again = failure.retryable and job.attempt < min(job.max_attempts, max_attempts)
            if again:
                pause = next_try(job.attempt, base_seconds, failure.retry_after)
                uow.jobs.retry_later(job, error, seconds=pause, stats=told, spent=spent)
            else:
                uow.jobs.fail(job, error, stats=told, spent=spent)
            uow.commit()
        return again

    def put_back(self, *, seconds: float, reason: str | None, innocent: bool = False) -> None:
        """End this attempt without blame: the job goes on from its checkpoint. `innocent`: it worked for a slice.

        A pause that its host asks for (any with a reason) counts as spent.
        """
        with self._database.for_tenant(self._assignment.tenant_id) as uow:
            self._catch_up(uow)
            job = self._hold(uow)
            self._learn_scheme(uow)
            uow.jobs.put_back(
                job,
                seconds=seconds,
                reason=reason,
                stats=asdict(self.stats),
                checkpoint=_checkpoint(self._interrupted),
                innocent=innocent,
                spent=self._spent() + (seconds if reason is not None else 0.0),
            )
            uow.commit()

    def _hold(self, uow: TenantUnit) -> Held:
        return uow.jobs.hold(self._assignment.job_id, self._assignment.token)

    def _spent(self) -> float:
        return self._clock() - self._claimed

    def _learn_scheme(self, uow: TenantUnit) -> None:
        """Where the site answered: the next attempt, and the next scan, ask there first."""
        if self._scheme is not None:
            uow.domains.learn_scheme(self._assignment.domain_id, self._scheme)

    def _sitemap(self, event: SitemapRead) -> None:
        if event.file.status == "unchanged":
            self._unchanged.append(event)
            self._write_soon()
            return
        with self._database.for_tenant(self._assignment.tenant_id) as uow:
            self._read(uow, event)
            self._commit(uow)

    def _write_soon(self) -> None:
        waiting = len(self._unchanged) + len(self._pages)
        if waiting >= WAITING_AT_MOST or self._clock() - self._written >= WAIT_SECONDS:
            with self._database.for_tenant(self._assignment.tenant_id) as uow:
                self._catch_up(uow)
                self._commit(uow)

    def _commit(self, uow: TenantUnit) -> None:
        uow.commit()
        self._written = self._clock()

    def _catch_up(self, uow: TenantUnit) -> None:
        """Write what waits. Should that fail, it is not tried again: the next attempt asks for it once more."""
        unchanged, self._unchanged = self._unchanged, []
        if unchanged:
            self._record(uow, unchanged, self._hold_files(uow, unchanged))
        pages, self._pages = self._pages, []
        for event in pages:
            self._page(uow, event)

    def _read(self, uow: TenantUnit, event: SitemapRead) -> None:
        """A file that was read, or could not be."""
        file, scan_no = event.file, self._assignment.scan_no
        landing = self._stage(uow, event)
        events, self._unchanged = [*self._unchanged, event], []
        files = self._hold_files(uow, events, landing=file.url)
        if landing:
            uow.inventory.land(files[file.url], scan_no, complete=file.complete)
        elif file.status == "read" and file.complete:
            uow.inventory.remove_urls(files[file.url], scan_no)
        elif file.status == "gone":
            uow.inventory.met_gone(files[file.url], scan_no)
        self._record(uow, events, files)
        points.reached("landed", self._assignment.job_id)

    def _stage(self, uow: TenantUnit, event: SitemapRead) -> bool:
        """Parse the file: the job's row is free for heartbeats and cancellation meanwhile. False: no URL is in it."""
        rows = _Rows(event.batches, self._check)
        lands = event.file.status in ("pending", "read", "partial")
        first = next(source := iter(rows), None) if lands else None
        if first is not None:
            uow.inventory.stage(chain((first,), source))
        rows.drain()
        return first is not None

    def _hold_files(
        self, uow: TenantUnit, events: Sequence[SitemapRead], *, landing: str | None = None
    ) -> dict[str, int]:
        """Hold the job; the ids of these files, of their parents and of those that they name, by URL."""
        urls = [url for event in events for url in _named(event.file)]
        return uow.reads.hold(self._assignment.job_id, self._assignment.token, urls, landing=landing)

    def _record(self, uow: TenantUnit, events: Sequence[SitemapRead], files: dict[str, int]) -> None:
        """What this job met at files, and which it has yet to fetch because of them."""
        deepest = self._assignment.options.max_depth
        met = {event.file.url: _met(event.file, files) for event in events}
        uow.reads.record(
            self._assignment.job_id,
            self._assignment.token,
            list(met.values()),
            [one for event in events if event.file.depth < deepest for one in _expected(event.file, files)],
            scan_no=self._assignment.scan_no,
            percent=percent(events[-1]),
            stats=asdict(self.stats),
            lease=self._lease,
        )

    def _page(self, uow: TenantUnit, event: PageRead) -> None:
        page = event.page
        readable = page.problem is None or page.partial
        uow.pages.record(
            self._assignment.job_id,
            self._assignment.token,
            url=page.url,
            values=page_values(page) if readable else None,
            read={
                "is_home": event.is_home,
                "final_url": page.final_url,
                "http_status": page.http_status,
                "partial": page.partial,
                "error_code": page.problem.code if page.problem else None,
                "error_detail": page.problem.detail if page.problem else None,
            },
        )
        if event.is_home and readable:
            uow.domains.set_details(self._assignment.domain_id, domain_details(page))

    def _finished(self, event: ScanFinished) -> None:
        mine = self._assignment
        as_before = event.outcome == "unchanged" and mine.follows
        is_first = mine.scan_no == 1 and not mine.resume.done
        with self._database.for_tenant(mine.tenant_id) as uow:
            self._catch_up(uow)
            if event.outcome in ("sitemaps_found", "unchanged") and not as_before and not is_first:
                self._hold(uow)
                uow.inventory.retire_unlisted(mine.domain_id, mine.job_id, mine.scan_no)
            uow.jobs.complete(
                mine.job_id,
                mine.token,
                outcome=event.outcome,
                scheme=self._scheme,
                stats=asdict(event.stats),
                spent=self._spent(),
                as_before=as_before,
            )
            points.reached("finishing", mine.job_id)
            uow.commit()
        points.reached("finished", mine.job_id)


def _named(file: SitemapFile) -> list[str]:
    named = [file.url, *(child.url for child in file.children)]
    return [*named, file.parent] if file.parent else named


def _met(file: SitemapFile, files: dict[str, int]) -> Read:
    problem = file.problem
    return Read(
        file_id=files[file.url],
        parent_id=files[file.parent] if file.parent else None,
        discovered_by=file.discovered_by,
        depth=file.depth,
        status="failed" if file.status == "pending" else file.status,
        kind=file.kind,
        http_status=file.http_status,
        size=file.bytes,
        url_count=file.url_count,
        rejected=file.rejected or None,
        error_code=problem.code if problem else None,
        error_detail=problem.detail if problem else None,
        error_line=problem.line if problem else None,
        etag=file.etag,
        last_modified=file.last_modified,
        content_hash=file.content_hash,
        children=[child.url for child in file.children] or None,
        whole=file.complete,
    )


def _expected(file: SitemapFile, files: dict[str, int]) -> Iterator[Expected]:
    return (Expected(files[child.url], files[file.url], file.depth + 1) for child in file.children)


_NO_DATE: Final = (None, None, None)
_row = partial(tuple.__new__, UrlRow)  # `UrlRow._make` without a call of Python's own: this runs once a URL


class _Rows:
    """Entries as rows to stage, made while they are read. A file may take minutes: `check` ends it in between."""

    def __init__(self, batches: Iterable[Sequence[UrlEntry]], check: Callable[[], None]) -> None:
        self._batches = iter(batches)
        self._check = check

    def __iter__(self) -> Iterator[list[UrlRow]]:
        return (list(map(url_row, batch)) for batch in self._checked())

    def drain(self) -> None:
        """The scan's contract: entries are consumed to their end."""
        for _ in self._checked():
            pass

    def _checked(self) -> Iterator[Sequence[UrlEntry]]:
        for batch in self._batches:
            self._check()
            yield batch


def url_row(entry: UrlEntry) -> UrlRow:
    url, listed = entry.url, entry.listed
    at, precision, raw = entry.lastmod or _NO_DATE
    return _row(
        (
            url_digest(url),
            url,
            None if listed == url else listed,
            at,
            precision,
            raw if at is None else None,
            entry.changefreq,
            entry.priority,
            page_types.of_url(url),
            _extras(entry),
        )
    )


def _extras(entry: UrlEntry) -> str | None:
    if not (entry.images or entry.videos or entry.news or entry.alternates or entry.mobile or entry.pagemap):
        return None
    return extras_json({name: getattr(entry, name) for name in EXTRAS})


def page_values(page: Page) -> dict[str, Any]:
    """The columns of `pages`."""
    kept = {name: getattr(page, name) for name in PAGE_COLUMNS}
    details = {field.name: getattr(page, field.name) for field in fields(page) if field.name not in PAGE_READ_FIELDS}
    return {**kept, "details": details}


def domain_details(page: Page) -> dict[str, Any]:
    """The home page's metadata, as a domain shows it."""
    values = page_values(page)
    return {**{name: values[name] for name in ("title", "description", "language")}, **values["details"]}


def next_try(
    attempt: int, base: float, retry_after: float | None, *, draw: Callable[[], float] = random.random
) -> float:
    """Seconds until the next attempt: doubling, half of it jitter, never earlier than the host asks for.

    >>> [next_try(n, 10, None, draw=lambda: 1.0) for n in (1, 2, 3)]
    [10.0, 20.0, 40.0]
    >>> next_try(1, 10, 120, draw=lambda: 0.0)
    120.0
    """
    pause = min(base * 2.0 ** (attempt - 1), LONGEST_RETRY)
    return max(pause * (0.5 + 0.5 * draw()), min(float(retry_after or 0), LONGEST_RETRY))


def percent(event: SitemapRead) -> int:
    """How far the scan is, as far as it can know: files read of files known."""
    return int(100 * event.done / event.known) if event.known else 0


def _checkpoint(interrupted: Interrupted | None) -> dict[str, Any] | None:
    if interrupted is None:
        return None
    return {
        "missed": sorted(interrupted.missed),
        "pending": [asdict(c) for c in interrupted.pending],
        "home": asdict(interrupted.home) if interrupted.home else None,
    }
