from __future__ import annotations

import base64
import getpass
import json
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import pytest
from openapi_spec_validator import validate

from gateway.admin import openapi
from gateway.admin.client import AdminClient, AdminRefused, AdminUnreachable, SyncAdminClient, Target
from gateway.admin.routes import ROUTES
from gateway.admin.server import AdminServer
from gateway.store.audit import AuditUnavailable
from gateway.store.audit_files import segments
from tests.admin.conftest import TOKEN, Running
from tests.admin.fake_gateway import SECRET, FakeGateway


def audited(running: Running) -> list[dict[str, Any]]:
    lines = [
        line
        for files in segments(running.gateway.audit_dir).values()
        for _, p in files
        for line in p.read_bytes().splitlines()
    ]
    parsed = [json.loads(line[41:]) for line in lines]
    return [line["r"] for line in parsed if line["k"] in ("admin_action", "statement_read")]


async def call(
    url: str, method: str = "GET", *, token: str | None = TOKEN, **options: Any
) -> tuple[int, Any, aiohttp.typedefs.LooseHeaders]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    headers |= options.pop("headers", {})
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, headers=headers, **options) as r,
    ):
        body = await r.read()
        return (
            r.status,
            json.loads(body) if r.content_type == "application/json" else body.decode(),
            r.headers,
        )


# -- what it does ------------------------------------------------------------------------------------------


async def test_live_queries_oldest_first_and_filtered(client: AdminClient) -> None:
    assert [query.id for query in await client.queries()] == ["q-old", "q-new"]
    assert [query.id for query in await client.queries(principal="bob")] == ["q-new"]
    assert await client.queries(wire="trino", principal="bob") == ()


async def test_history_pages(client: AdminClient) -> None:
    page = await client.history(limit=2)
    assert [query.id for query in page.queries] == ["past4", "past3"]
    rest = await client.history(limit=10, cursor=page.cursor)
    assert [query.id for query in rest.queries] == ["past2", "past1", "past0"]
    assert rest.cursor is None
    assert len((await client.history(principal="alice", since=1_700_000_002.0)).queries) == 1


async def test_one_query_live_or_past_with_its_trail(client: AdminClient) -> None:
    past = await client.query("past1")
    assert past.trail == ({"stage": "route", "effect": "chose", "rule": "default"},)
    assert (await client.query("q-old")).principal == "alice"
    with pytest.raises(AdminRefused, match="pruned") as refused:
        await client.query("no/such?query")
    assert (refused.value.status, refused.value.code) == (404, "no_query")


async def test_cancel_is_audited_before_and_after(client: AdminClient, running: Running) -> None:
    assert (await client.cancel("q-old")).state == "cancelling"
    with pytest.raises(AdminRefused) as refused:
        await client.cancel("q-old")
    assert refused.value.code == "not_running"
    found = [(entry["action"], entry["target"], entry["outcome"]) for entry in audited(running)]
    assert found == [
        ("cancel", "q-old", "asked"),
        ("cancel", "q-old", "done"),
        ("cancel", "q-old", "asked"),
        ("cancel", "q-old", "not_running"),
    ]
    assert running.gateway.cancelled[0][1] in ("ops", getpass.getuser())


async def test_nothing_is_done_that_the_audit_cannot_record(
    client: AdminClient, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(action: object) -> None:
        raise AuditUnavailable("the audit record cannot be written (No space left on device)")

    monkeypatch.setattr(running.gateway, "record", down)
    with pytest.raises(AdminRefused, match="No space left") as refused:
        await client.cancel("q-old")
    assert refused.value.status == 503
    assert running.gateway.cancelled == []


async def test_backends_drain_and_undrain(client: AdminClient) -> None:
    assert not (await client.backends())[0].draining
    assert (await client.drain("trino-a")).draining
    assert (await client.backends())[0].draining
    assert not (await client.undrain("trino-a")).draining
    with pytest.raises(AdminRefused, match="no backend nope"):
        await client.drain("nope")


async def test_explain_as_somebody(client: AdminClient, running: Running) -> None:
    plan = await client.explain("select 1", as_="bob", wire="trino", groups=("g",))
    assert (plan.decision, plan.engine, plan.backends) == ("plan", "trino", ("trino-a",))
    assert [step["stage"] for step in plan.trail] == ["parse", "route"]
    refusal = await client.explain("select secret", as_="bob", wire="trino")
    assert (refusal.decision, refusal.code, refusal.rule) == ("refusal", "denied", "deny")
    with pytest.raises(AdminRefused, match="no principal"):
        await client.explain("select 1", as_="nobody", wire="trino")
    assert "select" not in json.dumps(audited(running))


async def test_texts_are_read_under_audit_with_a_purpose(client: AdminClient, running: Running) -> None:
    assert await client.texts("past1", "ticket 7") == {"original": "select 'x'"}
    assert audited(running)[-1]["purpose"] == "ticket 7"
    with pytest.raises(AdminRefused, match="purpose"):
        await client.texts("past1", "")
    with pytest.raises(AdminRefused, match="No text"):
        await client.texts("past2", "ticket 7")


async def test_the_rest(client: AdminClient) -> None:
    assert (await client.snapshot()).parts == {"Routing": "abc"}
    assert (await client.reload()).problems == ("gateway.yaml:3:5: unknown key `lisetners`",)
    assert (await client.health()).checks["store"] == "does not answer"
    verified = await client.verify_audit()
    assert verified.ok
    assert verified.records > 0


async def test_the_configuration_comes_without_secrets(client: AdminClient) -> None:
    config = await client.config()
    assert SECRET not in json.dumps(config)
    assert "postgresql://gw:[redacted]@db/gw" in json.dumps(config)


async def test_a_query_page_opens_in_a_browser(running: Running) -> None:
    basic = base64.b64encode(f"any:{TOKEN}".encode()).decode()
    status, html, headers = await call(
        f"{running.url}/ui/query/past1", token=None, headers={"Authorization": f"Basic {basic}"}
    )
    assert status == 200
    assert "past1" in html
    assert "default-src 'none'" in headers["Content-Security-Policy"]  # type: ignore[call-overload,index]


# -- who may ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer wrong", f"Bearer {TOKEN}x", "Basic !!"]
)
async def test_without_a_valid_token_nothing_is_answered(running: Running, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    for route in ROUTES:
        path = route.path.replace("{id}", "past1").replace("{name}", "trino-a")
        status, body, _ = await call(f"{running.url}{path}", route.method, token=None, headers=headers)
        assert status in (401, 403), route.name
        assert "past1" not in str(body)
    assert running.gateway.draining == set()
    assert audited(running) == []


async def test_a_browsers_saved_password_cannot_change_anything(running: Running) -> None:
    basic = base64.b64encode(f"any:{TOKEN}".encode()).decode()
    status, body, _ = await call(
        f"{running.url}/v1/reload", "POST", token=None, headers={"Authorization": f"Basic {basic}"}
    )
    assert (status, body["error"]["code"]) == (403, "bearer_only")


async def test_two_authorization_headers_are_no_token(running: Running) -> None:
    headers = [("Authorization", f"Bearer {TOKEN}"), ("Authorization", "Bearer other")]
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{running.url}/v1/health", headers=headers) as r,
    ):
        assert r.status == 401


async def test_every_named_token_works_and_its_name_is_audited(running: Running) -> None:
    async with AdminClient(Target(url=running.url, token=TOKEN[::-1])) as client:
        await client.drain("trino-a")
    assert {entry["actor"] for entry in audited(running)} == {"other"}


async def test_the_socket_is_for_its_owner(running: Running) -> None:
    assert running.socket.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in running.socket.parent.iterdir()] == ["admin.sock"]


async def test_weak_or_missing_tokens_are_refused_at_the_start(tmp_path: Path) -> None:
    server = AdminServer(await FakeGateway.open(tmp_path))
    for tokens in ({}, {"ops": "short"}):
        with pytest.raises(ValueError, match="token"):
            await server.start_tcp("127.0.0.1", 0, tokens)
    await server.close()


# -- what is wrong with a request ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/queries?user=a", "unknown_parameter"),
        ("/v1/queries?wire=a&wire=b", "repeated_parameter"),
        ("/v1/queries/history?limit=ten", "bad_parameter"),
        ("/v1/queries/history?since=nan", "bad_parameter"),
        ("/v1/queries/history?since=1e300", "bad_parameter"),
        ("/v1/queries/history?cursor=x", "bad_cursor"),
        ("/v1/queries/past1/texts", "missing_parameter"),
    ],
)
async def test_bad_parameters_are_explained(running: Running, path: str, code: str) -> None:
    status, body, _ = await call(running.url + path)
    assert (status, body["error"]["code"]) == (400, code)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "bad_json"),
        (b"[]", "bad_body"),
        (b'{"sql":"select 1","as":"a"}', "bad_field"),
        (b'{"sql":1,"as":"a","wire":"trino"}', "bad_field"),
        (b'{"sql":"select 1","as":"a","wire":"trino","more":1}', "unknown_field"),
    ],
)
async def test_a_bad_explain_is_explained_without_repeating_it(
    running: Running, body: bytes, code: str
) -> None:
    status, answer, _ = await call(f"{running.url}/v1/explain", "POST", data=body)
    assert (status, answer["error"]["code"]) == (400, code)


async def test_a_huge_body_is_refused(running: Running) -> None:
    status, answer, _ = await call(f"{running.url}/v1/explain", "POST", data=b"x" * 2_000_000)
    assert status == 413
    assert "error" in answer


async def test_a_store_that_is_away_is_a_503_and_no_stack(running: Running) -> None:
    from sqlalchemy.exc import OperationalError

    async def away(*_: object) -> None:
        raise OperationalError("SELECT secret", {"p": "secret"}, Exception("connection refused"))

    running.gateway.history = away  # type: ignore[method-assign,assignment]
    status, body, _ = await call(f"{running.url}/v1/queries/history")
    assert (status, body["error"]["code"]) == (503, "store_unavailable")
    assert "secret" not in str(body)


# -- the document -------------------------------------------------------------------------------------------


def test_the_document_is_valid_openapi() -> None:
    validate(openapi.document())


async def test_the_document_has_every_route_of_the_server(running: Running) -> None:
    app = AdminServer(running.gateway).app(lambda request, route: None)  # type: ignore[arg-type,return-value]
    served = {
        (route.method.lower(), route.resource.canonical)
        for route in app.router.routes()
        if route.method != "HEAD" and route.resource is not None
    }
    described = {
        (method, path) for path, methods in openapi.document()["paths"].items() for method in methods
    }
    assert served == described
    status, body, _ = await call(f"{running.url}/openapi.json")
    assert (status, body) == (200, json.loads(json.dumps(openapi.document())))


EXAMPLES = {
    "live_queries": "/v1/queries",
    "history": "/v1/queries/history?limit=2",
    "query": "/v1/queries/past1",
    "texts": "/v1/queries/past1/texts?purpose=test",
    "cancel": "/v1/queries/q-old",
    "backends": "/v1/backends",
    "drain": "/v1/backends/trino-a/drain",
    "undrain": "/v1/backends/trino-a/undrain",
    "snapshot": "/v1/snapshot",
    "reload": "/v1/reload",
    "explain": "/v1/explain",
    "health": "/v1/health",
    "config": "/v1/config",
    "verify_audit": "/v1/audit/verify",
    "openapi": "/openapi.json",
}


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.media == "application/json"], ids=lambda r: r.name
)
async def test_every_answer_is_what_the_document_says(running: Running, route: Any) -> None:
    body = json.dumps({"sql": "select 1", "as": "alice", "wire": "trino"}) if route.body else None
    status, answer, _ = await call(running.url + EXAMPLES[route.name], route.method, data=body)
    assert status == route.status
    document = openapi.document()
    described = document["paths"][route.path][route.method.lower()]["responses"][str(status)]
    check(answer, described["content"]["application/json"]["schema"])
    failed, answer, _ = await call(running.url + EXAMPLES[route.name], route.method, token="wrong", data=body)
    described = document["paths"][route.path][route.method.lower()]["responses"][str(failed)]
    check(answer, described["content"]["application/json"]["schema"])


def check(answer: Any, schema: dict[str, Any]) -> None:
    whole = {**schema, "components": openapi.document()["components"]}
    jsonschema.Draft202012Validator(whole).validate(answer)


# -- the client ---------------------------------------------------------------------------------------------


async def test_no_gateway_there_is_said_with_the_address(tmp_path: Path) -> None:
    async with AdminClient(Target(socket=tmp_path / "none.sock")) as client:
        with pytest.raises(AdminUnreachable, match=r"none\.sock.*Is it running"):
            await client.health()


def test_a_target_is_one_place_and_does_not_show_its_token() -> None:
    assert TOKEN not in repr(Target(url="http://h", token=TOKEN))
    with pytest.raises(ValueError, match="either"):
        Target()
    with pytest.raises(ValueError, match="http://"):
        Target(url="ftp://h")


async def test_the_synchronous_client_is_the_same(running: Running) -> None:
    import asyncio

    def use() -> list[str]:
        with SyncAdminClient(running.local) as sync:
            return [query.id for query in sync.run(sync.client.queries())]

    assert await asyncio.to_thread(use) == ["q-old", "q-new"]
