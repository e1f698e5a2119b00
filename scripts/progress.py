"""One line a part while things are being installed, on a terminal and in a log. Standard library only."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_TICK_SECONDS = 0.15
_HEARTBEAT_SECONDS = 30.0


def size_of(path: Path) -> int:
    """Bytes below `path`, as far as they can be read now; files may come and go meanwhile."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 - thousands of files a tick
            except FileNotFoundError:
                pass
    return total


class Line:
    """What one part is doing. `watch` is a folder whose growth shows that a download goes on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = "waiting"
        self.watch: Path | None = None
        self.started: float | None = None
        self.finished = False

    def render(self, frame: str) -> str:
        mark = "✓" if self.finished else frame if self.started else " "
        seconds = f" {time.monotonic() - self.started:.0f} s" if self.started and not self.finished else ""
        grown = ""
        if self.watch is not None and not self.finished:
            grown = f" {size_of(self.watch) / 1e6:,.0f} MB"
        return f"  {mark} {self.name:<22} {self.text}{grown}{seconds}"


class Progress:
    """Shows the lines: redrawn in place on a terminal, one printed line a change elsewhere."""

    def __init__(self, names: Sequence[str]) -> None:
        self.lines = {name: Line(name) for name in names}
        self._live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._drawn = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._live:
            self._draw("✓")

    def say(self, name: str, text: str, watch: Path | None = None) -> None:
        line = self.lines[name]
        line.started = line.started or time.monotonic()
        line.text, line.watch = text, watch
        self._announce(line)

    def done(self, name: str, text: str) -> None:
        line = self.lines[name]
        line.text, line.finished = text, True
        self._announce(line)

    def _announce(self, line: Line) -> None:
        if not self._live:
            with self._lock:
                print(f"setup: {line.name}: {line.text}", flush=True)

    def _run(self) -> None:
        turn, quiet_until = 0, time.monotonic() + _HEARTBEAT_SECONDS
        while not self._stop.wait(_TICK_SECONDS):
            turn += 1
            if self._live:
                self._draw(_FRAMES[turn % len(_FRAMES)])
            elif time.monotonic() > quiet_until:
                quiet_until = time.monotonic() + _HEARTBEAT_SECONDS
                with self._lock:
                    for line in self.lines.values():
                        if line.started and not line.finished:
                            print(f"setup:{line.render('…')}", flush=True)

    def _draw(self, frame: str) -> None:
        with self._lock:
            if self._drawn:
                sys.stdout.write(f"\x1b[{self._drawn}F")
            for line in self.lines.values():
                sys.stdout.write(f"\x1b[2K{line.render(frame)}\n")
            self._drawn = len(self.lines)
            sys.stdout.flush()
