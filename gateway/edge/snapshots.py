"""Holds the current snapshot of a process; refreshers replace parts of it."""

from __future__ import annotations

from gateway.core.snapshot import Part, Snapshot


class SnapshotHolder:
    """One reference, replaced whole. Readers take `current` once and keep it for their request."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.current = snapshot

    def replace(self, *parts: Part) -> Snapshot:
        """Swap in a snapshot with these parts; without a change of version nothing is swapped.

        Not swapping matters: a new snapshot object empties the decision cache.
        """
        fresh = self.current.with_parts(*parts)
        if fresh.version != self.current.version:
            self.current = fresh
        return self.current
