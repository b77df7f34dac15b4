"""Keyset pages over HTTP: `?limit=&cursor=` → `{"items": […], "next_cursor": … | null}`."""

from __future__ import annotations

import hashlib
import hmac
import json
from functools import cache
from typing import Any, Final

import marshmallow as ma
from flask import request

from app.api.schemas import Schema
from app.api.security import current_actor, signing_keys
from app.repositories.keyset import DEFAULT_LIMIT, MAX_LIMIT

MAX_CURSOR: Final = 3_800  # a domain's is as long as its base path; a request's line has 4,094 bytes
SEAL_BYTES: Final = 12


class Cursor(ma.fields.String):
    """A place in one list of one tenant, sealed: elsewhere it is refused, whatever it would have shown there."""

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        place = super()._serialize(value, attr, obj, **kwargs)
        if place is None:
            return None
        key = signing_keys().newest()
        return f"{place}.{key.id}.{_seal(place, key.secret)}"

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        place, _, rest = text.partition(".")
        key_id, _, seal = rest.partition(".")
        secret = signing_keys().find(key_id)
        if secret is None or not hmac.compare_digest(seal.encode(), _seal(place, secret).encode()):
            raise ma.ValidationError("not one of this list's cursors")
        return place


def _seal(place: str, secret: str) -> str:
    words = json.dumps([str(current_actor().tenant_id), request.endpoint, request.view_args, place])
    key = hashlib.sha256(secret.encode()).digest()
    return hashlib.blake2b(words.encode(), key=key, digest_size=SEAL_BYTES, person=b"cursor").hexdigest()


class PageArgs(Schema):
    """Query parameters of every list; subclass it to add filters."""

    limit = ma.fields.Integer(
        load_default=DEFAULT_LIMIT,
        validate=ma.validate.Range(1, MAX_LIMIT),
        metadata={"description": f"items of one page, at most {MAX_LIMIT}"},
    )
    cursor = Cursor(
        load_default=None,
        validate=ma.validate.Length(1, MAX_CURSOR),
        metadata={"description": "`next_cursor` of the page before"},
    )


@cache
def page_of(item: type[ma.Schema]) -> type[ma.Schema]:
    """The schema of a page of `item`; dumps a `keyset.PageOf`. One class an item, so that documents name it once."""
    return Schema.from_dict(
        {
            "items": ma.fields.List(ma.fields.Nested(item), required=True),
            "next_cursor": Cursor(required=True, allow_none=True),
        },
        name=f"{item.__name__}Page",
    )
