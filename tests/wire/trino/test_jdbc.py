"""The JDBC driver sees the same through the gateway as on the engine itself."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.core.decision import Fix, Refusal, RefusalCode
from gateway.demo.toolbox import Toolbox, require
from gateway.edge.contract import Outcome
from tests.real.addresses import TrinoAddress
from tests.wire.trino.rig import backend, gateway

_TOUR = Path(__file__).with_name("jdbc_tour.py")


async def tour(port: int) -> dict[str, Any]:
    tools = Toolbox.default()
    jar = require(tools.trino_jdbc, "the Trino JDBC driver")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(_TOUR), str(port), str(jar), str(tools.java_home),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(240):
            out, problem = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, problem.decode()[-2000:]
    return json.loads(out.decode().splitlines()[-1])  # type: ignore[no-any-return]


@pytest.mark.real
async def test_jdbc_sees_the_same(trino_server: TrinoAddress) -> None:
    direct = await tour(trino_server.port)
    async with gateway(backend(trino_server.host, trino_server.port, process_forwarded=False)) as gw:
        through = await tour(gw.port)
        await gw.settled()
        assert {query.outcome for query in gw.edge.queries} <= {
            Outcome.SUCCEEDED,
            Outcome.FAILED,
            Outcome.CANCELLED,
        }
    assert direct["rows"] == 15000
    assert direct["missing"]["code"] == 46
    for seen in (direct, through):
        # The message begins with the id of the query.
        seen["missing"]["message"] = seen["missing"]["message"].partition("): ")[2]
    assert through == direct


@pytest.mark.real
async def test_jdbc_raises_our_refusals_as_its_own(trino_server: TrinoAddress) -> None:
    async with gateway(backend(trino_server.host, trino_server.port)) as gw:
        decide = gw.edge.decide

        def refuse(statement: Any, principal: Any) -> Any:
            if "nosuch" in statement.text:
                return Refusal(RefusalCode.BUDGET, "It would read 9 TB.", fixes=(Fix("filter by day"),))
            return decide(statement, principal)

        gw.edge.decide = refuse
        seen = await tour(gw.port)
    assert seen["missing"]["code"] == 131081
    assert seen["missing"]["message"].endswith("It would read 9 TB. Fix: filter by day")
    assert seen["missing"]["cause"] is True
