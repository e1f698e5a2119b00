"""Attacks on the whole gateway, each with its number in `docs/threats.md`, on the real engines."""

from __future__ import annotations

import ast
import base64
import gzip
import json
import re
import secrets
import stat
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import pytest
import zstandard
from argon2 import PasswordHasher

from gateway.demo.real import ClickHouseServer, RealEngines
from gateway.runtime.state import StateDir
from tests.end_to_end.conftest import trino_backend
from tests.end_to_end.gateway_server import GatewayServer, free_port
from tests.end_to_end.recording_upstream import SUFFIX, RecordingUpstream
from tests.end_to_end.talking import (
    PATIENCE_S,
    Answer,
    ask,
    audit,
    clickhouse,
    code_of,
    ends,
    eventually,
    first_data,
    path_of,
    raw,
    resident_mb,
    split,
    statuses,
    trino_post,
    trino_run,
)
from tests.real.addresses import TrinoAddress

pytestmark = pytest.mark.xdist_group("attacks")

ROOT = Path(__file__).resolve().parents[2]

PASSWORDS = {
    "alice": "alices-password-7Qd",
    "bob": "bobs-password-x81",
    "robot": "robots-password-p20",
    "guessed": "guessed-password-m44",
}
ENGINE_PASSWORD = "engines-own-secret-Zk3"
ADMIN_TOKEN = "admin-token-of-these-tests-92hf"
JWT_SECRET = "a-shared-secret-of-at-least-32-characters"
SECRETS = (*PASSWORDS.values(), ENGINE_PASSWORD, ADMIN_TOKEN, JWT_SECRET)
ISSUER = "https://issuer.test"
ATTEMPTS = 30


def basic(user: str, password: str | None = None) -> dict[str, str]:
    """The log-in of a user, with the right password unless told otherwise."""
    pair = f"{user}:{PASSWORDS[user] if password is None else password}"
    return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


ALICE, BOB = basic("alice"), basic("bob")


def token(**claims: Any) -> str:
    now = int(time.time())
    whole = {"iss": ISSUER, "aud": "gateway", "sub": "alice", "iat": now, "exp": now + 300, **claims}
    return jwt.encode(whole, JWT_SECRET, algorithm="HS256")


def write_users(folder: Path) -> None:
    hasher = PasswordHasher(time_cost=1, memory_cost=15 * 1024, parallelism=1)
    users = [{"name": name, "password": hasher.hash(password)} for name, password in PASSWORDS.items()]
    folder.mkdir(parents=True)
    (folder / "users.yaml").write_text(json.dumps({"users": users}))


def settings(admin_port: int) -> dict[str, Any]:
    return {
        "identity": {
            "passwords": {"file": "users.yaml"},
            "jwt": [
                {
                    "issuer": ISSUER,
                    "audience": "gateway",
                    "algorithms": ["HS256"],
                    "secret": {"env": "TEST_JWT_SECRET"},
                }
            ],
            "impersonation": [{"who": ["robot"], "may_act_as": ["alice"]}],
            # All of these tests come from one address.
            "login_rate": {"attempts": ATTEMPTS, "network_attempts": 100_000},
        },
        "admin": {"socket": "admin.sock", "port": admin_port, "token": {"env": "TEST_ADMIN_TOKEN"}},
        "telemetry": {"log_level": "debug"},
    }


@dataclass(frozen=True, slots=True)
class Target:
    """The gateway that is attacked, and where its doors are."""

    gateway: GatewayServer
    engine: ClickHouseServer
    trino_engine: TrinoAddress
    admin: int

    @property
    def trino(self) -> int:
        return self.gateway.trino_port

    @property
    def clickhouse(self) -> int:
        return self.gateway.clickhouse_port

    @property
    def pid(self) -> int:
        assert self.gateway.process is not None
        return self.gateway.process.pid

    def on_engine(self, sql: str) -> str:
        """Direct, as the engine's own administrator."""
        login = {"X-ClickHouse-User": self.engine.user, "X-ClickHouse-Key": ENGINE_PASSWORD}
        answer = ask(self.engine.port, "POST", "/", login, sql.encode())
        assert answer.status == 200, answer
        return answer.body.decode().strip()

    def running(self, marker: str) -> int:
        """Statements with this mark that ClickHouse runs now."""
        text = f"SELECT count() FROM system.processes WHERE query LIKE '%{marker}%' AND query NOT LIKE '%processes%'"
        return int(self.on_engine(text))


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, trino_server: TrinoAddress) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("attacks")
    admin_port = free_port()
    with RealEngines(folder / "engines") as engines:
        engine = engines.start_clickhouse(gateway_password=ENGINE_PASSWORD)
        credentials = {"user": engine.user, "password": {"env": "TEST_ENGINE_PASSWORD"}}
        server = GatewayServer(
            folder / "gateway",
            [
                trino_backend(trino_server),
                {
                    "name": "clickhouse-a",
                    "engine": "clickhouse",
                    "url": engine.url,
                    "user_mode": "service",
                    "credentials": credentials,
                },
            ],
            settings=settings(admin_port),
            environment={
                "TEST_ENGINE_PASSWORD": ENGINE_PASSWORD,
                "TEST_JWT_SECRET": JWT_SECRET,
                "TEST_ADMIN_TOKEN": ADMIN_TOKEN,
            },
        )
        write_users(server.directory)
        server.start()
        try:
            found = Target(server, engine, trino_server, admin_port)
            eventually(lambda: server.metrics().count("gateway_backend_up{") == 2 and "} 0" not in up(server))
            yield found
        finally:
            server.stop()


def up(server: GatewayServer) -> str:
    return "\n".join(line for line in server.metrics().splitlines() if line.startswith("gateway_backend_up{"))


def refused_login(answer: Answer) -> bool:
    return answer.status in (401, 403) and b"nextUri" not in answer.body


def decisions(target: Target) -> int:
    return sum(record["record"] == "decided" for record in audit(target.gateway))


# --- who is asking ------------------------------------------------------------------------------------------


def test_t001_without_credentials_nothing_is_decided_or_run(target: Target) -> None:
    before = decisions(target)
    assert trino_post(target.trino, "SELECT 1", ()).status == 401
    assert trino_post(target.trino, "SELECT 1", {"X-Trino-User": "alice"}).status == 401
    assert code_of(clickhouse(target.clickhouse, "SELECT 1")) == "194"
    assert refused_login(clickhouse(target.clickhouse, "SELECT 1", {"user": "alice"}))
    assert refused_login(clickhouse(target.clickhouse, "SELECT 1", {}, {"X-ClickHouse-User": "alice"}))
    assert decisions(target) == before


WRONG = [
    ("alice", "wrong"),
    ("alice", PASSWORDS["bob"]),
    ("alice", PASSWORDS["alice"] + "x"),
    ("alice", PASSWORDS["alice"][:-1]),
    ("nobody-of-that-name", "wrong"),
    ("ALICE", PASSWORDS["alice"]),
    ("alice\u0000", PASSWORDS["alice"]),
    ("clickhouse", ENGINE_PASSWORD),
    ("gateway", ENGINE_PASSWORD),
    ("alice", ""),
]


@pytest.mark.parametrize(("user", "password"), WRONG)
def test_t002_wrong_credentials_are_refused_on_both_wires(target: Target, user: str, password: str) -> None:
    assert trino_post(target.trino, "SELECT 1", basic(user, password)).status == 401
    assert refused_login(clickhouse(target.clickhouse, "SELECT 1", {}, basic(user, password)))
    assert trino_run(target.trino, "SELECT 1", ALICE).rows == [[1]]


def test_t003_several_proofs_at_once_are_refused(target: Target) -> None:
    alice = {"X-ClickHouse-User": "alice", "X-ClickHouse-Key": PASSWORDS["alice"]}
    for params, headers in (
        ({}, {**alice, **ALICE}),
        ({"user": "bob", "password": PASSWORDS["bob"]}, alice),
        ({"user": "bob", "password": PASSWORDS["bob"]}, ALICE),
    ):
        assert code_of(clickhouse(target.clickhouse, "SELECT 1", params, headers)) == "516"
    twice = [*ALICE.items(), *BOB.items()]
    assert refused_login(trino_post(target.trino, "SELECT 1", twice))
    assert refused_login(clickhouse(target.clickhouse, "SELECT 1", {}, twice))
    assert refused_login(
        trino_post(target.trino, "SELECT 1", [*ALICE.items(), ("Authorization", f"Bearer {token()}")])
    )


def test_t004_acting_as_somebody_needs_a_right(target: Target) -> None:
    def as_whom(login: Mapping[str, str], name: str) -> Any:
        return trino_post(target.trino, "SELECT current_user", {**login, "X-Trino-User": name})

    for name in ("alice", "root", "robot", "Alice"):
        assert as_whom(BOB, name).status == 403, name
    assert as_whom(basic("robot"), "bob").status == 403
    told = trino_run(target.trino, "SELECT current_user", {**basic("robot"), "X-Trino-User": "alice"})
    assert told.rows == [["alice"]]
    original = {**BOB, "X-Trino-Original-User": "robot", "X-Trino-User": "alice"}
    assert trino_post(target.trino, "SELECT 1", original).status == 403
    twice = [*BOB.items(), ("X-Trino-User", "bob"), ("X-Trino-User", "alice")]
    assert refused_login(trino_post(target.trino, "SELECT 1", twice))


def test_t005_guessing_a_password_is_locked_out_on_both_wires_together(target: Target) -> None:
    for number in range(ATTEMPTS):
        if number % 2:
            assert trino_post(target.trino, "SELECT 1", basic("guessed", f"guess {number}")).status == 401
        else:
            assert refused_login(
                clickhouse(target.clickhouse, "SELECT 1", {}, basic("guessed", f"guess {number}"))
            )
    for answer in (
        trino_post(target.trino, "SELECT 1", basic("guessed")),
        clickhouse(target.clickhouse, "SELECT 1", {}, basic("guessed")),
    ):
        assert refused_login(answer) or answer.status == 429, "the right password opens a locked door"
        assert int(answer.header("Retry-After") or "0") > 0
    assert "gateway_login_limited_total" in target.gateway.metrics()
    assert trino_run(target.trino, "SELECT 1", ALICE).rows == [[1]], "others come in"


def test_t006_a_refusal_does_not_tell_whether_the_user_exists(target: Target) -> None:
    def words(answer: Answer, name: str) -> str:
        return re.sub(r"\bDate: .*\n", "", answer.everything).replace(name, "NAME")

    pairs = [("robot", "wrong-1"), ("nobod", "wrong-2")]
    seen = {words(trino_post(target.trino, "SELECT 1", basic(*pair)), pair[0]) for pair in pairs}
    assert len(seen) == 1
    seen = {words(clickhouse(target.clickhouse, "SELECT 1", {}, basic(*pair)), pair[0]) for pair in pairs}
    assert len(seen) == 1


def test_t007_forged_and_unfit_tokens_are_refused(target: Target) -> None:
    now = int(time.time())
    good = token()
    head, body, signature = good.split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    bobs = base64.urlsafe_b64encode(
        json.dumps({**jwt.decode(good, options={"verify_signature": False}), "sub": "bob"}).encode()
    )
    forged = [
        f"{none}.{body}.",
        f"{none}.{body}.{signature}",
        f"{head}.{bobs.rstrip(b'=').decode()}.{signature}",
        f"{head}.{body}.",
        token(exp=now - 3600),
        token(aud="another"),
        token(iss="https://another.test"),
        token(nbf=now + 3600),
        jwt.encode(
            {"iss": ISSUER, "aud": "gateway", "sub": "alice", "exp": now + 300}, "x" * 40, algorithm="HS256"
        ),
        jwt.encode(
            {"iss": ISSUER, "aud": "gateway", "sub": "alice", "exp": now + 300}, JWT_SECRET, algorithm="HS512"
        ),
        good + " " + good,
    ]
    for forgery in forged:
        headers = {"Authorization": f"Bearer {forgery}"}
        assert refused_login(trino_post(target.trino, "SELECT 1", headers)), forgery
        assert refused_login(clickhouse(target.clickhouse, "SELECT 1", {}, headers)), forgery
    assert trino_run(target.trino, "SELECT current_user", {"Authorization": f"Bearer {good}"}).rows == [
        ["alice"]
    ]


def test_t008_what_is_refused_is_recorded_with_the_name_and_without_the_proof(target: Target) -> None:
    name, proof = f"intruder-{secrets.token_hex(4)}", f"proof-{secrets.token_hex(8)}"
    trino_post(target.trino, "SELECT 1", basic(name, proof))
    record = eventually(
        lambda: next((r for r in audit(target.gateway) if name in json.dumps(r)), None),
        "it is not in the audit",
    )
    assert record["record"] == "login_failed"
    assert proof not in everything_kept(target)


# --- requests that two readers could understand differently ------------------------------------------------


PIPELINED = b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n"


def test_t010_nothing_behind_a_refused_request_is_answered(target: Target) -> None:
    second = b"GET /v1/info HTTP/1.1\r\nHost: x\r\n\r\nGET /ping HTTP/1.1\r\nHost: x\r\n\r\n"
    for port in (target.trino, target.clickhouse):
        assert statuses(raw(port, PIPELINED + second, wait=PATIENCE_S)) == [400]


@pytest.mark.parametrize(
    "start",
    [
        b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"TRACK / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AA\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PUT /v1/statement HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        b"DELETE / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PATCH / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_t011_other_methods_and_protocols_are_not_spoken(target: Target, start: bytes) -> None:
    for port in (target.trino, target.clickhouse):
        said = raw(port, start, wait=1.5)
        assert not {code for code in statuses(said) if code < 400}, said
        assert b"Sec-WebSocket" not in said, "a request was echoed or a protocol switched"


@pytest.mark.parametrize(
    "host", ["a b", "a/b", "a@b", "a\\b", "a?b", "<script>", "x\x7f", "[::1", "a:99999999"]
)
def test_t012_a_host_that_is_none_is_refused(target: Target, host: str) -> None:
    line = base64.b64encode(f"alice:{PASSWORDS['alice']}".encode())
    request = (
        b"POST /v1/statement HTTP/1.1\r\nConnection: close\r\nHost: %s\r\nAuthorization: Basic %s\r\n"
        b"Content-Length: 8\r\n\r\nSELECT 1" % (host.encode(), line)
    )
    assert statuses(raw(target.trino, request, wait=5)) == [400]


def test_t013_forwarded_headers_of_strangers_are_not_believed(target: Target) -> None:
    mark = f"forwarded-{secrets.token_hex(4)}"
    headers = {
        **ALICE,
        "X-Trino-Source": mark,
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Port": "9",
        "X-Forwarded-For": "203.0.113.9",
        "Forwarded": "for=203.0.113.9;host=evil.example",
        "X-Real-IP": "203.0.113.9",
    }
    told = trino_run(target.trino, "SELECT 1", headers)
    assert "evil.example" not in told.everything
    assert f"http://127.0.0.1:{target.trino}/" in told.everything
    record = next(r for r in audit(target.gateway) if r.get("source") == mark)
    assert record["peer"] == "127.0.0.1"


def test_t014_a_proxy_header_of_strangers_is_not_believed(target: Target) -> None:
    info = b"GET /v1/info HTTP/1.1\r\nHost: x\r\n\r\n"
    v1 = b"PROXY TCP4 203.0.113.9 127.0.0.1 1 2\r\n"
    v2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x09\x7f\x00\x00\x01\x00\x01\x00\x02"
    for header in (v1, v2):
        for port in (target.trino, target.clickhouse):
            assert statuses(raw(port, header + info, wait=5)) == [400]


TRAVERSALS = [
    "/../../etc/passwd",
    "/..%2f..%2fetc/passwd",
    "/v1/statement/../../etc/passwd",
    "/v1/statement/queued/..%2f..%2fv1%2fquery/x/1",
    "/v1/query/../info",
    "/v1/query/..%2finfo",
    "/v1/query",
    "/v1/node",
    "/v1/cluster",
    "/v1/thread",
    "/v1/service",
    "/v1/jmx/mbean",
    "/v1/task/x",
    "/v1/spooled/download/x",
    "/ui/api/query",
    "/ui/api/stats",
    "/ui/",
    "//v1/info/",
    "/v1//info",
    "/v1/info;jsessionid=1",
    "/v1/info%00",
    "/play",
    "/dashboard",
    "/metrics",
    "/merges",
    "/jemalloc",
    "/replicas_status/..",
    "/?/../../x",
    "/admin",
    "/v1/queries",
    "/v1/queries/history",
    "/openapi.json",
    "/v1/reload",
]


@pytest.mark.parametrize("path", TRAVERSALS)
def test_t015_other_paths_lead_nowhere(target: Target, path: str) -> None:
    for port in (target.trino, target.clickhouse):
        said = raw(port, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode(), wait=5)
        assert statuses(said) in ([404], [400], [401], [405]), said
        assert b"root:" not in said


@pytest.mark.parametrize("name", ["query", "database", "query_id", "user", "session_id", "max_threads"])
def test_t016_a_repeated_parameter_is_refused(target: Target, name: str) -> None:
    values = {"query": "SELECT+1"}
    extra = (
        f"{name}=1&{urllib.parse.quote(name[0], safe='')}{name[1:]}=2"
        if name != "query"
        else "query=SELECT+2"
    )
    encoded = "&".join(f"{key}={value}" for key, value in values.items())
    answer = ask(target.clickhouse, "GET", f"/?{encoded}&{extra}", ALICE)
    assert code_of(answer) == "36", answer


FORBIDDEN_SETTINGS = {
    "dialect": "kusto",
    "profile": "default",
    "additional_table_filters": "{'system.one':'1'}",
    "http_response_headers": "{'X-Evil':'1'}",
    "allow_introspection_functions": "1",
    "log_queries": "0",
    "readonly": "0x",
    "format_schema": "/etc/passwd",
    "no_such_setting": "1",
    "SQL_tenant": "2",
}


@pytest.mark.parametrize("name", sorted(FORBIDDEN_SETTINGS))
def test_t017_settings_go_by_the_allow_list(target: Target, name: str) -> None:
    before = decisions(target)
    answer = clickhouse(target.clickhouse, "SELECT 1", {name: FORBIDDEN_SETTINGS[name]}, ALICE)
    assert answer.status >= 400, answer
    assert code_of(answer) in ("115", "36")
    assert decisions(target) == before


def test_t018_roles_and_extra_credentials_do_not_pass(target: Target) -> None:
    assert code_of(clickhouse(target.clickhouse, "SELECT 1", {"role": "admin"}, ALICE)) == "497"
    told = trino_run(target.trino, "SELECT 1", {**ALICE, "X-Trino-Extra-Credential": "aws=stolen-4711"})
    assert told.error is not None
    assert "credentials of clients stop at the gateway" in told.message
    assert "stolen-4711" not in told.everything


EVILS = [
    "%0d%0aX-Evil:%201",
    "%0aX-Evil:%201",
    "%0d%0a%0d%0aHTTP/1.1%20200%20OK%0d%0aX-Evil:%201%0d%0a%0d%0a",
    "%E5%98%8D%E5%98%8AX-Evil:1",
]


@pytest.mark.parametrize("evil", EVILS)
def test_t019_line_ends_in_reflected_values_split_no_answer(target: Target, evil: str) -> None:
    wires = [
        (target.clickhouse, f"GET /?query=SELECT%201&query_id=a{evil}"),
        (target.clickhouse, f"GET /?query=SELECT%201&session_id=a{evil}"),
        (target.clickhouse, f"GET /?query=SELECT%201&no_such{evil}=1"),
        (target.clickhouse, f"GET /?query=SELECT%201&default_format=a{evil}"),
        (target.clickhouse, f"GET /?query=SELECT%201&database=a{evil}"),
        (target.clickhouse, f"GET /a{evil}"),
        (target.trino, f"GET /v1/a{evil}"),
        (target.trino, f"GET /v1/statement/queued/{evil}/s/1"),
    ]
    for port, line in wires:
        request = f"{line} HTTP/1.1\r\nHost: x\r\n{login_line()}Connection: close\r\n\r\n"
        head, _, rest = split(raw(port, request.encode(), wait=10))
        assert b"\nX-Evil" not in head, head
        assert rest == b"", "there is something behind the answer"


def login_line() -> str:
    return f"Authorization: {ALICE['Authorization']}\r\n"


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("X-Trino-Session", "query_max_run_time=1m%0d%0aX-Evil%3a1"),
        ("X-Trino-Catalog", "tpch%0d%0aX-Evil:1"),
        ("X-Trino-Prepared-Statement", "a%0d%0aX-Evil%3a1=SELECT+1"),
        ("X-Trino-Prepared-Statement", "a=SELECT+1%0d%0aX-Evil%3a1"),
        ("X-Trino-Client-Tags", "a%0d%0aX-Evil:1"),
        ("X-Trino-Role", "tpch=ROLE%7Ba%0d%0aX-Evil%3a1%7D"),
    ],
)
def test_t020_line_ends_in_trino_headers_split_nothing(target: Target, header: str, value: str) -> None:
    told = trino_run(target.trino, "SELECT 1", {**ALICE, header: value})
    for answer in told.answers:
        assert answer.header("X-Evil") is None
        assert len(answer.headers) == len({*answer.headers}), answer


def test_t021_names_with_line_ends_come_back_encoded(target: Target) -> None:
    told = trino_run(target.trino, 'PREPARE "a\r\nX-Evil: 1" FROM SELECT 1', ALICE)
    assert all(answer.header("X-Evil") is None for answer in told.answers)
    told = trino_run(target.trino, 'USE tpch."tiny\r\nX-Evil: 1"', ALICE)
    assert all(answer.header("X-Evil") is None for answer in told.answers)
    answer = clickhouse(target.clickhouse, "SELECT 1 AS `a\r\nX-Evil: 1` FORMAT JSON", {}, ALICE)
    assert answer.header("X-Evil") is None


# --- other people's queries -------------------------------------------------------------------------------


@pytest.fixture
def alices(target: Target) -> Iterator[dict[str, Any]]:
    """A query of alice that runs; its last document."""
    document = first_data(target.trino, trino_post(target.trino, "SELECT * FROM tpch.sf100.lineitem", ALICE))
    yield document
    ask(target.trino, "DELETE", path_of(document["nextUri"]))


def test_t030_a_page_needs_its_slug(target: Target, alices: dict[str, Any]) -> None:
    path = path_of(alices["nextUri"])
    *before, slug, number = path.split("/")
    for guess in ("y" + "0" * 32, slug[:-1], slug + "0", slug.upper() + "x", "..", "%00", ""):
        for method in ("GET", "DELETE", "HEAD"):
            answer = ask(target.trino, method, "/".join([*before, guess, number]), BOB)
            assert answer.status in (404, 410), (guess, answer)
    assert ask(target.trino, "GET", path).status == 200, "alice's query goes on"


def test_t031_another_users_query_does_not_exist(target: Target, alices: dict[str, Any]) -> None:
    unknown = alices["id"].replace("_", "_0", 2)[:15] + "_99999_" + alices["id"][-5:]
    for path in ("/v1/query/", "/ui/query.html?", "/ui/query/"):
        answer = ask(target.trino, "GET", path + alices["id"], BOB)
        nothing = ask(target.trino, "GET", path + unknown, BOB)
        assert answer.status == nothing.status
        assert answer.body.replace(alices["id"].encode(), b"") == nothing.body.replace(unknown.encode(), b"")
        assert ask(target.trino, "GET", path + alices["id"]).status in (401, 404), (
            "not without credentials either"
        )
    for login in (BOB, {}):
        assert ask(target.trino, "DELETE", f"/v1/query/{alices['id']}", login).status in (401, 404)
    own = ask(target.trino, "GET", f"/v1/query/{alices['id']}", ALICE)
    assert own.status == 200
    assert own.json()["state"] in ("RUNNING", "FINISHING", "BLOCKED")


@pytest.mark.parametrize(
    "query_id",
    ["20260101_000000_00001_zzzzz", f"20260101_000000_00001_{SUFFIX}", "x", "20260101_000000_00001_../.."],
)
def test_t032_forged_query_ids_lead_nowhere(target: Target, query_id: str) -> None:
    began = time.monotonic()
    for path in (f"/v1/statement/executing/{query_id}/yabc/1", f"/v1/query/{query_id}"):
        assert ask(target.trino, "GET", path, ALICE).status in (404, 503)
    assert time.monotonic() - began < 15


def test_t033_a_forged_transaction_is_unknown(target: Target) -> None:
    for forged in (
        "12151fd2-7586-11e9-8f9e-2a86e4085a59",
        "trino-a.12151fd2-7586-11e9-8f9e-2a86e4085a59",
        "x" * 400,
    ):
        told = trino_run(target.trino, "SELECT 1", {**ALICE, "X-Trino-Transaction-Id": forged})
        assert told.error_name in ("UNKNOWN_TRANSACTION", "GENERIC_USER_ERROR"), told
        assert not told.rows


def sleeping(marker: str, seconds: int = 20) -> str:
    return (
        f"SELECT sleepEachRow(1) AS {marker} FROM numbers({seconds}) FORMAT Null SETTINGS max_block_size = 1"
    )


def test_t034_kill_reaches_only_ones_own_queries(target: Target) -> None:
    marker, query_id = f"kill_{secrets.token_hex(4)}", f"id-{secrets.token_hex(4)}"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(clickhouse, target.clickhouse, sleeping(marker), {"query_id": query_id}, ALICE)
        eventually(lambda: target.running(marker) == 1)
        inside = target.on_engine(
            f"SELECT query_id FROM system.processes WHERE query LIKE '%{marker}%' LIMIT 1"
        )
        for named in (query_id, inside, inside.split("-", 1)[0] + "-" + query_id):
            clickhouse(target.clickhouse, f"KILL QUERY WHERE query_id = '{named}' SYNC", {}, BOB)
        for wide in (
            "KILL QUERY WHERE user = 'gateway' SYNC",
            "KILL QUERY WHERE 1 SYNC",
            f"KILL QUERY WHERE query_id = '{inside}' OR 1 SYNC",
            f"KILL QUERY WHERE query_id LIKE '%{query_id}' SYNC",
            f"KILL QUERY WHERE query LIKE '%{marker}%' SYNC",
            f"KILL QUERY WHERE query_id = '' OR query LIKE '%{marker}%'",
            "kill/**/query where true",
        ):
            assert clickhouse(target.clickhouse, wide, {}, BOB).status >= 400, wide
        assert target.running(marker) == 1, "bob killed alice's query"
        killed = clickhouse(target.clickhouse, f"KILL QUERY WHERE query_id = '{query_id}' SYNC", {}, ALICE)
        assert killed.status == 200
        assert code_of(running.result(PATIENCE_S)) == "394", "alice could kill her own"


def test_t035_one_query_id_of_two_users_is_two_queries(target: Target) -> None:
    marker, query_id = f"same_{secrets.token_hex(4)}", f"id-{secrets.token_hex(4)}"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            clickhouse, target.clickhouse, sleeping(marker, 4), {"query_id": query_id}, ALICE
        )
        eventually(lambda: target.running(marker) == 1)
        other = clickhouse(
            target.clickhouse, "SELECT 5", {"query_id": query_id, "replace_running_query": "1"}, BOB
        )
        assert other.body == b"5\n" or code_of(other) == "115"
        other = clickhouse(target.clickhouse, "SELECT 5", {"query_id": query_id}, BOB)
        assert (other.body, other.header("X-ClickHouse-Query-Id")) == (b"5\n", query_id)
        assert running.result(PATIENCE_S).status == 200


def test_t036_a_session_belongs_to_its_user(target: Target) -> None:
    session = {"session_id": f"s-{secrets.token_hex(4)}"}
    assert (
        clickhouse(target.clickhouse, "CREATE TEMPORARY TABLE mine AS SELECT 42 AS a", session, ALICE).status
        == 200
    )
    assert clickhouse(target.clickhouse, "SELECT a FROM mine", session, ALICE).body == b"42\n"
    stolen = clickhouse(target.clickhouse, "SELECT a FROM mine", session, BOB)
    assert stolen.status >= 400
    assert b"42" not in stolen.body


def test_t037_a_session_cannot_change_the_language(target: Target) -> None:
    session = {"session_id": f"s-{secrets.token_hex(4)}"}
    clickhouse(target.clickhouse, "SET dialect = 'kusto'", session, ALICE)
    assert clickhouse(target.clickhouse, "SELECT 6 * 7", session, ALICE).body == b"42\n"


# --- too much of something --------------------------------------------------------------------------------


def bounded(target: Target, before: float) -> None:
    assert resident_mb(target.pid) - before < 100, "the gateway grew by more than 100 MB"
    assert clickhouse(target.clickhouse, "SELECT 1", {}, ALICE).body == b"1\n", "and it still serves"


BOMB = 200_000_000


def test_t040_a_prepared_statement_that_expands_without_end(target: Target) -> None:
    before = resident_mb(target.pid)
    frame = zstandard.ZstdCompressor(level=3).compress(b"SELECT 1 -- " + b"x" * BOMB)
    value = "$zstd:" + base64.urlsafe_b64encode(frame).decode()
    told = trino_run(
        target.trino, "EXECUTE a", {**ALICE, "X-Trino-Prepared-Statement": f"a={urllib.parse.quote(value)}"}
    )
    assert told.error is not None
    assert "larger than" in told.message
    bounded(target, before)


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_t041_a_body_that_expands_without_end(target: Target, coding: str) -> None:
    before = resident_mb(target.pid)
    text = b"SELECT 1 -- " + b"x" * BOMB
    body = gzip.compress(text, 6) if coding == "gzip" else zstandard.ZstdCompressor().compress(text)
    answer = ask(target.clickhouse, "POST", "/", {**ALICE, "Content-Encoding": coding}, body)
    assert code_of(answer) in ("62", "36", "307"), answer
    bounded(target, before)


def test_t042_a_native_block_that_claims_a_huge_size(target: Target) -> None:
    before = resident_mb(target.pid)
    claims = (
        b"\x00" * 16 + b"\x82" + (2_000_000_000).to_bytes(4, "little") + (4_000_000_000).to_bytes(4, "little")
    )
    answer = clickhouse(target.clickhouse, claims + b"x" * 1000, {"decompress": "1"}, ALICE)
    assert answer.status >= 400
    bounded(target, before)


def test_t043_headers_beyond_their_bound(target: Target) -> None:
    before = resident_mb(target.pid)
    floods = [
        b"X-A: " + b"a" * 5_000_000 + b"\r\n",
        b"".join(b"X-%d: a\r\n" % number for number in range(20_000)),
        b"X-A: " + b"a" * 300_000 + b"\r\n",
    ]
    for port in (target.trino, target.clickhouse):
        for flood in floods:
            said = raw(port, b"GET /ping HTTP/1.1\r\nHost: x\r\n" + flood + b"\r\n", wait=10)
            assert statuses(said) in ([431], []), said[:200]
    bounded(target, before)


def test_t044_a_target_beyond_its_bound(target: Target) -> None:
    before = resident_mb(target.pid)
    for port in (target.trino, target.clickhouse):
        said = raw(port, b"GET /?query=" + b"a" * 5_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", wait=10)
        assert statuses(said) in ([414], [431], []), said[:200]
    bounded(target, before)


def test_t045_statements_beyond_their_bounds(target: Target) -> None:
    before = resident_mb(target.pid)
    giants = {
        "long": "SELECT '" + "x" * 3_000_000 + "'",
        "deep": "SELECT " + "(" * 5_000 + "1" + ")" * 5_000,
        "deep functions": "SELECT " + "abs(" * 5_000 + "1" + ")" * 5_000,
        "deep subqueries": "SELECT * FROM " + "(SELECT * FROM " * 3_000 + "(SELECT 1)" + ")" * 3_000,
        "deep cases": "SELECT " + "CASE WHEN 1=1 THEN " * 3_000 + "1" + " END" * 3_000,
        "many tokens": "SELECT " + ",".join(["1"] * 200_000),
        "open comment": "SELECT 1 " + "/*" * 100_000,
        "many minus": "SELECT " + "- " * 100_000 + "1",
        "many nots": "SELECT " + "NOT " * 50_000 + "true",
    }
    for name, sql in giants.items():
        told = trino_run(target.trino, sql, ALICE)
        assert told.error is not None, name
        assert not told.rows, name
        answer = clickhouse(target.clickhouse, sql, {}, ALICE)
        assert answer.status >= 400, name
    bounded(target, before)


def test_t046_a_form_beyond_its_bound(target: Target) -> None:
    before = resident_mb(target.pid)
    head = b'--b\r\nContent-Disposition: form-data; name="ext"; filename="x"\r\n\r\n'
    body = head + b"1\n" * 20_000_000 + b"\r\n--b--\r\n"
    headers = {**ALICE, "Content-Type": "multipart/form-data; boundary=b"}
    params = "/?query=SELECT+1&ext_structure=a+Int8"
    try:
        answer = ask(target.clickhouse, "POST", params, headers, body)
        assert code_of(answer) == "36"
    except ConnectionError:
        pass  # told so before all of it was sent
    bounded(target, before)


def test_t047_a_second_statement_behind_the_first_is_not_run(target: Target) -> None:
    table = f"victim_{secrets.token_hex(4)}"
    clickhouse(target.clickhouse, f"CREATE TABLE {table} (a Int8) ENGINE = Memory", {}, ALICE)
    trino_run(target.trino, f"CREATE TABLE memory.default.{table} (a integer)", ALICE)
    drops = (f"DROP TABLE {table}", f"DROP TABLE memory.default.{table}")
    for first in (
        "SELECT 1",
        "SELECT 1 --\n",
        "/* ; */ SELECT 1",
        "SELECT ';'",
        f"INSERT INTO {table} VALUES (1)",
    ):
        for between in (";", ";;", "; ;\n", ";\x00", "\x00;", "\ufeff;"):
            clickhouse(target.clickhouse, first + between + drops[0], {}, ALICE)
            ask(
                target.clickhouse,
                "POST",
                "/?query=" + urllib.parse.quote(first + between),
                ALICE,
                drops[0].encode(),
            )
            trino_run(target.trino, first + between + drops[1], ALICE)
    assert target.on_engine(f"EXISTS TABLE {table}") == "1"
    assert trino_run(target.trino, f"SELECT count(*) FROM memory.default.{table}", ALICE).rows == [[0]]
    trino_run(target.trino, drops[1], ALICE)


# --- secrets ----------------------------------------------------------------------------------------------


def everything_kept(target: Target) -> str:
    """All that the gateway wrote anywhere: log, audit, store, state."""
    kept = []
    for path in target.gateway.directory.rglob("*"):
        if path.is_file() and path.name not in ("gateway.yaml", "users.yaml"):
            kept.append(path.read_bytes().decode("latin-1"))
    return "\n".join(kept)


def test_t050_no_secret_slug_or_literal_is_written_anywhere(target: Target) -> None:
    literal, bearer = f"literal{secrets.token_hex(8)}", token()
    told = trino_run(target.trino, f"SELECT '{literal}'", ALICE)
    assert told.rows == [[literal]]
    trino_run(target.trino, f"SELECT nothing FROM nowhere WHERE a = '{literal}'", ALICE)
    clickhouse(target.clickhouse, f"SELECT throwIf(1, '{literal}')", {}, BOB)
    clickhouse(target.clickhouse, f"SELECT '{literal}' FROM", {"query_id": "x"}, BOB)
    ask(target.clickhouse, "GET", f"/?user=alice&password={PASSWORDS['alice']}&query=SELECT+'{literal}'")
    trino_run(target.trino, f"SELECT '{literal}'", {"Authorization": f"Bearer {bearer}"})
    ask(target.trino, "GET", f"/v1/statement/executing/{told.id}/yslug-{literal}/1")
    raw(target.trino, f"GET /{literal} HTTP/9.9\r\nAuthorization: {literal}\r\n\r\n".encode())
    slugs = {path_of(uri).split("/")[5] for uri in re.findall(r'"nextUri":"([^"]+)"', told.everything)}
    assert slugs
    eventually(lambda: told.id in ends(target.gateway))
    kept = everything_kept(target)
    assert told.id in kept, "this looks at the right files"
    for secret in (*SECRETS, bearer, bearer.split(".")[2], literal, *slugs):
        assert secret not in kept, secret
    for value in (ALICE, BOB):
        assert value["Authorization"].split()[1] not in kept


FAILING = [
    "SELECT * FROM remote('127.0.0.1:1', system.one)",
    "SELECT * FROM url('http://127.0.0.1:1/', TSV, 'a String') SETTINGS http_max_tries = 1",
    "SELECT * FROM mysql('127.0.0.1:1', 'd', 't', 'u', 'p')",
    "SELECT * FROM no_such_table",
    "SELECT throwIf(1)",
    "SHOW CREATE USER gateway",
    "SELECT * FROM system.users FORMAT JSONEachRow",
    "SELECT * FROM system.processes FORMAT JSONEachRow",
    "SELECT * FROM system.query_log ORDER BY event_time DESC LIMIT 50 FORMAT JSONEachRow",
    "SELECT getServerPort('http_port')",
    "SELECT * FROM system.settings FORMAT JSONEachRow",
    "SELECT * FROM system.server_settings FORMAT JSONEachRow",
    "SELECT currentUser(), hostName()",
]


def test_the_engine_that_is_attacked_is_there(target: Target) -> None:
    assert target.on_engine("SELECT 1") == "1"


@pytest.mark.parametrize("sql", FAILING)
def test_t051_no_answer_of_clickhouse_holds_the_gateways_credentials(target: Target, sql: str) -> None:
    answer = clickhouse(target.clickhouse, sql, {}, ALICE)
    assert ENGINE_PASSWORD not in answer.everything
    assert PASSWORDS["alice"] not in answer.everything


def test_t052_no_answer_of_trino_names_where_the_engine_is(target: Target) -> None:
    for sql in ("SELECT 1/0", "SELECT * FROM nowhere.a.b", "SELEC", "SELECT * FROM tpch.tiny.nation"):
        told = trino_run(target.trino, sql, ALICE)
        assert f":{target.trino_engine.port}" not in told.everything
        assert "X-Trino-User" not in told.everything


def test_t053_credentials_stop_at_the_gateway_in_both_directions(recorded: Recorded) -> None:
    mark = f"mark{secrets.token_hex(4)}"
    headers = {
        "Cookie": "session=cookie-secret",
        "Proxy-Authorization": "Basic cHJveHktc2VjcmV0",
        "X-Evil": "unlisted-secret",
        "X-ClickHouse-Quota": "quota-secret",
        "Referer": "http://unlisted-secret/",
        "X-Forwarded-For": "203.0.113.77",
    }
    trino_post(
        recorded.gateway.trino_port,
        f"SELECT '{mark}'",
        {**headers, **ALICE, "X-Trino-Extra-Thing": "unlisted-secret"},
    )
    clickhouse(recorded.gateway.clickhouse_port, f"SELECT '{mark}'", {}, {**headers, **ALICE})
    login = {"X-ClickHouse-User": "alice", "X-ClickHouse-Key": PASSWORDS["alice"]}
    clickhouse(recorded.gateway.clickhouse_port, f"SELECT '{mark}'", {}, login)
    url = {"user": "alice", "password": PASSWORDS["alice"]}
    clickhouse(recorded.gateway.clickhouse_port, f"SELECT '{mark}'", url)
    clickhouse(
        recorded.gateway.clickhouse_port, f"SELECT '{mark}'", {}, {"Authorization": f"Bearer {token()}"}
    )
    seen = recorded.upstream.with_text(mark)
    assert len(seen) == 5
    for request in seen:
        sent = request.everything
        for secret in (
            *PASSWORDS.values(),
            JWT_SECRET,
            ALICE["Authorization"],
            "eyJ",
            "cookie-secret",
            "quota-secret",
        ):
            assert secret not in sent, secret
        for strange in ("unlisted-secret", "cHJveHktc2VjcmV0", "203.0.113.77"):
            assert strange not in sent, strange
    engines = {request.header("X-ClickHouse-Key") for request in seen} - {None}
    assert engines == {ENGINE_PASSWORD}, "the engine gets the gateway's own log-in"


def test_t054_paths_and_parameters_of_clients_never_reach_an_engine_as_they_are(recorded: Recorded) -> None:
    mark = f"evil{secrets.token_hex(4)}"
    for path in (
        f"/{mark}",
        f"/v1/{mark}",
        f"/v1/query/{mark}",
        f"/play?{mark}=1",
        f"/?{mark}=1&query=SELECT+1",
    ):
        for port in (recorded.gateway.trino_port, recorded.gateway.clickhouse_port):
            ask(port, "GET", path, ALICE)
    ask(
        recorded.gateway.trino_port,
        "GET",
        f"/v1/statement/queued/20260101_000000_00001_{SUFFIX}/s/1?{mark}=1",
        ALICE,
    )
    assert not [request for request in recorded.upstream.requests if mark in request.everything]


def test_t055_who_has_no_user_on_an_engine_is_not_somebody_else_there(recorded: Recorded) -> None:
    mark = f"mapped{secrets.token_hex(4)}"
    source = {"X-Trino-Source": "mapped"}
    trino_post(recorded.gateway.trino_port, f"SELECT '{mark}'", {**ALICE, **source})
    assert [request.header("X-Trino-User") for request in recorded.upstream.with_text(mark)] == [
        "engine_alice"
    ]
    told = trino_run(recorded.gateway.trino_port, f"SELECT '{mark}'", {**BOB, **source})
    assert told.error_name == "PERMISSION_DENIED"
    assert "user_map" in told.message
    assert len(recorded.upstream.with_text(mark)) == 1, "bob's statement reached the engine"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A gateway in front of an engine that only writes down what it gets."""

    gateway: GatewayServer
    upstream: RecordingUpstream


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    folder = tmp_path_factory.mktemp("recorded")
    rules = {"version": 1, "rules": [{"name": "mapped", "when": {"sources": ["mapped"]}, "group": "mapped"}]}
    (folder / "rules").mkdir()
    (folder / "rules" / "routing.yaml").write_text(json.dumps(rules))
    with RecordingUpstream() as upstream:
        credentials = {"user": "gateway", "password": {"env": "TEST_ENGINE_PASSWORD"}}
        trino = {"engine": "trino", "url": upstream.url, "process_forwarded": False}
        server = GatewayServer(
            folder / "gateway",
            [
                {"name": "trino-r", "group": "trino", **trino},
                {
                    "name": "trino-m",
                    "group": "mapped",
                    **trino,
                    "user_mode": "mapped",
                    "user_map": {"alice": "engine_alice"},
                },
                {
                    "name": "clickhouse-r",
                    "engine": "clickhouse",
                    "url": upstream.url,
                    "group": "clickhouse",
                    "user_mode": "service",
                    "credentials": credentials,
                },
            ],
            settings={
                **settings(free_port()),
                "groups": {
                    "trino": {"wire": "trino", "default": True},
                    "mapped": {"wire": "trino"},
                    "clickhouse": {"wire": "clickhouse"},
                },
                "rules": {"directory": str(folder / "rules")},
            },
            environment={
                "TEST_ENGINE_PASSWORD": ENGINE_PASSWORD,
                "TEST_JWT_SECRET": JWT_SECRET,
                "TEST_ADMIN_TOKEN": ADMIN_TOKEN,
            },
        )
        write_users(server.directory)
        server.start()
        try:
            eventually(lambda: up(server).count("} 1") == 3, "the recording engine is not up")
            yield Recorded(server, upstream)
        finally:
            server.stop()


def test_t060_nobody_writes_lines_of_his_own_into_the_log(target: Target) -> None:
    forged = '{"event":"forged","level":"info"}'
    for name in (
        f"a\n{forged}",
        f"a\r\n{forged}",
        f"a\u2028{forged}",
        "\x1b[2J\x1b[31mred",
        '"},{"event":"forged',
    ):
        trino_post(target.trino, "SELECT 1", basic(name, "x"))
        clickhouse(target.clickhouse, "SELECT 1", {"user": name, "password": "x"})
        clickhouse(target.clickhouse, f"SELECT 1 -- {name}", {"query_id": name, "session_id": name}, ALICE)
        trino_run(target.trino, f"SELECT '{name}", ALICE)
    time.sleep(0.5)
    lines = [line for line in target.gateway.log.splitlines() if line.strip()]
    events = [json.loads(line)["event"] for line in lines]
    assert "forged" not in events
    assert "\x1b" not in target.gateway.log
    assert all(isinstance(record, dict) and record["record"] for record in audit(target.gateway))


def test_t061_no_label_of_a_metric_holds_a_person_or_a_statement(target: Target) -> None:
    user = f"person{secrets.token_hex(4)}"
    trino_post(target.trino, "SELECT 1", basic(user, "x"))
    trino_run(target.trino, f"SELECT '{user}' AS {user}", ALICE)
    clickhouse(target.clickhouse, f"SELECT 1 AS {user}", {"query_id": user}, ALICE)
    ask(target.clickhouse, "GET", f"/{user}", ALICE)
    text = target.gateway.metrics()
    for secret in (user, "alice", "127.0.0.1", *SECRETS):
        assert secret not in text, secret


def test_t062_what_is_kept_is_for_the_gateways_own_user_only(target: Target) -> None:
    folder = target.gateway.directory
    eventually(lambda: (folder / "gateway.db").exists())
    sockets = StateDir(folder / "var").run  # elsewhere, where this folder is too deep for sockets
    for path in (folder / "var", sockets, folder / "audit"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
    files = [*(folder / "audit").iterdir(), *folder.glob("gateway.db*"), folder / "var" / "gateway.key"]
    found = {*folder.rglob("*"), *sockets.iterdir()}
    files += [path for path in found if stat.S_ISSOCK(path.lstat().st_mode)]
    assert len(files) > 6
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_t063_the_admin_api_needs_its_token(target: Target) -> None:
    paths = (
        "/v1/queries",
        "/v1/config",
        "/v1/queries/history",
        "/v1/snapshot",
        "/openapi.json",
        "/v1/health",
    )
    wrong: tuple[dict[str, str], ...] = (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {ADMIN_TOKEN}x"},
        {"Authorization": f"Bearer {ADMIN_TOKEN[:-1]}"},
    )
    browser = base64.b64encode(f"any:{ADMIN_TOKEN}".encode()).decode()
    for path in paths:
        for headers in (*wrong, ALICE, {"Authorization": f"Basic {browser}"}):
            assert ask(target.admin, "GET", path, headers).status in (401, 403), (path, headers)
        twice = ask(target.admin, "GET", f"{path}?token={ADMIN_TOKEN}")
        assert twice.status == 401
    assert ask(target.admin, "POST", "/v1/reload", {"Authorization": f"Basic {browser}"}, b"").status == 403
    right = ask(target.admin, "GET", "/v1/config", {"Authorization": f"Bearer {ADMIN_TOKEN}"})
    assert right.status == 200
    for secret in SECRETS:
        assert secret not in right.everything


def test_t064_what_a_client_chose_is_text_on_the_querys_page(target: Target) -> None:
    script = "<script>alert(1)</script>"
    told = trino_run(target.trino, f"SELECT '{script}'", {**ALICE, "X-Trino-Source": script})
    page = ask(target.trino, "GET", f"/ui/query.html?{told.id}", ALICE)
    assert page.status == 200
    assert script.encode() not in page.body
    assert "script-src" in (page.header("Content-Security-Policy") or "") or "default-src 'none'" in (
        page.header("Content-Security-Policy") or ""
    )
    answer = ask(target.clickhouse, "GET", f"/{urllib.parse.quote(script)}", ALICE)
    assert "html" not in (answer.header("Content-Type") or "")


# --- the document -----------------------------------------------------------------------------------------


def test_every_attack_is_in_the_document_and_every_row_has_its_test() -> None:
    text = (ROOT / "docs" / "threats.md").read_text()
    rows = re.findall(r"^\| (T\d{3}) \|(.+)\|$", text, re.MULTILINE)
    numbers = [number for number, _ in rows]
    assert len(numbers) == len(set(numbers)), "a number is used twice"
    here = {
        match[1].upper(): match[0] for match in re.finditer(r"test_(t\d{3})_\w+", Path(__file__).read_text())
    }
    assert set(here) <= set(numbers), "attacks without a row"
    for number, row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, f"{number} names no test"
        for path, name in named:
            tree = ast.parse((ROOT / path).read_text())
            functions = {
                n.name for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))
            }
            assert name in functions, f"{number}: {path} has no {name}"
        if number in here:
            assert ("tests/end_to_end/test_attacks.py", here[number]) in named, (
                f"{number} does not name its test"
            )
