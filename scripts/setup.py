#!/usr/bin/env python3
"""Install what a task needs: the Python environment, and the real engines outside the tree.

    python scripts/setup.py --only demo|check|test|bench     # default: test
    python scripts/setup.py --list                           # what is there; changes nothing

Tools go to $GATEWAY_TOOLS (default: lakehouse-gateway in the user's cache folder). A part counts only when it
is complete: it is prepared beside its place and renamed last, so an interrupted run is simply started again.
Exits 1 when a part that the task needs is missing, and says what to do. Standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import shutil
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 - run before anything has checked it
    sys.exit("setup: Python 3.11 or newer is needed; name it, for example: make test PYTHON=python3.12")

from parts import SELECTIONS, Part, Problem, Toolbox, Workshop
from progress import Progress

_LOCK_TIMEOUT = 3600.0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=sorted(SELECTIONS), default="test", help="for which task")
    parser.add_argument("--list", action="store_true", help="show the state of every part; change nothing")
    return parser.parse_args()


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One set-up at a time works on the tools folder."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as lock:
        deadline = time.monotonic() + _LOCK_TIMEOUT
        told = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    sys.exit("setup: another set-up has held the tools folder for an hour; end it first")
            if not told:
                print("setup: another set-up is at work; waiting for it", flush=True)
                told = True
            time.sleep(0.5)
        yield


def _remove_leftovers(root: Path) -> None:
    for leftover in root.glob("*.partial*"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def _bring(parts: Sequence[Part], workshop: Workshop) -> dict[str, str]:
    """Install the parts side by side, each after those that it needs; returns what went wrong, by name."""
    problems: dict[str, str] = {}
    by_name = {part.name: part for part in parts}
    with Progress(list(by_name)) as progress, ThreadPoolExecutor(max_workers=len(parts)) as pool:

        def install(part: Part) -> None:
            for need in part.needs:
                if need in futures:
                    futures[need].result()
                if need in problems:
                    problems[part.name] = f"needs {need}"
                    progress.done(part.name, f"not installed: needs {need}")
                    return
            try:
                part.install(workshop, lambda text, watch=None: progress.say(part.name, text, watch))
                if not part.present(workshop):
                    raise Problem("the installation ended without an error, but the part is not there")
            except (Problem, OSError, tarfile.TarError) as problem:
                problems[part.name] = str(problem)
                progress.done(part.name, "not installed")
            else:
                progress.done(part.name, "installed")

        order = sorted(parts, key=lambda part: len(part.needs))  # what is needed is submitted first
        futures = {}
        for part in order:
            futures[part.name] = pool.submit(install, part)
        for future in futures.values():
            future.result()
    return problems


def _table(parts: Sequence[Part], workshop: Workshop, problems: dict[str, str]) -> str:
    rows = [("part", "version", "state")]
    notes = []
    for part in parts:
        present = part.present(workshop)
        rows.append((part.name, part.version, "ready" if present else "missing"))
        if not present:
            grade = "needed" if part.required else "optional"
            reason = problems.get(part.name, "not installed yet")
            notes.append(f"{part.name} ({grade}): {reason}\n    what to do: {part.hint}")
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [
        "  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join([*lines, *notes])


def main() -> int:
    options = _arguments()
    started = time.monotonic()
    workshop = Workshop(Toolbox.default(), Path(__file__).resolve().parent.parent)
    parts = SELECTIONS[options.only]
    missing = [part for part in parts if not part.present(workshop)]
    problems: dict[str, str] = {}
    if options.list:
        print(_table(parts, workshop, problems))
    elif missing:
        with _alone(workshop.tools.root):
            _remove_leftovers(workshop.tools.root)
            missing = [part for part in parts if not part.present(workshop)]
            problems = _bring(missing, workshop) if missing else {}
        print(_table(parts, workshop, problems))
    lacking = [part.name for part in parts if part.required and not part.present(workshop)]
    if lacking:
        print(f"setup: missing for `{options.only}`: {', '.join(lacking)}", file=sys.stderr)
        return 1
    if not options.list:
        print(
            f"setup: all that `{options.only}` needs is there ({time.monotonic() - started:.1f} s)",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\nsetup: interrupted; run it again to go on", file=sys.stderr, flush=True)
        os._exit(130)  # the installers got the same Ctrl-C; do not wait for their threads
