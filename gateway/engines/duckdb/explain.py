"""EXPLAIN: whether a statement is valid, what it reads, and how DuckDB would run it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from gateway.engines.duckdb.failures import fail
from gateway.engines.duckdb.syntax import Source
from gateway.engines.duckdb.work import Known, Select, Work, texts
from gateway.wire.trino.documents import ResultColumn
from gateway.wire.trino.types import BOOLEAN

if TYPE_CHECKING:
    from gateway.engines.duckdb.catalog import RelationInfo
    from gateway.engines.duckdb.statements import Analysis

_ROW_BYTES = 16  # a rough width of a column, for estimates


def explain(analysis: Analysis, source: Source, words: list[str]) -> Work:
    """EXPLAIN [ANALYZE [VERBOSE]] [(TYPE …, FORMAT …)] statement."""
    index, analyze = 1, False
    while words[index : index + 1] in (["analyze"], ["verbose"]):
        analyze = analyze or words[index] == "analyze"
        index += 1
    kind, form = "distributed", "text"
    if words[index : index + 1] == ["("] and words[index + 1 : index + 2] in (["type"], ["format"]):
        close = words.index(")", index)
        options = words[index + 1 : close]
        for at, word in enumerate(options[:-1]):
            kind = options[at + 1] if word == "type" else kind
            form = options[at + 1] if word == "format" else form
        index = close + 1
    if index >= len(words):
        fail("SYNTAX_ERROR", "mismatched input '<EOF>'. Expecting: <statement>", source.end)
    inner = source.after(index)
    queries = analysis.queries(inner)
    if words[index] in ("select", "with", "values", "table", "("):
        work: Work = Select(queries.top(inner.parse()))
    else:
        work = analysis.work(inner)
    if kind == "validate":
        return Known((ResultColumn("Valid", BOOLEAN),), [[True]])
    if kind == "io":
        return texts(["Query Plan"], [[_io(list(queries.used.values()))]])
    if kind not in ("logical", "distributed"):
        fail("SYNTAX_ERROR", f"mismatched input '{kind}'. Expecting: 'DISTRIBUTED', 'IO', 'LOGICAL', 'VALIDATE'",
             source.place(source.tokens[1].start))  # fmt: skip
    return texts(["Query Plan"], [[_plan(analysis, work, list(queries.used.values()), form, analyze)]])


def _plan(analysis: Analysis, work: Work, used: list[RelationInfo], form: str, analyze: bool) -> str:
    if not isinstance(work, Select):
        return f"Trino version: {analysis.session.version}\n{type(work).__name__}\n"
    names = ", ".join(work.output.names)
    if form == "json":
        tables = [{"name": "TableScan", "descriptor": {"table": _colons(one)}} for one in used]
        plan = {
            "0": {
                "id": "0",
                "name": "Output",
                "descriptor": {"columnNames": f"[{names}]"},
                "children": tables,
            }
        }
        return orjson.dumps(plan, option=orjson.OPT_INDENT_2).decode()
    word = "EXPLAIN ANALYZE" if analyze else "EXPLAIN"
    found = analysis.connection.execute(f"{word} {work.output.sql}").fetchall()
    scans = "".join(f"   TableScan[table = {_colons(one)}]\n" for one in used)
    body = "\n".join(str(one[1]) for one in found)
    return f"Trino version: {analysis.session.version}\nOutput[columnNames = [{names}]]\n{scans}{body}\n"


def _colons(relation: RelationInfo) -> str:
    return f"{relation.catalog}:{relation.schema}:{relation.name}"


def _io(used: list[RelationInfo]) -> str:
    tables, rows_total, size_total = [], 1.0, 0.0
    for one in used:
        rows = float(one.rows or 0)
        size = rows * _ROW_BYTES * max(1, len(one.columns))
        rows_total, size_total = max(rows_total, rows), size_total + size
        tables.append(
            {
                "table": {"catalog": one.catalog, "schemaTable": {"schema": one.schema, "table": one.name}},
                "constraint": {"none": False, "columnConstraints": []},
                "estimate": _estimate(rows, size),
            }
        )
    document = {"inputTableColumnInfos": tables, "estimate": _estimate(rows_total, size_total)}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()


def _estimate(rows: float, size: float) -> dict[str, float]:
    return {
        "outputRowCount": rows,
        "outputSizeInBytes": size,
        "cpuCost": size,
        "maxMemory": 0.0,
        "networkCost": 0.0,
    }
