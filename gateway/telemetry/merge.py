"""Many processes, one exposition.

Each process keeps its metrics in plain memory and hands out snapshots; whoever is scraped adds them up.
The client library's own multi-process mode (memory-mapped files) was not chosen: it is switched on by an
environment variable before the first import, leaves files behind for every process that ever was, and
readers can meet a file half initialised. The price here: counts of the last moments before a process is
killed are not seen (at most since the last collection). What must not be lost is in the audit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from gateway.telemetry.catalogue import CATALOGUE, Across, Kind, MetricSpec
from gateway.telemetry.metrics import ProcessSnapshot, Sample

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Totals = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Merger:
    """Adds up snapshots, and keeps the totals of processes that were replaced: counters never step back."""

    def __init__(self, catalogue: Iterable[MetricSpec] = CATALOGUE) -> None:
        self._specs = {spec.name: spec for spec in catalogue}
        self._latest: dict[str, ProcessSnapshot] = {}
        self._departed: dict[str, Totals] = {}
        self._answers: set[str] = set()

    def update(self, snapshot: ProcessSnapshot) -> None:
        """A process's newest snapshot."""
        known = self._latest.get(snapshot.process)
        if known is not None and known.started != snapshot.started:
            self._depart(known)
        self._latest[snapshot.process] = snapshot
        self._answers.add(snapshot.process)

    def silent(self, process: str) -> None:
        """A process did not answer: its counters stay as last seen, its gauges are left out."""
        self._answers.discard(process)

    def gone(self, process: str) -> None:
        """A process ended for good."""
        self._answers.discard(process)
        if (known := self._latest.pop(process, None)) is not None:
            self._depart(known)

    def _depart(self, snapshot: ProcessSnapshot) -> None:
        for name, samples in snapshot.samples.items():
            spec = self._specs.get(name)
            if spec is not None and spec.kind is not Kind.GAUGE:
                _add(self._departed.setdefault(name, {}), samples)

    def render(self) -> bytes:
        """The text exposition of everything."""
        lines: list[str] = []
        for name, spec in self._specs.items():
            totals = self._up() if name == "gateway_process_up" else self._total(spec)
            if totals:
                lines.append(f"# HELP {name} {spec.help}")
                lines.append(f"# TYPE {name} {spec.kind.value}")
                lines.extend(_line(sample, labels, value) for (sample, labels), value in totals.items())
        return "\n".join([*lines, ""]).encode()

    def _up(self) -> Totals:
        return {
            ("gateway_process_up", (("process", process),)): float(process in self._answers)
            for process in sorted(self._latest)
        }

    def _total(self, spec: MetricSpec) -> Totals:
        totals: Totals = dict(self._departed.get(spec.name, {}))
        for process, snapshot in self._latest.items():
            samples = snapshot.samples.get(spec.name, ())
            if spec.kind is not Kind.GAUGE:
                _add(totals, samples)
            elif process in self._answers:
                _combine(totals, samples, spec.across)
        return totals


def _add(totals: Totals, samples: Iterable[Sample]) -> None:
    for sample in samples:
        key = (sample.name, sample.labels)
        totals[key] = totals.get(key, 0.0) + sample.value


def _combine(totals: Totals, samples: Iterable[Sample], across: Across) -> None:
    for sample in samples:
        key = (sample.name, sample.labels)
        known = totals.get(key)
        if known is None:
            totals[key] = sample.value
        elif across is Across.SUM:
            totals[key] = known + sample.value
        else:
            totals[key] = (min if across is Across.MIN else max)(known, sample.value)


def _line(name: str, labels: tuple[tuple[str, str], ...], value: float) -> str:
    shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
    return f"{name}{{{shown}}} {_number(value)}" if shown else f"{name} {_number(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value) if value != int(value) or abs(value) > 1e15 else str(int(value))
