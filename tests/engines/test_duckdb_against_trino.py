"""The embedded engine beside the real Trino: the recording is true, and analytics on the demo's data agree."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.demo.data import build, load_duckdb, trino_statements
from tests.engines.duckdb_rig import Embedded
from tests.engines.test_duckdb_values import CASES, comparable
from tests.engines.trino_client import ask
from tests.real.addresses import TrinoAddress

pytestmark = pytest.mark.real

SCALE = 1 / 14
QUERIES = (
    "select iso, hub, count(*), avg(lmp), min(lmp), max(lmp), sum(lmp) from lmp_5min group by iso, hub order by 1, 2",
    "select date_trunc('hour', interval_start) h, iso, round(avg(lmp), 2), stddev(cast(lmp as double)) "
    "from lmp_5min group by 1, 2 order by 1, 2",
    "select hour(interval_start at time zone 'America/Los_Angeles') h, avg(lmp) from ("
    "select cast(interval_start as timestamp(3) with time zone) interval_start, lmp from lmp_5min where iso = 'CAISO') "
    "group by 1 order by 1",
    "select * from (select node_id, interval_start, lmp, rank() over (partition by iso order by lmp desc, node_id, "
    "interval_start) r from lmp_5min) where r <= 3 order by r, node_id",
    "select interval_start, lmp - lag(lmp) over (partition by node_id order by interval_start) d, "
    "avg(lmp) over (partition by node_id order by interval_start rows between 11 preceding and current row) m "
    "from lmp_5min where node_id = (select min(node_id) from nodes) order by 1 limit 50",
    "select t.iso, t.side, count(*), sum(mw), sum(mw * price), sum(price * 1.5) / count(*) from trades t "
    "group by t.iso, t.side order by 1, 2",
    "select trader_name, count(distinct counterparty), max_by(counterparty, price), approx_distinct(hub) > 0, "
    "array_sort(array_agg(distinct product)) from trades group by 1 order by 1",
    "select n.zone, count(*) from lmp_5min l join nodes n on l.node_id = n.node_id and l.iso = n.iso "
    "where l.lmp > (select avg(lmp) from lmp_5min) group by n.zone order by 2 desc, 1",
    "select iso, coalesce(congestion, 0) > 0 c, count(*), count(congestion), count_if(loss is null) from lmp_5min "
    "group by 1, 2 order by 1, 2",
    "with d as (select iso, cast(interval_start as date) day, avg(lmp) p from lmp_5min group by 1, 2) "
    "select d.iso, d.day, d.p, w.t from d left join (select iso, cast(ts as date) day, round(avg(temp_c), 3) t "
    "from weather group by 1, 2) w using (iso, day) order by 1, 2",
    "select iso, zone, sum(mw), sum(forecast_mw), round(sum(mw) / nullif(sum(forecast_mw), 0), 6) from load_actual "
    "group by grouping sets ((iso, zone), (iso), ()) order by 1, 2",
    "select iso, map_agg(hub, n) from (select iso, hub, count(*) n from nodes group by 1, 2) group by 1 order by 1",
    "select listagg(hub, '; ') within group (order by hub) from (select distinct hub from nodes)",
    "select trade_id, regexp_replace(trader_email, '^(.).*@', '$1***@'), split_part(phone, '-', 3), "
    "upper(substr(desk, 1, 1)) || substr(desk, 2), length(counterparty), strpos(hub, '_') from trades "
    "order by trade_id limit 25",
    "select format_datetime(traded_at, 'yyyy-MM-dd HH:mm'), date_format(traded_at, '%W %j'), day_of_week(traded_at), "
    "week(traded_at), date_diff('minute', timestamp '2026-03-14 00:00:00', traded_at), date_add('day', -1, traded_at), "
    "traded_at + interval '90' minute, cast(traded_at as varchar), to_unixtime(traded_at) from trades "
    "order by trade_id limit 25",
    "select price / 3, price * mw, cast(price as integer), price % 7, floor(price), round(price, 1), -price, "
    "cast(price as decimal(6,1)), cast(price as varchar), trade_id / 7, trade_id % 7 from trades "
    "order by trade_id limit 25",
    "select hub, x, i from (select hub, array_agg(price order by trade_id) p from trades group by 1) "
    "cross join unnest(p) with ordinality as t (x, i) where i <= 2 order by 1, 3",
    "select iso from nodes union select hub from trades except select 'PJM' order by 1",
    "select n.hub from nodes n where exists (select 1 from trades t where t.hub = n.hub and t.price > 60) "
    "group by 1 order by 1",
    "select side, cast(sum(case when product like 'DA%' then mw else 0 end) as bigint), "
    "histogram(product), bool_or(phone is null), min_by(trade_id, price), corr(mw, cast(price as double)) "
    "from trades group by 1 order by 1",
    "select nope from trades",
    "select iso, lmp from lmp_5min group by iso",
    "select sum(trader_name) from trades",
    "select 1 / (trade_id - trade_id) from trades",
    "select * from lmp_5min where iso = 1",
    "select cast(trader_name as integer) from trades",
)


@pytest.fixture(scope="module")
def embedded() -> Iterator[Embedded]:
    rig = Embedded()
    load_duckdb(rig.engine.root, "energy", scale=SCALE)
    yield rig
    rig.engine.close()


@pytest.fixture(scope="module")
def seeded(trino_server: TrinoAddress) -> Iterator[str]:
    """The same data in the real Trino, in a schema of its own."""
    schema = f"market_{uuid.uuid4().hex[:12]}"
    for statement in trino_statements("memory", schema, tables=build(SCALE)):
        found = ask(trino_server.url, statement)
        assert "error" not in found, (statement[:200], found)
    yield schema
    ask(trino_server.url, f"drop schema memory.{schema} cascade")


def alike(a: Any, b: Any) -> bool:
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-9)
    return bool(a == b)


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query[:60])
def test_analytics(trino_server: TrinoAddress, seeded: str, embedded: Embedded, query: str) -> None:
    expected = ask(trino_server.url, query, X_Trino_Catalog="memory", X_Trino_Schema=seeded)
    if "error" in expected:
        name, line, column = embedded.error(query, catalog="energy", schema="market")
        assert (name, line, column) == (expected["error"], expected.get("line"), expected.get("column"))
        return
    found = embedded.run(query, catalog="energy", schema="market")
    assert found.columns == expected["columns"]
    assert alike(found.rows, expected["rows"]), (found.rows[:3], expected["rows"][:3])


def test_the_recording_is_true(trino_server: TrinoAddress) -> None:
    """What `duckdb_cases.jsonl` holds is what this Trino says."""
    wrong = []
    for case in CASES:
        now = ask(trino_server.url, case["sql"]) | {"sql": case["sql"]}
        if comparable(now) != comparable(case):
            wrong.append(case["sql"])
    assert wrong == []
