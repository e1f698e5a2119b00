"""multipart/form-data: fields, and tables that come with a request.

Read whole (bounded) and written anew with our own boundary, because ClickHouse concatenates every `query` it
finds in URL and form, and because a form's fields are parameters and settings like the URL's.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.wire.clickhouse.errors import BAD_ARGUMENTS, NOT_IMPLEMENTED, WireError

MAX_PARTS = 1000
_NAME = re.compile(rb';\s*name="([^"\r\n]{1,256})"', re.IGNORECASE)
_FILENAME = re.compile(rb";\s*filename\*?=", re.IGNORECASE)
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


@dataclass(frozen=True, slots=True)
class ExternalTable:
    """A table inside a request: its name, and its rows in the format that its `_format` parameter names."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Form:
    """What a multipart body held."""

    fields: tuple[tuple[str, str], ...] = ()
    tables: tuple[ExternalTable, ...] = ()


def parse_form(body: bytes, boundary: str, *, external_data: bool) -> Form:
    """Raises WireError where the form is malformed, ambiguous, or holds tables although they are not allowed."""
    fields: list[tuple[str, str]] = []
    tables: list[ExternalTable] = []
    for head, content in _parts(body, boundary):
        name = _NAME.search(head)
        if name is None:
            raise WireError(BAD_ARGUMENTS, "A part of the multipart body has no name")
        text = name[1].decode("utf-8", "surrogateescape")
        if _FILENAME.search(head) is None:
            fields.append((text, content.decode("utf-8", "surrogateescape")))
        elif not external_data:
            raise WireError(NOT_IMPLEMENTED, "Tables inside a request (external data) are not allowed here")
        elif _TABLE.fullmatch(text) is None:
            raise WireError(BAD_ARGUMENTS, "The name of an external table is letters, digits and underscores")
        elif any(table.name == text for table in tables):
            raise WireError(BAD_ARGUMENTS, "Two external tables have the same name")
        else:
            tables.append(ExternalTable(text, content))
    return Form(tuple(fields), tuple(tables))


def _parts(body: bytes, boundary: str) -> Iterable[tuple[bytes, bytes]]:
    mark = b"--" + boundary.encode("latin-1")
    pieces = (b"\r\n" + body).split(b"\r\n" + mark, MAX_PARTS + 2)
    if len(pieces) > MAX_PARTS + 2:
        raise WireError(BAD_ARGUMENTS, f"The multipart body has more than {MAX_PARTS} parts")
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise WireError(BAD_ARGUMENTS, "The multipart body is not ended by its boundary")
    for piece in pieces[1:-1]:
        head, found, content = piece.partition(b"\r\n\r\n")
        if not found or head.lstrip(b" \t")[:2] != b"\r\n":
            raise WireError(BAD_ARGUMENTS, "A part of the multipart body is malformed")
        yield head, content


def build_form(query: bytes, tables: Iterable[ExternalTable]) -> tuple[str, bytes]:
    """(Content-Type, body) with one `query` field and the tables."""
    boundary = "gateway-" + secrets.token_hex(16)
    mark = b"--" + boundary.encode()
    parts = [mark, b'\r\nContent-Disposition: form-data; name="query"\r\n\r\n', query, b"\r\n"]
    for table in tables:
        name = table.name.encode()
        parts += (
            mark,
            b'\r\nContent-Disposition: form-data; name="' + name + b'"; filename="' + name + b'"\r\n\r\n',
            table.data,
            b"\r\n",
        )
    parts += (mark, b"--\r\n")
    return f"multipart/form-data; boundary={boundary}", b"".join(parts)
