"""An `AdminBackend` with a real store and a real audit behind it, and made-up live queries."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gateway.admin.contract import (
    Actor,
    AdminError,
    BackendState,
    Explained,
    ExplainRequest,
    Health,
    LiveFilter,
    LiveQuery,
    Reloaded,
    SnapshotInfo,
)
from gateway.admin.explain import explained
from gateway.core.decision import EngineKind, Plan, Refusal, RefusalCode
from gateway.core.statement import StatementKind
from gateway.core.trail import Step, Trail
from gateway.store.audit import AuditLog
from gateway.store.audit_records import AdminAction
from gateway.store.audit_verify import Report, verify
from gateway.store.records import QueryRecord
from gateway.store.store import Page, QueryFilter, Store
from gateway.store.vault import StatementText, TextPart, Vault

SECRET = "hunter2hunter2hunter2"


def live(query_id: str, **known: object) -> LiveQuery:
    base: dict[str, object] = {
        "id": query_id,
        "time": time.time() - 5,
        "age_ms": 5000.0,
        "principal": "alice",
        "wire": "trino",
        "kind": "query",
        "state": "running",
        "engine": "trino",
        "backend": "trino-a",
        "fraction": 0.4,
        "rows": 1234,
        "bytes_out": 5_000_000,
    }
    return LiveQuery(**{**base, **known})  # type: ignore[arg-type]


class FakeGateway:
    """What the runtime will be, as far as the API can tell."""

    def __init__(self, store: Store, audit: AuditLog, audit_dir: Path) -> None:
        self.store, self.audit, self.audit_dir = store, audit, audit_dir
        self.vault = Vault(store.database, [b"k" * 32])
        self.running = [
            live("q-old", time=time.time() - 60, age_ms=60_000.0),
            live(
                "q-new",
                principal="bob",
                wire="clickhouse",
                engine="clickhouse",
                backend="ch-a",
                fraction=None,
            ),
        ]
        self.draining: set[str] = set()
        self.cancelled: list[tuple[str, str]] = []

    @classmethod
    async def open(cls, folder: Path) -> FakeGateway:
        store = await Store.open(f"sqlite:///{folder}/gateway.db")
        audit = AuditLog(folder / "audit", "admin")
        audit.open()
        gateway = cls(store, audit, folder / "audit")
        await store.save_queries(
            QueryRecord(
                id=f"past{i}",
                time=1_700_000_000.0 + i,
                principal="alice" if i % 2 else "bob",
                outcome="succeeded",
                total_ms=12.5,
                trail=({"stage": "route", "effect": "chose", "rule": "default"},),
            )
            for i in range(5)
        )
        await gateway.vault.save([StatementText("past1", TextPart.ORIGINAL, "select 'x'", 1_700_000_000.0)])
        return gateway

    async def close(self) -> None:
        await self.audit.close()
        await self.store.close()

    async def record(self, action: AdminAction) -> None:
        self.audit.append(action)
        await self.audit.commit()

    async def live_queries(self, matching: LiveFilter) -> Sequence[LiveQuery]:
        return [query for query in self.running if matching.matches(query)]

    async def cancel(self, query_id: str, actor: Actor) -> bool:
        if query_id not in {query.id for query in self.running}:
            return False
        self.cancelled.append((query_id, actor.name))
        self.running = [query for query in self.running if query.id != query_id]
        return True

    async def history(self, matching: QueryFilter, limit: int, cursor: str | None) -> Page:
        return await self.store.recent_queries(matching, limit, cursor)

    async def query(self, query_id: str) -> QueryRecord | None:
        running = next((query for query in self.running if query.id == query_id), None)
        if running is not None:
            trail = (
                {"stage": "parse", "effect": "query"},
                {"stage": "route", "effect": "chose", "rule": "r1"},
            )
            return QueryRecord(running.id, running.time, principal=running.principal, trail=trail)
        return await self.store.query(query_id)

    async def texts(self, query_id: str, actor: Actor, purpose: str) -> Mapping[str, str]:
        found = await self.vault.read(query_id, actor=actor.name, purpose=purpose, audit=self.audit)
        return {part.value: text for part, text in found.items()}

    async def backends(self) -> Sequence[BackendState]:
        one = BackendState("trino-a", "trino", "default", "http://trino:8080", True, running=1, version="476")
        return [replace(one, draining="trino-a" in self.draining)]

    async def drain(self, name: str, draining: bool, actor: Actor) -> BackendState | None:
        if name != "trino-a":
            return None
        (self.draining.add if draining else self.draining.discard)(name)
        return (await self.backends())[0]

    async def snapshot(self) -> SnapshotInfo:
        return SnapshotInfo({"Routing": "abc"}, 1_700_000_000.0, {"proxy-0": "abc"})

    async def reload(self, actor: Actor) -> Reloaded:
        return Reloaded(False, ("gateway.yaml:3:5: unknown key `lisetners`",))

    async def explain(self, request: ExplainRequest, actor: Actor) -> Explained:
        if request.as_ == "nobody":
            raise AdminError(404, "no_principal", "There is no principal nobody")
        trail = Trail((Step("parse", "query"), Step("route", "chose", rule="default")))
        if "secret" in request.sql:
            return explained(Refusal(RefusalCode.DENIED, "No.", rule="deny", trail=trail))
        return explained(
            Plan(request.sql, StatementKind.QUERY, EngineKind.TRINO, "default", ("trino-a",), trail=trail)
        )

    async def health(self) -> Health:
        return Health(False, "0.1.0", 5000.0, {"audit": None, "store": "does not answer"})

    async def config(self) -> Mapping[str, object]:
        return {"admin": {"tokens": {"ops": SECRET}}, "store": {"url": f"postgresql://gw:{SECRET}@db/gw"}}

    async def verify_audit(self) -> Report:
        return verify(self.audit_dir)
