"""Every setting, read from the environment (prefix `SCRAPERSKY_`) or `.env` in one place, checked at start.

The table for people is docs/configuration.md; a guard test holds the two together.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.errors import ConfigurationError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
WEAK_SECRETS = {
    "secret", "secrets", "password", "passwort", "admin", "administrator", "root", "letmein", "welcome", "qwerty", "scrapersky",
    "postgres", "postgresql", "redis", "valkey", "flower", "default", "test", "testing", "changeit", "token", "owner", "system",
}  # fmt: skip
# What stands in guides where a secret belongs.
SAMPLE = re.compile(
    r"change.?(?:me|this)|replace.?(?:me|this|with)|example|sample|placeholder|insecure|dummy|your.{0,20}(?:secret|key|password)"
    r"|(?:dev|development|test|default|super|jwt|flask|my).?(?:secret|key|password)",
    re.IGNORECASE,
)
MIN_SECRET_BYTES = 32
MIN_PASSWORD_BYTES = 8
MAX_ACCESS_TOKEN_SECONDS = 900
_RATE = r"\s*[1-9]\d{0,8}\s*(?:/|per)\s*(?:[1-9]\d{0,3}\s*)?(?:second|minute|hour|day|month|year)s?\s*"
RATES = re.compile(rf"{_RATE}(?:[;,|]{_RATE})*", re.ASCII | re.IGNORECASE)


class ConnectTo(NamedTuple):
    """One rule of curl's --connect-to: connections to host:port go to address:target instead."""

    host: str  # "*" matches every host
    port: int | None  # None matches every port
    address: str
    target: int


class PoolSettings(NamedTuple):
    """How one process holds connections to PostgreSQL. Times in seconds."""

    size: int
    overflow: int
    timeout: float
    recycle: int
    pre_ping: bool
    prepare_threshold: int | None


POOLS: dict[tuple[str, str], tuple[int, int]] = {
    # (environment, part) → (size, overflow)
    ("development", "api"): (8, 8),
    ("development", "worker"): (8, 8),
    ("production", "api"): (10, 20),
    ("production", "worker"): (10, 10),
}
SYSTEM_POOL = (2, 6)  # the same everywhere: claims, heartbeats and sign-in are few and short


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="SCRAPERSKY_",
        env_file=".env",
        env_file_encoding="utf-8",
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )

    # Where things are
    environment: str = Field(
        "development", description="`development` or `production`; anything else counts as production"
    )
    data_dir: Path = Field(Path("var"), description="embedded servers' data, generated secrets (mode 0600), logs")
    database_url: SecretStr | None = Field(
        None, description="PostgreSQL as the role `app`; unset = the embedded server"
    )
    system_database_url: SecretStr | None = Field(None, description="PostgreSQL as the role `system`")
    owner_database_url: SecretStr | None = Field(None, description="PostgreSQL as the role `owner`, for migrations")
    redis_url: SecretStr | None = Field(None, description="Redis or Valkey; unset = the embedded server")
    allow_embedded: bool = Field(False, description="allow embedded servers in production")

    # Listeners
    host: str = Field("127.0.0.1", description="address the API and Flower listen on")
    port: int = Field(8000, ge=0, le=65535, description="the API's port")
    flower_port: int = Field(5555, ge=0, le=65535, description="Flower's port, `0` = off")
    trusted_proxies: int = Field(0, ge=0, le=10, description="proxies in front whose X-Forwarded-For is believed")
    api_threads: int = Field(16, ge=2, le=1024, description="threads of the API process")
    api_processes: int = Field(1, ge=1, le=64, description="API processes")
    metrics_token: SecretStr | None = Field(None, description="when set, GET /metrics wants it as a bearer token")
    metrics_by_tenant: bool = Field(
        False, description="GET /metrics has series of each tenant and of the busiest hosts too; wants a metrics token"
    )
    worker_metrics_port: int = Field(
        0, ge=0, le=65535, description="`manage.py worker` serves its workers' metrics there, `0` = off"
    )

    # Who may come in
    admin_email: str = Field("admin@example.com", description="the first administrator, created at start if absent")
    admin_password: SecretStr | None = Field(None, description="its password; unset = generated and printed once")
    secret_key: SecretStr | None = Field(None, description="signs tokens; unset = see `SIGNING_KEYS_FILE`")
    secret_key_previous: SecretStr | None = Field(
        None, description="the key before the last rotation: signs nothing, still checks"
    )
    signing_keys_file: Path | None = Field(
        None,
        description="keys that `manage.py rotate-keys` writes, looked at again while running; goes before `SECRET_KEY`; with neither set, generated under the data directory",
    )
    trusted_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="names the API answers to, comma-separated, `.example.com` = all below; unset = any"
    )
    access_token_seconds: int = Field(900, ge=5, le=MAX_ACCESS_TOKEN_SECONDS, description="lifetime of an access token")
    refresh_token_seconds: int = Field(30 * 86400, ge=60, description="lifetime of a session without use")
    api_key_days: int = Field(90, ge=1, le=36_500, description="lifetime of an API key that asks for none")
    api_key_max_days: int = Field(365, ge=1, le=36_500, description="longest lifetime of an API key")
    invitation_seconds: int = Field(
        7 * 86400, ge=60, le=90 * 86400, description="how long an invitation may be accepted"
    )
    login_rate: str = Field("10/minute", description="refused sign-ins per account and per address")
    request_rate: str = Field("6000/minute", description="requests per caller")
    tenant_rate: str = Field("12000/minute", description="requests of all callers in one tenant")

    # What may be fetched
    allowed_networks: Annotated[tuple[Network, ...], NoDecode] = Field(
        (), description="CIDRs exempt from the address guard, comma-separated"
    )
    allowed_ports: Annotated[tuple[int, ...], NoDecode] = Field(
        (80, 443), description="ports that may be fetched, comma-separated"
    )
    connect_to: Annotated[tuple[ConnectTo, ...], NoDecode] = Field(
        (),
        description="as curl's --connect-to: comma-separated `host:port:address:port`, `*` = any host; those targets are exempt from the guard",
    )
    ca_file: Path | None = Field(None, description="further trusted roots (PEM)")
    user_agent: str = Field(
        "ScraperSkyBot/0.1 (+https://example.com/bot)",
        description="sent with every request; its first word is the name robots.txt rules are read for",
    )
    request_timeout: float = Field(
        30.0, gt=0, le=600, description="seconds for one request in all: DNS, TLS, headers, body, redirects"
    )
    connect_timeout: float = Field(10.0, gt=0, le=120, description="seconds for one connection")
    dns_timeout: float = Field(5.0, gt=0, le=60, description="seconds for one name")
    host_delay: float = Field(
        0.0,
        ge=0,
        le=60,
        description="least seconds between two requests to one host, beside its own crawl-delay",
    )
    host_concurrency: int = Field(
        4, ge=1, le=64, description="requests at a time to one host, over all workers and tenants"
    )
    address_concurrency: int = Field(
        16,
        ge=1,
        le=1024,
        description="requests at a time to one address, however many names it serves; targets of `CONNECT_TO` and loopback are exempt",
    )
    spool_bytes: int = Field(4 << 30, ge=1 << 20, description="disk that one process may use for bodies in flight")

    # Workers
    worker_processes: int = Field(2, ge=1, le=256, description="worker processes for batches")
    worker_concurrency: int = Field(32, ge=1, le=256, description="threads in each")
    worker_nice: int = Field(
        10, ge=0, le=19, description="how far batch workers stand back for what else runs on the machine, as `nice`"
    )
    single_concurrency: int = Field(8, ge=0, le=256, description="threads of the process for single scans, `0` = none")
    lease_seconds: float = Field(
        60.0, ge=2, le=3600, description="how long a worker holds a job without a sign of life"
    )
    dispatch_seconds: float = Field(
        60.0,
        ge=1,
        le=3600,
        description="how long a message may wait in the broker before its job is dispatched again",
    )
    slice_seconds: float = Field(60.0, ge=1, le=3600, description="how long a job works before it lets others go first")
    stuck_seconds: float = Field(
        300.0,
        ge=1,
        le=86_400,
        description="how long a job may show no sign of getting on before its worker process is replaced",
    )
    max_attempts: int = Field(3, ge=1, le=20, description="tries before a job has failed for good")
    retry_base_seconds: float = Field(
        10.0, ge=0, le=3600, description="pause before the first retry; doubles, with jitter"
    )
    upkeep_seconds: float = Field(
        1.0, ge=0.05, le=60, description="pause between two rounds of dispatching and reaping"
    )
    worker_memory_mib: int = Field(
        1024,
        ge=128,
        description="a worker process past this takes nothing new and is replaced; past half as much again, at once",
    )

    # Limits
    max_batch_domains: int = Field(1_000_000, ge=1, description="lines of one batch")
    max_upload_bytes: int = Field(256 << 20, ge=1024, description="bytes of one upload")
    max_json_bytes: int = Field(16 << 20, ge=1024, description="bytes of one JSON body")

    # Limits of each tenant, unless it has its own
    tenant_batch_domains: int | None = Field(
        None, ge=1, description="lines of one batch; unset = no limit but the above"
    )
    tenant_open_jobs: int | None = Field(None, ge=1, description="jobs that have not ended; unset = no limit")
    tenant_urls: int | None = Field(None, ge=1, description="URLs kept; unset = no limit")
    tenant_host_requests: int | None = Field(
        None, ge=1, le=64, description="requests at a time to one host; unset = what `HOST_CONCURRENCY` leaves"
    )

    # Database connections
    database_pool_size: int | None = Field(
        None, ge=1, le=500, description="connections kept per process; unset = by environment"
    )
    database_pool_overflow: int | None = Field(None, ge=0, le=500, description="connections beyond that under load")
    database_pool_timeout: float = Field(10.0, gt=0, le=300, description="seconds to wait for a connection")
    database_pool_recycle: int = Field(1800, ge=1, description="seconds after which a connection is replaced")
    database_pre_ping: bool = Field(True, description="check a connection before it is lent out")
    database_prepare_threshold: int | None = Field(
        5,
        ge=-1,
        description="uses before a statement is prepared; `-1` = never, for poolers in transaction mode",
    )
    database_statement_timeout: int = Field(60, ge=1, description="seconds for one statement")

    # Tests
    test_points: str | None = Field(
        None,
        description="for the chaos suite only: `module:function` that is called at named points of the program; refused in production",
    )

    # Logs
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="`DEBUG`, `INFO`, `WARNING` or `ERROR`"
    )
    log_format: Literal["console", "json"] = Field("console", description="`console` or `json`")

    @field_validator("allowed_networks", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(ipaddress.ip_network(part.strip()) for part in value.split(",") if part.strip())

    @field_validator("allowed_ports", mode="before")
    @classmethod
    def _ports(cls, value: object) -> object:
        return tuple(int(p) for p in value.split(",") if p.strip()) if isinstance(value, str) else value

    @field_validator("trusted_hosts", mode="before")
    @classmethod
    def _hosts(cls, value: object) -> object:
        return tuple(h.strip() for h in value.split(",") if h.strip()) if isinstance(value, str) else value

    @field_validator("login_rate", "request_rate", "tenant_rate")
    @classmethod
    def _rates(cls, value: str) -> str:
        # The limiter would log a rate it cannot read, and limit nothing.
        if not RATES.fullmatch(value):
            raise ValueError("say how many in which time, as `10/minute`, or several such with `;` between")
        return value

    @field_validator("connect_to", mode="before")
    @classmethod
    def _connect_to(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(parse_connect_to(part) for part in value.split(",") if part.strip())

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        urls = (self.database_url, self.system_database_url, self.owner_database_url)
        if any(urls) and not (self.database_url and self.system_database_url):
            raise ValueError(
                "SCRAPERSKY_DATABASE_URL and SCRAPERSKY_SYSTEM_DATABASE_URL go together: one URL a database role"
            )
        if self.secret_key_previous is not None and self.secret_key is None:
            raise ValueError("SCRAPERSKY_SECRET_KEY_PREVIOUS is nothing without SCRAPERSKY_SECRET_KEY")
        if self.is_production and not self.allow_embedded and not (self.database_url and self.redis_url):
            raise ValueError(
                "production wants its own PostgreSQL and Redis: set the SCRAPERSKY_*_URL settings, or SCRAPERSKY_ALLOW_EMBEDDED=true if the embedded servers are meant"
            )
        if self.metrics_by_tenant and self.metrics_token is None:
            raise ValueError("SCRAPERSKY_METRICS_BY_TENANT tells who scrapes whom: it wants SCRAPERSKY_METRICS_TOKEN")
        if self.is_production and self.test_points is not None:
            raise ValueError("SCRAPERSKY_TEST_POINTS lets tests into the program: never in production")
        if self.is_production:
            _check_secrets(self._secrets())
        return self

    def _secrets(self) -> dict[str, str]:
        """Every secret that is set, by the variable it stands in; of a URL its password."""
        found: dict[str, str] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, SecretStr):
                text = value.get_secret_value()
                found[f"SCRAPERSKY_{name.upper()}"] = _password_in(text) if name.endswith("_url") else text
        return {name: secret for name, secret in found.items() if secret}

    @property
    def is_production(self) -> bool:
        return self.environment != "development"

    def pool(self, part: Literal["api", "worker"]) -> PoolSettings:
        """One process's pool under the role `app`; sizes by environment unless set."""
        size, overflow = POOLS["production" if self.is_production else "development", part]
        return self._pool(
            size if self.database_pool_size is None else self.database_pool_size,
            overflow if self.database_pool_overflow is None else self.database_pool_overflow,
        )

    def system_pool(self) -> PoolSettings:
        """One process's pool under the role `system`."""
        return self._pool(*SYSTEM_POOL)

    def _pool(self, size: int, overflow: int) -> PoolSettings:
        threshold = self.database_prepare_threshold
        return PoolSettings(
            size=size,
            overflow=overflow,
            timeout=self.database_pool_timeout,
            recycle=self.database_pool_recycle,
            pre_ping=self.database_pre_ping,
            prepare_threshold=None if threshold is None or threshold < 0 else threshold,
        )

    @property
    def processes(self) -> int:
        """Worker processes of one machine: for batches, for single scans, for the quarantine."""
        return self.worker_processes + (self.single_concurrency > 0) + 1

    @cached_property
    def slots(self) -> int:
        """Jobs that may run at once on this machine's batch workers."""
        return self.worker_processes * self.worker_concurrency


def check_secret(secret: str, name: str = "SCRAPERSKY_SECRET_KEY") -> None:
    """:raises ValueError: no signing key, but a short one, a word, or a sample"""
    if len(secret.encode()) < MIN_SECRET_BYTES or len(set(secret)) < 8 or SAMPLE.search(secret):
        raise ValueError(f"{name} is weak: use {MIN_SECRET_BYTES} random bytes or more")


def _check_secrets(secrets: Mapping[str, str]) -> None:
    """What production does not start with: secrets that are short, well known, samples, or used twice.

    :raises ValueError: naming the variable, never its value
    """
    users: dict[str, str] = {}
    for name, secret in secrets.items():
        if "SECRET_KEY" in name:
            check_secret(secret, name)
        if len(secret.encode()) < MIN_PASSWORD_BYTES or _is_well_known(secret):
            raise ValueError(f"{name} is short or well known; choose another for production")
        if secret in users:
            raise ValueError(f"{users[secret]} and {name} are the same; each secret on its own")
        users[secret] = name


def _is_well_known(secret: str) -> bool:
    """
    >>> _is_well_known("Password-123!"), _is_well_known("please_change_me_now"), _is_well_known("kZ8s-3vQ1xW9")
    (True, True, False)
    """
    bare = re.sub(r"[^a-z]", "", secret.lower())
    return (not bare and len(secret) < 16) or bare in WEAK_SECRETS or SAMPLE.search(secret) is not None


def _password_in(url: str) -> str:
    """
    >>> _password_in("postgresql://app:p%40ss@db:5432/x"), _password_in("redis://cache/0")
    ('p@ss', '')
    """
    try:
        return unquote(urlsplit(url).password or "")
    except ValueError:
        return ""  # whoever connects says what is wrong with it


def parse_connect_to(rule: str) -> ConnectTo:
    """
    >>> parse_connect_to("*:443:127.0.0.1:8443")
    ConnectTo(host='*', port=443, address='127.0.0.1', target=8443)
    >>> parse_connect_to("example.com:80:[::1]:8080").address
    '::1'
    """
    match = re.fullmatch(r"\s*([^:]*):(\d*):(\[[0-9a-fA-F:.]+\]|[^:\[\]]+):(\d{1,5})\s*", rule)
    if not match:
        raise ValueError(f"{rule!r} is not host:port:address:port")
    host, port, address, target = match.groups()
    if not 0 < int(target) < 65536 or (port and not 0 < int(port) < 65536):
        raise ValueError(f"{rule!r} names a port that does not exist")
    ipaddress.ip_address(address.strip("[]"))
    return ConnectTo((host or "*").lower(), int(port) if port else None, address.strip("[]"), int(target))


def load(**overrides: object) -> Settings:
    """Read and check the settings.

    :raises ConfigurationError: naming each variable that is wrong, and why
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        lines = [f"{_variable(item['loc'])}{item['msg'].removeprefix('Value error, ')}" for item in error.errors()]
        raise ConfigurationError("; ".join(lines)) from None


def _variable(location: tuple[int | str, ...]) -> str:
    return f"SCRAPERSKY_{str(location[0]).upper()}: " if location else ""
