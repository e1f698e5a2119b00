"""How tests talk to a gateway: raw bytes, single HTTP requests, whole Trino queries, its audit and its memory."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.end_to_end.gateway_server import GatewayServer

PATIENCE_S = 60.0
"""What may take a while only because the machine is busy."""

Fields = Mapping[str, str] | Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. `headers` keep their order, repeats and spelling."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for known, value in self.headers if known.lower() == name.lower()), None)

    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    @property
    def everything(self) -> str:
        """All that the client got to see, as one text."""
        lines = "\n".join(f"{name}: {value}" for name, value in self.headers)
        return f"{self.status}\n{lines}\n\n{self.body.decode('utf-8', 'replace')}"


def ask(
    port: int,
    method: str,
    target: str,
    headers: Fields = (),
    body: bytes | None = None,
    *,
    timeout: float = PATIENCE_S,
) -> Answer:
    """One request on a connection of its own. Header names may repeat when given as pairs."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in pairs:
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        reply = connection.getresponse()
        return Answer(reply.status, tuple(reply.getheaders()), reply.read())
    finally:
        connection.close()


def raw(port: int, data: bytes, *, wait: float = 3.0) -> bytes:
    """Everything the server says to these bytes until it closes, or has been silent for `wait` seconds."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as line:
        with contextlib.suppress(ConnectionError):
            line.sendall(data)
        line.settimeout(wait)
        return received(line)


def received(line: socket.socket) -> bytes:
    """What comes until the other side closes or the socket's time-out passes."""
    said = b""
    with contextlib.suppress(TimeoutError, ConnectionError):
        while piece := line.recv(65_536):
            said += piece
    return said


def statuses(said: bytes) -> list[int]:
    """The status of each answer in raw bytes: more than one means that one request was taken for several."""
    return [int(code) for code in re.findall(rb"(?:^|\r\n|\n|\})HTTP/1\.[01] (\d{3})", said)]


def split(said: bytes) -> tuple[bytes, bytes, bytes]:
    """Head and body of the first answer in raw bytes, and what came behind it."""
    head, _, rest = said.partition(b"\r\n\r\n")
    if length := re.search(rb"\r\nContent-Length: (\d+)", head):
        return head, rest[: int(length[1])], rest[int(length[1]) :]
    body = b""
    if b"\r\nTransfer-Encoding: chunked" in head:
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            length_of_chunk = int(size, 16)
            body, rest = body + rest[:length_of_chunk], rest[length_of_chunk + 2 :]
            if not length_of_chunk:
                break
    return head, body, rest


# --- Trino ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Told:
    """What a Trino client was told: rows, the error document, and every answer on the way."""

    id: str = ""
    rows: list[list[Any]] = field(default_factory=list)
    error: dict[str, Any] | None = None
    answers: list[Answer] = field(default_factory=list)

    @property
    def error_name(self) -> str | None:
        return None if self.error is None else str(self.error["errorName"])

    @property
    def message(self) -> str:
        return "" if self.error is None else str(self.error["message"])

    @property
    def everything(self) -> str:
        return "\n".join(answer.everything for answer in self.answers)


def path_of(uri: str) -> str:
    parts = urlsplit(uri)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def trino_post(port: int, sql: str | bytes, headers: Fields = (("X-Trino-User", "anna"),)) -> Answer:
    body = sql if isinstance(sql, bytes) else sql.encode()
    return ask(port, "POST", "/v1/statement", headers, body)


def trino_pages(port: int, document: dict[str, Any]) -> Iterator[tuple[Answer, dict[str, Any]]]:
    """The pages that follow a document, as a patient client asks for them."""
    while "nextUri" in document:
        answer = ask(port, "GET", path_of(document["nextUri"]))
        if answer.status == 503:
            time.sleep(0.1)
            continue
        assert answer.status == 200, answer
        document = answer.json()
        yield answer, document


def first_data(port: int, created: Answer) -> dict[str, Any]:
    """The first document of a query that has rows; the query goes on."""
    assert created.status == 200, created
    return next(document for _, document in trino_pages(port, created.json()) if "data" in document)


def trino_run(port: int, sql: str | bytes, headers: Fields = (("X-Trino-User", "anna"),)) -> Told:
    """A whole query."""
    first = trino_post(port, sql, headers)
    assert first.status == 200, first
    told, document = Told(answers=[first]), first.json()
    told.id, told.error = document["id"], document.get("error")
    for answer, page in trino_pages(port, document):
        told.answers.append(answer)
        told.rows += page.get("data", [])
        told.error = page.get("error") or told.error
    return told


# --- ClickHouse -------------------------------------------------------------------------------------------


def clickhouse(
    port: int, sql: str | bytes, params: Mapping[str, str] | None = None, headers: Fields = ()
) -> Answer:
    """One statement in the body of a POST."""
    body = sql if isinstance(sql, bytes) else sql.encode()
    return ask(port, "POST", "/?" + urlencode(params or {}), headers, body)


def code_of(answer: Answer) -> str | None:
    """ClickHouse's number of the error, None where there is none."""
    return answer.header("X-ClickHouse-Exception-Code")


# --- the gateway from outside -----------------------------------------------------------------------------


def eventually(condition: Callable[[], Any], what: str = "", *, within: float = PATIENCE_S) -> Any:
    """What `condition` gives once it is true. Fails with `what` after `within` seconds."""
    deadline = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < deadline, what or "it did not happen in time"
        time.sleep(0.1)
    return found


def audit(server: GatewayServer) -> list[dict[str, Any]]:
    """All audit records of all processes, in the order of each file; `record` is what each is about."""
    records = []
    for path in sorted((server.directory / "audit").glob("*.audit")):
        for line in path.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):  # the line that is being written
                whole = json.loads(line[line.index("{") :]) if "{" in line else {"k": "", "r": {}}
                records.append({**whole["r"], "record": whole["k"]})
    return records


def ends(server: GatewayServer) -> dict[str, dict[str, Any]]:
    """The record of each query's end, by the engine's id of it and by the gateway's."""
    found = {}
    for record in audit(server):
        if record.get("outcome") and record.get("query_id"):
            found[record["query_id"]] = record
            if record.get("engine_query_id"):
                found[record["engine_query_id"]] = record
    return found


def gauge(server: GatewayServer, line: str) -> float:
    """The value of one metric, written with its labels; 0 where it was never set."""
    match = re.search(rf"^{re.escape(line)} (\S+)$", server.metrics(), re.MULTILINE)
    return float(match[1]) if match else 0.0


def resident_mb(pid: int) -> float:
    """Memory of a process that is in RAM, in MB."""
    match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match is not None
    return int(match[1]) / 1024
