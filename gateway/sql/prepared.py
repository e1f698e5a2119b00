"""`EXECUTE name` as the statement that it runs, so that it can be rewritten like any other."""

from __future__ import annotations

from dataclasses import replace

from gateway.core.decision import Refusal
from gateway.core.statement import Statement
from gateway.sql.parse import Inner, Parsed
from gateway.sql.relations import prepared_statement
from gateway.sql.shape import Slot, Via


def inlined(parsed: Parsed, statement: Statement) -> Parsed | Refusal:
    """`EXECUTE name USING …` as `EXECUTE IMMEDIATE '…' USING …`. Refuses an unknown name."""
    assert parsed.shape is not None
    inner = prepared_statement(parsed, statement)
    if isinstance(inner, Refusal):
        return inner
    shape = replace(
        parsed.shape,
        verb="EXECUTE IMMEDIATE",
        layout=("EXECUTE IMMEDIATE", Slot(0, quoted=True), *parsed.shape.layout[1:]),
    )
    return replace(parsed, verb=shape.verb, shape=shape, inner=(Inner(inner, Via.EXECUTE),))
