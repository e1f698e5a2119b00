"""query_id and session_id: the client's own to the client, namespaced on the engine."""

from __future__ import annotations

import asyncio
import uuid

from gateway.edge.contract import Outcome
from gateway.wire.http.client import UpstreamPool
from tests.wire.clickhouse.conftest import Rig, StartRig, engine_backend, eventually
from tests.wire.clickhouse.edge_double import DoubleBackend

SLOW = "SELECT sleepEachRow(0.1) FROM numbers(600) SETTINGS max_block_size = 1"


async def running(rig: Rig, like: str) -> list[str]:
    sql = f"SELECT query_id FROM system.processes WHERE query_id LIKE '%{like}%' AND query NOT LIKE '%processes%'"
    return (await rig.direct(sql)).body.decode().split()


async def test_the_client_sees_its_own_id_and_the_engine_another(rig: Rig) -> None:
    mine = "job-" + uuid.uuid4().hex
    for params, headers in (
        ({"query_id": mine}, {}),
        ({}, {"X-ClickHouse-Query-Id": mine}),
        ({"query_id": mine}, {"X-ClickHouse-Query-Id": "header-loses"}),
    ):
        answer = await rig.ask("SELECT queryID()", params=params, headers=headers)
        assert answer.all("X-ClickHouse-Query-Id") == [mine]
        assert answer.body.decode().strip().endswith("-" + mine)
    without = await rig.ask("SELECT 1")
    assert uuid.UUID(without.header("X-ClickHouse-Query-Id")).version == 4
    assert without.header("X-Gateway-Query-Id") == rig.edge.queries[-1].id


async def test_ids_of_any_text(rig: Rig) -> None:
    for mine in ("ünï☃", "a b'c\\d", "%00%", "x" * 200, "1"):
        answer = await rig.ask("SELECT 1", params={"query_id": mine})
        assert answer.status == 200
        shown = answer.header("X-ClickHouse-Query-Id")
        assert shown is not None
        assert shown.encode("latin-1").decode() == mine


async def test_two_principals_may_use_one_id_at_once(rig: Rig) -> None:
    mine = "same-" + uuid.uuid4().hex
    anna, ben = rig.as_user("anna"), rig.as_user("ben")
    slow = "SELECT sleep(0.5)"
    answers = await asyncio.gather(
        anna(slow, params={"query_id": mine}), ben(slow, params={"query_id": mine})
    )
    assert [answer.status for answer in answers] == [200, 200]
    again = await asyncio.gather(anna(slow, params={"query_id": mine}), anna(slow, params={"query_id": mine}))
    refused = next(answer for answer in again if answer.status != 200)
    assert refused.header("X-ClickHouse-Exception-Code") == "216"
    assert f"id = {mine} ".encode() in refused.body  # the client's id, not the engine's


async def test_kill_by_the_clients_own_id(rig: Rig) -> None:
    mine = "kill-me-" + uuid.uuid4().hex
    anna = rig.as_user("anna")
    victim = asyncio.ensure_future(anna(SLOW, params={"query_id": mine}))  # noqa: TID251 - awaited below
    assert await eventually(lambda: _is(running(rig, mine)))
    killed = await anna(f"KILL QUERY WHERE query_id = '{mine}' SYNC")
    assert killed.status == 200
    assert killed.body.split(b"\t")[:2] == [b"finished", mine.encode()]
    answer = await victim
    assert not answer.complete or answer.status != 200
    assert await eventually(lambda: _is(running(rig, mine), False))
    assert rig.edge.queries[0].outcome is Outcome.CANCELLED


async def test_nobody_kills_anothers_query(rig: Rig) -> None:
    mine = "mine-" + uuid.uuid4().hex
    anna, ben = rig.as_user("anna"), rig.as_user("ben")
    victim = asyncio.ensure_future(  # noqa: TID251 - awaited below
        anna(
            "SELECT sleepEachRow(0.1) FROM numbers(15) SETTINGS max_block_size = 1", params={"query_id": mine}
        )
    )
    assert await eventually(lambda: _is(running(rig, mine)))
    engine_id = (await running(rig, mine))[0]
    for attempt in (
        f"KILL QUERY WHERE query_id = '{mine}'",
        f"KILL QUERY WHERE query_id = '{engine_id}'",
        f"KILL QUERY WHERE query_id IN ('{mine}', '{engine_id}')",
        f"KILL QUERY WHERE query_id = '{mine}' OR 1",
        "KILL QUERY WHERE user = 'gateway'",
        "KILL QUERY WHERE 1",
        "/* hidden */ KILL -- x\n QUERY WHERE query_id != ''",
        f"KILL QUERY WHERE query_id LIKE '%{mine}%'",
        f"KILL QUERY WHERE query_id = concat('{engine_id}', '')",
        f"KILL QUERY WHERE \"query_id\" = '{engine_id}' OR query_id = '{engine_id}'",
        f"CREATE TABLE x (a Int8) ENGINE = Null PARALLEL WITH KILL QUERY WHERE query_id = '{engine_id}'",
    ):
        answer = await ben(attempt)
        assert answer.status != 200 or answer.body == b"", (attempt, answer)
    answer = await victim
    assert (answer.status, answer.complete) == (200, True)


async def test_look_ups_by_the_clients_own_id(rig: Rig) -> None:
    mine = "log-" + uuid.uuid4().hex
    anna, ben = rig.as_user("anna"), rig.as_user("ben")
    await anna("SELECT 42 AS answer", params={"query_id": mine})
    looks = [
        f"SELECT count() FROM system.query_log WHERE query_id = '{mine}' AND type = 'QueryFinish'",
        f"SELECT count() FROM system.query_log AS l WHERE l.query_id IN ('nope', '{mine}') AND type = 2",
        f"SELECT count() FROM `system`.`query_log` WHERE '{mine}' = query_id AND type = 2",
        f"SELECT count() FROM system.query_log WHERE query_id LIKE '{mine[:20]}%' AND type = 2",
        f"SELECT count() FROM system.query_log WHERE query_id IN (SELECT '{mine}') AND type = 2",
        f"SELECT count() FROM system.query_log l WHERE query_id = '{mine}' AND type = 2",
        f"SELECT countIf(query_log.query_id = '{mine}' AND type = 2) FROM system.query_log",
    ]

    async def logged() -> bool:
        return (await anna(looks[0])).body == b"1\n"

    await rig.direct("SYSTEM FLUSH LOGS query_log")
    assert await eventually(logged)
    for look in looks:
        assert (await anna(look)).body == b"1\n", look
        assert (await ben(look)).body == b"0\n", look
    shown = (
        "SELECT query_id, initial_query_id FROM system.query_log WHERE query_id = {id:String} AND type = 2"
    )
    seen = await anna(shown, params={"param_id": mine})
    assert seen.body.decode() == f"{mine}\t{mine}\n"
    assert (await ben(shown, params={"param_id": mine})).body == b""
    own_table = await anna(f"SELECT query_id = '{mine}' FROM (SELECT '{mine}' AS query_id)")
    assert own_table.body == b"1\n"  # a column of that name elsewhere is nobody's business


async def test_sessions_keep_state_for_one_principal_only(rig: Rig) -> None:
    session = "s-" + uuid.uuid4().hex
    anna, ben = rig.as_user("anna"), rig.as_user("ben")
    params = {"session_id": session, "session_timeout": "30"}
    assert (await anna("CREATE TEMPORARY TABLE tt (a Int8)", params=params)).status == 200
    assert (await anna("INSERT INTO tt VALUES (7)", params=params)).status == 200
    assert (await anna("SELECT a FROM tt", params={**params, "session_check": "1"})).body == b"7\n"
    assert (await ben("SELECT a FROM tt", params=params)).header("X-ClickHouse-Exception-Code") == "60"
    missing = await ben("SELECT 1", params={"session_id": session + "x", "session_check": "1"})
    assert missing.header("X-ClickHouse-Exception-Code") == "372"
    assert f"Session {session}x not found".encode() in missing.body
    await anna("SET max_threads = 3", params=params)
    assert (await anna("SELECT getSetting('max_threads')", params=params)).body == b"3\n"
    assert (await anna("SELECT 1", params={**params, "close_session": "1"})).status == 200


async def test_a_busy_session_is_locked_as_direct(rig: Rig) -> None:
    params = {"session_id": "busy-" + uuid.uuid4().hex}
    slow, quick = await asyncio.gather(
        rig.ask("SELECT sleep(0.7)", params=params), _after(0.2, rig, "SELECT 1", params)
    )
    assert slow.status == 200
    assert quick.header("X-ClickHouse-Exception-Code") == "373"
    assert params["session_id"].encode() in quick.body


async def _after(delay: float, rig: Rig, sql: str, params: dict[str, str]):  # type: ignore[no-untyped-def]
    await asyncio.sleep(delay)
    return await rig.ask(sql, params=params)


async def _is(found, wanted: bool = True) -> bool:  # type: ignore[no-untyped-def]
    return bool(await found) is wanted


async def test_kill_finds_the_backend_that_runs_the_query(
    start_rig: StartRig, clickhouse_server: object
) -> None:
    asleep = DoubleBackend("asleep", "", UpstreamPool("127.0.0.1", 1))
    awake = engine_backend(clickhouse_server, "awake")  # type: ignore[arg-type]
    rig = await start_rig(backends=[asleep, awake])
    mine = "there-" + uuid.uuid4().hex
    victim = asyncio.ensure_future(rig.ask(SLOW, params={"query_id": mine}))  # noqa: TID251 - awaited below
    assert await eventually(lambda: _is(running(rig, mine)))
    killed = await rig.ask(f"KILL QUERY WHERE query_id = '{mine}' SYNC")
    assert rig.edge.queries[-1].backend == "awake"
    assert killed.body.startswith(b"finished\t")
    await victim
