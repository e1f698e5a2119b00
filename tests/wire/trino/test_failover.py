"""Backends that die, hang or refuse, at every moment of a query; real coordinators behind a breakable line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.core.decision import EngineKind, Plan
from gateway.core.statement import StatementKind
from gateway.edge.contract import Outcome, WireOptions
from gateway.wire.trino.options import TrinoOptions
from tests.real.addresses import TrinoAddress
from tests.wire.trino.rig import KEY, Cutter, Gateway, backend, gateway

QUICK = TrinoOptions(transaction_key=KEY, post_timeout_s=1.0)


@pytest.fixture
async def line(trino_server: TrinoAddress) -> AsyncIterator[Cutter]:
    cutter = await Cutter(trino_server.host, trino_server.port).start()
    yield cutter
    await cutter.close()


@pytest.fixture
async def pair(
    line: Cutter, trino_server: TrinoAddress, trino_server_plain: TrinoAddress
) -> AsyncIterator[Gateway]:
    """`a` can be broken; `b` is another coordinator, one that takes no forwarded headers."""
    a = backend("127.0.0.1", line.port, "a")
    b = backend(trino_server_plain.host, trino_server_plain.port, "b", process_forwarded=False)
    async with gateway(a, b, trino_options=QUICK) as running:
        yield running


@pytest.fixture
async def alone(line: Cutter) -> AsyncIterator[Gateway]:
    options = WireOptions(upstream_head_timeout_s=2.0)
    async with gateway(backend("127.0.0.1", line.port), options=options, trino_options=QUICK) as running:
        yield running


def running(gw: Gateway, name: str) -> int:
    return gw.edge.backends.by_name[name].running


async def test_a_post_goes_to_the_next_backend(pair: Gateway, line: Cutter) -> None:
    await line.cut()
    replies = await pair.run("SELECT 42")
    assert [row for reply in replies for row in reply.json.get("data", [])] == [[42]]
    [query] = pair.edge.queries
    assert query.backends == ["b"]
    assert (running(pair, "a"), running(pair, "b")) == (0, 0)


async def test_a_post_to_a_hung_backend_goes_to_the_next(pair: Gateway, line: Cutter) -> None:
    line.hung = True
    replies = await pair.run("SELECT 42")
    assert [row for reply in replies for row in reply.json.get("data", [])] == [[42]]
    assert pair.edge.queries[-1].backends == ["b"]


async def test_a_backend_that_dies_before_the_first_page_is_replaced_unseen(
    pair: Gateway, line: Cutter
) -> None:
    first = await pair.post("SELECT name FROM tpch.tiny.region ORDER BY 1")
    assert pair.edge.queries[-1].backends == ["a"]
    await line.cut()
    replies = await pair.pages(first)
    assert {reply.json["id"] for reply in replies} == {first.json["id"]}
    for reply in replies:
        assert all(
            reply.json[name].startswith(pair.base) for name in ("nextUri", "infoUri") if name in reply.json
        )
    rows = [row[0] for reply in replies for row in reply.json.get("data", [])]
    assert rows == ["AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST"]
    [query] = pair.edge.queries
    assert query.backends == ["a", "b"]
    assert query.outcome is Outcome.SUCCEEDED
    assert (running(pair, "a"), running(pair, "b")) == (0, 0)


async def test_the_moved_pages_need_no_memory(
    pair: Gateway, line: Cutter, trino_server_plain: TrinoAddress
) -> None:
    first = await pair.post("SELECT name FROM tpch.tiny.region ORDER BY 1")
    await line.cut()
    second = await pair.call("GET", first.next_path)
    again = await pair.call("GET", first.next_path)
    assert again.json["nextUri"] == second.json["nextUri"]
    b = backend(trino_server_plain.host, trino_server_plain.port, "b", process_forwarded=False)
    async with gateway(b) as other:
        there = pair.edge.queries[-1].engine_ids[-1]
        other.edge.backends.findable[there[-5:]] = "b"
        replies = await other.pages(second)
        assert replies[-1].json["id"] == first.json["id"]
        assert sum(len(reply.json.get("data", [])) for reply in replies) == 5


async def test_nobody_without_the_slug_gets_the_moved_query(pair: Gateway, line: Cutter) -> None:
    first = await pair.post("SELECT 1")
    await line.cut()
    forged = first.next_path[: -len("0123456789/1")] + "0123456789/1"
    reply = await pair.call("GET", forged)
    assert "nextUri" not in reply.json
    assert pair.edge.queries[-1].backends == ["a"]
    assert pair.edge.queries[-1].outcome is None
    await pair.call("GET", first.next_path)
    reply = await pair.call("GET", forged)
    assert "nextUri" not in reply.json


async def test_a_statement_that_writes_is_not_registered_again(pair: Gateway, line: Cutter) -> None:
    first = await pair.post("INSERT INTO memory.default.t SELECT 1")
    await line.cut()
    [_, last] = await pair.pages(first)
    assert last.json["error"]["errorName"] == "REMOTE_HOST_GONE"
    assert pair.edge.queries[-1].backends == ["a"]
    assert pair.edge.queries[-1].outcome is Outcome.FAILED  # its first page was never asked for


async def test_a_query_that_ran_is_not_run_again(pair: Gateway, line: Cutter) -> None:
    replies = await pair.pages(await pair.post("SELECT count(*) FROM tpch.sf100.lineitem"), limit=3)
    await line.cut()
    last = await pair.call("GET", replies[-1].next_path)
    assert last.status == 200
    error = last.json["error"]
    assert error["errorName"] == "REMOTE_HOST_GONE"
    assert error["message"].startswith("Backend a, which ran this query, cannot be reached. ")
    assert "Run the statement again" in error["message"]
    assert last.json["id"] == replies[0].json["id"]
    [query] = pair.edge.queries
    assert (query.outcome, query.backends) == (Outcome.FAILED, ["a"])
    assert running(pair, "a") == 0


async def test_the_outcome_of_a_lost_write_is_unknown(alone: Gateway, line: Cutter) -> None:
    alone.edge.decide = lambda statement, principal: Plan(
        statement.text, StatementKind.INSERT, EngineKind.TRINO, "g", ("a",)
    )
    replies = await alone.pages(await alone.post("SELECT count(*) FROM tpch.sf100.lineitem"), limit=3)
    await line.cut()
    last = await alone.call("GET", replies[-1].next_path)
    assert "Whether the statement took effect is unknown" in last.json["error"]["message"]
    assert alone.edge.queries[-1].outcome is Outcome.UNKNOWN


async def test_a_broken_connection_alone_costs_nothing(alone: Gateway, line: Cutter) -> None:
    replies = await alone.pages(await alone.post("SELECT count(*) FROM tpch.sf10.lineitem"), limit=3)
    poll = asyncio.ensure_future(alone.call("GET", replies[-1].next_path))  # noqa: TID251
    await asyncio.sleep(0.3)
    await line.cut()
    await line.start()
    reply = await poll
    assert reply.status == 200
    assert "error" not in reply.json
    assert (await alone.call("DELETE", reply.next_path)).status == 204


async def test_a_hung_backend_is_told_as_such(alone: Gateway, line: Cutter) -> None:
    replies = await alone.pages(await alone.post("SELECT count(*) FROM tpch.sf100.lineitem"), limit=3)
    line.hung = True
    last = await alone.call("GET", replies[-1].next_path)
    assert last.json["error"]["errorName"] == "PAGE_TRANSPORT_TIMEOUT"
    assert alone.edge.queries[-1].outcome is Outcome.FAILED


async def test_no_backend_at_all(alone: Gateway, line: Cutter) -> None:
    await line.cut()
    reply = await alone.post("SELECT 1")
    error = reply.json["error"]
    assert error["errorName"] == "NO_NODES_AVAILABLE"
    assert "a cannot be reached" in error["message"]
    assert "127.0.0.1" not in error["message"]
    assert "It did not run" in error["message"]
    assert alone.edge.queries[-1].outcome is Outcome.REFUSED
    assert running(alone, "a") == 0


async def test_a_full_pool_asks_clients_to_try_again(trino_server: TrinoAddress) -> None:
    async with gateway(backend(trino_server.host, trino_server.port, connections=1)) as gw:
        slow = await gw.pages(await gw.post("SELECT count(*) FROM tpch.sf100.lineitem"), limit=4)
        polls = [asyncio.ensure_future(gw.call("GET", slow[-1].next_path)) for _ in range(4)]  # noqa: TID251
        replies = await asyncio.gather(*polls)
        assert {reply.status for reply in replies} == {200, 503}
        assert all(reply.all("Retry-After") == ["1"] for reply in replies if reply.status == 503)
        assert gw.edge.queries[-1].outcome is None
        await gw.call("DELETE", next(reply for reply in replies if reply.status == 200).next_path)


async def test_a_transaction_stays_where_it_began(pair: Gateway, line: Cutter) -> None:
    started = await pair.run("START TRANSACTION", X_Trino_Transaction_Id="NONE")
    assert pair.edge.queries[-1].backends == ["a"]
    [wrapped] = started[-1].all("X-Trino-Started-Transaction-Id")
    pair.edge.backends.by_name = dict(reversed(pair.edge.backends.by_name.items()))  # `b` is preferred now
    await pair.run("SELECT 1", X_Trino_Transaction_Id=wrapped)
    assert pair.edge.queries[-1].backends == ["a"]
    await line.cut()
    lost = await pair.post("SELECT 1", X_Trino_Transaction_Id=wrapped)
    assert lost.json["error"]["errorName"] == "NO_NODES_AVAILABLE"
    assert "start a new transaction" in lost.json["error"]["message"]


async def test_a_coordinator_without_forwarded_headers_never_sees_one(
    trino_server_plain: TrinoAddress,
) -> None:
    """It would answer 406 to any of them."""
    plain = backend(trino_server_plain.host, trino_server_plain.port, process_forwarded=False)
    async with gateway(plain) as gw:
        rows = await gw.fetch("SELECT name FROM tpch.tiny.region ORDER BY 1 LIMIT 1")
        assert rows == [["AFRICA"]]
        wrong = backend(trino_server_plain.host, trino_server_plain.port, "w", process_forwarded=True)
        gw.edge.backends.by_name = {"w": wrong}
        reply = await gw.post("SELECT 1")
        assert "w answered with HTTP status 406" in reply.json["error"]["message"]
        await wrong.pool.close()
