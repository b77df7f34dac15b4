"""Keyset pages over HTTP: `?limit=&cursor=` → `{"items": […], "next_cursor": … | null}`."""

from __future__ import annotations

from functools import cache

import marshmallow as ma

from app.api.schemas import Schema
from app.repositories.keyset import DEFAULT_LIMIT, MAX_LIMIT


class PageArgs(Schema):
    """Query parameters of every list; subclass it to add filters."""

    limit = ma.fields.Integer(
        load_default=DEFAULT_LIMIT,
        validate=ma.validate.Range(1, MAX_LIMIT),
        metadata={"description": f"items of one page, at most {MAX_LIMIT}"},
    )
    cursor = ma.fields.String(
        load_default=None,
        validate=ma.validate.Length(1, 1024),
        metadata={"description": "`next_cursor` of the page before"},
    )


@cache
def page_of(item: type[ma.Schema]) -> type[ma.Schema]:
    """The schema of a page of `item`; dumps a `keyset.PageOf`. One class an item, so that documents name it once."""
    return Schema.from_dict(
        {
            "items": ma.fields.List(ma.fields.Nested(item), required=True),
            "next_cursor": ma.fields.String(required=True, allow_none=True),
        },
        name=f"{item.__name__}Page",
    )
