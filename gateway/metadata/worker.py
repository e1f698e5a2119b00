"""Keeps the catalogue fresh in the background, and answers a probe for one relation."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b

from gateway.core.decision import EngineKind
from gateway.core.statement import RelationName
from gateway.engines.contract import EngineClient, EngineError
from gateway.metadata.loaders import describe_relation, load_relations
from gateway.metadata.model import Catalogue, Described, GroupCatalogue, Relation

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """An engine of a group that can be asked now."""

    group: str
    kind: EngineKind
    client: EngineClient


class MetadataWorker:
    """`sources()` gives one healthy engine per group; `publish` swaps the new catalogue in.

    A group that cannot be loaded keeps what was known of it, with the error beside it: stale metadata is
    never less safe, because a column that is not in the catalogue is invisible.
    """

    def __init__(
        self,
        sources: Callable[[], list[Source]],
        publish: Callable[[Catalogue], object],
        *,
        interval_s: float = 300.0,
        timeout_s: float = 60.0,
    ) -> None:
        self._sources = sources
        self._publish = publish
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._groups: dict[str, GroupCatalogue] = {}
        self._due = asyncio.Event()

    def refresh_soon(self) -> None:
        """Load again now (a statement changed definitions, or a backend came up)."""
        self._due.set()

    async def run(self) -> None:
        """Refresh for ever."""
        while True:
            await self.refresh()
            try:
                async with asyncio.timeout(self._interval_s):
                    await self._due.wait()
            except TimeoutError:
                pass  # the interval is over
            self._due.clear()

    async def refresh(self) -> None:
        """Load every group once and publish what changed."""
        await asyncio.gather(*(self._load(source) for source in self._sources()))
        self._publish(catalogue(self._groups))

    async def _load(self, source: Source) -> None:
        known = self._groups.get(source.group, GroupCatalogue())
        try:
            relations = await load_relations(source.client, source.kind, timeout_s=self._timeout_s)
        except EngineError as error:
            log.warning("metadata of group %s not refreshed, the last one stays: %s", source.group, error)
            self._groups[source.group] = replace(known, error=str(error))
            return
        self._groups[source.group] = GroupCatalogue(relations, time.time())

    async def describe(self, probe: Described) -> Relation | None:
        """The relation as an engine of the group knows it now. Raises EngineError."""
        source = next((s for s in self._sources() if s.group == probe.group), None)
        if source is None:
            raise EngineError(f"no healthy engine in group {probe.group}")
        return await describe_relation(source.client, source.kind, probe.name, timeout_s=self._timeout_s)


def catalogue(groups: Mapping[str, GroupCatalogue]) -> Catalogue:
    """A catalogue whose version is a digest of its relations, so an unchanged load changes nothing."""
    digest = blake2b(digest_size=8)
    for group, content in sorted(groups.items()):
        digest.update(group.encode())
        for relation in sorted(content.relations.values(), key=_by_name):
            digest.update(relation.version.encode())
    return Catalogue(dict(groups), digest.hexdigest())


def _by_name(relation: Relation) -> RelationName:
    return relation.name
