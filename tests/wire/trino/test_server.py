"""The Trino wire end to end: a real Trino behind it, real clients before it."""

from __future__ import annotations

import asyncio
import gzip
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trino.exceptions
from trino.transaction import IsolationLevel

from gateway.core.decision import Answer, Column, EngineKind, Plan, PositionMap, Refusal, RefusalCode
from gateway.core.principal import Principal
from gateway.core.statement import Position, Statement, StatementKind
from gateway.edge.contract import Outcome, WireOptions
from gateway.wire.http.client import UpstreamPool
from gateway.wire.trino.options import TrinoOptions
from gateway.wire.trino.pages import PageFacts
from tests.real.addresses import TrinoAddress
from tests.wire.trino.edge_double import DoubleBackend
from tests.wire.trino.rig import KEY, USER, Gateway, backend, eventually, gateway

SLUG = re.compile(r"\b[xy][0-9a-f]{40}\b")


@pytest.fixture(params=["forwarded", "rewritten"])
async def gw(request: pytest.FixtureRequest, trino_server: TrinoAddress) -> AsyncIterator[Gateway]:
    """With a backend that builds our URIs itself, and with one whose URIs are rewritten."""
    engine = backend(trino_server.host, trino_server.port, process_forwarded=request.param == "forwarded")
    async with gateway(engine) as running:
        yield running


@pytest.fixture
async def one(trino_server: TrinoAddress) -> AsyncIterator[Gateway]:
    async with gateway(backend(trino_server.host, trino_server.port)) as running:
        yield running


# -- the public Python client


async def test_rows_and_types_are_those_of_the_engine(gw: Gateway) -> None:
    sql = """SELECT n.name, 1.5, DATE '2026-01-02', TIMESTAMP '2026-01-02 03:04:05.123456 Europe/Vienna',
             ARRAY[1,2], MAP(ARRAY['a'], ARRAY[1]), CAST(ROW(1, 'x') AS ROW(a bigint, b varchar)), x'00ff', NULL
             FROM tpch.tiny.nation n ORDER BY 1 LIMIT 3"""
    rows = await gw.fetch(sql)
    assert [row[0] for row in rows] == ["ALGERIA", "ARGENTINA", "BRAZIL"]
    assert str(rows[0][1:4]) == str([__import__("decimal").Decimal("1.5"), rows[0][2], rows[0][3]])
    assert rows[0][4:] == [[1, 2], {"a": 1}, (1, "x"), b"\x00\xff", None]
    await gw.settled()
    [query] = gw.edge.queries
    assert query.outcome is Outcome.SUCCEEDED
    assert query.engine_ids
    assert query.seen[-1]["state"] == "FINISHED"
    assert gw.edge.backends.by_name["a"].running == 0
    assert gw.wire.live_queries == 0


async def test_big_results_stream_through_compressed(gw: Gateway) -> None:
    rows = await gw.fetch("SELECT orderkey, comment FROM tpch.tiny.lineitem")
    assert len(rows) == 60175
    await gw.settled()


async def test_prepared_statements(gw: Gateway) -> None:
    def work() -> tuple[Any, Any]:
        cursor = gw.connect(legacy_prepared_statements=True).cursor()
        legacy = cursor.execute(
            "SELECT ? || name FROM tpch.tiny.region WHERE regionkey = ?", ("a,=%", 1)
        ).fetchall()
        cursor = gw.connect(legacy_prepared_statements=False).cursor()
        modern = cursor.execute(
            "SELECT ? || name FROM tpch.tiny.region WHERE regionkey = ?", ("b", 1)
        ).fetchall()
        return legacy, modern

    legacy, modern = await asyncio.to_thread(work)
    assert legacy == [["a,=%AMERICA"]]
    assert modern == [["bAMERICA"]]


async def test_long_prepared_statements_travel_compressed(gw: Gateway) -> None:
    columns = ", ".join(f"nationkey + {n} AS c{n}" for n in range(300))
    replies = await gw.run(f"PREPARE p FROM SELECT {columns} FROM tpch.tiny.nation WHERE nationkey = ?")
    [added] = replies[-1].all("X-Trino-Added-Prepare")
    assert added.startswith("p=%24zstd%3A")
    result = await gw.run("EXECUTE p USING 3", X_Trino_Prepared_Statement=added)
    assert result[-1].json["stats"]["state"] == "FINISHED"
    data = [row for reply in result for row in reply.json.get("data", [])]
    assert data == [[3 + n for n in range(300)]]
    assert gw.edge.queries[-1].statement.prepared[0][1].startswith("SELECT\n  (nationkey + 0) c0")


async def test_transactions_commit_and_roll_back(gw: Gateway) -> None:
    def work() -> Any:
        with gw.connect(isolation_level=IsolationLevel.READ_COMMITTED) as connection:
            cursor = connection.cursor()
            first = cursor.execute("SELECT 1").fetchall()
            cursor.execute("SELECT count(*) FROM tpch.tiny.nation").fetchall()
            connection.commit()
            return first

    assert await asyncio.to_thread(work) == [[1]]
    sent = {query.statement.transaction for query in gw.edge.queries}
    assert all(name is None or name.count(".") == 2 for name in sent)
    assert len(sent) == 2


async def test_session_state_comes_back_to_the_client(gw: Gateway) -> None:
    def work() -> Any:
        cursor = gw.connect(session_properties={"query_max_run_time": "1h"}).cursor()
        cursor.execute("USE tpch.tiny").fetchall()
        cursor.execute("SET SESSION join_distribution_type = 'PARTITIONED'").fetchall()
        names = cursor.execute("SELECT count(*) FROM nation").fetchall()
        shown = {row[0]: row[1] for row in cursor.execute("SHOW SESSION").fetchall()}
        return names, shown["join_distribution_type"], shown["query_max_run_time"]

    assert await asyncio.to_thread(work) == ([[25]], "PARTITIONED", "1h")


async def test_errors_of_the_engine_keep_class_name_and_place(gw: Gateway) -> None:
    with pytest.raises(trino.exceptions.TrinoUserError) as caught:
        await gw.fetch("SELECT *\nFROM tpch.tiny.nosuch")
    assert caught.value.error_name == "TABLE_NOT_FOUND"
    assert caught.value.error_location == (2, 6)
    await gw.settled()
    query = gw.edge.queries[-1]
    assert (query.outcome, query.error_code) == (Outcome.FAILED, "TABLE_NOT_FOUND")


async def test_a_cancelled_query_stops_on_the_engine(gw: Gateway) -> None:
    def work() -> str:
        cursor = gw.connect().cursor()
        cursor.execute("SELECT * FROM tpch.sf100.lineitem")
        cursor.cancel()
        return str(cursor.query_id)

    query_id = await asyncio.to_thread(work)
    await gw.settled()
    assert gw.edge.queries[-1].outcome is Outcome.CANCELLED
    states: list[str] = []
    for _ in range(50):
        states.append((await gw.call("GET", f"/v1/query/{query_id}", headers=USER)).json["state"])
        if states[-1] == "FAILED":
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"still {states[-1]}")


# -- the protocol, byte by byte


async def test_every_uri_is_ours(gw: Gateway) -> None:
    replies = await gw.run("SELECT * FROM tpch.tiny.nation")
    for reply in replies:
        document = reply.json
        uris = [document[name] for name in ("infoUri", "nextUri", "partialCancelUri") if name in document]
        assert all(uri.startswith(gw.base + "/") for uri in uris)
        assert b"18080" not in reply.body.replace(str(gw.port).encode(), b"")
    info = await gw.call("GET", replies[0].json["infoUri"].removeprefix(gw.base))
    assert info.status == 200
    assert replies[0].json["id"].encode() in info.body


async def test_a_page_may_be_fetched_again_and_an_old_one_is_gone(gw: Gateway) -> None:
    replies = await gw.pages(await gw.post("SELECT * FROM tpch.tiny.customer"), limit=4)
    again = await gw.call("GET", replies[-2].next_path)
    assert again.status == 200
    assert again.json.get("data") == replies[-1].json.get("data")
    rest = await gw.pages(replies[-1])
    assert rest[-1].json["stats"]["state"] == "FINISHED"
    old = await gw.call("GET", rest[0].next_path if len(rest) > 3 else replies[-2].next_path)
    assert old.status in (404, 410)


async def test_gzip_only_where_it_was_asked_for(gw: Gateway) -> None:
    async def coded(accept: str) -> tuple[set[str], int]:
        first = await gw.post("SELECT orderkey, comment FROM tpch.tiny.lineitem LIMIT 6000")
        codings, rows, reply = set(), 0, first
        while "nextUri" in (document := reply_json(reply)):
            reply = await gw.call(
                "GET", "/" + document["nextUri"].split("/", 3)[3], headers={"Accept-Encoding": accept}
            )
            codings |= set(reply.all("Content-Encoding"))
            rows += len(reply_json(reply).get("data", []))
        return codings, rows

    def reply_json(reply: Any) -> Any:
        import json

        return json.loads(
            gzip.decompress(reply.body) if reply.all("Content-Encoding") == ["gzip"] else reply.body
        )

    assert await coded("gzip") == ({"gzip"}, 6000)
    assert await coded("gzip;q=0, identity") == (set(), 6000)
    assert await coded("zstd") == (set(), 6000)


async def test_head_is_answered_without_a_body(gw: Gateway) -> None:
    first = await gw.post("SELECT 1")
    reply = await gw.call("HEAD", first.next_path)
    assert (reply.status, reply.body) == (200, b"")
    assert (await gw.call("HEAD", "/v1/statement", headers=USER)).status == 200


async def test_delete_of_a_page_cancels(gw: Gateway) -> None:
    replies = await gw.pages(await gw.post("SELECT count(*) FROM tpch.sf100.lineitem"), limit=4)
    assert (await gw.call("DELETE", replies[-1].next_path)).status == 204
    await gw.settled()
    assert gw.edge.queries[-1].outcome is Outcome.CANCELLED


async def test_a_query_whose_results_stay_unread_gives_its_slot_back(trino_server: TrinoAddress) -> None:
    """Clients that want one row leave the rest: the engine is through, so nobody must wait for the slot."""
    options = TrinoOptions(unread_after_s=0.2)
    async with gateway(backend(trino_server.host, trino_server.port), trino_options=options) as gw:
        reply = await gw.post("SELECT name FROM tpch.tiny.nation")
        while "data" not in reply.json:
            reply = await gw.call("GET", reply.next_path)
        await eventually(lambda: gw.edge.queries[-1].outcome is Outcome.SUCCEEDED)
        assert gw.edge.backends.by_name["a"].running == 0
        replies = await gw.pages(reply)
        assert "nextUri" not in replies[-1].json, "who comes back all the same reads on"


async def test_half_read_results_need_no_slot_either(trino_server: TrinoAddress) -> None:
    options = TrinoOptions(unread_after_s=0.2)
    async with gateway(backend(trino_server.host, trino_server.port), trino_options=options) as gw:
        reply = await gw.post("SELECT * FROM tpch.tiny.lineitem")
        while "data" not in reply.json:
            reply = await gw.call("GET", reply.next_path)
        await eventually(lambda: gw.edge.backends.by_name["a"].running == 0)
        replies = await gw.pages(reply)
        assert sum(len(page.json.get("data", [])) for page in replies) == 60_175
        await gw.settled()
        assert gw.edge.queries[-1].outcome is Outcome.SUCCEEDED


async def test_a_query_at_work_keeps_its_slot_while_its_client_is_silent(trino_server: TrinoAddress) -> None:
    options = TrinoOptions(unread_after_s=0.2)
    async with gateway(backend(trino_server.host, trino_server.port), trino_options=options) as gw:
        replies = await gw.pages(await gw.post("SELECT count(*) FROM tpch.sf100.lineitem"), limit=4)
        await asyncio.sleep(5)
        assert gw.edge.backends.by_name["a"].running == 1
        await gw.call("DELETE", replies[-1].next_path)


async def test_an_unpolled_query_can_be_cancelled_from_the_gateway(gw: Gateway) -> None:
    await gw.post("SELECT 1")
    [query] = gw.edge.queries
    assert query.cancel is not None
    query.cancel()
    await gw.settled()
    assert query.outcome is Outcome.CANCELLED


async def test_a_running_query_can_be_cancelled_from_the_gateway(gw: Gateway) -> None:
    replies = await gw.pages(await gw.post("SELECT count(*) FROM tpch.sf100.lineitem"), limit=4)
    query = gw.edge.queries[-1]
    assert query.cancel is not None
    query.cancel()
    for _ in range(50):
        replies = await gw.pages(replies[-1], limit=2)
        if "nextUri" not in replies[-1].json:
            break
    assert replies[-1].json["error"]["errorName"] == "USER_CANCELED"
    assert query.outcome is Outcome.CANCELLED


async def test_a_stage_can_be_cancelled(gw: Gateway) -> None:
    reply = await gw.post("SELECT * FROM tpch.sf10.lineitem LIMIT 100000000")
    for _ in range(50):
        reply = await gw.call("GET", reply.next_path)
        if "partialCancelUri" in reply.json:
            break
    path = reply.json["partialCancelUri"].removeprefix(gw.base)
    assert (await gw.call("GET", path)).status == 405
    assert (await gw.call("DELETE", path)).status == 204
    assert gw.edge.queries[-1].outcome is None
    await gw.call("DELETE", reply.next_path)


# -- refusals, answers, queueing


async def test_a_refusal_is_200_with_an_error_document(one: Gateway) -> None:
    one.edge.decide = lambda statement, principal: Refusal(
        RefusalCode.DENIED, "Not yours.", Position(1, 8), rule="r"
    )
    reply = await one.post("SELECT secret FROM t")
    document = reply.json
    assert reply.status == 200
    assert document["stats"]["state"] == "FAILED"
    assert "nextUri" not in document
    assert document["error"]["errorName"] == "PERMISSION_DENIED"
    with pytest.raises(trino.exceptions.TrinoUserError) as caught:
        await one.fetch("SELECT secret FROM t")
    assert caught.value.error_location == (1, 8)
    assert one.edge.queries[-1].outcome is Outcome.REFUSED


async def test_an_answer_of_the_gateway_itself(one: Gateway) -> None:
    rows = tuple((number, f"row {number}") for number in range(5000))
    one.edge.decide = lambda statement, principal: Answer(
        (Column("n", "bigint"), Column("s", "varchar")), rows, StatementKind.SHOW, warnings=("careful",)
    )
    assert await one.fetch("SHOW whatever") == [list(row) for row in rows]
    await one.settled()
    assert one.edge.queries[-1].outcome is Outcome.SUCCEEDED
    first = await one.post("SHOW whatever")
    assert first.json["id"].endswith(one.wire.suffix)
    forged = re.sub(r"[xy][0-9a-f]{40}", "x" + "0" * 40, first.next_path)
    assert (await one.call("GET", forged)).status == 404
    assert (await one.call("DELETE", forged)).status == 404
    assert (await one.call("DELETE", first.next_path)).status == 204


async def test_a_statement_waits_for_its_slot_and_keeps_one_id(trino_server: TrinoAddress) -> None:
    options = TrinoOptions(transaction_key=KEY, patience_s=0.05)
    free = asyncio.Event()
    async with gateway(backend(trino_server.host, trino_server.port), trino_options=options) as gw:
        gw.edge.admitting = lambda query: free.wait()
        first = await gw.post("SELECT 42")
        assert first.json["id"].endswith(gw.wire.suffix)
        second = await gw.call("GET", first.next_path)
        assert second.json["stats"]["queued"] is True
        asyncio.get_running_loop().call_later(0.3, free.set)
        replies = await gw.pages(second)
        assert {reply.json["id"] for reply in replies} == {first.json["id"]}
        assert [row for reply in replies for row in reply.json.get("data", [])] == [[42]]
        assert gw.edge.queries[-1].outcome is Outcome.SUCCEEDED
        shown = await gw.call("GET", f"/v1/query/{first.json['id']}", headers=USER)
        assert shown.json["queryId"] == first.json["id"]
        assert shown.json["state"] == "FINISHED"


async def test_a_waiting_statement_can_be_cancelled_and_never_runs(trino_server: TrinoAddress) -> None:
    options = TrinoOptions(transaction_key=KEY, patience_s=0.05)
    async with gateway(backend(trino_server.host, trino_server.port), trino_options=options) as gw:
        gw.edge.admitting = lambda query: asyncio.Event().wait()
        first = await gw.post("SELECT 42")
        assert (await gw.call("DELETE", first.next_path)).status == 204
        last = await gw.call("GET", first.next_path)
        assert last.json["error"]["errorName"] == "USER_CANCELED"
        await gw.settled()
        assert gw.edge.queries[-1].outcome is Outcome.CANCELLED
        assert gw.edge.queries[-1].engine_ids == []


async def test_a_slot_that_never_comes_is_told_on_a_page(trino_server: TrinoAddress) -> None:
    from gateway.edge.contract import Refused

    async def never(query: Any) -> None:
        await asyncio.sleep(0.2)
        raise Refused(Refusal(RefusalCode.QUEUE_FULL, "Too many queries wait."))

    options = TrinoOptions(transaction_key=KEY, patience_s=0.05)
    async with gateway(backend(trino_server.host, trino_server.port), trino_options=options) as gw:
        gw.edge.admitting = never
        replies = await gw.run("SELECT 42")
        assert replies[-1].json["error"]["errorName"] == "QUERY_QUEUE_FULL"
        assert gw.edge.queries[-1].outcome is Outcome.REFUSED


async def test_errors_of_a_rewritten_text_point_into_the_clients_text(one: Gateway) -> None:
    def rewrite(statement: Statement, principal: Principal) -> Plan:
        text = f"SELECT * FROM (\n\n{statement.text}\n) x"
        positions = PositionMap(anchors=((3, 1, 1, 1), (3, 15, 1, 15)), identity=False)
        return Plan(
            text, StatementKind.QUERY, EngineKind.TRINO, "g", ("a",), rewritten=True, positions=positions
        )

    one.edge.decide = rewrite
    with pytest.raises(trino.exceptions.TrinoUserError) as caught:
        await one.fetch("SELECT * FROM tpch.tiny.nosuch")
    assert caught.value.error_location == (1, 15)
    assert caught.value.message.startswith("line 1:15: ")
    assert await one.fetch("SELECT name FROM tpch.tiny.region WHERE regionkey = 0") == [["AFRICA"]]


async def test_settings_of_the_plan_reach_the_session(one: Gateway) -> None:
    one.edge.decide = lambda statement, principal: Plan(
        statement.text,
        StatementKind.SHOW,
        EngineKind.TRINO,
        "g",
        ("a",),
        settings=(("query_max_run_time", "7m"),),
    )
    shown = {
        row[0]: row[1]
        for row in await one.fetch("SHOW SESSION", session_properties={"query_max_run_time": "9h"})
    }
    assert shown["query_max_run_time"] == "7m"


# -- who may what


async def test_authentication(one: Gateway) -> None:
    from trino.auth import BasicAuthentication  # noqa: F401 - the client insists on https for it; raw here

    one.edge.passwords = {"alice": "pw", "svc": "pw2"}
    one.edge.allowed = {("svc", "alice")}

    def basic(name: str, password: str) -> str:
        import base64

        return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()

    denied = await one.post("SELECT 1")
    assert denied.status == 401
    assert denied.all("WWW-Authenticate")[0].startswith("Basic")
    assert (await one.post("SELECT 1", Authorization=basic("alice", "no"))).status == 401
    assert (await one.post("SELECT 1", Authorization="Negotiate x")).status == 401
    assert (await one.post("SELECT 1", Authorization=basic("alice", "pw"))).status == 200
    assert (await one.post("SELECT 1", Authorization=basic("svc", "pw2"))).status == 200
    assert one.edge.queries[-1].principal == Principal("alice", impersonator="svc")
    assert (await one.post("SELECT 1", Authorization=basic("svc", "pw2"), X_Trino_User="bob")).status == 403
    assert (await one.call("HEAD", "/v1/statement")).status == 401


async def test_a_query_is_shown_to_its_owner_only(one: Gateway) -> None:
    first = await one.post("SELECT count(*) FROM tpch.sf100.lineitem", X_Trino_Client_Tags="a, b")
    query_id = first.json["id"]
    await one.call("GET", first.next_path)
    path = f"/v1/query/{query_id}"
    mine = await one.call("GET", path, headers=USER)
    assert mine.json["query"] == "SELECT count(*) FROM tpch.sf100.lineitem"
    assert mine.json["session"]["clientTags"] == ["a", "b"]
    assert "outputStage" not in mine.json
    assert "systemProperties" not in mine.json["session"]
    stranger = await one.call("GET", path, headers={"X-Trino-User": "mallory"})
    unknown = await one.call("GET", path[:-11] + "99999_kb4aw", headers={"X-Trino-User": "mallory"})
    assert (stranger.status, stranger.body) == (unknown.status, unknown.body) == (404, b"Query not found")
    assert (await one.call("DELETE", path, headers={"X-Trino-User": "mallory"})).status == 404
    assert one.edge.queries[-1].outcome is None
    assert (await one.call("DELETE", path, headers=USER)).status == 204
    assert one.edge.queries[-1].outcome is Outcome.CANCELLED


async def test_another_process_shows_a_query_to_its_owner_too(trino_server: TrinoAddress) -> None:
    async with (
        gateway(backend(trino_server.host, trino_server.port)) as one,
        gateway(backend(trino_server.host, trino_server.port)) as other,
    ):
        first = await one.post("SELECT count(*) FROM tpch.sf100.lineitem")
        await one.call("GET", first.next_path)
        suffix = first.json["id"][-5:]
        other.edge.backends.findable[suffix] = "a"
        path = f"/v1/query/{first.json['id']}"
        assert (await other.call("GET", path, headers={"X-Trino-User": "mallory"})).status == 404
        assert (await other.call("GET", path, headers=USER)).status == 200
        other.edge.backends.by_name["a"].user = "shared"
        assert (await other.call("GET", path, headers=USER)).status == 404
        await one.call("DELETE", first.next_path)


# -- no state is needed


async def test_another_process_serves_the_next_page(trino_server: TrinoAddress) -> None:
    heard: list[tuple[str, PageFacts]] = []
    options = TrinoOptions(
        transaction_key=KEY, on_foreign_page=lambda query_id, facts: heard.append((query_id, facts))
    )
    async with (
        gateway(backend(trino_server.host, trino_server.port)) as one,
        gateway(backend(trino_server.host, trino_server.port), trino_options=options) as other,
    ):
        first = await one.post("SELECT name FROM tpch.tiny.region")
        query_id = first.json["id"]
        other.edge.backends.findable[query_id[-5:]] = "a"
        replies = await other.pages(first)
        assert sum(len(reply.json.get("data", [])) for reply in replies) == 5
        assert replies[-1].json["infoUri"].startswith(other.base)
        assert heard[-1][0] == query_id
        assert heard[-1][1].last
        assert heard[-1][1].state == "FINISHED"
        # The process that took the POST settles by asking the engine.
        one.wire._settler.sweep(asyncio.get_running_loop().time() + 1000)
        await one.settled()
        assert one.edge.queries[-1].outcome is Outcome.SUCCEEDED
        assert one.edge.backends.by_name["a"].running == 0


async def test_a_statement_that_is_never_asked_for_gives_its_slot_back_and_cannot_start(one: Gateway) -> None:
    first = await one.post("SELECT 1")
    polled = await one.pages(await one.post("SELECT count(*) FROM tpch.sf100.lineitem"), limit=3)
    assert one.edge.backends.by_name["a"].running == 2
    one.wire._settler.sweep(asyncio.get_running_loop().time() + 100)
    await eventually(lambda: one.edge.queries[0].outcome is not None)
    assert one.edge.queries[0].outcome is Outcome.DISCONNECTED
    assert one.edge.queries[1].outcome is None
    await one.call("DELETE", polled[-1].next_path)
    assert one.edge.backends.by_name["a"].running == 0
    late = await one.pages(await one.call("GET", first.next_path))
    assert late[-1].json["error"]["errorName"] == "USER_CANCELED"


async def test_a_sibling_brings_pages_to_the_process_that_answers_them(
    trino_server: TrinoAddress, tmp_path: Path
) -> None:
    engine = backend(trino_server.host, trino_server.port)
    async with gateway(engine, unix_path=tmp_path / "s") as one, gateway() as other:
        one.edge.decide = lambda statement, principal: Answer(
            (Column("n", "bigint"),), ((1,), (2,)), StatementKind.SHOW
        )
        sibling = DoubleBackend("sibling", UpstreamPool("localhost", 0, unix_path=str(tmp_path / "s")))
        other.edge.backends.suffixes[one.wire.suffix] = sibling
        first = await one.post("SHOW x")
        replies = await other.pages(first)
        assert [row for reply in replies for row in reply.json.get("data", [])] == [[1], [2]]
        assert replies[-1].json["infoUri"].startswith(other.base)
        assert one.edge.queries[-1].outcome is Outcome.SUCCEEDED
        await sibling.pool.close()


async def test_a_waiting_statement_ends_when_its_client_vanishes(
    trino_server: TrinoAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.wire.trino.server._LEFT_GRACE_S", 0.1)
    options = TrinoOptions(transaction_key=KEY, patience_s=0.05)
    async with gateway(backend(trino_server.host, trino_server.port), trino_options=options) as gw:
        gw.edge.admitting = lambda query: asyncio.Event().wait()
        first = await gw.post("SELECT 42")
        _, writer = await asyncio.open_connection("127.0.0.1", gw.port)
        writer.write(f"GET {first.next_path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await asyncio.sleep(0.2)
        assert gw.edge.queries[-1].outcome is None
        writer.transport.abort()
        await gw.settled()
        assert gw.edge.queries[-1].outcome is Outcome.DISCONNECTED


async def test_a_plan_for_another_protocol_is_not_sent_anywhere(one: Gateway) -> None:
    one.edge.decide = lambda statement, principal: Plan(
        "SELECT 1", StatementKind.QUERY, EngineKind.CLICKHOUSE, "g", ("a",)
    )
    reply = await one.post("SELECT 1")
    assert reply.json["error"]["errorName"] == "NOT_SUPPORTED"
    assert one.edge.queries[-1].engine_ids == []


async def test_unknown_coordinators_are_looked_up_at_a_bounded_rate(one: Gateway) -> None:
    def path(suffix: str) -> str:
        return f"/v1/statement/queued/20260101_000000_00000_{suffix}/y{'0' * 40}/1"

    statuses = [(await one.call("GET", path(f"abcd{digit}"))).status for digit in "23456789"]
    assert statuses.count(404) >= 5
    assert statuses.count(503) >= 1
    assert (await one.call("GET", path("abcd2"))).status == 404
    assert one.edge.backends.lookups.count("abcd2") == 1


# -- about the server


async def test_info(one: Gateway) -> None:
    info = (await one.call("GET", "/v1/info")).json
    assert info["nodeVersion"]["version"] == "476"
    assert info["coordinator"] is True
    assert info["starting"] is False
    assert (await one.call("GET", "/v1/info/state")).body == b'"ACTIVE"'
    assert (await one.call("GET", "/v1/info/coordinator")).status == 200
    assert (await one.call("GET", "/v1/status")).json["coordinator"] is True


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/v1/statement", 405),
        ("GET", "/v1/statement", 405),
        ("POST", "/v1/info", 405),
        ("PUT", "/v1/info/state", 405),
        ("GET", "/v1/node", 404),
        ("GET", "/v1/query", 404),
        ("GET", "/v1/task/x", 404),
        ("GET", "/v1/spooled/download/x", 404),
        ("GET", "/v1/jmx/mbean", 404),
        ("GET", "/ui/", 404),
        ("GET", "/ui/api/cluster", 404),
        ("GET", "/v1/statement/queued/../../info", 404),
        ("GET", "/v1/statement/queued/20260101_000000_00000_abcde%2f..%2f/y/1", 404),
        ("POST", "/v1/statement/queued/20260101_000000_00000_abcde/y/1", 405),
        ("GET", "/ui/query.html?<script>", 404),
        ("GET", "/ui/query/20260101_000000_00000_abcde", 200),
        ("GET", "//v1/info", 404),
    ],
)
async def test_only_listed_methods_and_paths(one: Gateway, method: str, path: str, status: int) -> None:
    reply = await one.call(method, path, headers=USER)
    assert reply.status == status
    if status == 405:
        assert reply.all("Allow")


# -- attacks


async def test_a_foreign_slug_opens_nothing(gw: Gateway) -> None:
    first, second = await gw.post("SELECT 1"), await gw.post("SELECT 2")
    slug = SLUG.search(second.next_path)
    assert slug is not None
    forged = SLUG.sub(slug[0], first.next_path)
    for method in ("GET", "HEAD", "DELETE"):
        assert (await gw.call(method, forged)).status == 404
    assert gw.edge.queries[0].outcome is None
    # Another query's page under this id must not end this one.
    own = second.next_path.split("/")
    disguised = f"/v1/statement/queued/{first.json['id']}/at.{own[4]}.{own[5]}/{own[6]}"
    reply = await gw.call("GET", disguised)
    while "nextUri" in reply.json:
        reply = await gw.call("GET", reply.next_path)
    assert gw.edge.queries[0].outcome is None


async def test_a_guessed_slug_does_not_disarm_failover(gw: Gateway) -> None:
    first = await gw.post("SELECT 1")
    await gw.call("GET", SLUG.sub("y" + "0" * 40, first.next_path))
    live = gw.wire._registry.get(first.json["id"])
    assert live is not None
    assert not live.polled
    assert live.replay is not None


async def test_credentials_and_foreign_headers_do_not_reach_the_engine(one: Gateway) -> None:
    first = await one.post(
        "SELECT 1",
        Authorization="Basic YWxpY2U6aHVudGVyMg==",
        X_Trino_Query_Data_Encoding="json+zstd,json",
        X_Forwarded_Host="evil.example",
        X_Forwarded_Proto="https",
        X_Trino_Session="query_max_run_time=1h%0d%0aX-Trino-User:%20root",
    )
    assert first.json["infoUri"].startswith(one.base)
    replies = await one.pages(first)
    # The engine parsed the value as one value of one property, line break and all.
    assert replies[-1].json["error"]["errorName"] == "INVALID_SESSION_PROPERTY"


async def test_a_transaction_cannot_be_forged(one: Gateway) -> None:
    started = await one.run("START TRANSACTION", X_Trino_Transaction_Id="NONE")
    [wrapped] = started[-1].all("X-Trino-Started-Transaction-Id")
    assert (await one.run("SELECT 1", X_Trino_Transaction_Id=wrapped))[-1].json["stats"][
        "state"
    ] == "FINISHED"
    for forged in (wrapped.split(".")[0], wrapped[:-1] + "~", "x.y.z"):
        reply = await one.post("SELECT 1", X_Trino_Transaction_Id=forged)
        assert reply.json["error"]["errorName"] == "UNKNOWN_TRANSACTION"
    await one.run("ROLLBACK", X_Trino_Transaction_Id=wrapped)


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"X_Presto_User": "alice"}, "speaks Trino"),
        ({"X_Trino_Session": "a" * 300 + "=1"}, "longer than 256"),
        ({"X_Trino_Session": ",".join(f"a{n}=1" for n in range(300))}, "more than 256"),
        ({"X_Trino_Extra_Credential": "a=b"}, "stop at the gateway"),
        ({"X_Trino_Source": "x" * 2000}, "longer than 1024"),
        ({"X_Trino_Time_Zone": "x" * 65}, "longer than 64"),
    ],
)
async def test_bad_headers_are_refused_in_words(one: Gateway, headers: dict[str, str], words: str) -> None:
    reply = await one.post("SELECT 1", **headers)
    assert reply.status == 200
    assert words in reply.json["error"]["message"]
    assert one.edge.queries == []


async def test_large_and_broken_statements_are_refused(trino_server: TrinoAddress) -> None:
    options = WireOptions(max_statement_bytes=1000)
    async with gateway(backend(trino_server.host, trino_server.port), options=options) as gw:
        large = await gw.post("SELECT '" + "x" * 2000 + "'")
        assert large.json["error"]["errorName"] == "QUERY_TEXT_TOO_LARGE"
        assert (await gw.call("POST", "/v1/statement", b"SELECT '\xff'", USER)).json["error"][
            "errorType"
        ] == "USER_ERROR"
        assert (await gw.call("POST", "/v1/statement", b"", USER)).status == 400
        assert (await gw.post("SELECT 1")).status == 200


async def test_slugs_are_never_logged(gw: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    logging.getLogger("trino").setLevel(logging.WARNING)
    replies = await gw.run("SELECT * FROM tpch.tiny.nosuch")
    await gw.call("GET", replies[0].next_path.replace("/1", "/9"))
    await gw.call("DELETE", replies[0].next_path)
    live = [repr(one) for one in gw.wire._registry._live.values()]
    assert not SLUG.search("\n".join([*(record.getMessage() for record in caplog.records), *live]))


async def test_long_polls_hold_no_thread_and_no_other_client(gw: Gateway) -> None:
    import threading

    replies = [
        await gw.pages(await gw.post("SELECT count(*) FROM tpch.sf100.lineitem"), limit=4) for _ in range(2)
    ]
    before = threading.active_count()
    polls = [asyncio.create_task(gw.call("GET", reply[-1].next_path)) for reply in replies]  # noqa: TID251
    assert (await gw.call("GET", "/v1/info")).status == 200
    done = await asyncio.gather(*polls)
    assert threading.active_count() <= before + len(polls)
    for reply in done:
        await gw.call("DELETE", reply.next_path)
    await eventually(lambda: gw.edge.backends.by_name["a"].running == 0)
