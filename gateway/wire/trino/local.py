"""Queries that this process answers itself: answers of the gateway, and statements that wait for a slot.

Their ids end with this process's own suffix, so that another process knows whom to ask for their pages.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from gateway.edge.contract import Outcome, Query
from gateway.wire.trino import errors
from gateway.wire.trino.dispatch import Started
from gateway.wire.trino.errors import Failure
from gateway.wire.trino.results import MAX_WAIT_S, LocalQuery, Reply, State
from gateway.wire.trino.uris import Page

_MAX_LOCAL = 20_000
_BROKEN_OFF = "The query could not be started; the log of the gateway has details. It did not run."


@dataclass(slots=True)
class Local:
    """One query answered here. `starting` is set while it waits for a slot on a backend."""

    query: Query
    state: LocalQuery
    news: asyncio.Event
    starting: asyncio.Task[Started | Failure] | None = field(default=None, repr=False)
    polls: int = 0

    @property
    def query_open(self) -> bool:
        """The client has not had all of it."""
        return not (self.state.failure is not None or self.state.state is State.FINISHED)

    @property
    def started(self) -> Started | None:
        """What the backend answered, once it took the statement."""
        outcome = self.outcome
        return outcome if isinstance(outcome, Started) else None

    @property
    def outcome(self) -> Started | Failure | None:
        """How waiting for a slot ended; None while it waits and where it was broken off."""
        task = self.starting
        if task is None or not task.done() or task.cancelled() or task.exception() is not None:
            return None
        return task.result()


class LocalQueries:
    """All of them, bounded; the oldest is dropped when there are too many."""

    def __init__(self) -> None:
        self._all: OrderedDict[str, Local] = OrderedDict()

    def __len__(self) -> int:
        return len(self._all)

    def get(self, query_id: str) -> Local | None:
        return self._all.get(query_id)

    def add(self, query: Query, query_id: str, now: float) -> Local:
        """A new one; the caller fills its state."""
        news = asyncio.Event()
        state = LocalQuery(query_id, now=now, capabilities=query.statement.capabilities, changed=news.set)
        local = Local(query, state, news)
        self._all[query_id] = local
        if len(self._all) > _MAX_LOCAL:
            _, oldest = self._all.popitem(last=False)
            self._drop(oldest)
        return local

    def await_start(self, local: Local, starting: asyncio.Task[Started | Failure]) -> None:
        """The query is queued until `starting` ends; its failure becomes the query's."""
        local.starting = starting
        starting.add_done_callback(lambda _: self._start_ended(local))

    def _start_ended(self, local: Local) -> None:
        if not isinstance(local.outcome, Started):
            failure = local.outcome or Failure(errors.GENERIC_INTERNAL_ERROR, _BROKEN_OFF)
            local.state.fail(failure, now=asyncio.get_running_loop().time())
        local.news.set()

    async def page(self, local: Local, page: Page, base: str, target_bytes: int | None) -> Reply:
        """The reply for one page; waits at most a second for news."""
        state, loop = local.state, asyncio.get_running_loop()
        deadline = loop.time() + MAX_WAIT_S
        while True:
            local.news.clear()
            waited = loop.time() >= deadline
            reply = self._reply(local, page, base, target_bytes, loop.time(), waited)
            if reply is not None:
                break
            try:
                async with asyncio.timeout_at(deadline):
                    await local.news.wait()
            except TimeoutError:
                continue
        self._settle(local)
        if reply.status == 200:
            local.query.progress(bytes_out=state.stats().processed_bytes, state=state.state.value)
        return reply

    def _reply(
        self, local: Local, page: Page, base: str, target_bytes: int | None, now: float, waited: bool
    ) -> Reply | None:
        state = local.state
        if page.phase == "queued":
            started = local.started
            if started is not None and state.knows("queued", page.token, page.slug):
                body = started.created.document(state.id, base)
                return Reply(200, body, tuple(started.created.headers))
            return state.queued(page.token, page.slug, base, now, waited=waited)
        return state.executing(page.token, page.slug, base, now, target_bytes=target_bytes, waited=waited)

    def _settle(self, local: Local) -> None:
        """Tell the edge once the client has all of it. A query on a backend is settled by its own pages."""
        state = local.state
        if local.starting is not None or not state.done:
            return
        if state.failure is not None:
            local.query.finish(Outcome.CANCELLED, error_code=state.failure.code.name)
        elif state.state is State.FINISHED:
            local.query.finish(Outcome.SUCCEEDED)

    def cancel(self, local: Local, page: Page, now: float) -> bool:
        """The client stops it; False for a wrong slug."""
        if not local.state.knows(page.phase, page.token, page.slug):
            return False
        self.stop(local, now)
        return True

    def stop(self, local: Local, now: float, outcome: Outcome = Outcome.CANCELLED) -> None:
        """Stop it: its client, its owner or an operator wants no more, or its client is gone."""
        if local.started is None:
            local.query.finish(outcome, error_code=errors.USER_CANCELED.name)
        if local.starting is not None and not local.starting.done():
            local.starting.cancel()
        local.state.cancel(now)

    def sweep(self, now: float) -> None:
        """Drop what is over or abandoned; call it now and then."""
        for query_id, local in list(self._all.items()):
            if local.state.expire(now):
                del self._all[query_id]
                self._drop(local)

    def _drop(self, local: Local) -> None:
        if local.starting is not None and not local.starting.done():
            local.starting.cancel()
        if local.started is None:
            local.query.finish(Outcome.DISCONNECTED)

    async def close(self) -> None:
        """Stop what still waits."""
        for local in list(self._all.values()):
            self._drop(local)
        self._all.clear()
