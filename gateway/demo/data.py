"""A small energy market, the same at every run: nodes, 5-minute prices, weather, load, trades with personal data.

Prices follow what such markets do: a morning and an evening peak in each market's own time, a midday valley where
there is much sun, congestion between zones, rare spikes, now and then a negative price. Times are UTC; the period
holds the change to summer time in the USA (2026-03-08), so that days of 23 hours occur in local time.

    tables = build()                     # name -> pyarrow.Table
    load_duckdb(connection, "energy")    # what the embedded engine shows as energy.market.*
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = "market"
SEED = 20260301
END = datetime(2026, 3, 15, tzinfo=UTC)
DAYS = 14
_STEP = timedelta(minutes=5)
_PER_DAY = 288
_NULL_SHARE = 0.002

PRICE = pa.decimal128(10, 2)
TIME = pa.timestamp("ms")


@dataclass(frozen=True, slots=True)
class Hub:
    """A trading hub and where its nodes are around."""

    name: str
    zone: str
    lat: float
    lon: float


@dataclass(frozen=True, slots=True)
class Market:
    """One ISO. `sun` is how deep its midday valley is (0 to 1), `base` its mean price in $/MWh."""

    iso: str
    zone: str
    base: float
    sun: float
    load_mw: float
    hubs: tuple[Hub, ...]
    stations: tuple[str, ...]


MARKETS: tuple[Market, ...] = (
    Market(
        "CAISO", "America/Los_Angeles", 42.0, 0.9, 24_000.0,
        (
            Hub("TH_NP15_GEN-APND", "NP15", 37.8, -121.6),
            Hub("TH_SP15_GEN-APND", "SP15", 34.0, -117.9),
            Hub("TH_ZP26_GEN-APND", "ZP26", 35.6, -119.7),
        ),
        ("KSFO", "KLAX", "KFAT"),
    ),
    Market(
        "PJM", "America/New_York", 38.0, 0.2, 88_000.0,
        (
            Hub("WESTERN HUB", "PENELEC", 40.4, -78.9),
            Hub("AEP-DAYTON HUB", "AEP", 39.8, -82.9),
            Hub("N ILLINOIS HUB", "COMED", 41.8, -88.3),
        ),
        ("KPIT", "KCMH", "KORD"),
    ),
    Market(
        "ERCOT", "America/Chicago", 33.0, 0.55, 47_000.0,
        (
            Hub("HB_NORTH", "LZ_NORTH", 32.8, -97.0),
            Hub("HB_HOUSTON", "LZ_HOUSTON", 29.8, -95.4),
            Hub("HB_WEST", "LZ_WEST", 31.8, -102.4),
            Hub("HB_SOUTH", "LZ_SOUTH", 29.4, -98.5),
        ),
        ("KDFW", "KIAH", "KMAF"),
    ),
)  # fmt: skip
_NODES_PER_HUB = 6
_DESKS = ("west power", "east power", "gas", "renewables", "short term")
_FIRST = (
    "Ana",
    "Ben",
    "Chioma",
    "Dmitri",
    "Elif",
    "Farah",
    "George",
    "Hana",
    "Ivan",
    "Jun",
    "Keisha",
    "Luis",
)
_LAST = (
    "Almeida",
    "Becker",
    "Chen",
    "Dube",
    "Eriksen",
    "Fofana",
    "Garcia",
    "Haddad",
    "Ito",
    "Jensen",
    "Kaya",
    "Lopez",
)
_PARTIES = ("Northwind Energy LLC", "Blue Mesa Trading", "Harbor Light & Power", "Prairie Wind Cooperative",
            "Sierra Hydro Partners", "Gulf Coast Generation")  # fmt: skip
_PRODUCTS = ("DA peak", "DA off-peak", "RT 5x16", "RT 7x24")


# -- building


def build(scale: float = 1.0) -> dict[str, pa.Table]:
    """Every table. `scale` multiplies the days (14) and the trades; the same scale gives the same data."""
    if not 0 < scale <= 200:
        raise ValueError("scale must be above 0 and at most 200")
    days = max(1, round(DAYS * scale))
    random = np.random.default_rng(SEED)
    times = _times(days * _PER_DAY, _STEP)
    nodes = _nodes(random)
    lmp, hub_prices = _lmp(random, nodes, times)
    return {
        "nodes": nodes,
        "lmp_5min": lmp,
        "weather": _weather(random, days),
        "load_actual": _load(random, days),
        "trades": _trades(random, days, hub_prices, max(50, round(2500 * scale))),
    }


def _times(count: int, step: timedelta) -> np.ndarray[Any, Any]:
    """The last `count` steps before the end of the period, as milliseconds since 1970."""
    width = int(step.total_seconds() * 1000)
    end = int(END.timestamp() * 1000)
    return np.arange(end - count * width, end, width, dtype=np.int64)


def _local_hours(times: np.ndarray[Any, Any], zone: str) -> np.ndarray[Any, Any]:
    """Hours of the day as people there read them, summer time included."""
    info = ZoneInfo(zone)
    hours = np.unique(times // 3_600_000)
    offsets = np.array([_offset(int(hour) * 3600, info) for hour in hours])
    offset = offsets[np.searchsorted(hours, times // 3_600_000)]
    hours_of_day: np.ndarray[Any, Any] = ((times / 1000 + offset) % 86_400) / 3600
    return hours_of_day


def _offset(seconds: int, zone: ZoneInfo) -> float:
    shift = datetime.fromtimestamp(seconds, tz=zone).utcoffset()
    return shift.total_seconds() if shift is not None else 0.0


def _day_shape(hours: np.ndarray[Any, Any], sun: float) -> np.ndarray[Any, Any]:
    """Factor on the base price: peaks at 7:30 and 18:30, a valley at 13:00 as deep as there is sun."""
    morning = 0.35 * np.exp(-(((hours - 7.5) / 1.6) ** 2))
    evening = 0.85 * np.exp(-(((hours - 18.5) / 2.1) ** 2))
    valley = -0.95 * sun * np.exp(-(((hours - 13.0) / 2.6) ** 2))
    return 0.85 + morning + evening + valley


def _nodes(random: np.random.Generator) -> pa.Table:
    rows: list[tuple[str, str, str, str, float, float]] = []
    for market in MARKETS:
        for hub in market.hubs:
            short = "".join(char for char in hub.name if char.isalnum())[:8].upper()
            for number in range(_NODES_PER_HUB):
                lat = hub.lat + float(random.normal(0, 0.4))
                lon = hub.lon + float(random.normal(0, 0.5))
                rows.append(
                    (
                        f"{short}_{number + 1:02d}",
                        market.iso,
                        hub.name,
                        hub.zone,
                        round(lat, 4),
                        round(lon, 4),
                    )
                )
    names = ("node_id", "iso", "hub", "zone", "lat", "lon")
    return pa.table({name: pa.array([row[i] for row in rows]) for i, name in enumerate(names)})


def _wander(random: np.random.Generator, count: int, keep: float, width: float) -> np.ndarray[Any, Any]:
    """A value that drifts and comes back to zero (AR(1))."""
    noise = random.normal(0, width, count)
    out = np.empty(count)
    level = 0.0
    for index, step in enumerate(noise):
        level = keep * level + step
        out[index] = level
    return out


def _lmp(
    random: np.random.Generator, nodes: pa.Table, times: np.ndarray[Any, Any]
) -> tuple[pa.Table, dict[str, float]]:
    energy_parts, congestion_parts, loss_parts = [], [], []
    means: dict[str, float] = {}
    for market in MARKETS:
        shape = _day_shape(_local_hours(times, market.zone), market.sun)
        energy = market.base * shape + _wander(random, len(times), 0.98, 0.7)
        energy += _spikes(random, len(times))
        for hub in market.hubs:
            congestion = _wander(random, len(times), 0.97, 0.5)
            means[hub.name] = float(np.mean(energy + congestion))
            for _ in range(_NODES_PER_HUB):
                energy_parts.append(energy)
                congestion_parts.append(congestion + random.normal(0, 0.4, len(times)))
                loss_parts.append(energy * random.normal(0.015, 0.006) + random.normal(0, 0.05, len(times)))
    energy, congestion, loss = (
        _cents(np.concatenate(one)) for one in (energy_parts, congestion_parts, loss_parts)
    )
    repeats = len(times)
    index = pa.array(np.repeat(np.arange(nodes.num_rows), repeats))
    unknown = random.random(len(energy)) < _NULL_SHARE
    table = pa.table(
        {
            "interval_start": pa.array(np.tile(times, nodes.num_rows)).cast(TIME),
            "iso": nodes["iso"].combine_chunks().take(index),
            "node_id": nodes["node_id"].combine_chunks().take(index),
            "hub": nodes["hub"].combine_chunks().take(index),
            "lmp": _price(energy + congestion + loss),
            "energy": _price(energy),
            "congestion": _price(congestion, unknown),
            "loss": _price(loss, unknown),
        }
    )
    return table, means


def _spikes(random: np.random.Generator, count: int) -> np.ndarray[Any, Any]:
    """A few scarcity events a month: up at once, gone within the hour."""
    out = np.zeros(count)
    for start in np.flatnonzero(random.random(count) < 0.0008).tolist():
        length = int(random.integers(3, 12))
        end = min(count, start + length)
        out[start:end] += float(random.lognormal(5.6, 0.8)) * np.exp(-np.arange(end - start) / 4)
    return out


def _cents(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    cents: np.ndarray[Any, Any] = np.rint(values * 100).astype(np.int64)
    return cents


def _price(cents: np.ndarray[Any, Any], unknown: np.ndarray[Any, Any] | None = None) -> pa.Array:
    """Whole cents as decimal(10,2), exactly: the 128-bit numbers are put together, not rounded from floats."""
    wide = np.empty((len(cents), 2), dtype=np.int64)
    wide[:, 0], wide[:, 1] = cents, cents >> 63
    validity = None if unknown is None else pa.array(~unknown).buffers()[1]
    return pa.Array.from_buffers(PRICE, len(cents), [validity, pa.py_buffer(wide.tobytes())])


def _weather(random: np.random.Generator, days: int) -> pa.Table:
    times = _times(days * 24, timedelta(hours=1))
    station, iso, when, temperature, wind, solar = [], [], [], [], [], []
    for market in MARKETS:
        hours = _local_hours(times, market.zone)
        for name in market.stations:
            mean = float(random.uniform(6, 17))
            station += [name] * len(times)
            iso += [market.iso] * len(times)
            when.append(times)
            temperature.append(
                mean + 5 * np.sin((hours - 9) / 24 * 2 * np.pi) + _wander(random, len(times), 0.95, 0.6)
            )
            wind.append(np.abs(5 + _wander(random, len(times), 0.93, 0.9)))
            solar.append(
                np.clip(np.sin((hours - 6.5) / 12 * np.pi), 0, None)
                * 780
                * random.uniform(0.5, 1, len(times))
            )
    count = len(station)
    broken = random.random(count) < _NULL_SHARE * 5
    return pa.table(
        {
            "station": pa.array(station),
            "iso": pa.array(iso),
            "ts": pa.array(np.concatenate(when)).cast(TIME),
            "temp_c": pa.array(np.round(np.concatenate(temperature), 1), mask=broken),
            "wind_ms": pa.array(np.round(np.concatenate(wind), 1)),
            "solar_w_m2": pa.array(np.round(np.concatenate(solar), 0)),
        }
    )


def _load(random: np.random.Generator, days: int) -> pa.Table:
    times = _times(days * 24, timedelta(hours=1))
    iso, zone, when, actual, forecast = [], [], [], [], []
    for market in MARKETS:
        hours = _local_hours(times, market.zone)
        weekday = (times // 86_400_000 + 4) % 7
        for hub in market.hubs:
            share = market.load_mw / len(market.hubs)
            shape = (
                0.82 + 0.16 * np.exp(-(((hours - 18) / 4) ** 2)) + 0.08 * np.exp(-(((hours - 8) / 2) ** 2))
            )
            expected = share * shape * np.where(weekday >= 5, 0.93, 1.0)
            iso += [market.iso] * len(times)
            zone += [hub.zone] * len(times)
            when.append(times)
            forecast.append(expected)
            actual.append(expected * (1 + 0.01 * _wander(random, len(times), 0.9, 1.0)))
    missing = random.random(len(iso)) < _NULL_SHARE * 2
    return pa.table(
        {
            "iso": pa.array(iso),
            "zone": pa.array(zone),
            "ts": pa.array(np.concatenate(when)).cast(TIME),
            "mw": pa.array(np.round(np.concatenate(actual), 1), mask=missing),
            "forecast_mw": pa.array(np.round(np.concatenate(forecast), 1)),
        }
    )


def _trades(random: np.random.Generator, days: int, prices: dict[str, float], count: int) -> pa.Table:
    hubs = [(market.iso, hub.name) for market in MARKETS for hub in market.hubs]
    people = [f"{first} {last}" for first, last in zip(_FIRST, _LAST, strict=True)]
    chosen = random.integers(0, len(hubs), count)
    who = random.integers(0, len(people), count)
    start = int((END - timedelta(days=days)).timestamp() * 1000)
    when = np.sort(random.integers(start, int(END.timestamp() * 1000), count))
    price = np.array([prices[hubs[i][1]] for i in chosen]) * random.normal(1, 0.12, count)
    phones = random.integers(200_0000, 999_9999, len(people))
    no_phone = random.random(count) < 0.05
    return pa.table(
        {
            "trade_id": pa.array(np.arange(1, count + 1, dtype=np.int64)),
            "traded_at": pa.array(when).cast(TIME),
            "desk": pa.array([_DESKS[i % len(_DESKS)] for i in who]),
            "trader_name": pa.array([people[i] for i in who]),
            "trader_email": pa.array([people[i].lower().replace(" ", ".") + "@example.com" for i in who]),
            "counterparty": pa.array([_PARTIES[i] for i in random.integers(0, len(_PARTIES), count)]),
            "phone": pa.array(
                [None if lost else f"+1-555-{phones[i]:07d}" for i, lost in zip(who, no_phone, strict=True)]
            ),
            "iso": pa.array([hubs[i][0] for i in chosen]),
            "hub": pa.array([hubs[i][1] for i in chosen]),
            "product": pa.array([_PRODUCTS[i] for i in random.integers(0, len(_PRODUCTS), count)]),
            "side": pa.array(np.where(random.random(count) < 0.5, "BUY", "SELL")),
            "mw": pa.array(np.round(random.choice([25.0, 50.0, 100.0, 150.0], count), 1)),
            "price": _price(_cents(price)),
        }
    )


# -- loading


def load_duckdb(
    connection: Any, catalog: str | None = None, *, scale: float = 1.0, replace: bool = False
) -> int:
    """Load into `[catalog.]market`; tables that are there already stay, unless `replace`. Returns rows loaded."""
    prefix = f'"{catalog}".{SCHEMA}' if catalog else SCHEMA
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {prefix}")
    where = connection.execute(
        "SELECT table_name FROM duckdb_tables() "
        "WHERE schema_name = ? AND database_name = coalesce(?, current_database())",
        [SCHEMA, catalog],
    ).fetchall()
    there = {name for (name,) in where}
    if not replace and there >= set(COLUMNS):
        return 0
    loaded = 0
    for name, table in build(scale).items():
        if name in there and not replace:
            continue
        connection.register("seed", table)
        connection.execute(f"CREATE OR REPLACE TABLE {prefix}.{name} AS SELECT * FROM seed")  # noqa: S608 constants
        connection.unregister("seed")
        loaded += table.num_rows
    return loaded


# name -> (column, Trino type, ClickHouse type); timestamps take the precision that the connector has.
COLUMNS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "nodes": (
        ("node_id", "varchar", "String"), ("iso", "varchar", "LowCardinality(String)"),
        ("hub", "varchar", "LowCardinality(String)"), ("zone", "varchar", "LowCardinality(String)"),
        ("lat", "double", "Float64"), ("lon", "double", "Float64"),
    ),
    "lmp_5min": (
        ("interval_start", "timestamp", "DateTime64(3, 'UTC')"), ("iso", "varchar", "LowCardinality(String)"),
        ("node_id", "varchar", "LowCardinality(String)"), ("hub", "varchar", "LowCardinality(String)"),
        ("lmp", "decimal(10,2)", "Decimal(10, 2)"), ("energy", "decimal(10,2)", "Decimal(10, 2)"),
        ("congestion", "decimal(10,2)", "Nullable(Decimal(10, 2))"),
        ("loss", "decimal(10,2)", "Nullable(Decimal(10, 2))"),
    ),
    "weather": (
        ("station", "varchar", "LowCardinality(String)"), ("iso", "varchar", "LowCardinality(String)"),
        ("ts", "timestamp", "DateTime64(3, 'UTC')"), ("temp_c", "double", "Nullable(Float64)"),
        ("wind_ms", "double", "Float64"), ("solar_w_m2", "double", "Float64"),
    ),
    "load_actual": (
        ("iso", "varchar", "LowCardinality(String)"), ("zone", "varchar", "LowCardinality(String)"),
        ("ts", "timestamp", "DateTime64(3, 'UTC')"), ("mw", "double", "Nullable(Float64)"),
        ("forecast_mw", "double", "Float64"),
    ),
    "trades": (
        ("trade_id", "bigint", "Int64"), ("traded_at", "timestamp", "DateTime64(3, 'UTC')"),
        ("desk", "varchar", "LowCardinality(String)"), ("trader_name", "varchar", "String"),
        ("trader_email", "varchar", "String"), ("counterparty", "varchar", "LowCardinality(String)"),
        ("phone", "varchar", "Nullable(String)"), ("iso", "varchar", "LowCardinality(String)"),
        ("hub", "varchar", "LowCardinality(String)"), ("product", "varchar", "LowCardinality(String)"),
        ("side", "varchar", "LowCardinality(String)"), ("mw", "double", "Float64"),
        ("price", "decimal(10,2)", "Decimal(10, 2)"),
    ),
}  # fmt: skip
_ORDER = {
    "nodes": "(iso, node_id)",
    "lmp_5min": "(iso, node_id, interval_start)",
    "weather": "(iso, station, ts)",
    "load_actual": "(iso, zone, ts)",
    "trades": "(traded_at, trade_id)",
}


def clickhouse_ddl(table: str, database: str = SCHEMA) -> str:
    """CREATE TABLE for ClickHouse. Raises KeyError for a table that the demo does not have."""
    columns = ", ".join(f"`{name}` {kind}" for name, _, kind in COLUMNS[table])
    return f"CREATE TABLE IF NOT EXISTS {database}.{table} ({columns}) ENGINE = MergeTree ORDER BY {_ORDER[table]}"


def arrow_bytes(table: pa.Table) -> bytes:
    """A table for `INSERT INTO … FORMAT ArrowStream`."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def parquet_bytes(table: pa.Table) -> bytes:
    """A table for `INSERT INTO … FORMAT Parquet`, or for an object store."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def trino_ddl(table: str, catalog: str, schema: str = SCHEMA, *, timestamp_precision: int = 3) -> str:
    """CREATE TABLE for Trino. Iceberg needs `timestamp_precision=6`."""
    columns = ", ".join(
        f"{name} {f'timestamp({timestamp_precision})' if kind == 'timestamp' else kind}"
        for name, kind, _ in COLUMNS[table]
    )
    return f"CREATE TABLE IF NOT EXISTS {catalog}.{schema}.{table} ({columns})"


def trino_statements(
    catalog: str,
    schema: str = SCHEMA,
    *,
    scale: float = 1.0,
    timestamp_precision: int = 3,
    max_statement: int = 900_000,
    tables: dict[str, pa.Table] | None = None,
) -> Iterator[str]:
    """Statements that make and fill the tables in a real Trino, each below `max_statement` characters.

    Rows travel as one JSON text per statement: Trino plans a single constant quickly, thousands of VALUES slowly.
    """
    yield f"CREATE SCHEMA IF NOT EXISTS {catalog}.{schema}"
    for name, table in (tables or build(scale)).items():
        yield trino_ddl(name, catalog, schema, timestamp_precision=timestamp_precision)
        head, tail = _insert_frame(name, f"{catalog}.{schema}.{name}", timestamp_precision)
        for body in _json_bodies(table, max_statement - len(head) - len(tail)):
            yield f"{head}{body}{tail}"


def _insert_frame(name: str, target: str, precision: int) -> tuple[str, str]:
    selected, fields = [], []
    for column, kind, _ in COLUMNS[name]:
        if kind == "timestamp":
            moment = f"at_timezone(from_unixtime({column} / 1e3), 'UTC')"
            selected.append(f"CAST({moment} AS timestamp({precision}))")
            fields.append(f"{column} bigint")
        else:
            selected.append(column)
            fields.append(f"{column} {kind}")
    head = f"INSERT INTO {target} SELECT {', '.join(selected)} FROM UNNEST(CAST(json_parse('"  # noqa: S608 constants
    names = ", ".join(column for column, _, _ in COLUMNS[name])
    return head, f"') AS array(row({', '.join(fields)})))) AS t({names})"


def _json_bodies(table: pa.Table, limit: int) -> Iterator[str]:
    columns = [
        column.cast(pa.int64()).to_pylist() if pa.types.is_timestamp(column.type) else column.to_pylist()
        for column in table.columns
    ]
    lines: list[str] = []
    size = 2
    for values in zip(*columns, strict=True):
        line = json.dumps(values, default=str).replace("'", "''")
        if lines and size + len(line) + 1 > limit:
            yield f"[{','.join(lines)}]"
            lines, size = [], 2
        lines.append(line)
        size += len(line) + 1
    if lines:
        yield f"[{','.join(lines)}]"
