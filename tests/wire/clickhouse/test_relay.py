"""The wire in front of the real ClickHouse: the same as direct."""

from __future__ import annotations

from gateway.edge.contract import Outcome
from tests.wire.clickhouse.conftest import Rig


async def test_get_and_post_answer_as_direct(rig: Rig) -> None:
    for method, sql, params in (
        ("POST", "SELECT number, toString(number) FROM numbers(3)", {}),
        ("GET", None, {"query": "SELECT 1 AS a, 'x' AS b FORMAT JSONCompact"}),
        ("POST", ", 2 AS b", {"query": "SELECT 1 AS a"}),
    ):
        ours = await rig.ask(sql, method=method, params=params)
        theirs = await rig.direct(sql, method=method, params=params)
        assert ours.status == theirs.status == 200
        if "JSON" not in str(params):
            assert ours.body == theirs.body
        assert ours.header("X-ClickHouse-Format") == theirs.header("X-ClickHouse-Format")
        assert ours.header("Content-Type") == theirs.header("Content-Type")
    assert [q.outcome for q in rig.edge.queries] == [Outcome.SUCCEEDED] * 3
    assert rig.edge.slots_out == 0
