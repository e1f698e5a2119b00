"""This process's metrics: cheap to change on the hot path, taken as a snapshot when somebody scrapes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gateway.telemetry.catalogue import CATALOGUE, LABELS, Kind, MetricSpec

MAX_SERIES = 1000
"""Label combinations kept per metric; further ones are counted together as `other`."""

OTHER = "other"

_Metric = Counter | Gauge | Histogram
_TYPES: dict[Kind, type[_Metric]] = {Kind.COUNTER: Counter, Kind.GAUGE: Gauge, Kind.HISTOGRAM: Histogram}


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of the exposition."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


@dataclass(frozen=True, slots=True)
class ProcessSnapshot:
    """A process's samples by metric name. `started` tells a restarted process from its forerunner."""

    process: str
    started: float
    samples: Mapping[str, tuple[Sample, ...]]

    def encode(self) -> bytes:
        return orjson.dumps(self)

    @classmethod
    def decode(cls, data: bytes) -> ProcessSnapshot:
        """Raises ValueError."""
        try:
            raw = orjson.loads(data)
            samples = {
                name: tuple(
                    Sample(item["name"], tuple((k, v) for k, v in item["labels"]), float(item["value"]))
                    for item in items
                )
                for name, items in raw["samples"].items()
            }
            return cls(str(raw["process"]), float(raw["started"]), samples)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a metrics snapshot: {error}") from error


class Metrics:
    """The catalogue, alive. Resolve a child once with `counter`, `gauge` or `histogram` where it is hot."""

    def __init__(self, process: str = "main", catalogue: Iterable[MetricSpec] = CATALOGUE) -> None:
        self.process = process
        self.started = time.time()
        self.registry = CollectorRegistry(auto_describe=False)
        self._specs = {spec.name: spec for spec in catalogue}
        self._metrics = {spec.name: _build(spec, self.registry) for spec in self._specs.values()}
        self._children: dict[tuple[str, tuple[str, ...]], _Metric] = {}
        self._totals: dict[tuple[str, tuple[str, ...]], float] = {}
        self._series: dict[str, int] = dict.fromkeys(self._specs, 0)

    # -- children, resolved once ----------------------------------------------------------------------------

    def counter(self, name: str, **labels: str) -> Counter:
        """Raises KeyError for a name or label that is not in the catalogue."""
        child = self._child(name, labels)
        if not isinstance(child, Counter):
            raise KeyError(f"{name} is not a counter")
        return child

    def gauge(self, name: str, **labels: str) -> Gauge:
        """Raises KeyError for a name or label that is not in the catalogue."""
        child = self._child(name, labels)
        if not isinstance(child, Gauge):
            raise KeyError(f"{name} is not a gauge")
        return child

    def histogram(self, name: str, **labels: str) -> Histogram:
        """Raises KeyError for a name or label that is not in the catalogue."""
        child = self._child(name, labels)
        if not isinstance(child, Histogram):
            raise KeyError(f"{name} is not a histogram")
        return child

    # -- by name ----------------------------------------------------------------------------------------------

    def count(self, name: str, labels: Mapping[str, str] | None = None, by: float = 1) -> None:
        """Add to a counter."""
        self.counter(name, **(labels or {})).inc(by)

    def advance(self, name: str, total: float, labels: Mapping[str, str] | None = None) -> None:
        """Bring a counter up to a total that somebody else counts; it never steps back."""
        counter = self.counter(name, **(labels or {}))
        key = (name, tuple((labels or {}).values()))
        counter.inc(max(0.0, total - self._totals.get(key, 0.0)))
        self._totals[key] = max(total, self._totals.get(key, 0.0))

    def observe(self, name: str, value: float, labels: Mapping[str, str] | None = None) -> None:
        """Add an observation to a histogram."""
        self.histogram(name, **(labels or {})).observe(value)

    def set(self, name: str, value: float, labels: Mapping[str, str] | None = None) -> None:
        """Set a gauge."""
        self.gauge(name, **(labels or {})).set(value)

    def _child(self, name: str, labels: Mapping[str, str]) -> _Metric:
        spec = self._specs[name]
        try:
            values = tuple(labels[label] for label in spec.labels)
        except KeyError as missing:
            raise KeyError(f"{name} needs the label {missing}") from None
        if len(labels) != len(values):
            raise KeyError(f"{name} has only the labels {spec.labels}, not {sorted(labels)}")
        child = self._children.get((name, values))
        return child if child is not None else self._new_child(name, values)

    def _new_child(self, name: str, values: tuple[str, ...]) -> _Metric:
        metric = self._metrics[name]
        if values:
            if self._series[name] >= MAX_SERIES:
                return metric.labels(*(OTHER for _ in values))
            metric = metric.labels(*values)
        self._series[name] += 1
        self._children[name, values] = metric
        return metric

    def snapshot(self) -> ProcessSnapshot:
        """What this process would expose, as a value."""
        return ProcessSnapshot(
            self.process,
            self.started,
            {
                name: tuple(
                    Sample(sample.name, tuple(sample.labels.items()), sample.value)
                    for family in metric.collect()
                    for sample in family.samples
                    if not sample.name.endswith("_created")
                )
                for name, metric in self._metrics.items()
                if self._has_value(name)
            },
        )

    def _has_value(self, name: str) -> bool:
        """A gauge that this process never touched has no value here; 0 would be a statement."""
        return self._specs[name].kind is not Kind.GAUGE or self._series[name] > 0


def _build(spec: MetricSpec, registry: CollectorRegistry) -> _Metric:
    if unknown := set(spec.labels) - LABELS:
        raise ValueError(
            f"{spec.name}: the labels {sorted(unknown)} are not allowed; see telemetry.catalogue"
        )
    if spec.kind is Kind.HISTOGRAM:
        return Histogram(spec.name, spec.help, spec.labels, registry=registry, buckets=spec.buckets)
    return _TYPES[spec.kind](spec.name, spec.help, spec.labels, registry=registry)
