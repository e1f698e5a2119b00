"""Real Trino, ClickHouse, PostgreSQL and Redis as child processes: for the demo, tests and benchmarks.

    with RealEngines() as engines:
        trino = engines.start_trino()
        clickhouse = engines.start_clickhouse()

Every engine listens on 127.0.0.1 on a free port (or the given one), is ready when `start_…` returns, and ends
with `stop()`, with `RealEngines.close()`, and when this process ends in any way, `kill -9` included
(`keeper.py`). The calls block; from async code use `asyncio.to_thread`. Engines may be started from several
threads at once.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from gateway.demo import engine_files, engine_probes, toolbox
from gateway.demo.engine_files import Properties
from gateway.demo.engine_probes import HOST
from gateway.demo.toolbox import Toolbox, ToolMissing

_HERE = Path(__file__).parent
_PORTS = range(20000, 32000)  # below Linux's range for outgoing connections, so that none of those takes one
_LOG_TAIL_BYTES = 3000

E = TypeVar("E", bound="Engine")


class EngineFailed(RuntimeError):
    """An engine did not start, or not in time. The message holds the end of its log."""


@dataclass(slots=True)
class Engine:
    """One running engine process.

    `pid` is the engine itself and the id of its process group; `log` is where it writes.
    """

    name: str
    host: str
    port: int
    pid: int
    directory: Path
    log: Path
    grace: float
    _keeper: subprocess.Popen[bytes] = field(repr=False)

    @property
    def running(self) -> bool:
        """Whether the process is still there; a paused one is."""
        return self._keeper.poll() is None

    def pause(self) -> None:
        """SIGSTOP: the engine hangs, its connections stay open."""
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after `pause()`."""
        os.killpg(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, as a crash would look; returns when the process is gone."""
        if self.running:
            os.killpg(self.pid, signal.SIGKILL)
        self._wait_for_end()

    def stop(self) -> None:
        """Ask for the end, insist after `grace` seconds; returns when the process is gone. Repeatable."""
        if self._keeper.stdin is not None and not self._keeper.stdin.closed:
            try:
                self._keeper.stdin.write(b"q")  # a goodbye: without it the keeper takes us for dead
                self._keeper.stdin.close()
            except BrokenPipeError:
                pass  # it has ended already, with the engine
        self._wait_for_end()

    def _wait_for_end(self) -> None:
        try:
            self._keeper.wait(self.grace + 10)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._keeper.kill()
            self._keeper.wait()
        for stream in (self._keeper.stdin, self._keeper.stdout):
            if stream is not None:
                stream.close()


@dataclass(slots=True)
class TrinoServer(Engine):
    """A Trino coordinator that also works; no authentication: any user name is taken."""

    process_forwarded: bool

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


@dataclass(slots=True)
class ClickHouseServer(Engine):
    """A ClickHouse server; `user` has full rights. So has `default`, which has no password here."""

    tcp_port: int
    user: str
    password: str

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


@dataclass(slots=True)
class PostgresServer(Engine):
    """A PostgreSQL cluster of its own; `user` is its superuser."""

    user: str
    password: str
    database: str

    @property
    def dsn(self) -> str:
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{self.database}"


@dataclass(slots=True)
class RedisServer(Engine):
    """A Redis that keeps nothing on disk."""

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on now. Raises EngineFailed when 200 tries find none."""
    for _ in range(200):
        port = random.choice(_PORTS)  # not a secret
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise EngineFailed(f"no free port on {HOST} between {_PORTS.start} and {_PORTS.stop}; end some servers")


def _port(wanted: int | None) -> int:
    """The wanted port if it is free, else any. A taken one would answer in the new engine's place."""
    if wanted is None:
        return free_port()
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # leftovers of closed connections do not count
        try:
            probe.bind((HOST, wanted))
        except OSError as error:
            raise EngineFailed(
                f"port {wanted} on {HOST} is taken ({error}); end its owner or give another"
            ) from error
    return wanted


class RealEngines:
    """Starts real engines and ends exactly those. A context manager, also an async one.

    `directory` keeps data and logs, one folder per engine; without it a temporary one is made and removed.
    `start_timeout` bounds the wait for readiness of each engine, in seconds (Trino needs 11-13 s on an idle
    machine with two cores). `start_…` raise ToolMissing when a part is not installed and EngineFailed when it
    does not come up.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        tools: Toolbox | None = None,
        start_timeout: float = 120.0,
        stop_grace: float = 10.0,
    ) -> None:
        self._temporary = directory is None
        self.directory = (directory or Path(tempfile.mkdtemp(prefix="gateway-engines-"))).resolve()
        self.directory.mkdir(parents=True, exist_ok=True)
        self._tools = tools or Toolbox.default()
        self._start_timeout = start_timeout
        self._stop_grace = stop_grace
        self._engines: list[Engine] = []
        self._lock = threading.Lock()

    def __enter__(self) -> RealEngines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> RealEngines:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Stop every engine, side by side, and remove the temporary directory. Repeatable."""
        with self._lock:
            engines, self._engines = self._engines, []
        stoppers = [threading.Thread(target=engine.stop, name=f"stop-{engine.name}") for engine in engines]
        for stopper in stoppers:
            stopper.start()
        for stopper in stoppers:
            stopper.join()
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def start_trino(
        self,
        *,
        process_forwarded: bool = True,
        name: str = "trino",
        port: int | None = None,
        memory: str = "1500M",
        quick_start: bool = False,
        catalogs: Mapping[str, Properties] | None = None,
        plugins: Iterable[str] = (),
        config: Properties | None = None,
    ) -> TrinoServer:
        """Trino with the catalogs tpch, tpcds, memory, blackhole and lake (Iceberg on local files).

        `catalogs` adds or replaces catalogs by their properties; `plugins` adds plugin folders by name (for
        `CREATE CATALOG` later, or `opa`); `config` adds to config.properties; `memory` is Java's -Xmx;
        `quick_start` leaves Java's second compiler off: half the CPU until ready, slower in the long run, so
        right for tests and wrong for measurements.
        """
        java = toolbox.require(self._tools.java, "Java for Trino")
        home = toolbox.require(self._tools.trino, f"Trino {toolbox.TRINO_VERSION}")
        folder, port = self._folder(name), _port(port)
        lake = engine_files.lake_catalog(folder / "lake")
        wanted = {**engine_files.DEFAULT_CATALOGS, "lake": lake, **(catalogs or {})}
        engine_files.link_plugins(home, folder / "plugin", [*engine_files.plugins_of(wanted), *plugins])
        properties = engine_files.write_trino(
            folder, port=port, process_forwarded=process_forwarded, catalogs=wanted, config=config or {}
        )
        command = engine_files.trino_command(java, home, folder, properties, memory, quick_start)
        pid, keeper = self._spawn(folder, command)
        server = TrinoServer(
            name, HOST, port, pid, folder, folder / "log", self._stop_grace, keeper, process_forwarded
        )
        return self._ready(server, lambda: engine_probes.trino_ready(port))

    def start_clickhouse(
        self,
        *,
        name: str = "clickhouse",
        port: int | None = None,
        tcp_port: int | None = None,
        gateway_password: str = "gateway",
        users_xml: str = "",
        profiles_xml: str = "",
        config_xml: str = "",
    ) -> ClickHouseServer:
        """ClickHouse with the users `default` (no password) and `gateway`, and a quick query_log.

        `users_xml`, `profiles_xml` and `config_xml` are put into `<users>`, `<profiles>` and `<clickhouse>`
        as they are, and read at the start only. This build has no users created by SQL, no ON CLUSTER, no
        replication, no HTTPS, and cannot give `default` a password.
        """
        library = toolbox.require(
            self._tools.clickhouse_library, f"ClickHouse {toolbox.CLICKHOUSE_VERSION} (Linux on x86-64 only)"
        )
        folder = self._folder(name)
        port, tcp_port = _port(port), _port(tcp_port)
        config = engine_files.write_clickhouse(
            folder,
            gateway_password=gateway_password,
            users_xml=users_xml,
            profiles_xml=profiles_xml,
            config_xml=config_xml,
        )
        (folder / "data").mkdir(exist_ok=True)
        command = [
            *(sys.executable, "-I", "-S", str(_HERE / "clickhouse_process.py"), str(library)),
            *(f"--config-file={config}", f"--path={folder / 'data'}", f"--listen_host={HOST}"),
            *(f"--http_port={port}", f"--tcp_port={tcp_port}"),
        ]
        pid, keeper = self._spawn(folder, command)
        server = ClickHouseServer(
            *(name, HOST, port, pid, folder, folder / "log", self._stop_grace, keeper),
            tcp_port=tcp_port,
            user="gateway",
            password=gateway_password,
        )
        return self._ready(
            server, lambda: engine_probes.clickhouse_ready(port, tcp_port, server.user, server.password)
        )

    def start_postgres(
        self,
        *,
        name: str = "postgres",
        port: int | None = None,
        user: str = "gw",
        password: str = "gw",
        database: str = "gw",
    ) -> PostgresServer:
        """A PostgreSQL cluster of its own, without durability (no fsync). Root runs it as `postgres`."""
        initdb, postgres, createdb = (_postgres(name) for name in ("initdb", "postgres", "createdb"))
        folder, port = self._folder(name), _port(port)
        account = "postgres" if os.geteuid() == 0 else None
        # Not inside `folder`: the other user must be able to reach it through every parent.
        data = Path(tempfile.mkdtemp(prefix="gateway-postgres-"))
        try:
            _init_postgres(initdb, data, account, user, password)
        except BaseException:
            shutil.rmtree(data, ignore_errors=True)
            raise
        command = [
            *(str(postgres), "-D", str(data / "db"), "-p", str(port), "-h", HOST, "-k", ""),
            *("-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off"),
        ]
        options = ["--remove", str(data), "--stop-signal", "SIGINT"]  # SIGINT: PostgreSQL's fast shutdown
        pid, keeper = self._spawn(
            folder, command, options=[*options, *(["--user", account] if account else [])]
        )
        server = PostgresServer(
            *(
                name,
                HOST,
                port,
                pid,
                folder,
                folder / "log",
                self._stop_grace,
                keeper,
                user,
                password,
                database,
            )
        )
        return self._ready(
            server, lambda: engine_probes.postgres_database(createdb, port, user, password, database)
        )

    def start_redis(self, *, name: str = "redis", port: int | None = None) -> RedisServer:
        """Redis without persistence and without a password."""
        program = toolbox.system_program("redis-server")
        if program is None:
            raise ToolMissing(f"redis-server is not installed; {toolbox.HOW_TO_INSTALL}")
        folder, port = self._folder(name), _port(port)
        command = [
            *(str(program), "--port", str(port), "--bind", HOST, "--dir", str(folder)),
            *("--save", "", "--appendonly", "no", "--daemonize", "no"),
        ]
        pid, keeper = self._spawn(folder, command)
        server = RedisServer(name, HOST, port, pid, folder, folder / "log", self._stop_grace, keeper)
        return self._ready(server, lambda: engine_probes.redis_ready(port))

    def start_program(
        self, name: str, port: int, command: Callable[[Path], Sequence[str]], answers: Callable[[], bool]
    ) -> Engine:
        """Any other server under the same care: `command` gets the server's folder, `answers` says it is ready."""
        folder = self._folder(name)
        pid, keeper = self._spawn(folder, command(folder))
        server = Engine(name, HOST, port, pid, folder, folder / "log", self._stop_grace, keeper)
        return self._ready(server, answers)

    def engine(self, name: str) -> Engine | None:
        """The running engine or program of that name."""
        with self._lock:
            return next((e for e in self._engines if e.name == name and e.running), None)

    def _folder(self, name: str) -> Path:
        """A folder for an engine of that name. Names may come back once their engine has ended."""
        with self._lock:
            if any(engine.name == name and engine.running for engine in self._engines):
                raise ValueError(f"an engine named {name!r} is already running; give another name")
        folder = self.directory / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _spawn(
        self, folder: Path, command: Sequence[str], options: Sequence[str] = ()
    ) -> tuple[int, subprocess.Popen[bytes]]:
        keep = [sys.executable, "-I", "-S", str(_HERE / "keeper.py"), "--grace", str(self._stop_grace)]
        if self._temporary:
            keep += ["--remove-if-abandoned", str(folder)]
        log_path = folder / "log"
        if log_path.exists():
            log_path.replace(folder / "log.previous")
        with log_path.open("wb") as log:
            keeper = subprocess.Popen(
                [*keep, *options, "--", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                start_new_session=True,  # Ctrl-C is for us; we then stop the engines in order
            )
        if keeper.stdout is None:
            raise EngineFailed("the keeper has no output")
        line = keeper.stdout.readline()
        if not line.strip().isdigit():
            keeper.wait()
            raise EngineFailed(f"{command[0]} did not start:\n{_tail(log_path)}")
        return int(line), keeper

    def _ready(self, engine: E, answers: Callable[[], bool]) -> E:
        """Wait until `answers()`; register the engine first, so that a failure leaves nothing behind."""
        with self._lock:
            self._engines.append(engine)
        deadline = time.monotonic() + self._start_timeout
        while not answers():
            if not engine.running:
                engine.stop()
                raise EngineFailed(
                    f"{engine.name} ended while starting; the end of {engine.log}:\n{_tail(engine.log)}"
                )
            if time.monotonic() > deadline:
                engine.stop()
                raise EngineFailed(
                    f"{engine.name} was not ready within {self._start_timeout:.0f} s; "
                    f"the end of {engine.log}:\n{_tail(engine.log)}"
                )
            time.sleep(0.1)
        return engine


def _postgres(name: str) -> Path:
    program = toolbox.postgres_program(name)
    if program is None:
        raise ToolMissing(f"PostgreSQL's {name} is not installed; {toolbox.HOW_TO_INSTALL}")
    return program


def _init_postgres(initdb: Path, data: Path, account: str | None, user: str, password: str) -> None:
    """Make an empty cluster in `data`/db whose only user is `user`; runs as the system user `account`."""
    secret = data / "password"
    secret.write_text(password)
    if account:
        shutil.chown(data, account)
        shutil.chown(secret, account)
    outcome = subprocess.run(
        [
            *(str(initdb), "-D", str(data / "db"), "-U", user, f"--pwfile={secret}"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"),
        ],
        user=account,
        group=account,
        extra_groups=[] if account else None,
        cwd=data,
        capture_output=True,
        timeout=120,
        check=False,
    )
    secret.unlink()
    if outcome.returncode:
        raise EngineFailed(f"initdb failed: {outcome.stderr.decode(errors='replace')[-_LOG_TAIL_BYTES:]}")


def _tail(log: Path) -> str:
    if not log.exists():
        return "(no log)"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _LOG_TAIL_BYTES))
        return file.read().decode(errors="replace")
