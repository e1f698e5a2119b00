"""What `gateway serve` runs: one process, or a parent with several proxies; reload, drain and exit codes."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import signal
import sys
from enum import StrEnum
from pathlib import Path

from gateway.core.tasks import Supervisor
from gateway.edge.admission import AdmissionBook
from gateway.edge.admission_socket import AdmissionServer
from gateway.runtime import build
from gateway.runtime.admin import AdminDoors
from gateway.runtime.children import KeptChild
from gateway.runtime.process import GatewayProcess
from gateway.runtime.proxy import Place
from gateway.runtime.state import StateDir, shared_key
from gateway.runtime.worker import WorkerProcess
from gateway.settings import Settings, SettingsError
from gateway.settings.watch import SettingsWatcher

log = logging.getLogger(__name__)

CHILD_STOP_S = 10.0
GARBAGE_AFTER = 20_000
"""New objects (less those gone) between two looks for cycles."""
_PR_SET_PDEATHSIG = 1
PLACE_VARIABLE = "GATEWAY_PROCESS"
"""Tells a child which proxy it is: "index/count"."""


class Role(StrEnum):
    """What a `gateway serve` does. `all` is proxies and a worker; the others are for hosts of their own."""

    ALL = "all"
    PROXY = "proxy"
    WORKER = "worker"


async def run_host(path: Path, settings: Settings, workers: int, role: Role = Role.ALL) -> bool:
    """Serve until SIGTERM or SIGINT; True if every running query could finish."""
    if role is Role.WORKER:
        return await _run_worker(settings)
    place = _place_from_environment()
    if place is not None:
        end_with_parent()
        return await _run_process(path, settings, place)
    children = [KeptChild("worker", path, ("--role", Role.WORKER.value))] if role is Role.ALL else []
    if workers == 1:
        return await _run_alone(path, settings, children)
    children += [
        KeptChild(f"proxy-{i}", path, ("--role", Role.PROXY.value), {PLACE_VARIABLE: f"{i}/{workers}"})
        for i in range(workers)
    ]
    return await _run_parent(settings, children)


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


async def _run_worker(settings: Settings) -> bool:
    end_with_parent()
    stop = _stop_signals()
    worker = WorkerProcess(settings)
    await worker.start()
    try:
        await stop.wait()
    finally:
        await worker.stop()
    return True


async def _run_alone(path: Path, settings: Settings, children: list[KeptChild]) -> bool:
    """One proxy in this process, the worker beside it. The worker's end code is nobody's query."""
    keepers = Supervisor("children")
    kept = [keepers.spawn(child.keep(), child.name) for child in children]
    try:
        return await _run_process(path, settings, Place())
    finally:
        for child in children:
            child.send(signal.SIGTERM)
        if kept:
            await asyncio.wait(kept, timeout=CHILD_STOP_S)
        await keepers.close()


async def _run_process(path: Path, settings: Settings, place: Place) -> bool:
    stop = _stop_signals()
    process = GatewayProcess(settings, place)
    watching = Supervisor("settings")
    watcher = SettingsWatcher(path, settings, follow_files=settings.server.reload)
    doors = AdminDoors(process, path)
    try:
        await process.start()
        await doors.open()
        _calm_garbage_collector()
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


def _calm_garbage_collector() -> None:
    """What a start leaves (modules, settings, grammars) stays as long as the process: do not walk through it
    again and again. Requests leave few cycles, so it suffices to look for them seldom.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_AFTER, 20, 20)


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


async def _run_parent(settings: Settings, children: list[KeptChild]) -> bool:
    """Keeps the children running and the admission book; True if every one ended well."""
    stop = _stop_signals()
    state = StateDir.open(settings)
    shared_key(settings, state)  # made once, before the children look for it
    admission = AdmissionServer(AdmissionBook(build.admission_limits(settings)), state.admission_socket)
    await admission.start()
    keepers = Supervisor("children", grace=settings.server.drain_seconds + CHILD_STOP_S)

    def pass_on(number: signal.Signals) -> None:
        for child in children:
            child.send(number)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, pass_on, signal.SIGHUP)
    kept = [keepers.spawn(child.keep(), child.name) for child in children]
    try:
        await stop.wait()
        pass_on(signal.SIGTERM)
        return all(code == 0 for code in await asyncio.gather(*kept))
    finally:
        await admission.close()
        await keepers.close()
