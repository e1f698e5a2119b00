"""An engine that only writes down what it gets: to see what the gateway sends, to the last byte."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

SUFFIX = "rec23"


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request as it arrived."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def everything(self) -> str:
        lines = "\n".join(f"{name}: {value}" for name, value in self.headers)
        return f"{self.method} {self.target}\n{lines}\n\n{self.body.decode('utf-8', 'replace')}"

    def header(self, name: str) -> str | None:
        return next((value for known, value in self.headers if known.lower() == name.lower()), None)


@dataclass
class RecordingUpstream:
    """Answers as Trino or ClickHouse would just so far that the gateway goes on talking to it."""

    requests: list[Recorded] = field(default_factory=list)
    _server: ThreadingHTTPServer | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def with_text(self, mark: str) -> list[Recorded]:
        """The requests whose body holds `mark`."""
        return [request for request in self.requests if mark.encode() in request.body]

    def __enter__(self) -> RecordingUpstream:
        recorded = self.requests

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = _body(self)
                recorded.append(Recorded(self.command, self.path, tuple(self.headers.items()), body))
                content = _reply(self.path, self.headers.get("Host", ""))
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = _answer

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    if handler.headers.get("Transfer-Encoding") == "chunked":
        content = b""
        while size := int(handler.rfile.readline(), 16):
            content += handler.rfile.read(size)
            handler.rfile.readline()
        handler.rfile.readline()
        return content
    return handler.rfile.read(int(handler.headers.get("Content-Length", "0")))


def _reply(path: str, host: str) -> bytes:
    query_id = f"20260101_000000_00001_{SUFFIX}"
    if path.startswith("/v1/info"):
        return json.dumps(
            {"starting": False, "nodeVersion": {"version": "476"}, "coordinatorId": SUFFIX}
        ).encode()
    if path.startswith("/v1/statement"):
        document = {
            "id": query_id,
            "infoUri": f"http://{host}/ui/query.html?{query_id}",
            "stats": {"state": "QUEUED", "queued": True, "scheduled": False},
        }
        if path == "/v1/statement":
            document["nextUri"] = f"http://{host}/v1/statement/queued/{query_id}/yslug/1"
        else:
            document["stats"] = {"state": "FINISHED", "queued": False, "scheduled": True}
        return json.dumps(document).encode()
    return b'["26.7"]\n'
