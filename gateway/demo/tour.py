"""The tour: what a newcomer would try first, on both wires, with the clients that everybody uses.

A feature adds its steps to `STEPS`; each returns one line that says what was seen, and raises if it was wrong.
"""

from __future__ import annotations

import base64
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import clickhouse_connect
import trino
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Doors:
    """Where the demo listens, and one of its users."""

    trino_port: int
    clickhouse_port: int
    catalog: str
    schema: str = "market"
    user: str = "anna"
    password: str = "anna-demo"
    host: str = "127.0.0.1"

    def trino(self, user: str | None = None, **options: Any) -> Any:
        """A DBAPI connection of the public Trino client, which sends passwords over TLS only: none here."""
        return trino.dbapi.connect(
            host=self.host,
            port=self.trino_port,
            user=user or self.user,
            catalog=self.catalog,
            schema=self.schema,
            request_timeout=TIMEOUT_S,
            **options,
        )

    def clickhouse(self, user: str | None = None, password: str | None = None) -> Client:
        """A client of the public clickhouse-connect package."""
        return clickhouse_connect.get_client(
            host=self.host,
            port=self.clickhouse_port,
            username=user or self.user,
            password=password or self.password,
            database=self.schema,
            connect_timeout=5,
            send_receive_timeout=TIMEOUT_S,
        )


@dataclass(frozen=True, slots=True)
class Step:
    """One stop of the tour."""

    wire: str
    name: str
    run: Callable[[Doors], str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step showed, or how it failed. `seconds` is wall-clock time."""

    step: Step
    ok: bool
    detail: str
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "wire": self.step.wire,
            "step": self.step.name,
            "ok": self.ok,
            "detail": self.detail,
            "seconds": round(self.seconds, 3),
        }


class Wrong(AssertionError):
    """A step saw something that it should not."""


def expect(condition: bool, what: str) -> None:
    """Raise `Wrong(what)` unless the condition holds."""
    if not condition:
        raise Wrong(what)


def run_step(step: Step, doors: Doors) -> Outcome:
    """Run one step; whatever it raises is its outcome, so that the tour goes on."""
    started = time.perf_counter()
    try:
        detail, ok = step.run(doors), True
    except Exception as error:  # noqa: BLE001 - the outcome of a step is what the tour reports
        detail, ok = f"{type(error).__name__}: {str(error)[:300]}", False
    return Outcome(step, ok, detail, time.perf_counter() - started)


def _rows(doors: Doors, sql: str, params: Any = None, **options: Any) -> list[list[Any]]:
    with doors.trino(**options) as connection:
        cursor = connection.cursor()
        cursor.execute(sql, params)
        return list(cursor.fetchall())


# -- Trino wire


def _trino_prices(doors: Doors) -> str:
    rows = _rows(
        doors, "SELECT iso, count(*) AS n, round(avg(lmp), 2) FROM lmp_5min GROUP BY iso ORDER BY iso"
    )
    expect([row[0] for row in rows] == ["CAISO", "ERCOT", "PJM"], f"expected three ISOs, got {rows}")
    expect(all(row[1] > 1_000 for row in rows), f"too few prices: {rows}")
    return ", ".join(f"{iso} {n:,} prices at {price} $/MWh" for iso, n, price in rows)


def _trino_join(doors: Doors) -> str:
    rows = _rows(
        doors,
        "SELECT n.zone, max(p.congestion) FROM lmp_5min p JOIN nodes n ON n.node_id = p.node_id "
        "WHERE p.iso = 'CAISO' GROUP BY n.zone ORDER BY 2 DESC LIMIT 3",
    )
    expect(0 < len(rows) <= 3, f"expected zones, got {rows}")
    return f"highest congestion: {rows[0][0]} {rows[0][1]} $/MWh"


def _trino_prepared(doors: Doors) -> str:
    rows = _rows(doors, "SELECT count(*) FROM trades WHERE iso = ? AND mw > ?", ("PJM", 10))
    expect(rows[0][0] > 0, "no trades")
    return f"{rows[0][0]:,} trades"


def _trino_paging(doors: Doors) -> str:
    count = len(_rows(doors, "SELECT node_id, interval_start, lmp FROM lmp_5min LIMIT 20000"))
    expect(count == 20_000, f"expected 20,000 rows, got {count}")
    return f"{count:,} rows over several pages"


def _trino_metadata(doors: Doors) -> str:
    tables = {row[0] for row in _rows(doors, "SHOW TABLES")}
    expect({"lmp_5min", "trades", "weather", "load_actual", "nodes"} <= tables, f"tables missing: {tables}")
    columns = _rows(
        doors,
        "SELECT column_name FROM information_schema.columns "
        f"WHERE table_schema = '{doors.schema}' AND table_name = 'trades'",
    )
    expect(len(columns) > 5, f"columns missing: {columns}")
    return f"{len(tables)} tables, {len(columns)} columns of trades"


def _trino_error(doors: Doors) -> str:
    try:
        _rows(doors, "SELECT lmp,\n  prize FROM lmp_5min")
    except trino.exceptions.TrinoUserError as error:
        expect(error.error_name == "COLUMN_NOT_FOUND", f"wrong error: {error}")
        return f"{error.error_name}, a TrinoUserError, as from Trino itself"
    raise Wrong("a column that does not exist was accepted")


def _trino_wrong_password(doors: Doors) -> str:
    token = base64.b64encode(f"{doors.user}:wrong".encode()).decode()
    request = urllib.request.Request(
        f"http://{doors.host}:{doors.trino_port}/v1/statement",
        data=b"SELECT 1",
        headers={"Authorization": f"Basic {token}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            raise Wrong("a wrong password was accepted")
    except urllib.error.HTTPError as error:
        expect(error.code == 401, f"expected 401, got {error.code}")
        return "401, and nothing said about which part was wrong"


# -- ClickHouse wire


def _clickhouse_prices(doors: Doors) -> str:
    client = doors.clickhouse()
    result = client.query(
        "SELECT iso, count() AS n, round(avg(lmp), 2) FROM lmp_5min GROUP BY iso ORDER BY iso"
    )
    expect([row[0] for row in result.result_rows] == ["CAISO", "ERCOT", "PJM"], f"got {result.result_rows}")
    return ", ".join(f"{iso} {n:,} prices at {price} $/MWh" for iso, n, price in result.result_rows)


def _clickhouse_parameters(doors: Doors) -> str:
    client = doors.clickhouse()
    result = client.query(
        "SELECT count() FROM trades WHERE iso = {iso:String} AND mw > {mw:Float64}",
        parameters={"iso": "PJM", "mw": 10},
    )
    expect(result.result_rows[0][0] > 0, "no trades")
    return f"{result.result_rows[0][0]:,} trades"


def _clickhouse_formats(doors: Doors) -> str:
    client = doors.clickhouse()
    sql = "SELECT hub, max(lmp) AS peak FROM lmp_5min GROUP BY hub ORDER BY hub"
    as_json, as_csv = client.raw_query(sql, fmt="JSON"), client.raw_query(sql, fmt="CSV")
    expect(as_json.lstrip().startswith(b"{"), "JSON expected")
    return f"JSON {len(as_json)} bytes, CSV {len(as_csv)} bytes"


def _clickhouse_insert(doors: Doors) -> str:
    client = doors.clickhouse()
    client.command(
        "CREATE TABLE IF NOT EXISTS scratch (hub String, mw Float64) ENGINE = MergeTree ORDER BY hub"
    )
    try:
        client.insert("scratch", [["HB_NORTH", 10.0], ["HB_WEST", 5.5]], column_names=["hub", "mw"])
        total = client.query("SELECT sum(mw) FROM scratch").result_rows[0][0]
        expect(total == 15.5, f"expected 15.5, got {total}")
    finally:
        client.command("DROP TABLE IF EXISTS scratch")
    return "two rows in, 15.5 MW out"


def _clickhouse_error(doors: Doors) -> str:
    try:
        doors.clickhouse().query("SELECT prize FROM lmp_5min")
    except ClickHouseError as error:
        expect("Code: 47" in str(error) or "UNKNOWN_IDENTIFIER" in str(error), f"wrong error: {error}")
        return "code 47, as from ClickHouse itself"
    raise Wrong("a column that does not exist was accepted")


def _same_prices(doors: Doors) -> str:
    sql = "SELECT hub, count(*) AS n, max(lmp) AS peak FROM lmp_5min GROUP BY hub ORDER BY hub"
    by_trino = [(row[0], row[1], float(row[2])) for row in _rows(doors, sql)]
    by_clickhouse = [(r[0], r[1], float(r[2])) for r in doors.clickhouse().query(sql).result_rows]
    expect(by_trino == by_clickhouse, f"{by_trino[:2]} is not {by_clickhouse[:2]}")
    return f"{len(by_trino)} hubs, the same on both"


STEPS: tuple[Step, ...] = (
    Step("trino", "prices by ISO", _trino_prices),
    Step("trino", "join with nodes", _trino_join),
    Step("trino", "prepared statement", _trino_prepared),
    Step("trino", "many pages", _trino_paging),
    Step("trino", "metadata for BI", _trino_metadata),
    Step("trino", "an error, in Trino's words", _trino_error),
    Step("trino", "a wrong password", _trino_wrong_password),
    Step("clickhouse", "prices by ISO", _clickhouse_prices),
    Step("clickhouse", "query parameters", _clickhouse_parameters),
    Step("clickhouse", "JSON and CSV", _clickhouse_formats),
    Step("clickhouse", "insert and read back", _clickhouse_insert),
    Step("clickhouse", "an error, in ClickHouse's words", _clickhouse_error),
    Step("both", "the same question on both wires", _same_prices),
)
