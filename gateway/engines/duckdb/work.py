"""What analysis of a statement gives: what to run, and what to tell the client about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.engines.duckdb.scope import Output
from gateway.wire.trino.documents import ResultColumn
from gateway.wire.trino.results import HeaderPairs
from gateway.wire.trino.types import BIGINT, VARCHAR


@dataclass(frozen=True, slots=True)
class Select:
    """Rows that DuckDB streams."""

    output: Output


@dataclass(frozen=True, slots=True)
class Known:
    """A small result that is complete already, or none (columns empty)."""

    columns: tuple[ResultColumn, ...] = ()
    rows: Sequence[Sequence[Any]] = ()
    update_type: str | None = None
    headers: HeaderPairs = ()


@dataclass(frozen=True, slots=True)
class Change:
    """Statements that change something, in one transaction. `counted` is the index of the one that counts rows."""

    update_type: str
    statements: tuple[str, ...]
    counted: int | None = None
    parameters: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Act:
    """Something that the coordinator does (a transaction, killing a query), then says."""

    update_type: str
    run: Callable[[], HeaderPairs]


Work = Select | Known | Change | Act

ROWS_COLUMN = ResultColumn("rows", BIGINT)


def texts(names: Sequence[str], rows: Sequence[Sequence[Any]], headers: HeaderPairs = ()) -> Known:
    """A result of varchar columns."""
    return Known(tuple(ResultColumn(name, VARCHAR) for name in names), rows, headers=headers)
