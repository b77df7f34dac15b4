"""What all schemas share, and those more than one resource shows."""

from __future__ import annotations

import marshmallow as ma


class Schema(ma.Schema):
    """Unknown fields are refused; fields stand in the order written."""

    class Meta:  # noqa: D106
        unknown = ma.RAISE

    error_messages = {"unknown": "there is no such field"}  # noqa: RUF012 - marshmallow's own protocol


class FieldErrorSchema(Schema):
    pointer = ma.fields.String(
        required=True, metadata={"description": "RFC 6901 JSON pointer, or a query parameter's name"}
    )
    detail = ma.fields.String(required=True)


class Excess(Schema):
    quota = ma.fields.String(required=True, metadata={"description": "its name in /usage"})
    limit = ma.fields.Integer(required=True)
    used = ma.fields.Integer(required=True, allow_none=True)
    asked = ma.fields.Integer(
        required=True, metadata={"description": "beside what is used; at least, of a list that was not read to its end"}
    )


class Problem(Schema):
    """RFC 9457."""

    type = ma.fields.String(required=True, metadata={"format": "uri"})
    title = ma.fields.String(required=True)
    status = ma.fields.Integer(required=True)
    detail = ma.fields.String(required=True)
    code = ma.fields.String(required=True, metadata={"description": "stable; for programs"})
    request_id = ma.fields.String(required=True)
    errors = ma.fields.List(ma.fields.Nested(FieldErrorSchema), metadata={"description": "what is wrong where"})
    excess = ma.fields.Nested(Excess, metadata={"description": "with the code `quota_exceeded`"})
