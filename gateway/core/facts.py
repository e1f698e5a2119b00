"""What a decision needs from the world, asked for as data and answered by the edge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, TypeVar

A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Probe(Generic[A]):
    """A question with an answer of type A. Subclasses carry what the question is about.

    Probes are values: equal probes are the same question, asked once (single flight).
    """

    def describe(self) -> str:
        """One line for the trail."""
        return type(self).__name__


@dataclass(frozen=True, slots=True)
class CurrentTime(Probe[float]):
    """The time now, Unix seconds, truncated to whole `resolution` seconds."""

    resolution: int = 60


class Unanswered(Exception):
    """Raised by `Facts.__getitem__`; `decide` turns it into `Need`."""

    def __init__(self, *probes: Probe[Any]) -> None:
        super().__init__(", ".join(probe.describe() for probe in probes))
        self.probes = probes


class Facts:
    """Answers so far. Reading one that is missing raises `Unanswered`, which ends the round as `Need`."""

    __slots__ = ("_answers",)

    def __init__(self, answers: Mapping[Probe[Any], Any] | None = None) -> None:
        self._answers: Mapping[Probe[Any], Any] = MappingProxyType(dict(answers or {}))

    def __getitem__(self, probe: Probe[A]) -> A:
        try:
            return self._answers[probe]  # type: ignore[no-any-return]
        except KeyError:
            raise Unanswered(probe) from None

    def __reduce__(self) -> tuple[type[Facts], tuple[dict[Probe[Any], Any]]]:
        return Facts, (dict(self._answers),)

    def __contains__(self, probe: Probe[Any]) -> bool:
        return probe in self._answers

    def __len__(self) -> int:
        return len(self._answers)

    def with_answers(self, answers: Mapping[Probe[Any], Any]) -> Facts:
        """These facts and the given ones."""
        return Facts({**self._answers, **answers})

    def items(self) -> list[tuple[Probe[Any], Any]]:
        """(probe, answer) pairs, for the trail and for replay."""
        return list(self._answers.items())


NO_FACTS = Facts()
