"""What `gateway serve` runs: one process, or a parent with several proxies; reload, drain and exit codes."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from gateway.core.tasks import Supervisor
from gateway.edge.admission import AdmissionBook
from gateway.edge.admission_socket import AdmissionServer
from gateway.runtime import build
from gateway.runtime.admin import AdminDoors
from gateway.runtime.process import GatewayProcess
from gateway.runtime.proxy import Place
from gateway.runtime.state import StateDir, shared_key
from gateway.settings import Settings, SettingsError
from gateway.settings.watch import SettingsWatcher

log = logging.getLogger(__name__)

RESTART_S = 1.0
_PR_SET_PDEATHSIG = 1
PLACE_VARIABLE = "GATEWAY_PROCESS"
"""Tells a child which proxy it is: "index/count"."""


async def run_host(
    path: Path, settings: Settings, workers: int, announce: Callable[[GatewayProcess], None] | None = None
) -> bool:
    """Serve until SIGTERM or SIGINT; True if every running query could finish."""
    place = _place_from_environment()
    if place is not None:
        end_with_parent()
        return await _run_process(path, settings, place, announce)
    if workers == 1:
        return await _run_process(path, settings, Place(), announce)
    return await Parent(path, settings, workers).run()


def _place_from_environment() -> Place | None:
    value = os.environ.get(PLACE_VARIABLE)
    if value is None:
        return None
    index, _, count = value.partition("/")
    return Place(int(index), int(count))


def end_with_parent() -> None:
    """Let the kernel send SIGTERM to this process when its parent dies, however that happens (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _stop_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _run_process(
    path: Path, settings: Settings, place: Place, announce: Callable[[GatewayProcess], None] | None
) -> bool:
    stop = _stop_signals()
    process = GatewayProcess(settings, place)
    watching = Supervisor("settings")
    watcher = SettingsWatcher(path, settings, follow_files=settings.server.reload)
    doors = AdminDoors(process, path)
    try:
        await process.start()
        await doors.open()
        if announce is not None:
            announce(process)
        watcher.listen_for_sighup()
        watching.spawn(_follow(watcher, process), "watch")
        await stop.wait()
        log.info("draining: no new statements; running ones have %g s", settings.server.drain_seconds)
        return await process.drain()
    finally:
        watcher.close()
        await watching.close()
        await doors.close()
        await process.stop()


async def _follow(watcher: SettingsWatcher, process: GatewayProcess) -> None:
    async for change in watcher:
        if change.settings is None:
            process.refused([str(problem) for problem in change.problems])
            continue
        try:
            await process.reload(change.settings)
        except SettingsError as error:
            process.refused([str(problem) for problem in error.problems])
        else:
            log.info("settings reloaded (%s)", change.settings.digest)


class Parent:
    """Starts the proxies, keeps their number, keeps the admission book, passes signals on."""

    def __init__(self, path: Path, settings: Settings, workers: int) -> None:
        self._path = path
        self._settings = settings
        self._workers = workers
        self._state = StateDir.open(settings)
        self._supervisor = Supervisor("parent", grace=settings.server.drain_seconds + 10)
        self._children: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = False

    async def run(self) -> bool:
        """Until told to stop; True if every proxy drained in time."""
        stop = _stop_signals()
        shared_key(self._settings, self._state)  # made once, before the children look for it
        book = AdmissionBook(build.admission_limits(self._settings))
        admission = AdmissionServer(book, self._state.admission_socket)
        await admission.start()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._pass_on, signal.SIGHUP)
        keepers = [
            self._supervisor.spawn(self._keep(index), f"proxy-{index}") for index in range(self._workers)
        ]
        try:
            await stop.wait()
            self._stopping = True
            self._pass_on(signal.SIGTERM)
            codes = await asyncio.gather(*keepers)
            return all(code == 0 for code in codes)
        finally:
            await admission.close()
            await self._supervisor.close()

    async def _keep(self, index: int) -> int:
        while True:
            child = await self._start(index)
            code = await child.wait()
            if self._stopping:
                return code
            log.error("proxy %d ended with exit code %d; starting it again", index, code)
            await asyncio.sleep(RESTART_S)

    async def _start(self, index: int) -> asyncio.subprocess.Process:
        environment = {**os.environ, PLACE_VARIABLE: f"{index}/{self._workers}"}
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "serve", "--config", str(self._path), env=environment
        )
        self._children[index] = child
        return child

    def _pass_on(self, number: signal.Signals) -> None:
        for child in self._children.values():
            if child.returncode is None:
                child.send_signal(number)
