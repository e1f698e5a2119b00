"""The statement protocol of the embedded coordinator, over HTTP, with plain requests and the real Python client."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
import trino
from trino.exceptions import TrinoUserError
from trino.transaction import IsolationLevel

from gateway.engines.duckdb.coordinator import Coordinator
from gateway.wire.trino.results import ResultLimits
from tests.engines.duckdb_rig import serving


def prepare(coordinator: Coordinator) -> None:
    coordinator.engine.root.execute("CREATE SCHEMA energy.market")
    coordinator.engine.root.execute(
        "CREATE TABLE energy.market.lmp AS SELECT i AS id, 'NODE_' || (i % 7) AS node, "
        "CAST(i % 997 AS DECIMAL(10,2)) AS lmp, TIMESTAMP '2026-03-01' + to_minutes(i * 5) AS at "
        "FROM range(200000) t(i)"
    )


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(prepare, ResultLimits(page_bytes=64 << 10, buffer_bytes=256 << 10)) as found:
        yield found


class Client:
    """Plain requests on one connection."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self.headers: list[tuple[str, str]] = []

    def ask(self, method: str, uri: str, body: str | None = None, **extra: str) -> tuple[int, Any]:
        path = uri.partition("//")[2].partition("/")[2] if "//" in uri else uri.lstrip("/")
        headers = {"X-Trino-User": "ann", "X-Trino-Catalog": "energy", "X-Trino-Schema": "market"}
        headers |= {name.replace("_", "-"): value for name, value in extra.items()}
        self.connection.request(method, f"/{path}", body, headers)
        response = self.connection.getresponse()
        data = response.read()
        self.headers = response.getheaders()
        return response.status, json.loads(data) if data else None

    def start(self, statement: str, **extra: str) -> dict[str, Any]:
        status, document = self.ask("POST", "/v1/statement", statement, **extra)
        assert status == 200
        assert isinstance(document, dict)
        return document

    def follow(self, document: dict[str, Any]) -> list[dict[str, Any]]:
        """Every document, to the end."""
        seen = [document]
        while "nextUri" in seen[-1]:
            status, following = self.ask("GET", seen[-1]["nextUri"])
            assert status == 200
            seen.append(following)
        return seen


@pytest.fixture
def client(port: int) -> Client:
    return Client(port)


def test_post_registers_and_the_first_get_runs(client: Client) -> None:
    first = client.start("select 1 as a, 'x' as b")
    assert first["stats"]["state"] == "QUEUED"
    assert "/v1/statement/queued/" in first["nextUri"]
    time.sleep(0.2)
    status, described = client.ask("GET", f"/v1/query/{first['id']}")
    assert (status, described["state"], described["scheduled"]) == (200, "QUEUED", False)
    documents = client.follow(first)
    assert "/v1/statement/executing/" in documents[1]["nextUri"]
    assert [row for one in documents for row in one.get("data", [])] == [[1, "x"]]
    assert documents[-1]["stats"]["state"] == "FINISHED"
    assert documents[-1]["stats"]["rootStage"]["done"] is True
    assert [column["name"] for column in documents[-1]["columns"]] == ["a", "b"]


def test_pages_by_size_and_a_page_again(client: Client) -> None:
    documents = client.follow(client.start("select * from lmp"))
    rows = [row for one in documents for row in one.get("data", [])]
    assert len(rows) == 200_000
    assert sorted(row[0] for row in rows) == list(range(200_000))
    assert max(len(one.get("data", [])) for one in documents) < 10_000

    first = client.start("select * from lmp")
    _, second = client.ask("GET", first["nextUri"])
    _, page = client.ask("GET", second["nextUri"])
    _, again = client.ask("GET", second["nextUri"])
    assert page == again
    _, later = client.ask("GET", page["nextUri"])
    assert client.ask("GET", second["nextUri"])[0] == 410
    assert client.ask("GET", first["nextUri"])[0] in (200, 410)
    ahead, _, token = later["nextUri"].rpartition("/")
    assert client.ask("GET", f"{ahead}/{int(token) + 1}")[0] == 404
    assert client.ask("DELETE", later["nextUri"])[0] == 204


def test_a_bigger_target_gives_bigger_pages(client: Client) -> None:
    first = client.start("select * from lmp")
    _, second = client.ask("GET", first["nextUri"])
    _, small = client.ask("GET", second["nextUri"])
    time.sleep(0.3)
    _, big = client.ask("GET", small["nextUri"] + "?targetResultSize=1MB")
    assert len(big["data"]) > len(small["data"])
    client.ask("DELETE", big["nextUri"])


def test_a_wrong_slug_finds_nothing(client: Client) -> None:
    first = client.start("select 1")
    head, slug, token = first["nextUri"].rsplit("/", 2)
    wrong = "x" + "0" * (len(slug) - 1)
    for method in ("GET", "DELETE", "HEAD"):
        assert client.ask(method, f"{head}/{wrong}/{token}")[0] == 404
    assert client.follow(first)[-1]["stats"]["state"] == "FINISHED"


def test_cancel_stops_the_work(client: Client) -> None:
    first = client.start("select count(*) from lmp a cross join lmp b where a.lmp * b.lmp > 17.5")
    _, second = client.ask("GET", first["nextUri"] + "?maxWait=10ms")
    began = time.monotonic()
    assert client.ask("DELETE", second["nextUri"])[0] == 204
    while client.ask("GET", f"/v1/query/{first['id']}")[1]["state"] not in ("FAILED", "FINISHED"):
        assert time.monotonic() - began < 10
    _, after = client.ask("GET", second["nextUri"])
    assert (after["error"]["errorName"], after["error"]["errorCode"]) == ("USER_CANCELED", 3)
    assert client.follow(client.start("select 1"))[-1]["stats"]["state"] == "FINISHED"


def test_delete_by_query_id_cancels_too(client: Client) -> None:
    first = client.start("select * from lmp")
    _, second = client.ask("GET", first["nextUri"])
    assert client.ask("DELETE", f"/v1/query/{first['id']}")[0] == 204
    assert client.ask("GET", second["nextUri"])[1]["error"]["errorName"] == "USER_CANCELED"


def test_partial_cancel_ends_without_an_error(client: Client) -> None:
    first = client.start("select * from lmp")
    _, second = client.ask("GET", first["nextUri"])
    _, page = client.ask("GET", second["nextUri"])
    assert client.ask("DELETE", page["partialCancelUri"])[0] == 204
    documents = client.follow(page)
    assert documents[-1]["stats"]["state"] == "FINISHED"
    assert 0 < sum(len(one.get("data", [])) for one in documents) < 200_000


def test_errors_have_their_place(client: Client) -> None:
    last = client.follow(client.start("select id,\n  nope\nfrom lmp"))[-1]
    error = last["error"]
    assert (error["errorName"], error["errorCode"], error["errorType"]) == (
        "COLUMN_NOT_FOUND",
        47,
        "USER_ERROR",
    )
    assert error["errorLocation"] == {"lineNumber": 2, "columnNumber": 3}
    assert error["failureInfo"]["errorLocation"] == error["errorLocation"]
    assert error["message"] == "line 2:3: Column 'nope' cannot be resolved"
    assert last["stats"]["state"] == "FAILED"
    assert "nextUri" not in last


def test_no_user_is_an_error_document_not_a_status(client: Client) -> None:
    document = client.start("select 1", X_Trino_User="")
    assert document["error"]["errorName"] == "GENERIC_USER_ERROR"


def test_uris_follow_the_forwarded_headers(client: Client) -> None:
    extra = {"X_Forwarded_Proto": "https", "X_Forwarded_Host": "lake.example.com", "X_Forwarded_Port": "8443"}
    document = client.start("select 1", **extra)
    assert document["nextUri"].startswith("https://lake.example.com:8443/v1/statement/queued/")
    assert document["infoUri"].startswith("https://lake.example.com:8443/ui/")
    extra["X_Forwarded_Port"] = "443"
    assert client.start("select 1", **extra)["nextUri"].startswith("https://lake.example.com/v1/")
    assert client.start("select 1", X_Forwarded_Host="x/../<script>")["nextUri"].startswith(
        "http://localhost/"
    )


def test_info_names_the_coordinator(client: Client) -> None:
    _, info = client.ask("GET", "/v1/info")
    assert (info["coordinator"], info["starting"]) == (True, False)
    assert client.start("select 1")["id"].endswith("_" + info["coordinatorId"])
    assert client.ask("GET", "/v1/info/state")[1] == "ACTIVE"
    assert client.ask("HEAD", "/v1/statement")[0] == 200
    assert client.ask("GET", "/v1/unknown")[0] == 404


def test_session_headers_are_repeated_not_folded(client: Client) -> None:
    document = client.start("use energy.default")
    client.follow(document)
    sent = [(name, value) for name, value in client.headers if name.startswith("X-Trino-Set")]
    assert sent == [("X-Trino-Set-Catalog", "energy"), ("X-Trino-Set-Schema", "default")]


def test_memory_waits_for_the_client(client: Client) -> None:
    """The engine stops producing while nobody fetches: what waits stays near the buffer's bound."""
    first = client.start("select * from lmp a cross join lmp b")
    _, second = client.ask("GET", first["nextUri"])
    _, page = client.ask("GET", second["nextUri"])
    time.sleep(1.0)
    _, described = client.ask("GET", f"/v1/query/{first['id']}")
    assert described["queryStats"]["peakMemoryBytes"] <= (256 + 192) << 10
    client.ask("DELETE", page["nextUri"])


def test_many_at_once(port: int) -> None:
    def count(index: int) -> int:
        last = Client(port)
        documents = last.follow(last.start(f"select count(*) from lmp where id % 40 = {index}"))
        return int(next(one["data"][0][0] for one in documents if "data" in one))

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(count, range(40))) == [5000] * 40


# -- the real client


def connect(port: int, **more: Any) -> Any:
    given = {"user": "ann", "catalog": "energy", "schema": "market"} | more
    return trino.dbapi.connect(host="127.0.0.1", port=port, **given)


def test_python_client_values_and_parameters(port: int) -> None:
    cursor = connect(port).cursor()
    given = (
        1,
        "it's",
        1.5,
        Decimal("1.25"),
        None,
        date(2020, 1, 1),
        True,
        datetime(2020, 1, 1, 1, 2, 3, 4),
        b"ab",
        [1, 2],
    )
    cursor.execute(f"select {', '.join('?' * len(given))}", given)
    assert tuple(cursor.fetchall()[0]) == given


def test_python_client_errors_and_updates(port: int) -> None:
    cursor = connect(port).cursor()
    with pytest.raises(TrinoUserError) as failed:
        cursor.execute("select 1 / 0 from lmp limit 1").fetchall()
    assert failed.value.error_name == "DIVISION_BY_ZERO"
    cursor.execute("create table memory.default.p as select 1 a")
    assert (cursor.fetchall(), cursor.update_type, cursor.rowcount) == ([[1]], "CREATE TABLE", 1)
    cursor.execute("drop table memory.default.p").fetchall()


def test_python_client_transactions(port: int) -> None:
    connection = connect(port, isolation_level=IsolationLevel.READ_COMMITTED)
    connection.cursor().execute("create table memory.default.q as select 1 a").fetchall()
    connection.rollback()
    cursor = connection.cursor()
    assert cursor.execute("show tables from memory.default like 'q'").fetchall() == []
    connection.commit()


def test_sqlalchemy_reflects(port: int) -> None:
    from sqlalchemy import create_engine, inspect

    engine = create_engine(f"trino://ann@127.0.0.1:{port}/energy/market")
    found = inspect(engine)
    assert found.get_table_names() == ["lmp"]
    assert [(column["name"], str(column["type"])) for column in found.get_columns("lmp")] == [
        ("id", "BIGINT"),
        ("node", "VARCHAR"),
        ("lmp", "DECIMAL(10, 2)"),
        ("at", "TIMESTAMP"),
    ]
    engine.dispose()
