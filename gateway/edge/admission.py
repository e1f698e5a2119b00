"""Who may run now, and where: slots per backend and principal, a bounded queue, fair among principals.

`AdmissionBook` is a pure book of account. One process keeps it by itself; with several proxy processes the
parent keeps it and the others ask over a Unix socket (`admission_socket.py`), so limits hold for the host.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain, count
from typing import Protocol

Tiers = tuple[tuple[str, ...], ...]
"""Backend names in groups of falling preference: a later tier is used only while none before is available."""


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """Numbers of concurrent queries; a backend that is not listed has no limit of its own."""

    per_backend: Mapping[str, int] = field(default_factory=dict)
    per_principal: int = 100
    queued_per_principal: int = 200
    queued_total: int = 2_000


class AdmissionRefused(Exception):
    """No slot. `reason` is one of queue_full, timeout, no_backend."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(slots=True)
class _Ticket:
    number: int
    principal: str
    tiers: Tiers
    granted: Callable[[str], None]


class AdmissionBook:
    """Counts what runs, keeps who waits. Not thread-safe: one event loop owns it.

    Fairness: a freed slot goes to the waiting principal who has the fewest queries running, and among
    those to the one who was served longest ago. One principal's flood therefore never starves another.
    """

    def __init__(self, limits: AdmissionLimits) -> None:
        self.limits = limits
        self.running_on: Counter[str] = Counter()
        self.running_of: Counter[str] = Counter()
        self.unavailable: frozenset[str] = frozenset()
        self._waiting: dict[str, deque[_Ticket]] = {}
        self._numbers = count(1)
        self._served: dict[str, int] = {}

    @property
    def queued(self) -> int:
        """Tickets that wait now."""
        return sum(map(len, self._waiting.values()))

    def request(self, principal: str, tiers: Tiers, granted: Callable[[str], None]) -> int | str:
        """Either the backend that is granted at once, or the number of a waiting ticket.

        `granted(backend)` is called later for a ticket that waited. Raises AdmissionRefused.
        """
        if not any(tiers) or (self.unavailable and self.unavailable.issuperset(chain.from_iterable(tiers))):
            raise AdmissionRefused("no_backend", "no backend of the chosen groups is healthy")
        mine = self._waiting.get(principal)
        if not mine and (backend := self._free(principal, tiers)):
            self._take(principal, backend)
            return backend
        limits = self.limits
        if len(mine or ()) >= limits.queued_per_principal or self.queued >= limits.queued_total:
            raise AdmissionRefused("queue_full", f"too many queries are waiting ({self.queued})")
        ticket = _Ticket(next(self._numbers), principal, tiers, granted)
        self._waiting.setdefault(principal, deque()).append(ticket)
        return ticket.number

    def release(self, principal: str, backend: str) -> None:
        """A query ended; grants what can run now."""
        for counter, key in ((self.running_on, backend), (self.running_of, principal)):
            if counter[key] > 1:
                counter[key] -= 1
            else:
                del counter[key]
        if principal not in self.running_of and principal not in self._waiting:
            self._served.pop(principal, None)
        self.grant_waiting()

    def cancel(self, principal: str, number: int) -> bool:
        """Take a waiting ticket back; False if it does not wait any more."""
        waiting = self._waiting.get(principal, deque())
        found = next((ticket for ticket in waiting if ticket.number == number), None)
        if found is None:
            return False
        waiting.remove(found)
        if not waiting:
            del self._waiting[principal]
        return True

    def set_unavailable(self, names: Iterable[str]) -> None:
        """Backends that must get nothing new (unhealthy or draining)."""
        self.unavailable = frozenset(names)
        self.grant_waiting()

    def grant_waiting(self) -> None:
        """Give free slots to waiting tickets, fairly, until nothing more fits."""
        while (choice := self._next()) is not None:
            ticket, backend = choice
            waiting = self._waiting[ticket.principal]
            waiting.popleft()
            if not waiting:
                del self._waiting[ticket.principal]
            self._take(ticket.principal, backend)
            ticket.granted(backend)

    def _next(self) -> tuple[_Ticket, str] | None:
        heads = sorted(
            (queue[0] for queue in self._waiting.values()),
            key=lambda t: (self.running_of[t.principal], self._served.get(t.principal, 0), t.number),
        )
        for ticket in heads:
            if backend := self._free(ticket.principal, ticket.tiers):
                return ticket, backend
        return None

    def _free(self, principal: str, tiers: Tiers) -> str | None:
        if self.running_of[principal] >= self.limits.per_principal:
            return None
        for tier in tiers:
            if len(tier) == 1 and tier[0] not in self.unavailable:
                return tier[0] if self.running_on[tier[0]] < self._limit(tier[0]) else None
            up = [name for name in tier if name not in self.unavailable]
            if not up:
                continue
            free = [name for name in up if self.running_on[name] < self._limit(name)]
            # Least loaded relative to its limit; the order of the plan breaks ties. A full tier waits
            # rather than spilling: fallbacks are for groups that are down, not for busy ones.
            return min(free, key=lambda n: self.running_on[n] / self._limit(n)) if free else None
        return None

    def _limit(self, name: str) -> int:
        return self.limits.per_backend.get(name, 1_000_000)

    def _take(self, principal: str, backend: str) -> None:
        self.running_on[backend] += 1
        self.running_of[principal] += 1
        self._served[principal] = next(self._numbers)


class Admission(Protocol):
    """What the edge needs: a slot, or a reason why not."""

    def try_acquire(self, principal: str, tiers: Tiers) -> str | None:
        """A slot without waiting and without I/O, or None where `acquire` must be awaited."""
        ...

    async def acquire(self, principal: str, tiers: Tiers, timeout_s: float) -> str:
        """The backend to use. Raises AdmissionRefused; cancelling the caller gives the slot back."""
        ...

    def release(self, principal: str, backend: str) -> None: ...
    def set_unavailable(self, names: Iterable[str]) -> None: ...


class LocalAdmission:
    """The book kept in this process."""

    def __init__(self, book: AdmissionBook) -> None:
        self.book = book

    def try_acquire(self, principal: str, tiers: Tiers) -> str | None:
        """See `Admission.try_acquire`."""
        if self.book.queued:
            return None
        granted = self.book.request(principal, tiers, _nobody)
        if isinstance(granted, str):
            return granted
        self.book.cancel(principal, granted)
        return None

    async def acquire(self, principal: str, tiers: Tiers, timeout_s: float) -> str:
        """See `Admission.acquire`."""
        slot: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        granted = self.book.request(principal, tiers, slot.set_result)
        if isinstance(granted, str):
            return granted
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(slot)
        except TimeoutError:
            if self._give_back(principal, granted, slot):
                return slot.result()
            raise AdmissionRefused("timeout", f"no slot came free within {timeout_s:g} s") from None
        except asyncio.CancelledError:
            if self._give_back(principal, granted, slot):
                self.book.release(principal, slot.result())
            raise

    def _give_back(self, principal: str, number: int, slot: asyncio.Future[str]) -> bool:
        """Stop waiting; True if the slot was granted in the same moment."""
        return not self.book.cancel(principal, number) and slot.done()

    def release(self, principal: str, backend: str) -> None:
        """See `Admission.release`."""
        self.book.release(principal, backend)

    def set_unavailable(self, names: Iterable[str]) -> None:
        """See `Admission.set_unavailable`."""
        self.book.set_unavailable(names)


def _nobody(_backend: str) -> None:
    """A probe of the book: the ticket is cancelled before anything can be granted to it."""
