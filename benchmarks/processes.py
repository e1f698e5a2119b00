"""CPU and memory of a process and all its descendants, from /proc."""

from __future__ import annotations

import os
import time
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """The process and its descendants that are alive now."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (fields := _stat(int(folder.name))) is not None:
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        todo += children.get(one, ())
    return found


def settled_tree(pid: int, longest_s: float = 15.0) -> list[int]:
    """The tree once its memory has stopped growing: children of a fresh start are still loading."""
    until = time.monotonic() + longest_s
    before = -1.0
    while True:
        pids = tree(pid)
        now = resident_mb(pids)
        if abs(now - before) < 0.5 or time.monotonic() > until:
            return pids
        before = now
        time.sleep(1.0)


def cpu_seconds(pids: list[int]) -> float:
    """User and system time so far, in seconds (steps of 10 ms); ended processes count no more."""
    used = 0
    for pid in pids:
        if (fields := _stat(pid)) is not None:
            used += int(fields[11]) + int(fields[12])
    return used / _TICKS


def resident_mb(pids: list[int]) -> float:
    """Memory in use now, in MB (10^6 bytes)."""
    return _status_mb(pids, "VmRSS")


def peak_mb(pids: list[int]) -> float:
    """The most memory each has used since `reset_peak`, summed, in MB."""
    return _status_mb(pids, "VmHWM")


def reset_peak(pids: list[int]) -> None:
    """Let `peak_mb` start from now. Where the kernel forbids it, the peak is the one since the start."""
    for pid in pids:
        try:
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        except OSError:
            continue


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat after the name; None if the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _status_mb(pids: list[int], name: str) -> float:
    kib = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            continue
        kib += sum(int(line.split()[1]) for line in lines if line.startswith(name + ":"))
    return kib * 1024 / 1e6
