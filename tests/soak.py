"""`make soak ARGS="--minutes 60"`: the suite's property tests again and again, each round with a new seed.

Each round leaves a line in `tests/evidence/soak.jsonl`: commit, command, seed, count of tests, failures.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path

EVIDENCE = Path(__file__).parent / "evidence" / "soak.jsonl"
_COUNTS = re.compile(r"(\d+) (passed|failed|error)")


def main() -> int:
    """Exit code 1 if any round failed; the seed in its line repeats it."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long to go on starting rounds")
    parser.add_argument("--tests", nargs="*", default=["tests"], help="files or folders; default: all")
    options = parser.parse_args()
    until, failures = time.monotonic() + options.minutes * 60, 0
    while True:
        failures += _round(options.tests, random.SystemRandom().randrange(1 << 31))
        if time.monotonic() >= until:
            return 1 if failures else 0


def _round(tests: list[str], seed: int) -> int:
    command = [
        "pytest",
        "-q",
        "-m",
        "hypothesis",
        "--hypothesis-profile=soak",
        f"--hypothesis-seed={seed}",
        *tests,
    ]
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
    counts = {word: int(number) for number, word in _COUNTS.findall(done.stdout)}
    failed = counts.get("failed", 0) + counts.get("error", 0)
    if done.returncode not in (0, 1) or not counts:
        sys.exit(f"the round did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    line = {
        "commit": _commit(),
        "command": " ".join(command),
        "seed": seed,
        "count": sum(counts.values()),
        "failures": failed,
        "seconds": round(time.monotonic() - started, 1),
    }
    EVIDENCE.parent.mkdir(exist_ok=True)
    with EVIDENCE.open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)
    if failed:
        print(done.stdout[-8000:], flush=True)
    return failed


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
