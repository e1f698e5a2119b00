"""Commands about a running gateway, on one that runs the embedded engines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import Ran, run
from tests.end_to_end.gateway_server import GatewayServer

pytestmark = pytest.mark.xdist_group("cli-live")

WAIT_S = 30.0
SLOW = "SELECT count() FROM numbers(1000000000000) WHERE NOT ignore(sipHash64(number))"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayServer]:
    engines = [{"name": "duckdb", "engine": "duckdb"}, {"name": "chdb", "engine": "chdb"}]
    server = GatewayServer(tmp_path_factory.mktemp("live"), engines)
    yield server.start()
    assert server.stop() == 0, server.log


@pytest.fixture(autouse=True)
def in_its_folder(gateway: GatewayServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(gateway.directory)
    for name in ("GATEWAY_CONFIG", "GATEWAY_ADMIN", "GATEWAY_ADMIN_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def clickhouse(gateway: GatewayServer, sql: str, query_id: str = "") -> str:
    """What the ClickHouse wire answers, errors included."""
    url = f"http://127.0.0.1:{gateway.clickhouse_port}/" + (f"?query_id={query_id}" if query_id else "")
    try:
        with urllib.request.urlopen(url, data=sql.encode(), timeout=WAIT_S) as reply:
            return str(reply.read().decode())
    except urllib.error.HTTPError as refused:
        return refused.read().decode()


def eventually(what: Callable[[], Any]) -> Any:
    """The first true value, within half a minute."""
    deadline = time.monotonic() + WAIT_S
    while not (value := what()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)
    return value


@pytest.fixture
def slow_query(gateway: GatewayServer) -> Iterator[dict[str, Any]]:
    """A query that runs until it is stopped."""
    answers: list[str] = []
    client = threading.Thread(target=lambda: answers.append(clickhouse(gateway, SLOW)))
    client.start()
    try:
        query: dict[str, Any] = eventually(lambda: run("top", "--json").json())[0]
        yield query
    finally:
        for query in run("top", "--json").json():
            run("queries", "cancel", query["id"])
        client.join(WAIT_S)
    assert len(answers) == 1
    assert "Exception" in answers[0], "its client was told"


# -- backends


def test_backends_are_listed_whole(gateway: GatewayServer) -> None:
    ran = run("backends", "list")
    assert ran.code == 0
    assert ran.row("duckdb").split()[:4] == ["duckdb", "duckdb", "trino", "up"]
    assert ran.row("chdb").split()[:4] == ["chdb", "chdb", "clickhouse", "up"]


def test_backends_as_json(gateway: GatewayServer) -> None:
    by_name = {backend["name"]: backend for backend in run("backends", "list", "--json").json()}
    assert set(by_name) == {"duckdb", "chdb"}
    assert all(backend["healthy"] for backend in by_name.values())


def test_a_drained_backend_gets_nothing_until_it_is_undrained(gateway: GatewayServer) -> None:
    drained = run("backends", "drain", "chdb")
    try:
        assert drained.row("chdb").split()[3] == "draining"
        assert "Exception" in clickhouse(gateway, "SELECT 1")
    finally:
        (undrained,) = run("backends", "undrain", "chdb", "--json").json()
    assert undrained["draining"] is False
    assert clickhouse(gateway, "SELECT 1") == "1\n"


def test_an_unknown_backend_is_answered_with_the_known_ones(gateway: GatewayServer) -> None:
    ran = run("backends", "drain", "dukdb")
    assert ran.code == 1
    assert "dukdb" in ran.err
    assert "chdb, duckdb" in ran.err


# -- queries


def history_row(word: str) -> str:
    return str(
        eventually(lambda: next((r for r in run("queries", "history").out.splitlines() if word in r), ""))
    )


def test_history_tells_when_who_and_how_it_ended(gateway: GatewayServer) -> None:
    clickhouse(gateway, "SELECT number FROM numbers(1234)")
    row = history_row("1,234")
    assert row.split()[0] == time.strftime("%Y-%m-%d")
    assert "anonymous" in row
    assert "succeeded" in row
    assert "chdb" in row


def test_a_failed_query_says_why(gateway: GatewayServer) -> None:
    clickhouse(gateway, "SELECT nope FROM nowhere")
    assert "60" in history_row(" failed ").split(), "ClickHouse's code of an unknown table"


def test_history_in_a_pipe_cuts_nothing_off(gateway: GatewayServer) -> None:
    clickhouse(gateway, "SELECT 1")
    history_row("succeeded")  # waits until the worker has carried it into the store
    ids = [query["id"] for query in run("queries", "history", "--json").json()]
    assert ids
    piped = subprocess.run(
        [sys.executable, "-m", "gateway", "queries", "history"],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=True,
        env={**os.environ, "COLUMNS": "40"},
    )
    lines = {line.split()[-1] for line in piped.stdout.splitlines() if line.strip()}
    assert set(ids) <= lines
    assert "…" not in piped.stdout


def test_history_of_one_user_and_of_nobody(gateway: GatewayServer) -> None:
    assert run("queries", "history", "--user", "nobody").out == "no queries yet\n"
    assert run("queries", "history", "--limit", "0").code == 2


def test_history_is_bounded(gateway: GatewayServer) -> None:
    for _ in range(3):
        clickhouse(gateway, "SELECT 1")
    eventually(lambda: len(run("queries", "history", "--json").json()) >= 3)
    assert len(run("queries", "history", "--limit", "2", "--json").json()) == 2


def test_one_query_is_shown_with_its_trail_and_never_its_text(gateway: GatewayServer) -> None:
    clickhouse(gateway, "SELECT 'a secret literal' FROM numbers(4321)")
    query_id = history_row("4,321").split()[-1]
    ran = run("queries", "show", query_id)
    assert ran.code == 0
    assert ran.row("outcome").split() == ["outcome", "succeeded"]
    assert "route" in ran.row("group `clickhouse`")
    shown = run("queries", "show", query_id, "--json").json()
    assert shown["id"] == query_id
    assert shown["rows"] == 4321
    assert "secret literal" not in ran.out + json.dumps(shown)


def test_running_queries_are_listed_and_stopped(gateway: GatewayServer, slow_query: dict[str, Any]) -> None:
    assert slow_query["id"] in run("top", "--once").out
    ran = run("queries", "cancel", slow_query["id"])
    assert (ran.code, ran.out) == (0, f"{slow_query['id']}: cancelling\n")
    eventually(lambda: run("top", "--json").json() == [])
    # For a moment it is in neither: no longer live, not yet carried over into the history.
    eventually(lambda: '"outcome": "cancelled"' in run("queries", "show", slow_query["id"], "--json").out)


@pytest.mark.parametrize("command", ["show", "cancel"])
def test_a_query_that_is_not_known(gateway: GatewayServer, command: str) -> None:
    ran = run("queries", command, "no-such-query")
    assert ran.code == 1
    assert "no-such-query" in ran.err


# -- reload


def test_reload_takes_up_good_settings_and_refuses_others(gateway: GatewayServer) -> None:
    assert run("reload").out == "reloaded\n"
    before = gateway.config.read_text()
    try:
        # A mistake that only the gateway looks for: the command itself would refuse the file otherwise.
        gateway.write(backends=[])
        refused = run("reload", "--admin", "admin.sock")
        assert refused.code == 1
        assert "last good settings stay" in refused.err
        assert "backends" in refused.err
        as_json = run("reload", "--admin", "admin.sock", "--json")
        assert as_json.code == 1
        assert as_json.json()["active"] is False
        assert clickhouse(gateway, "SELECT 1") == "1\n"
    finally:
        gateway.config.write_text(before)
    assert run("reload", "--json").json()["active"] is True


# -- audit


def copied_audit(gateway: GatewayServer, to: Path) -> list[str]:
    """The gateway's audit, key and settings in a folder of their own, without the store's memory of it."""
    (to / "var").mkdir()
    (to / "var" / "gateway.key").write_bytes((gateway.directory / "var" / "gateway.key").read_bytes())
    (to / "audit").mkdir()
    for file in (gateway.directory / "audit").iterdir():
        (to / "audit" / file.name).write_bytes(file.read_bytes())
    (to / "gateway.yaml").write_text(gateway.config.read_text())
    return ["--config", str(to / "gateway.yaml")]


def segment(folder: Path) -> Path:
    return max((folder / "audit").glob("*.audit"), key=lambda path: path.stat().st_size)


def test_the_audit_of_the_running_gateway_holds(gateway: GatewayServer) -> None:
    clickhouse(gateway, "SELECT 1")
    ran = run("audit", "verify")
    assert ran.code == 0, ran
    assert "every link holds" in ran.out
    report = run("audit", "verify", "--json").json()
    assert report["ok"] is True
    assert report["records"] > 1


def _edited(lines: list[bytes]) -> list[bytes]:
    place = next(i for i, line in enumerate(lines) if b"anonymous" in line)
    return [*lines[:place], lines[place].replace(b"anonymous", b"someoneel"), *lines[place + 1 :]]


@pytest.mark.parametrize(
    ("tampered", "said"),
    [
        (_edited, ": edited: "),
        (lambda lines: [*lines[:2], *lines[3:]], "audit:3: deleted"),
        (lambda lines: [*lines[:1], lines[2], lines[1], *lines[3:]], "audit:2: "),
        (lambda lines: lines[:-2], "proxy-0:0: truncated"),
    ],
    ids=["edited", "deleted", "swapped", "cut off"],
)
def test_a_tampered_audit_is_named_by_file_and_line(
    gateway: GatewayServer, tmp_path: Path, tampered: Callable[[list[bytes]], list[bytes]], said: str
) -> None:
    for _ in range(3):
        clickhouse(gateway, "SELECT 1")
    where = copied_audit(gateway, tmp_path)
    assert run("audit", "verify", *where).code == 0
    file = segment(tmp_path)
    file.write_bytes(b"".join(tampered(file.read_bytes().splitlines(keepends=True))))
    ran = run("audit", "verify", *where)
    assert ran.code == 1
    assert "every link holds" not in ran.out
    assert said in ran.err
    report = run("audit", "verify", "--json", *where)
    assert report.code == 1
    assert report.json()["ok"] is False
    assert len(report.json()["problems"]) == 1


def test_another_key_verifies_nothing(gateway: GatewayServer, tmp_path: Path) -> None:
    where = copied_audit(gateway, tmp_path)
    (tmp_path / "var" / "gateway.key").write_bytes(bytes(32))
    assert run("audit", "verify", *where).code == 1


def test_no_audit_at_all_is_not_called_good(gateway: GatewayServer, tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(gateway.config.read_text())
    ran = run("audit", "verify", "--config", str(tmp_path / "gateway.yaml"))
    assert ran.code == 1
    assert "no audit directory" in ran.err


# -- where the gateway is


def unreachable(*arguments: str) -> Ran:
    ran = run(*arguments)
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 1
    return ran


def test_no_gateway_there_is_said_in_one_line(gateway: GatewayServer) -> None:
    ran = unreachable("backends", "list", "--admin", "elsewhere.sock")
    assert "no gateway answers at elsewhere.sock (No such file or directory)" in ran.err
    assert "Is it running" in ran.err


def test_settings_without_an_admin_api_say_what_to_set(gateway: GatewayServer, tmp_path: Path) -> None:
    settings = json.loads(gateway.config.read_text())
    del settings["admin"]
    (tmp_path / "gateway.yaml").write_text(json.dumps(settings))
    ran = unreachable("top", "--once", "--config", str(tmp_path / "gateway.yaml"))
    assert "admin.socket" in ran.err


def test_an_address_that_is_none(gateway: GatewayServer) -> None:
    ran = run("backends", "list", "--admin", "ftp://somewhere")
    assert ran.code == 2
    assert "http://" in ran.err


def test_the_address_may_come_from_the_environment(gateway: GatewayServer) -> None:
    ran = run("backends", "list", environment={"GATEWAY_ADMIN": str(gateway.directory / "admin.sock")})
    assert ran.code == 0
