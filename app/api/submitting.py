"""What submissions have in common: the Idempotency-Key, an upload received to its end, the answer given."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final, NamedTuple

import marshmallow as ma
from flask import Request, Response, current_app, request
from werkzeug.exceptions import UnsupportedMediaType

from app.api.core import core
from app.errors import FieldError, InvalidInput, TooLarge
from app.services.domain_lines import UPLOAD_KINDS
from app.services.submission import Answer, Once, Submissions

HEADER: Final = "Idempotency-Key"
KEY_PARAMETER: Final = {
    "in": "header",
    "name": HEADER,
    "schema": {"type": "string", "maxLength": 255},
    "description": "the same key and body within 24 h: the first answer again, nothing is created twice",
}
_KEY = re.compile(r"[\x20-\x7e]{1,255}")
_CHUNK = 1 << 18


class Upload(NamedTuple):
    """A body received whole, at its start; `digest` covers the bytes."""

    file: BinaryIO
    digest: bytes


def submissions() -> Submissions:
    found = core()
    return Submissions(found.database, found.queue, found.settings, quotas=found.quotas, features=found.features)


def once(route: str, body_hash: bytes | None = None) -> Once | None:
    """How the caller wants a repetition to be known. Query and type of the body belong to what must be the same.

    :raises InvalidInput: the key is not 1 to 255 printable ASCII characters
    """
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        detail = "send 1 to 255 printable ASCII characters"
        raise InvalidInput(f"{HEADER}: {detail}", errors=(FieldError(HEADER, detail),))
    digest = hashlib.blake2b(request.mimetype.encode() + b"\n" + request.query_string + b"\n", digest_size=32)
    digest.update(hashlib.blake2b(request.get_data(cache=True)).digest() if body_hash is None else body_hash)
    return Once(route=route, key=key, body_hash=digest.digest())


def answer_of(schema: type[ma.Schema], body: dict[str, Any], *, status: int, location: str = "") -> Answer:
    """What is told now, and kept to be told again."""
    return Answer(status, location, current_app.json.dumps(schema().dump(body)))


def answered(answer: Answer) -> Response:
    response = Response(answer.body, answer.status, mimetype="application/json")
    if answer.location:
        response.headers["Location"] = answer.location
    if answer.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response


@contextmanager
def received(req: Request, *, limit: int) -> Iterator[Upload]:
    """Take the body in, to a file without a name, before anything else is begun.

    :raises TooLarge: it has more than `limit` bytes, announced or not
    :raises UnsupportedMediaType: it is said to be something that is not read here
    """
    check_kind(req)
    if (req.content_length or 0) > limit:
        raise TooLarge(f"an upload has at most {limit:,} bytes")
    req.max_content_length = limit  # beyond what a JSON body may have
    with tempfile.TemporaryFile() as file:
        digest = hashlib.blake2b()
        size = 0
        while chunk := req.stream.read(_CHUNK):
            size += len(chunk)
            if size > limit:
                raise TooLarge(f"an upload has at most {limit:,} bytes")
            digest.update(chunk)
            file.write(chunk)
        file.seek(0)
        yield Upload(file, digest.digest())


def check_kind(req: Request) -> None:
    """:raises UnsupportedMediaType: neither JSON nor a list that is read here"""
    if req.mimetype not in UPLOAD_KINDS:
        raise UnsupportedMediaType(f"send application/json, {', '.join(UPLOAD_KINDS)}")
    charset = req.mimetype_params.get("charset", "utf-8").lower()
    if charset not in {"utf-8", "utf8", "us-ascii", "ascii"}:
        raise UnsupportedMediaType("send UTF-8")
    if req.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("send the upload without a content coding")
