"""Reading lists of domains, line by line: what a batch is made of, whatever it was sent as.

Nothing here holds more than a chunk of the input, so a list may be as long as it likes. A line that cannot be read
is an answer (`Line.detail`), never the end of the list.
"""

from __future__ import annotations

import csv
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, Final, Literal, get_args

from app.errors import FieldError, InvalidInput, InvalidUrl, TooLarge
from app.repositories.batches import Line
from app.scanning.urls import site

UploadKind = Literal["text/plain", "text/csv", "application/x-ndjson"]
UPLOAD_KINDS: Final[tuple[str, ...]] = get_args(UploadKind)
DOMAIN_COLUMNS: Final = ("domain", "base_url", "url", "website")  # of a CSV header, in the order they are wanted
NDJSON_KEYS: Final = ("domain", "base_url")
MAX_LINE: Final = 4_096  # bytes; twice what a URL may have, for the JSON or quotes around it
SHOWN: Final = 256  # characters of an unreadable line that are kept, to show it to its sender
MAX_ERRORS: Final = 100
_CHUNK: Final = 1 << 16
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_UTF8_MARK = b"\xef\xbb\xbf"
_TOO_LONG = f"the line is longer than {MAX_LINE:,} bytes"
_NOT_UTF8 = "the line is not UTF-8"


class _Lines(Iterator[str]):
    """A table's lines, as csv.reader draws them. `before` counts those before the present row.

    A quote that is never closed swallows the lines after it: `keep_first` gives them back, to be read anew.
    """

    def __init__(self, lines: Iterator[str]) -> None:
        self.before = 0
        self.row: list[str] = []
        self._lines = lines
        self._again: deque[str] = deque()

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self.row.append(line)
        return line

    def begin_row(self) -> None:
        self.before += len(self.row)
        self.row.clear()

    def keep_first(self) -> None:
        self._again.extendleft(reversed(self.row[1:]))
        del self.row[1:]


def from_values(values: Iterable[str]) -> Iterator[Line]:
    """Lines of a list already in memory; numbered from 1.

    >>> [(line.line, line.host, line.path) for line in from_values(["Example.com", "example.com/shop/"])]
    [(1, 'example.com', '/'), (2, 'example.com', '/shop/')]
    >>> next(from_values(["local host"])).detail
    'the URL contains white space where none may be'
    """
    for number, value in enumerate(values, 1):
        yield read_line(number, value)


def from_upload(file: BinaryIO, kind: UploadKind) -> Iterator[Line]:
    """Lines of an upload; blank ones are passed over, but counted.

    :raises InvalidInput: the upload is UTF-16
    """
    start = file.read(3)
    if start[:2] in _UTF16:
        raise InvalidInput("the upload is UTF-16; send UTF-8")
    file.seek(3 if start == _UTF8_MARK else 0)
    return _READERS[kind](file)


def read_line(number: int, text: str) -> Line:
    text = text.strip()
    try:
        found = site(text)
    except InvalidUrl as error:
        return _refused(number, text, error.detail)
    return Line(number, text, found.authority, found.path, found.scheme, None)


def shown(text: str) -> str:
    r"""What of a hostile text may be stored and shown: not too much, and nothing PostgreSQL cannot hold.

    >>> shown("a\0b" + "c" * 1000) == "a\N{REPLACEMENT CHARACTER}b" + "c" * 253
    True
    """
    mark = "\N{REPLACEMENT CHARACTER}"
    return text[:SHOWN].encode("utf-8", "replace").decode("utf-8").replace("\0", mark)


def at_most(lines: Iterable[Line], limit: int) -> Iterator[Line]:
    """:raises TooLarge: there are more"""
    for count, line in enumerate(lines, 1):
        if count > limit:
            raise TooLarge(f"a batch has at most {limit:,} lines")
        yield line


def none_invalid(lines: Iterable[Line], pointer: Callable[[int], str]) -> Iterator[Line]:
    """Hand the lines on, if every one is a domain.

    :raises InvalidInput: with the first hundred that are not
    """
    errors: list[FieldError] = []
    for line in lines:
        if line.detail is not None:
            errors.append(FieldError(pointer(line.line), line.detail))
            if len(errors) == MAX_ERRORS:
                break
        elif not errors:
            yield line
    if errors:
        raise InvalidInput("some lines are not domains", errors=tuple(errors))


def _refused(number: int, text: str, detail: str) -> Line:
    return Line(number, shown(text), None, None, None, detail)


def _raw_lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines with their ends (LF, CRLF or CR); of a line too long, its beginning, still too long."""
    tail = b""
    while chunk := file.read(_CHUNK):
        while chunk.endswith(b"\r") and (after := file.read(1)):
            chunk += after  # its LF may be the next byte
        lines = chunk.splitlines(keepends=True)
        lines[0] = tail + lines[0]
        tail = b"" if lines[-1].endswith((b"\n", b"\r")) else lines.pop()[: MAX_LINE + 1]
        yield from lines
    if tail:
        yield tail


def _plain(file: BinaryIO) -> Iterator[Line]:
    yield from _each(file, read_line)


def _ndjson(file: BinaryIO) -> Iterator[Line]:
    yield from _each(file, _json_line)


def _each(file: BinaryIO, read: Callable[[int, str], Line]) -> Iterator[Line]:
    for number, raw in enumerate(_raw_lines(file), 1):
        if len(raw) > MAX_LINE:
            yield _refused(number, raw[:SHOWN].decode("utf-8", "replace"), _TOO_LONG)
            continue
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            yield _refused(number, raw.decode("utf-8", "replace").strip(), _NOT_UTF8)
            continue
        if not text.isspace():
            yield read(number, text)


def _json_line(number: int, text: str) -> Line:
    try:
        value = json.loads(text, object_pairs_hook=_no_key_twice)
    except (ValueError, RecursionError):
        return _refused(number, text.strip(), "the line is not JSON")
    if isinstance(value, dict) and len(value) == 1:
        value = next((value[key] for key in NDJSON_KEYS if key in value), None)
    if not isinstance(value, str):
        return _refused(number, text.strip(), 'the line is neither a string nor {"domain": a string}')
    return read_line(number, value)


def _no_key_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _csv(file: BinaryIO) -> Iterator[Line]:
    """Rows of a table. Its first row may name the column; then its delimiter is learnt from there, too."""
    start = file.tell()
    first = next(_raw_lines(file), b"").decode("utf-8", "replace")
    file.seek(start)
    delimiter, column = _header(first)
    # A byte that is no UTF-8 becomes a lone surrogate, which marks its cell and leaves the others readable.
    lines = _Lines(_cut(raw).decode("utf-8", "surrogateescape") for raw in _raw_lines(file))
    if column is not None:
        next(lines)
    yield from _rows(lines, delimiter, column or 0)


def _rows(lines: _Lines, delimiter: str, column: int) -> Iterator[Line]:
    rows = csv.reader(lines, delimiter=delimiter)
    while True:
        lines.begin_row()
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:  # the reader starts anew at the next line
            yield _not_csv(lines, str(error))
            continue
        if len(lines.row) > 1 and _ran_on(row, column):
            yield _not_csv(lines, "a quote is not closed")
            continue
        line = _row(lines.before + 1, row, column)
        if line is not None:
            yield line


def _not_csv(lines: _Lines, why: str) -> Line:
    lines.keep_first()
    text = lines.row[0].encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return _refused(lines.before + 1, text.strip(), f"the line is not CSV: {why}")


def _ran_on(row: Sequence[str], column: int) -> bool:
    """A note may have several lines; a domain has one."""
    return column >= len(row) or len(row[column].strip().splitlines()) > 1


def _row(number: int, row: Sequence[str], column: int) -> Line | None:
    if not any(map(str.strip, row)):
        return None
    cell = row[column] if column < len(row) else ""
    if len(cell) > MAX_LINE:
        return _refused(number, cell, _TOO_LONG)
    if not cell.isascii() and any("\udc80" <= char <= "\udcff" for char in cell):
        return _refused(number, cell.encode("utf-8", "surrogateescape").decode("utf-8", "replace"), _NOT_UTF8)
    return read_line(number, cell)


def _header(first: str) -> tuple[str, int | None]:
    """
    >>> _header("name;Domain"), _header("example.com,b")
    ((';', 1), (',', None))
    """
    for delimiter in ",;\t":
        names = [cell.strip().lower() for cell in next(csv.reader([first[:MAX_LINE]], delimiter=delimiter), [])]
        for wanted in DOMAIN_COLUMNS:
            if wanted in names:
                return delimiter, names.index(wanted)
    return ",", None


def _cut(raw: bytes) -> bytes:
    return raw if len(raw) <= MAX_LINE * 16 else raw[: MAX_LINE * 16] + b"\n"


_READERS: Final[dict[str, Callable[[BinaryIO], Iterator[Line]]]] = {
    "text/plain": _plain,
    "text/csv": _csv,
    "application/x-ndjson": _ndjson,
}
