"""Real engines start, answer, and leave nothing behind, whoever ends them and however."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.demo import engine_probes
from gateway.demo.real import Engine, EngineFailed, RealEngines
from gateway.demo.toolbox import Toolbox, ToolMissing, postgres_program
from tests.real.addresses import ClickHouseAddress, PostgresAddress, RedisAddress, TrinoAddress

pytestmark = pytest.mark.real


def _post(host: str, port: int, path: str, body: str, headers: dict[str, str]) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(host, port, timeout=30)
    try:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _gone(pid: int) -> bool:
    """No process has that id, or only its remains wait to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _eventually(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def _refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _trino(server: TrinoAddress, **headers: str) -> tuple[int, bytes]:
    wanted = {"X-Trino-User": "test", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return _post(server.host, server.port, "/v1/statement", "SELECT 1", wanted)


def test_trino_answers_with_uris_from_forwarded_headers(trino_server: TrinoAddress) -> None:
    status, body = _trino(
        trino_server, X_Forwarded_Host="gate.example", X_Forwarded_Proto="https", X_Forwarded_Port="443"
    )
    assert status == 200
    assert json.loads(body)["nextUri"].startswith("https://gate.example")


def test_plain_trino_refuses_forwarded_headers(trino_server_plain: TrinoAddress) -> None:
    assert _trino(trino_server_plain)[0] == 200
    assert _trino(trino_server_plain, X_Forwarded_Host="gate.example", X_Forwarded_Proto="https")[0] == 406


def test_clickhouse_knows_its_users_and_keeps_a_query_log(clickhouse_server: ClickHouseAddress) -> None:
    server = clickhouse_server
    access = {"X-ClickHouse-User": server.user, "X-ClickHouse-Key": server.password}
    query_id = f"test-real-{os.getpid()}-{time.monotonic_ns()}"
    path = f"/?query_id={query_id}"
    assert _post(server.host, server.port, path, "SELECT currentUser()", access) == (200, b"gateway\n")
    wrong = {**access, "X-ClickHouse-Key": "wrong"}
    assert _post(server.host, server.port, "/", "SELECT 1", wrong)[0] in (401, 403)
    logged = f"SELECT count() > 0 FROM system.query_log WHERE query_id = '{query_id}'"
    assert _eventually(lambda: _post(server.host, server.port, "/", logged, access) == (200, b"1\n"))


def test_postgres_answers(postgres_server: PostgresAddress) -> None:
    psql = postgres_program("psql")
    assert psql is not None
    command = [str(psql), postgres_server.dsn, "-Atc", "SELECT current_user, current_database()"]
    assert subprocess.run(command, capture_output=True, check=True, timeout=30).stdout == b"gw|gw\n"


def test_redis_answers(redis_server: RedisAddress) -> None:
    assert engine_probes.redis_ready(redis_server.port)


def test_stop_leaves_no_process_no_port_and_no_data(tmp_path: Path) -> None:
    with RealEngines() as engines:
        clickhouse, postgres = engines.start_clickhouse(), engines.start_postgres()
        redis = engines.start_redis()
        started: list[Engine] = [clickhouse, postgres, redis]
        data = Path(Path(f"/proc/{postgres.pid}/cmdline").read_bytes().split(b"\0")[2].decode())
        assert data.is_dir()
        folder = engines.directory
    assert all(_gone(engine.pid) and _refused(engine.port) for engine in started)
    assert not data.parent.exists()
    assert not folder.exists()


def test_a_killed_engine_is_gone_and_its_name_free_again(own_engines: RealEngines) -> None:
    first = own_engines.start_redis()
    first.kill()
    assert not first.running
    assert _refused(first.port)
    second = own_engines.start_redis(port=first.port)
    assert second.running
    with pytest.raises(ValueError, match="already running"):
        own_engines.start_redis()


def test_a_paused_engine_hangs_until_resumed_and_can_still_be_stopped(own_engines: RealEngines) -> None:
    redis = own_engines.start_redis()
    with socket.create_connection((redis.host, redis.port), timeout=0.5) as connection:
        redis.pause()
        connection.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):
            connection.recv(16)
        redis.resume()
        connection.settimeout(10)
        assert connection.recv(16).startswith(b"+PONG")
    redis.pause()
    redis.stop()
    assert _gone(redis.pid)


_OWNER = """
import sys, time
from gateway.demo.real import RealEngines
engines = RealEngines()
started = [engines.start_redis(), engines.start_clickhouse(), engines.start_postgres()]
print(*(engine.pid for engine in started), flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_engines_end_with_their_owner_however_it_dies(number: signal.Signals) -> None:
    root = Path(__file__).resolve().parents[2]
    shared = Path(tempfile.mkdtemp())  # not tmp_path: PostgreSQL's own user must be able to reach it
    shared.chmod(0o755)
    with subprocess.Popen(
        [sys.executable, "-c", _OWNER],
        stdout=subprocess.PIPE,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "TMPDIR": str(shared)},
    ) as owner:
        assert owner.stdout is not None
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        assert len(pids) == 3
        owner.send_signal(number)
    assert _eventually(lambda: all(_gone(pid) for pid in pids))
    assert _eventually(lambda: not list(shared.iterdir())), list(shared.iterdir())
    shared.rmdir()


def test_an_engine_ends_when_its_keeper_is_killed(own_engines: RealEngines) -> None:
    redis = own_engines.start_redis()
    keeper = int(Path(f"/proc/{redis.pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(keeper, signal.SIGKILL)
    assert _eventually(lambda: _gone(redis.pid))


def test_a_missing_part_says_what_to_run(tmp_path: Path) -> None:
    with (
        RealEngines(tmp_path / "engines", tools=Toolbox(tmp_path / "nothing")) as engines,
        pytest.raises(ToolMissing, match=r"scripts/setup\.py"),
    ):
        engines.start_trino()


def test_a_taken_port_is_said_before_anything_starts(own_engines: RealEngines) -> None:
    taken = own_engines.start_redis()
    with pytest.raises(EngineFailed, match=f"port {taken.port} .* is taken"):
        own_engines.start_redis(name="second", port=taken.port)
    assert taken.running


def test_an_engine_that_cannot_start_shows_its_log_and_leaves_nothing(own_engines: RealEngines) -> None:
    with pytest.raises(EngineFailed, match="must be specified for user broken") as caught:
        own_engines.start_clickhouse(users_xml="<broken/>")
    assert "ended while starting" in str(caught.value)


def test_an_engine_that_is_not_ready_in_time_is_ended(tmp_path: Path) -> None:
    with RealEngines(tmp_path / "engines", start_timeout=0.0) as engines:
        with pytest.raises(EngineFailed, match="not ready within 0 s"):
            engines.start_clickhouse()
        ended = [Path(p) for p in tmp_path.glob("engines/*/log")]
        assert len(ended) == 1
        processes = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline") if p.exists()]
        assert not any(str(tmp_path).encode() in cmdline for cmdline in processes)
