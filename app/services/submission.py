"""Taking work in: single scans and batches, each in one transaction, each at most once per Idempotency-Key."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal, NamedTuple, TypeVar

from app import points
from app.access import Actor
from app.errors import FieldError, InvalidInput, InvalidUrl
from app.queueing import ScanMessage, TaskQueue
from app.repositories.batches import BatchView, Landing, Line, Survey
from app.repositories.jobs import JobView
from app.scanning.urls import site
from app.scanning.values import Site
from app.services.domain_lines import at_most, none_invalid
from app.services.features import Features
from app.services.quotas import Allowed, Quotas, Use, exceeded, lines_within
from app.settings import Settings
from app.unit_of_work import Database, TenantUnit
from models import BatchJob
from models.states import BatchStatus

V = TypeVar("V")
MAX_WAITING: Final = 64  # single scans sent at once, of all tenants …
MAX_WAITING_OF_TENANT: Final = 8  # … and of one; the dispatcher shares out the rest fairly
NOTHING_TO_SCAN: Final = "no line was a domain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """A request that may arrive twice and counts once. Scoped to the tenant and `route`."""

    route: str
    key: str
    body_hash: bytes


class Answer(NamedTuple):
    """What is told to whoever submits, and again to whoever repeats the submission."""

    status: int
    location: str
    body: str
    replayed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanOrder:
    """`text` is a domain or base URL as sent; `pointer` says where in the request it stood."""

    text: str
    options: dict[str, Any]
    pointer: str = "/domain"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOrder:
    name: str | None = None
    options: dict[str, Any]
    priority: int = 5
    on_invalid: Literal["report", "reject"] = "report"


class Submissions:
    def __init__(
        self, database: Database, queue: TaskQueue, settings: Settings, *, quotas: Quotas, features: Features
    ) -> None:
        self._database = database
        self._queue = queue
        self._settings = settings
        self._quotas = quotas
        self._features = features

    def scan(self, actor: Actor, order: ScanOrder, *, once: Once | None, answer: Callable[[JobView], Answer]) -> Answer:
        """Scan one domain, at once if there is room.

        :raises InvalidInput: it is no domain
        :raises QuotaExceeded, FeatureDisabled: the tenant may not have that
        """
        order = replace(order, options=self._within_features(actor, order.options))
        has_room = self._has_room()
        with self._database.for_tenant(actor.tenant_id) as uow:

            def take() -> Answer:
                return answer(self._add_single(uow, actor, order, has_room=has_room))

            return _at_most_once(uow, once, take)

    def batch(
        self,
        actor: Actor,
        order: BatchOrder,
        lines: Iterable[Line],
        *,
        once: Once | None,
        answer: Callable[[BatchView], Answer],
        pointer: Callable[[int], str],
    ) -> Answer:
        """Take a list of domains. `pointer` tells where in the request a line stood.

        :raises InvalidInput: no lines at all, or some are no domains and `order.on_invalid` is `reject`
        :raises TooLarge: too many lines
        :raises QuotaExceeded, FeatureDisabled: the tenant may not have that
        """
        order = replace(order, options=self._within_features(actor, order.options))
        lines = at_most(lines, self._settings.max_batch_domains)
        if order.on_invalid == "reject":
            lines = none_invalid(lines, pointer)
        with self._database.for_tenant(actor.tenant_id) as uow:
            limits = self._quotas.allowed(uow)

            def take() -> Answer:
                return answer(self._add_batch(uow, actor, order, lines_within(lines, limits), limits))

            return _at_most_once(uow, once, take)

    def survey(
        self, actor: Actor, options: dict[str, Any], lines: Iterable[Line], *, shown: int
    ) -> tuple[Survey, dict[str, Use], list[str]]:
        """What would become of a list, were it submitted; the tenant's quotas, and those it would exceed.

        Creates nothing.

        :raises FeatureDisabled: some option asks for what is switched off
        """
        self._within_features(actor, options)
        with self._database.for_tenant(actor.tenant_id) as uow:
            found = uow.batches.survey(at_most(lines, self._settings.max_batch_domains), shown=shown)
            if not found.lines:
                raise _empty()
            quotas = self._quotas.usage(uow)
            new_sites = uow.batches.landing().new_sites if quotas["urls"].limit is not None else 0
            landing = Landing(jobs=found.valid, new_sites=new_sites)
            return found, quotas, exceeded(quotas, lines=found.lines, landing=landing)

    def _add_single(self, uow: TenantUnit, actor: Actor, order: ScanOrder, *, has_room: bool) -> JobView:
        found = _site(order)
        domain = uow.domains.ensure(found.authority, found.path)
        limits = self._quotas.allowed(uow)
        self._quotas.admit(uow, limits, Landing(jobs=1, new_sites=int(not domain.url_count)))
        at_once = has_room and uow.jobs.may_start_single(MAX_WAITING_OF_TENANT)
        name = found.authority + ("" if found.path == "/" else found.path)
        text = order.text.strip()
        job = uow.jobs.add_single(
            domain_id=domain.id,
            scheme=found.scheme,
            submitted_as=text if text != name else None,
            options=order.options,
            max_attempts=self._settings.max_attempts,
            created_by=actor.user_id,
            dispatch_seconds=self._settings.dispatch_seconds if at_once else None,
        )
        self._quotas.confirm(uow, limits, added=1)
        if at_once:
            message = ScanMessage(
                tenant_id=actor.tenant_id,
                job_id=job.id,
                dispatch_no=job.dispatch_no,
                until=_there(job.dispatch_until).timestamp(),
                domain=name,
                batch_id=None,
            )
            uow.after_commit(lambda: points.reached("submitted", job.id))
            uow.after_commit(lambda: self._queue.publish("single", [message]))
        return _there(uow.jobs.get(job.id))

    def _add_batch(
        self, uow: TenantUnit, actor: Actor, order: BatchOrder, lines: Iterable[Line], limits: Allowed
    ) -> BatchView:
        batch = uow.batches.add(
            name=order.name, options=order.options, priority=order.priority, created_by=actor.user_id
        )
        limited = limits.open_jobs is not None or limits.urls is not None
        admit = partial(self._quotas.admit, uow, limits) if limited else None
        uow.batches.land(batch, lines, max_attempts=self._settings.max_attempts, admit=admit)
        if not batch.total:
            _end_at_once(batch)
        self._quotas.confirm(uow, limits, added=batch.total)
        return _there(uow.batches.get(batch.id))

    def _within_features(self, actor: Actor, options: dict[str, Any]) -> dict[str, Any]:
        """Where pages are switched off none are fetched; who asks for some all the same is told.

        :raises FeatureDisabled: some are asked for
        """
        if self._features.of(actor.tenant_id)["pages"]:
            return options
        if options.get("max_pages"):
            self._features.require(actor.tenant_id, "pages")
        return {**options, "max_pages": 0}

    def _has_room(self) -> bool:
        """Asked before the transaction: no row is held while Redis makes up its mind."""
        if not self._settings.single_concurrency:
            return False  # nobody reads that queue
        waiting = self._queue.depth("single")
        return waiting is not None and waiting < MAX_WAITING


def _at_most_once(uow: TenantUnit, once: Once | None, take: Callable[[], Answer]) -> Answer:
    if once is None:
        answer = take()
    else:
        earlier = uow.idempotency.claim(once.route, once.key, once.body_hash)
        if earlier is not None:
            return Answer(earlier.status_code, earlier.location or "", earlier.answer["text"], replayed=True)
        answer = take()
        uow.idempotency.keep(
            once.route,
            once.key,
            once.body_hash,
            status_code=answer.status,
            location=answer.location,
            answer={"text": answer.body},  # as text: jsonb would not keep the order
        )
    uow.commit()
    return answer


def _site(order: ScanOrder) -> Site:
    try:
        return site(order.text)
    except InvalidUrl as error:
        field = FieldError(order.pointer, error.detail)
        raise InvalidInput(f"{order.pointer}: {error.detail}", errors=(field,)) from None


def _there(found: V | None) -> V:
    assert found is not None  # this very transaction made it
    return found


def _end_at_once(batch: BatchJob) -> None:
    """A list without a single domain: kept, so that its sender can see why, unless nothing was sent at all."""
    if not batch.rejected_invalid:
        raise _empty()
    batch.status, batch.status_reason = BatchStatus.FAILED, NOTHING_TO_SCAN
    batch.finished_at = batch.created_at


def _empty() -> InvalidInput:
    return InvalidInput("there is no domain in it", errors=(FieldError("/domains", "send at least one domain"),))
