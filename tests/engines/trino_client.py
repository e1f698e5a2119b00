"""A few lines of Trino's protocol, for tests that compare engines: everything as it came over the wire."""

from __future__ import annotations

import json
import urllib.request
from typing import Any


def ask(url: str, statement: str, **headers: str) -> dict[str, Any]:
    """Columns and rows, or the error and its place, in the form of a line of `duckdb_cases.jsonl`."""
    sent = {"X-Trino-User": "test", "X-Trino-Time-Zone": "UTC"}
    sent["X-Trino-Client-Capabilities"] = "PARAMETRIC_DATETIME"
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(f"{url}/v1/statement", statement.encode(), sent)
    columns: list[list[str]] = []
    rows: list[Any] = []
    while True:
        with urllib.request.urlopen(request, timeout=60) as response:
            document = json.load(response)
        if "error" in document:
            place = document["error"].get("errorLocation")
            found = {"error": document["error"]["errorName"]}
            return found | ({"line": place["lineNumber"], "column": place["columnNumber"]} if place else {})
        columns = [[one["name"], one["type"]] for one in document.get("columns") or ()] or columns
        rows += document.get("data") or []
        if "nextUri" not in document:
            return {"columns": columns, "rows": rows}
        request = urllib.request.Request(document["nextUri"], headers=sent)
