from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

from gateway.store.audit import AuditLimits, AuditLog
from gateway.store.audit_chain import segment_file
from gateway.store.audit_files import segments
from gateway.store.audit_ingest import AuditIngest
from gateway.store.audit_records import AdminAction
from gateway.store.audit_verify import Break, verify
from gateway.store.store import QueryFilter, Store
from tests.store.audit_samples import decided, finished
from tests.store.test_audit import query_ids, run_and_kill


def ingest_of(store: Store, directory: Path) -> AuditIngest:
    return AuditIngest(store, directory, node="host")


async def stored_ids(store: Store, **matching: str) -> list[str]:
    ids: list[str] = []
    cursor = None
    while True:
        page = await store.recent_queries(QueryFilter(**matching), limit=1000, cursor=cursor)  # type: ignore[arg-type]
        ids += [query.id for query in page.queries]
        cursor = page.cursor
        if cursor is None:
            return ids


async def test_history_is_made_from_the_audit(store: Store, tmp_path: Path) -> None:
    audit = AuditLog(tmp_path, "proxy-0")
    audit.open()
    audit.append(decided("q1"))
    audit.append(finished("q1"))
    audit.append(decided("q2", decision="refusal"))
    audit.append(AdminAction(time=5.0, actor="root", action="drain", target="trino-a", outcome="done"))
    await audit.commit()
    ingest = ingest_of(store, tmp_path)
    done = await ingest.run_once()
    assert (done.records, done.problems) == (5, ())
    assert (await ingest.run_once()).records == 0
    query = await store.query("q1")
    assert query is not None
    assert (query.principal, query.outcome, query.rows, query.process) == (
        "alice",
        "succeeded",
        10,
        "host/proxy-0",
    )
    assert query.trail == (
        {"stage": "parse", "effect": "query"},
        {"stage": "route", "effect": "chose", "rule": "default", "detail": "trino-a"},
    )
    async with store.database.read() as connection:
        events = (await connection.execute(sa.text("SELECT kind, actor FROM audit_events ORDER BY n"))).all()
    assert [tuple(event) for event in events] == [("segment", None), ("admin_action", "root")]
    await audit.close()


async def test_ingest_goes_on_over_rotation_restart_and_a_torn_end(store: Store, tmp_path: Path) -> None:
    ingest = ingest_of(store, tmp_path)
    for start in range(3):
        audit = AuditLog(tmp_path, "proxy-0", limits=AuditLimits(segment_bytes=1500))
        audit.open()
        for i in range(10):
            audit.append(decided(f"q{start}-{i}"))
            await audit.commit()
            if i == 5:
                await ingest.run_once()
        await audit.close()
        newest = segments(tmp_path)["proxy-0"][-1][1]
        with newest.open("ab") as file:
            file.write(b"torn")
    done = await ingest.run_once()
    assert done.problems == ()
    assert len(await stored_ids(store)) == 30
    assert verify(tmp_path, anchors=await ingest.anchors()).ok


async def test_the_process_that_died_leaves_unknown_outcomes_not_wrong_ones(
    store: Store, tmp_path: Path
) -> None:
    first = AuditLog(tmp_path, "proxy-0")
    first.open()
    first.append(decided("ended", time=time.time()))
    first.append(finished("ended", time=time.time()))
    first.append(decided("cut", time=time.time()))
    await first.close()
    ingest = ingest_of(store, tmp_path)
    await ingest.run_once()
    second = AuditLog(tmp_path, "proxy-0")
    second.open()
    second.append(decided("running", time=time.time()))
    await second.commit()
    await ingest.run_once()
    outcomes = {i: (await store.query(i)).outcome for i in ("ended", "cut", "running")}  # type: ignore[union-attr]
    assert outcomes == {"ended": "succeeded", "cut": "unknown", "running": None}
    await second.close()


async def test_a_broken_chain_is_reported_and_history_goes_on(store: Store, tmp_path: Path) -> None:
    audit = AuditLog(tmp_path, "proxy-0")
    audit.open()
    for i in range(5):
        audit.append(decided(f"q{i}"))
    await audit.close()
    path = tmp_path / segment_file("proxy-0", 1)
    path.write_bytes(path.read_bytes().replace(b'"alice"', b'"mallo"', 1))
    seen: list[str] = []
    ingest = AuditIngest(store, tmp_path, node="host", on_problem=seen.append)
    done = await ingest.run_once()
    assert len(done.problems) == len(seen) == 1
    assert len(await stored_ids(store)) == 5


async def test_one_odd_record_does_not_stop_those_after_it(store: Store, tmp_path: Path) -> None:
    audit = AuditLog(tmp_path, "proxy-0")
    audit.open()
    odd = replace(decided("q1"), kind="k" * 9000, decide_ms=float("nan"), time=1e300, principal=7)  # type: ignore[arg-type]
    audit.append(odd)
    audit.append(replace(finished("q1"), rows=2**63, bytes_out="many", total_ms=float("inf")))  # type: ignore[arg-type]
    audit.append(replace(decided("q2"), query_id=None, trail="x"))  # type: ignore[arg-type]
    audit.append(replace(decided("q" * 200), trail="x", groups="a\0"))  # type: ignore[arg-type]
    audit.append(AdminAction(time=float("nan"), actor="a\0", action="x" * 9000, target="\ud800", outcome=""))
    audit.append(decided("last"))
    await audit.close()
    done = await ingest_of(store, tmp_path).run_once()
    assert done.problems == ()
    assert sorted(await stored_ids(store)) == ["last", "q1", "q" * 64]
    query = await store.query("q1")
    assert query is not None
    assert (query.principal, query.rows, query.bytes_out) == ("7", 2**63 - 1, None)


async def test_the_head_in_the_store_shows_a_removed_tail(store: Store, tmp_path: Path) -> None:
    audit = AuditLog(tmp_path, "proxy-0")
    audit.open()
    for i in range(5):
        audit.append(decided(f"q{i}"))
    await audit.close()
    ingest = ingest_of(store, tmp_path)
    await ingest.run_once()
    for path in tmp_path.glob("proxy-0.*"):
        path.unlink()
    problem = verify(tmp_path, anchors=await ingest.anchors()).first_problem
    assert problem is not None
    assert problem.what is Break.TRUNCATED


async def test_old_segments_can_be_removed_once_they_are_in_the_store(store: Store, tmp_path: Path) -> None:
    audit = AuditLog(tmp_path, "proxy-0", limits=AuditLimits(segment_bytes=1500))
    audit.open()
    for i in range(20):
        audit.append(decided(f"q{i}"))
        await audit.commit()
    ingest = ingest_of(store, tmp_path)
    before = len(segments(tmp_path)["proxy-0"])
    for _, path in segments(tmp_path)["proxy-0"]:
        os.utime(path, (1, 1))
    assert await ingest.prune_files(1) == 0, "not in the store yet"
    await ingest.run_once()
    assert await ingest.prune_files(1) == before - 1
    assert verify(tmp_path, anchors=await ingest.anchors()).ok
    audit.append(decided("later"))
    await audit.close()
    again = AuditLog(tmp_path, "proxy-0")
    again.open()
    await again.close()
    assert verify(tmp_path, anchors=await ingest.anchors()).ok
    await ingest.run_once()
    assert len(await stored_ids(store)) == 21


async def test_kill_dash_nine_of_the_writer_before_ingest_loses_nothing(store: Store, tmp_path: Path) -> None:
    acknowledged = await asyncio.to_thread(run_and_kill, tmp_path, 200)
    await ingest_of(store, tmp_path).run_once()
    assert set(acknowledged) <= set(await stored_ids(store))
    assert sorted(await stored_ids(store)) == sorted(query_ids(tmp_path))


INGESTER = """
import asyncio, sys
from pathlib import Path
from gateway.store import audit_ingest
from gateway.store.store import Store

audit_ingest.BATCH_LINES = 20

async def main():
    store = await Store.open(sys.argv[1])
    print("ready", flush=True)
    await audit_ingest.AuditIngest(store, Path(sys.argv[2]), node="host").run_once()

asyncio.run(main())
"""


async def test_kill_dash_nine_of_the_ingest_neither_loses_nor_doubles(
    store: Store, store_url: str, tmp_path: Path
) -> None:
    audit = AuditLog(tmp_path / "audit", "proxy-0")
    audit.open()
    for i in range(3000):
        audit.append(decided(f"q{i}"))
        audit.append(AdminAction(time=5.0, actor="root", action="drain", target=str(i), outcome="done"))
    await audit.close()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", INGESTER, store_url, str(tmp_path / "audit")),
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    await process.stdout.readline()
    await asyncio.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    await asyncio.wait_for(process.communicate(), 10)
    half = len(await stored_ids(store))
    assert half < 3000, "killed in the middle"
    assert (await ingest_of(store, tmp_path / "audit").run_once()).problems == ()
    assert len(await stored_ids(store)) == 3000
    async with store.database.read() as connection:
        count = sa.text("SELECT count(*) FROM audit_events WHERE kind = 'admin_action'")
        assert (await connection.execute(count)).scalar_one() == 3000
