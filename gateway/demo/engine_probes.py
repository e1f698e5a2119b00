"""Is a real engine ready? Each probe asks it something real and answers within its time-out, in seconds."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

HOST = "127.0.0.1"
_TIMEOUT = 5.0
_MAX_BODY = 1_000_000


def _http(
    method: str, port: int, path: str, body: str | None = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes] | None:
    """Status and body; None while nothing (whole) answers."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_TIMEOUT)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read(_MAX_BODY)
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def http_json(port: int, path: str, document: object) -> tuple[int, bytes] | None:
    """POST a JSON document: status and body; None while nothing answers."""
    return _http("POST", port, path, json.dumps(document), {"Content-Type": "application/json"})


def trino_ready(port: int) -> bool:
    """Started, and a query runs: a coordinator is up before it accepts queries."""
    info = _http("GET", port, "/v1/info")
    if info is None or info[0] != 200 or json.loads(info[1]).get("starting", True):
        return False
    return trino_query_runs(port)


def trino_query_runs(port: int) -> bool:
    """`SELECT 1` runs to its last page."""
    headers = {"X-Trino-User": "ready"}
    page = _http("POST", port, "/v1/statement", "SELECT 1", headers)
    for _ in range(100):
        if page is None or page[0] != 200:
            return False
        document = json.loads(page[1])
        if "error" in document:
            return False
        if "nextUri" not in document:
            return True
        page = _http("GET", port, urlsplit(document["nextUri"]).path, headers=headers)
    return False


def clickhouse_query(port: int, user: str, password: str, query: str) -> tuple[int, bytes] | None:
    """Status and body; None while nothing answers."""
    headers = {"X-ClickHouse-User": user, "X-ClickHouse-Key": password}
    return _http("POST", port, "/", query, headers)


def clickhouse_ready(port: int, tcp_port: int, user: str, password: str) -> bool:
    if clickhouse_query(port, user, password, "SELECT 1") != (200, b"1\n"):
        return False
    try:
        with socket.create_connection((HOST, tcp_port), timeout=_TIMEOUT):
            return True
    except OSError:
        return False


def redis_ready(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=_TIMEOUT) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def postgres_database(program: Path, port: int, user: str, password: str, database: str) -> bool:
    """Create `database` with PostgreSQL's `createdb`; False while the server takes no connections."""
    outcome = subprocess.run(
        [str(program), "-h", HOST, "-p", str(port), "-U", user, "--maintenance-db=postgres", database],
        env={**os.environ, "PGPASSWORD": password, "PGCONNECT_TIMEOUT": "5"},
        capture_output=True,
        timeout=30,
        check=False,
    )
    return outcome.returncode == 0 or b"already exists" in outcome.stderr
