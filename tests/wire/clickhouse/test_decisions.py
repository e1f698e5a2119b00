"""Refusals and answers of the gateway, on the wire."""

from __future__ import annotations

import pytest

from gateway.core.decision import Answer as OwnAnswer
from gateway.core.decision import Column, Decision, Fix, Refusal, RefusalCode
from gateway.core.principal import Principal
from gateway.core.statement import Position, Statement, StatementKind
from gateway.edge.contract import Outcome
from gateway.wire.clickhouse.coding import NativeBlocks
from gateway.wire.clickhouse.errors import KNOWN, WireError, of_refusal
from tests.wire.clickhouse.conftest import Rig, StartRig


@pytest.mark.parametrize("code", list(RefusalCode))
def test_every_refusal_has_a_code_name_and_status(code: RefusalCode) -> None:
    error = of_refusal(Refusal(code, "No"))
    assert error.text() == f"Code: {error.code}. DB::Exception: No. ({error.name}) (version gateway)\n"


async def test_statuses_are_the_engines(rig: Rig) -> None:
    for code, (name, status) in KNOWN.items():
        sql = f"SELECT throwIf(number = 0, 'x', toInt16({code})) FROM numbers(1)"
        theirs = await rig.direct(sql, params={"allow_custom_error_code_in_throwif": "1"})
        assert (theirs.status, f"({name})".encode() in theirs.body) == (status, True), code


async def test_a_refusal_with_place_and_fix(start_rig: StartRig) -> None:
    def refuse(statement: Statement, principal: Principal) -> Decision:
        return Refusal(
            RefusalCode.BUDGET,
            "This would read 4 TB.",
            Position(2, 5),
            rule="budget",
            fixes=(Fix("add a date filter"),),
        )

    rig = await start_rig(decide=refuse)
    answer = await rig.ask("SELECT *\nFROM t", params={"query_id": "mine"})
    assert answer.status == 500
    assert answer.header("X-ClickHouse-Exception-Code") == "307"
    assert answer.header("X-ClickHouse-Query-Id") == "mine"
    assert answer.body == (
        b"Code: 307. DB::Exception: This would read 4 TB. Fix: add a date filter (line 2:5). "
        b"(TOO_MANY_BYTES) (version gateway)\n"
    )
    query = rig.edge.queries[-1]
    assert (query.outcome, query.error_code) == (Outcome.REFUSED, "307")
    native = await rig.ask("SELECT 1", params={"compress": "1"})
    assert b"".join(NativeBlocks().feed(native.body)).startswith(b"Code: 307")


OWN = OwnAnswer(
    columns=(Column("name", "String"), Column("n", "Nullable(Int64)"), Column("odd \"'\\", "Array(String)")),
    rows=(('it\'s\\ "x"\n', 1, ["a"]), ("ü", None, []), ("", 2**60, ["b", "'"])),
    kind=StatementKind.SHOW,
)


async def test_own_answers_in_every_format(start_rig: StartRig) -> None:
    rig = await start_rig(decide=lambda statement, principal: OWN)
    rows = '["it\'s\\\\ \\"x\\"\\n", 1, ["a"]]\n["ü", null, []]\n["", 1152921504606846976, ["b","\'"]]\n'
    options = {"output_format_json_quote_64bit_integers": "0", "database": "no_such_database"}
    plain = await rig.ask("SHOW x", params={"default_format": "JSONCompactEachRow", **options})
    assert plain.body.decode() == rows
    for name in ("Native", "RowBinaryWithNamesAndTypes", "Parquet", "TSVWithNamesAndTypes", "Pretty"):
        answer = await rig.ask(f"SHOW x\n FORMAT {name}", params={"query_id": "q"})
        assert (answer.status, answer.header("X-ClickHouse-Format")) == (
            200,
            name,
        )
        assert answer.header("X-ClickHouse-Query-Id") == "q"
    got = await rig.ask(method="GET", params={"query": "SHOW x FORMAT TSVWithNames"})
    assert got.body.split(b"\n")[0] == b"name\tn\todd \"\\'\\\\"
    assert rig.edge.queries[-1].outcome is Outcome.SUCCEEDED
    assert rig.edge.queries[-1].totals["rows"] == 3


async def test_own_answers_without_an_engine(start_rig: StartRig) -> None:
    rig = await start_rig(decide=lambda statement, principal: OWN)
    rig.edge.backends.all()[0].healthy = False
    answer = await rig.ask("SHOW x")
    assert (answer.status, answer.header("X-ClickHouse-Exception-Code")) == (500, "210")
    assert (await rig.ask(method="GET", path="/replicas_status")).status == 503


def test_wire_errors_keep_their_words() -> None:
    assert (
        WireError(62, "What?").text() == "Code: 62. DB::Exception: What? (SYNTAX_ERROR) (version gateway)\n"
    )
