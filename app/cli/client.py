"""The REST client behind `submit`, `watch` and `demo`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import IO, Any

import requests

from app.errors import AuthenticationFailed, NotFound, ScraperSkyError, Unavailable

BASE = "/api/v2"
CONNECT_SECONDS, READ_SECONDS = 5.0, 120.0  # a large upload is answered when all of it is stored
TRIES = 4  # when the API asks for patience
LONGEST_PAUSE = 30.0
PAGE = 1_000


class Client:
    """Signs in when it must, and again when its token has expired. For one thread."""

    def __init__(self, url: str, *, email: str, password: str) -> None:
        self.url = url.rstrip("/")
        self._credentials = {"email": email, "password": password}
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy meant for the web must not see our password
        self._etag: tuple[str, dict[str, Any]] | None = None

    def close(self) -> None:
        self._session.close()

    def submit(self, body: IO[bytes], kind: str, terms: Mapping[str, str]) -> dict[str, Any]:
        """Send a list of domains; `kind` is its media type, `terms` are query parameters."""
        self._sign_in()  # now, not after the upload
        return self._json(self._call("POST", "/batches", data=body, params=terms, headers={"Content-Type": kind}))

    def submit_domains(self, domains: list[str], *, name: str) -> dict[str, Any]:
        return self._json(self._call("POST", "/batches", json={"domains": domains, "name": name}))

    def batch(self, batch_id: str) -> dict[str, Any]:
        """The batch's present state; an unchanged one costs the API next to nothing."""
        etag, known = self._etag or ("", {})
        headers = {"If-None-Match": etag} if known.get("id") == batch_id else {}
        answer = self._call("GET", f"/batches/{batch_id}", headers=headers)
        if answer.status_code == requests.codes.not_modified:
            return known
        found = self._json(answer)
        self._etag = (answer.headers["ETag"], found) if "ETag" in answer.headers else None
        return found

    def jobs(self, batch_id: str) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        while True:
            params = {"limit": str(PAGE), **({"cursor": cursor} if cursor else {})}
            page = self._json(self._call("GET", f"/batches/{batch_id}/jobs", params=params))
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def domain(self, domain_id: str) -> dict[str, Any]:
        return self._json(self._call("GET", f"/domains/{domain_id}"))

    def _call(self, method: str, path: str, **options: Any) -> requests.Response:
        if "Authorization" not in self._session.headers:
            self._sign_in()
        answer = self._send(method, path, **options)
        if answer.status_code == requests.codes.unauthorized and "data" not in options:
            self._sign_in()
            answer = self._send(method, path, **options)
        return _checked(answer)

    def _sign_in(self) -> None:
        self._session.headers.pop("Authorization", None)
        answer = self._json(_checked(self._send("POST", "/auth/login", json=self._credentials)))
        self._session.headers["Authorization"] = f"Bearer {answer['access_token']}"

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        for left in reversed(range(TRIES)):
            try:
                answer = self._session.request(
                    method,
                    f"{self.url}{BASE}{path}",
                    timeout=(CONNECT_SECONDS, READ_SECONDS),
                    allow_redirects=False,
                    **options,
                )
            except requests.RequestException as error:
                raise Unavailable(f"no answer from {self.url} ({_reason(error)}): is the API running?") from error
            if answer.status_code != requests.codes.too_many_requests or not left or "data" in options:
                return answer
            time.sleep(min(float(answer.headers.get("Retry-After", 1)), LONGEST_PAUSE))
        raise AssertionError("unreachable")

    def _json(self, answer: requests.Response) -> dict[str, Any]:
        try:
            found: dict[str, Any] = answer.json()
        except requests.JSONDecodeError as error:
            raise Unavailable(f"{self.url} does not answer in JSON: is it a ScraperSky API?") from error
        return found


def _checked(answer: requests.Response) -> requests.Response:
    """:raises ScraperSkyError: in the API's own words"""
    if answer.status_code < requests.codes.bad_request and not answer.is_redirect:
        return answer
    try:
        problem = answer.json()
    except requests.JSONDecodeError:
        problem = {}
    detail = problem.get("detail") or f"the API answered {answer.status_code} {answer.reason}"
    wrong = "; ".join(f"{error['pointer']}: {error['detail']}" for error in problem.get("errors", [])[:5])
    kind = {401: AuthenticationFailed, 404: NotFound}.get(answer.status_code, ScraperSkyError)
    raise kind(f"{detail} ({wrong})" if wrong else detail)


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "timed out"
    return "connection failed" if isinstance(error, requests.ConnectionError) else type(error).__name__
