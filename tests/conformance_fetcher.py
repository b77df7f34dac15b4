"""What every `Fetcher` keeps to, the fake and the real one alike.

Derive a test class and give it a fixture `serve` as `Serve` says. Hosts are under example.com, scheme http.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

import pytest

from app.errors import Aborted, FetchError, Postponed
from app.scanning.values import Fetcher, Request, Response

HOME = "http://www.example.com/"
Answer = tuple[int, Mapping[str, str], bytes]  # status, headers, body
Resources = Mapping[str, Answer | Callable[[], Answer]]


class Serve(Protocol):
    def __call__(self, resources: Resources, *, cooling: Collection[str] = (), aborted: bool = False) -> Fetcher:
        """A fetcher over just these resources, by URL, all else being 404. Hosts that are `cooling` want a long
        pause; `aborted`: its work was told to stop.
        """


def ask(url: str = HOME, *, max_bytes: int = 1 << 20, etag: str | None = None, date: str | None = None) -> Request:
    return Request(url=url, purpose="page", max_bytes=max_bytes, etag=etag, last_modified=date)


def read(response: Response) -> bytes:
    return b"".join(response.body.chunks())


def failure(fetcher: Fetcher, url: str = HOME, **options: Any) -> FetchError:
    with pytest.raises(FetchError) as error:
        fetcher.fetch(ask(url, **options))
    return error.value


class FetcherConformance:
    def test_hands_over_status_headers_and_body(self, serve: Serve) -> None:
        response = serve({HOME: (200, {"Content-Type": "text/html", "X-One": "1"}, b"<p>hi")}).fetch(ask())
        assert (response.status, response.url, response.requested_url) == (200, HOME, HOME)
        assert response.headers["content-type"] == "text/html"
        assert response.headers["x-one"] == "1"
        assert (read(response), response.truncated, response.redirects) == (b"<p>hi", False, ())

    def test_a_body_is_read_as_often_as_wanted_and_knows_its_digest(self, serve: Serve) -> None:
        body = serve({HOME: (200, {}, b"abc" * 1_000)}).fetch(ask()).body
        assert body.size == 3_000
        assert b"".join(body.chunks(7)) == b"".join(body.chunks()) == b"abc" * 1_000
        assert body.sha256 == hashlib.sha256(b"abc" * 1_000).digest()

    @pytest.mark.parametrize("status", [404, 403, 500, 503, 429, 999])
    def test_any_status_is_an_answer(self, serve: Serve, status: int) -> None:
        response = serve({HOME: (status, {}, b"no")}).fetch(ask())
        assert (response.status, read(response)) == (status, b"no")

    def test_what_is_not_there_is_404(self, serve: Serve) -> None:
        assert serve({}).fetch(ask()).status == 404

    def test_follows_redirects_and_names_each(self, serve: Serve) -> None:
        fetcher = serve(
            {
                HOME: (301, {"Location": "/a"}, b"moved"),
                HOME + "a": (302, {"Location": "http://other.example.com/b"}, b""),
                "http://other.example.com/b": (200, {}, b"here"),
            }
        )
        response = fetcher.fetch(ask())
        assert (response.requested_url, response.url) == (HOME, "http://other.example.com/b")
        assert response.redirects == (HOME + "a", "http://other.example.com/b")
        assert read(response) == b"here"

    def test_five_redirects_are_followed_a_sixth_is_not(self, serve: Serve) -> None:
        chain = {f"{HOME}{n}": (302, {"Location": f"/{n + 1}"}, b"") for n in range(6)}
        assert serve(chain).fetch(ask(HOME + "1")).status == 404
        with pytest.raises(FetchError) as error:
            serve(chain).fetch(ask(HOME + "0"))
        assert error.value.code == "too_many_redirects"

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_every_status_that_redirects_is_followed(self, serve: Serve, status: int) -> None:
        fetcher = serve({HOME: (status, {"Location": "b#part"}, b""), HOME + "b": (200, {}, b"here")})
        response = fetcher.fetch(ask())
        assert (response.status, response.url, response.redirects) == (200, HOME + "b", (HOME + "b",))

    @pytest.mark.parametrize("status", [201, 300, 305, 306])
    def test_no_other_is(self, serve: Serve, status: int) -> None:
        response = serve({HOME: (status, {"Location": "/b"}, b"stay")}).fetch(ask())
        assert (response.status, response.url, read(response)) == (status, HOME, b"stay")

    @pytest.mark.parametrize("target", ["ftp://example.com/", "javascript:alert(1)", "data:,x", "http://", "http:///x"])
    def test_a_target_that_is_no_web_page_is_a_bad_redirect(self, serve: Serve, target: str) -> None:
        error = failure(serve({HOME: (302, {"Location": target}, b"")}))
        assert (error.code, error.retryable) == ("bad_redirect", False)

    def test_a_3xx_that_names_no_target_is_an_answer(self, serve: Serve) -> None:
        assert serve({HOME: (302, {}, b"")}).fetch(ask()).status == 302

    def test_reads_no_more_than_asked_for(self, serve: Serve) -> None:
        response = serve({HOME: (200, {}, b"0123456789")}).fetch(ask(max_bytes=4))
        assert (read(response), response.truncated) == (b"0123", True)

    def test_a_body_that_just_fits_is_whole(self, serve: Serve) -> None:
        response = serve({HOME: (200, {}, b"0123")}).fetch(ask(max_bytes=4))
        assert (read(response), response.truncated) == (b"0123", False)

    def test_a_known_validator_gives_304(self, serve: Serve) -> None:
        fetcher = serve({HOME: (200, {"ETag": '"v1"'}, b"text")})
        response = fetcher.fetch(ask(etag='"v1"'))
        assert (response.status, read(response), response.truncated) == (304, b"", False)
        assert fetcher.fetch(ask(etag='"v0"')).status == 200

    def test_a_known_date_gives_304(self, serve: Serve) -> None:
        date = "Wed, 21 Oct 2015 07:28:00 GMT"
        fetcher = serve({HOME: (200, {"Last-Modified": date}, b"text")})
        assert fetcher.fetch(ask(date=date)).status == 304
        assert fetcher.fetch(ask()).status == 200

    def test_a_weak_validator_is_good_enough(self, serve: Serve) -> None:
        fetcher = serve({HOME: (200, {"ETag": 'W/"v1"'}, b"text")})
        assert fetcher.fetch(ask(etag='W/"v1"')).status == 304

    def test_a_304_that_was_not_asked_for_is_no_answer(self, serve: Serve) -> None:
        """Nothing is known that could be unchanged."""
        fetcher = serve({HOME: (304, {"ETag": '"v1"'}, b"")})
        assert failure(fetcher).code == "bad_response"
        assert fetcher.fetch(ask(etag='"v1"')).status == 304

    def test_a_part_that_was_not_asked_for_is_called_one(self, serve: Serve) -> None:
        response = serve({HOME: (206, {"Content-Range": "bytes 0-3/9"}, b"text")}).fetch(ask())
        assert (read(response), response.truncated) == (b"text", True)

    def test_the_wire_carried_at_least_the_body(self, serve: Serve) -> None:
        assert serve({HOME: (200, {}, b"x" * 500)}).fetch(ask()).wire_bytes >= 500

    def test_a_response_is_closed_as_often_as_you_like(self, serve: Serve) -> None:
        with serve({HOME: (200, {}, b"x")}).fetch(ask()) as response:
            response.body.close()

    @pytest.mark.parametrize("concurrency", [1, 3, 20])
    def test_several_come_back_in_order(self, serve: Serve, concurrency: int) -> None:
        urls = [f"{HOME}{n}" for n in range(12)]
        fetcher = serve({url: (200, {}, url.encode()) for url in urls})
        outcomes = list(fetcher.fetch_all([ask(url) for url in urls], concurrency=concurrency))
        assert [read(o) for o in outcomes if isinstance(o, Response)] == [url.encode() for url in urls]

    def test_one_that_fails_leaves_the_others_alone(self, serve: Serve) -> None:
        loop = {HOME + "loop": (302, {"Location": "/loop"}, b""), HOME: (200, {}, b"ok")}
        outcomes = list(serve(loop).fetch_all([ask(), ask(HOME + "loop"), ask()], concurrency=2))
        assert [getattr(o, "code", None) or getattr(o, "status", None) for o in outcomes] == [
            200,
            "too_many_redirects",
            200,
        ]

    def test_nothing_asked_nothing_given(self, serve: Serve) -> None:
        assert list(serve({}).fetch_all([], concurrency=4)) == []

    def test_several_are_asked_for_at_a_time(self, serve: Serve) -> None:
        both = threading.Barrier(2, timeout=5)  # breaks, and the answer with it, unless two are inside

        def meet() -> Answer:
            both.wait()
            return 200, {}, b"met"

        urls = [f"{HOME}{n}" for n in range(4)]
        outcomes = serve(dict.fromkeys(urls, meet)).fetch_all([ask(url) for url in urls], concurrency=2)
        assert [read(o) for o in outcomes if isinstance(o, Response)] == [b"met"] * 4

    def test_but_no_more_than_that(self, serve: Serve) -> None:
        lock, inside, most = threading.Lock(), [0], [0]

        def visit() -> Answer:
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            with lock:
                inside[0] -= 1
            return 200, {}, b""

        urls = [f"{HOME}{n}" for n in range(12)]
        list(serve(dict.fromkeys(urls, visit)).fetch_all([ask(url) for url in urls], concurrency=2))
        assert most[0] <= 2

    def test_a_host_that_wants_a_pause_postpones(self, serve: Serve) -> None:
        with pytest.raises(Postponed) as postponed:
            serve({HOME: (200, {}, b"")}, cooling=["www.example.com"]).fetch(ask())
        assert postponed.value.seconds > 5
        assert postponed.value.reason == "host_cooldown"

    def test_what_came_before_the_pause_is_handed_over_first(self, serve: Serve) -> None:
        fetcher = serve({HOME: (200, {}, b"ok")}, cooling=["slow.example.com"])
        outcomes = fetcher.fetch_all([ask(), ask("http://slow.example.com/"), ask()], concurrency=2)
        assert isinstance(next(outcomes), Response)
        with pytest.raises(Postponed):
            next(outcomes)

    def test_work_that_must_stop_asks_nothing_more(self, serve: Serve) -> None:
        asked: list[str] = []

        def note() -> Answer:
            asked.append("once too often")
            return 200, {}, b""

        fetcher = serve({HOME: note}, aborted=True)
        with pytest.raises(Aborted):
            fetcher.fetch(ask())
        with pytest.raises(Aborted):
            list(fetcher.fetch_all([ask(), ask()], concurrency=2))
        assert asked == []
