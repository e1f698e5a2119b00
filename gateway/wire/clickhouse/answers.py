"""Results that the gateway gives itself, in whatever format the client asked for.

An engine does the encoding: the rows go to it as the constant `format(JSONCompactEachRow, …)`, so every output
format, compression and format setting behaves as for any other result, and there is no second encoder to keep
equal to ClickHouse's.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from gateway.core.decision import Answer
from gateway.core.statement import Wire
from gateway.sql.lexer import quote_name, quote_string

_FORMAT = re.compile(r"\bFORMAT\s+([A-Za-z0-9]{1,64})(?:\s+SETTINGS\s[^;]*)?\s*;?\s*\Z", re.IGNORECASE)
MAX_ANSWER_BYTES = 8 * 1024 * 1024


def as_statement(answer: Answer, original: str) -> str:
    """A statement whose result is the answer. Raises ValueError where a value has no JSON form or it is too big."""
    structure = ", ".join(
        f"{quote_name(column.name, Wire.CLICKHOUSE)} {column.type}" for column in answer.columns
    )
    lines = b"\n".join(orjson.dumps(list(row), default=_plain) for row in answer.rows)
    if len(lines) > MAX_ANSWER_BYTES:
        raise ValueError(f"an answer of the gateway is larger than {MAX_ANSWER_BYTES} bytes")
    asked = _FORMAT.search(original[-200:])
    suffix = f" FORMAT {asked[1]}" if asked else ""
    arguments = f"{quote_string(structure, Wire.CLICKHOUSE)}, {quote_string(lines.decode(), Wire.CLICKHOUSE)}"
    return f"SELECT * FROM format(JSONCompactEachRow, {arguments}){suffix}"  # noqa: S608 - quoted above


def _plain(value: Any) -> str:
    return str(value)
