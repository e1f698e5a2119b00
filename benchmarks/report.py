"""What was measured: rows, the table for people, the file for machines."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
MACHINE = "machine"
LOAD = "load average"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `target` is direct, gateway, a peer, or "machine" for the load average meanwhile."""

    work: str
    target: str
    metric: str
    value: float
    unit: str


@dataclass(slots=True)
class Report:
    """Rows in the order measured, and what is missing with the reason."""

    quick: bool = False
    rows: list[Row] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)

    def add(self, work: str, target: str, metric: str, value: float, unit: str) -> None:
        """Three decimals are kept."""
        self.rows.append(Row(work, target, metric, round(value, 3), unit))

    def lacks(self, what: str, why: str) -> None:
        """Something is not measured: an absent peer, a target that failed."""
        self.missing.append((what, " ".join(why.split())[:300]))

    def note_load(self, work: str) -> None:
        """The machine's load average now (1 minute), to stand beside the figures of this work."""
        self.add(work, MACHINE, LOAD, os.getloadavg()[0], "")

    def value(self, work: str, target: str, metric: str) -> float | None:
        """A figure, or None where it was not measured."""
        found = (r.value for r in self.rows if (r.work, r.target, r.metric) == (work, target, metric))
        return next(found, None)

    def works(self) -> list[str]:
        """Names in the order measured."""
        return list(dict.fromkeys(row.work for row in self.rows))

    def document(self) -> dict[str, Any]:
        """What a results file holds."""
        return {
            "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "commit": commit(),
            "quick": self.quick,
            "machine": {
                "cores": os.cpu_count(),
                "cpu": _cpu(),
                "python": platform.python_version(),
                "system": f"{platform.system()} {platform.release()}",
            },
            "missing": [{"what": what, "why": why} for what, why in self.missing],
            "rows": [asdict(row) for row in self.rows],
        }

    def save(self, folder: Path = RESULTS) -> Path:
        """Write `<utc>-<commit>.json`; returns where."""
        folder.mkdir(parents=True, exist_ok=True)
        document = self.document()
        stamp = document["at"].replace("-", "").replace(":", "").partition("+")[0]
        path = folder / f"{stamp}Z-{document['commit']}.json"
        rows = ",\n".join("    " + json.dumps(row) for row in document.pop("rows"))
        head = json.dumps(document, indent=2).removesuffix("\n}")
        path.write_text(f'{head},\n  "rows": [\n{rows}\n  ]\n}}\n')
        return path


def commit() -> str:
    """The short commit of this checkout, `+` where gateway/ has changes that are not committed."""
    here = Path(__file__).parent.parent

    def git(*words: str) -> str:
        outcome = subprocess.run(
            ["git", "-C", str(here), *words], capture_output=True, text=True, timeout=30, check=False
        )
        return outcome.stdout.strip() if outcome.returncode == 0 else ""

    name = git("rev-parse", "--short=10", "HEAD") or "unknown"
    return name + ("+" if git("status", "--porcelain", "--", "gateway") else "")


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def show(report: Report, console: Console, targets: Sequence[str]) -> None:
    """The table: one line a metric, one column a target, and the gateway against each peer."""
    peers = [target for target in targets if target not in ("direct", "gateway")]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("work", "metric", "unit"):
        table.add_column(name, style="bold" if name == "work" else "")
    for name in [*targets, *(f"/ {peer}" for peer in ("direct", *peers))]:
        table.add_column(name, justify="right")
    for work in report.works():
        load = report.value(work, MACHINE, LOAD)
        label = work if load is None else f"{work}  [dim](load {load:.1f})[/dim]"
        for metric, unit in _metrics(report.rows, work):
            values = {target: report.value(work, target, metric) for target in targets}
            mine = values.get("gateway")
            ratios = [_ratio(mine, values.get(peer)) for peer in ("direct", *peers)]
            table.add_row(label, metric, unit, *(_figure(values[target]) for target in targets), *ratios)
            label = ""
        table.add_section()
    console.print(table)
    for what, why in report.missing:
        console.print(f"missing: {what}: {why}", style="yellow", markup=False, highlight=False)


def _metrics(rows: Iterable[Row], work: str) -> list[tuple[str, str]]:
    found = ((row.metric, row.unit) for row in rows if row.work == work and row.target != MACHINE)
    return list(dict.fromkeys(found))


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 100 else f"{value:.1f}"


def _ratio(mine: float | None, other: float | None) -> str:
    return f"{mine / other:.2f}x" if mine is not None and other else ""
