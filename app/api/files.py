"""Answers that are files: a JSON value a line, or a table for spreadsheets. Both are written as they are read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final, Literal, TypeVar

from flask import Response, current_app, stream_with_context

from app.services.spreadsheets import safe_cell

Format = Literal["jsonl", "csv"]
FORMATS: Final = ("jsonl", "csv")
JSONL: Final = "application/x-ndjson"
CSV: Final = "text/csv"

T = TypeVar("T")


def as_file(
    name: str,
    form: Format,
    chunks: Iterator[Sequence[T]],
    *,
    columns: Sequence[str],
    lines: Callable[[T], Mapping[str, Any]],
    cells: Callable[[T], Mapping[str, object]],
) -> Response:
    """An attachment `name.form` of what the chunks hold: each as `lines` tells it in JSON, as `cells` in a table.

    The first chunk is read before anything is answered, so what goes wrong at once is answered as a problem.
    """
    chunks = chain([next(chunks, ())], chunks)
    if form == "csv":
        parts, mimetype = _table(chunks, columns, cells), CSV
    else:
        parts, mimetype = ("".join(f"{as_json(lines(one))}\n" for one in chunk) for chunk in chunks), JSONL
    return Response(
        stream_with_context(parts),
        mimetype=mimetype,
        headers={"Content-Disposition": f'attachment; filename="{name}.{form}"'},
    )


def documented(what: str, columns: Sequence[str], example: Mapping[str, Any]) -> dict[str, Any]:
    """Such an answer in the OpenAPI document: `what` a line or row."""
    return {
        "description": f"{what} a line or row",
        "content": {
            JSONL: {"schema": {"type": "string"}, "example": f"{json.dumps(example)}\n"},
            CSV: {"schema": {"type": "string"}, "example": ",".join(columns)},
        },
    }


def as_json(value: Any) -> str:
    """As all answers write it."""
    return str(current_app.json.dumps(value))


def _table(
    chunks: Iterable[Sequence[T]], columns: Sequence[str], cells: Callable[[T], Mapping[str, object]]
) -> Iterator[str]:
    yield _rows([columns])
    for chunk in chunks:
        yield _rows([safe_cell(told.get(name)) for name in columns] for told in map(cells, chunk))


def _rows(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()
