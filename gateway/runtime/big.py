"""Big statements, decided in a child process that can be killed: text in, decision out.

A statement of a few hundred kilobytes may cost seconds in the SQL library; on the event loop it would hold
up everyone. Killed means refused.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable

from gateway.core.decide import decide
from gateway.core.decision import Decision, Need, Refusal, RefusalCode
from gateway.core.facts import Facts
from gateway.core.principal import Principal
from gateway.core.snapshot import Snapshot
from gateway.core.statement import Statement
from gateway.pipeline import STAGES
from gateway.sql.child import KillableWorker, Killed, WorkFailed

log = logging.getLogger(__name__)


WALL_FACTOR = 5
"""Wall time that a decision may take, as a multiple of its CPU time: the machine may be busy."""


class BigDecisions:
    """`decide` for the edge's big statements. One child works, one waits warm; further statements queue."""

    def __init__(self, cpu_s: float, on_killed: Callable[[], object] = lambda: None) -> None:
        self._cpu_s = cpu_s
        self._on_killed = on_killed
        self._worker = KillableWorker(preload="gateway.runtime.big")
        self._pickled: tuple[Snapshot, bytes] | None = None

    async def start(self) -> None:
        """Start the children, so that the first big statement need not wait for an interpreter."""
        await self._worker.start()

    async def close(self) -> None:
        """Kill the children; a decision in flight ends as a refusal."""
        await self._worker.close()

    async def decide(
        self, statement: Statement, principal: Principal, snapshot: Snapshot, facts: Facts
    ) -> Decision | Need:
        """Never raises for what a statement does to the child."""
        question = pickle.dumps((statement, principal, facts), protocol=pickle.HIGHEST_PROTOCOL)
        payload = pickle.dumps((self._snapshot(snapshot), question), protocol=pickle.HIGHEST_PROTOCOL)
        try:
            reply = await self._worker.run(
                "gateway.runtime.big:decide_pickled", payload, WALL_FACTOR * self._cpu_s, cpu_s=self._cpu_s
            )
        except Killed:
            self._on_killed()
            return _too_complex(self._cpu_s)
        except WorkFailed as error:
            log.error("a big statement could not be decided: %s", error)
            return _defect()
        decision: Decision | Need = pickle.loads(reply)  # noqa: S301 - from our own child over its pipe
        return decision

    def _snapshot(self, snapshot: Snapshot) -> bytes:
        if self._pickled is None or self._pickled[0] is not snapshot:
            self._pickled = (snapshot, pickle.dumps(snapshot, protocol=pickle.HIGHEST_PROTOCOL))
        return self._pickled[1]


_known: tuple[bytes, Snapshot] | None = None


def decide_pickled(payload: bytes) -> bytes:
    """The child's side: everything comes with the payload; the last snapshot is kept between calls."""
    global _known
    packed, question = pickle.loads(payload)  # noqa: S301 - from our parent over its pipe
    if _known is None or _known[0] != packed:
        _known = (packed, pickle.loads(packed))  # noqa: S301
    statement, principal, facts = pickle.loads(question)  # noqa: S301
    decision = decide(statement, principal, _known[1], facts, STAGES)
    return pickle.dumps(decision, protocol=pickle.HIGHEST_PROTOCOL)


def _too_complex(cpu_s: float) -> Refusal:
    return Refusal(
        RefusalCode.TOO_COMPLEX,
        f"The statement takes more than {cpu_s:g} s to understand. Shorten it: long lists of values belong "
        "in a table, deeply nested expressions in WITH.",
        rule="limits.decide_cpu",
    )


def _defect() -> Refusal:
    return Refusal(
        RefusalCode.INTERNAL,
        "The statement could not be decided; this is a defect of the gateway. Its log says more.",
        rule="big statement",
    )
