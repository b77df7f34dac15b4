"""Every way the platform says no. No HTTP codes here: the API maps them, once, at its border.

ScraperSkyError
├── InvalidInput                what was sent cannot be used; carries (pointer, detail) pairs
│   ├── InvalidUrl              not a URL or domain that may be fetched
│   └── IdempotencyKeyReused    the key came before with another body
├── AuthenticationFailed        missing, wrong or expired credentials
├── TokenSpent                  an invitation's or password reset's token: used, expired, or none
├── PermissionDenied            known caller, not allowed
│   ├── FeatureDisabled         the tenant has this part of the platform switched off
│   └── QuotaExceeded           the tenant has all it may have of something
├── NotFound                    no such thing in the caller's tenant
├── Conflict                    the thing's state does not allow this move
│   └── RequestInFlight         the same Idempotency-Key is being worked on
├── TooLarge                    a body, line or batch beyond its limit
├── RateLimited                 too many requests; carries retry_after seconds
├── Unavailable                 database or broker away; try again
│   └── TookTooLong             the database answers, but not this question in its time
├── ConfigurationError          a setting is missing, weak or contradictory
├── StackError                  an embedded server or child process would not start
├── FetchError                  one request to a site failed; code from FETCH_FAILURES
├── ScanFailed                  a whole scan failed for good or for now; code from SCAN_FAILURES
└── ScanStopped                 the scan must end early, without blame
    ├── Aborted                 cancelled, lease lost, shutting down
    └── Postponed               a host asks for a longer pause than a slot may sleep
"""

from __future__ import annotations

from typing import NamedTuple


class FieldError(NamedTuple):
    """Where in the input (RFC 6901 JSON pointer, or a query parameter's name) and what is wrong."""

    pointer: str
    detail: str


class Failure(NamedTuple):
    """A row of the error catalogue."""

    retryable: bool
    text: str


class ScraperSkyError(Exception):
    """Something went wrong."""

    code = "error"

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip().split("\n")[0]
        super().__init__(self.detail)


class InvalidInput(ScraperSkyError):
    """The input cannot be used."""

    code = "invalid_input"

    def __init__(self, detail: str | None = None, *, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(detail)
        self.errors = errors


class InvalidUrl(InvalidInput):
    """This is not a URL or domain that may be scanned."""

    code = "invalid_url"

    def __init__(self, detail: str | None = None, *, reason: str = "malformed") -> None:
        super().__init__(detail)
        self.reason = reason


class IdempotencyKeyReused(InvalidInput):
    """This Idempotency-Key was used before with another body."""

    code = "idempotency_key_reused"


class AuthenticationFailed(ScraperSkyError):
    """Credentials are missing, wrong or expired."""

    code = "authentication_failed"


class PermissionDenied(ScraperSkyError):
    """You may not do this."""

    code = "permission_denied"


class TokenSpent(ScraperSkyError):
    """This token is used, expired or none."""

    code = "token_spent"


class FeatureDisabled(PermissionDenied):
    """This part of the platform is switched off for your tenant."""

    code = "feature_disabled"


class Excess(NamedTuple):
    """What was asked beyond a quota: at least, where a list was not read to its end. `used` None: it is of one list."""

    quota: str
    limit: int
    used: int | None
    asked: int


class QuotaExceeded(PermissionDenied):
    """Your tenant has all it may have of this."""

    code = "quota_exceeded"

    def __init__(self, detail: str | None = None, *, excess: Excess | None = None) -> None:
        super().__init__(detail)
        self.excess = excess


class NotFound(ScraperSkyError):
    """There is no such thing here."""

    code = "not_found"


class Conflict(ScraperSkyError):
    """The present state does not allow this."""

    code = "conflict"


class RequestInFlight(Conflict):
    """A request with this Idempotency-Key is still being worked on."""

    code = "request_in_flight"


class TooLarge(ScraperSkyError):
    """This is larger than allowed."""

    code = "too_large"


class RateLimited(ScraperSkyError):
    """Too many requests."""

    code = "rate_limited"

    def __init__(self, detail: str | None = None, *, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Unavailable(ScraperSkyError):
    """A part the platform needs is away for the moment; try again."""

    code = "unavailable"


class TookTooLong(Unavailable):
    """The database could not do this in the time it may take; try again."""


class ConfigurationError(ScraperSkyError):
    """A setting is missing, weak or contradictory."""

    code = "configuration"


class StackError(ScraperSkyError):
    """A part of the stack would not start or stop."""

    code = "stack"


FETCH_FAILURES: dict[str, Failure] = {
    "blocked_url": Failure(False, "the URL may not be fetched"),
    "blocked_address": Failure(False, "the host's address may not be fetched"),
    "dns_not_found": Failure(True, "the host name does not resolve"),
    "dns_timeout": Failure(True, "the host name did not resolve in time"),
    "dns_busy": Failure(True, "too many host names are being resolved"),
    "connect_refused": Failure(True, "the host refused the connection"),
    "connect_timeout": Failure(True, "the host did not accept the connection in time"),
    "connect_failed": Failure(True, "no connection to the host could be made"),
    "tls_failed": Failure(False, "the host's TLS certificate or handshake failed"),
    "reset": Failure(True, "the host broke the connection off"),
    "timeout": Failure(True, "the host did not answer in time"),
    "bad_response": Failure(True, "the host did not answer in valid HTTP"),
    "bad_encoding": Failure(False, "the body's content coding is unknown or broken"),
    "bad_redirect": Failure(False, "the redirect leads nowhere usable"),
    "too_many_redirects": Failure(False, "too many redirects"),
    "headers_too_large": Failure(False, "the answer's headers are too large"),
    "body_too_large": Failure(False, "the body is larger than allowed"),
    "disk_full": Failure(True, "no room to spool the body"),
    "http_429": Failure(True, "the host asks for fewer requests (429)"),
    "http_5xx": Failure(True, "the host failed (5xx)"),
    "http_4xx": Failure(False, "the host refused the request (4xx)"),
}


class FetchError(ScraperSkyError):
    """A request to a site failed."""

    def __init__(self, code: str, detail: str | None = None, *, retry_after: float | None = None) -> None:
        failure = FETCH_FAILURES[code]
        super().__init__(detail or failure.text)
        self.code = code
        self.retryable = failure.retryable
        self.retry_after = retry_after


SCAN_FAILURES: dict[str, Failure] = {
    **FETCH_FAILURES,
    "robots_unreachable": Failure(True, "robots.txt could not be read, so nothing may be fetched (RFC 9309)"),
    "sitemaps_failed": Failure(True, "every sitemap the site names failed"),
    "job_timeout": Failure(False, "the job's own time limit has passed"),
    "worker_lost": Failure(True, "the worker vanished while it held the job"),
    "internal": Failure(True, "the platform itself failed; see the log under the job's id"),
}


class ScanFailed(ScraperSkyError):
    """A scan failed."""

    def __init__(self, code: str, detail: str | None = None, *, retry_after: float | None = None) -> None:
        failure = SCAN_FAILURES[code]
        super().__init__(detail or failure.text)
        self.code = code
        self.retryable = failure.retryable
        self.retry_after = retry_after


class ScanStopped(ScraperSkyError):
    """The scan ends early, without blame."""

    code = "stopped"


class Aborted(ScanStopped):
    """The work must stop at once: cancelled, lease lost or shutting down."""

    code = "aborted"


class Postponed(ScanStopped):
    """The host wants a longer pause than a worker's slot may sleep; come back after `seconds`."""

    code = "postponed"

    def __init__(self, detail: str | None = None, *, seconds: float, reason: str = "host_cooldown") -> None:
        super().__init__(detail)
        self.seconds = seconds
        self.reason = reason
