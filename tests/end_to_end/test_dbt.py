"""dbt on both engines through the gateway: seed, table, view, incremental model and tests of a small project."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
import trino

from gateway.demo.toolbox import Toolbox, require
from tests.end_to_end.gateway_server import GatewayServer

PROJECT = Path(__file__).parent / "dbt_project"
PATIENCE_S = 300.0
ROWS = "SELECT run, count(*), sum(price) FROM {}.readings GROUP BY run ORDER BY run"

pytestmark = pytest.mark.xdist_group("dbt")


@dataclass(frozen=True, slots=True)
class Dbt:
    """A copy of the project, aimed at one engine through the gateway."""

    folder: Path

    def run(self, *arguments: str) -> dict[str, str]:
        """What became of each node. Fails with dbt's own words where dbt fails."""
        program = require(Toolbox.default().dbt, "dbt")
        outcome = subprocess.run(
            [str(program), *arguments, "--profiles-dir", str(self.folder)],
            cwd=self.folder,
            env={**os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert outcome.returncode == 0, outcome.stdout[-4000:] + outcome.stderr[-2000:]
        results = json.loads((self.folder / "target" / "run_results.json").read_text())["results"]
        return {result["unique_id"]: result["status"] for result in results}


def project(folder: Path, target: dict[str, Any]) -> Dbt:
    """The project in `folder`, with a profile for `target`."""
    copy = folder / "market"
    shutil.copytree(PROJECT, copy)
    # JSON is YAML too.
    profile = {"market": {"target": "through", "outputs": {"through": {"threads": 2, **target}}}}
    (copy / "profiles.yml").write_text(json.dumps(profile))
    return Dbt(copy)


def build_twice(dbt: Dbt) -> None:
    """`dbt build` makes and tests everything; a second one appends to the incremental model and tests it."""
    outcomes = dbt.run("build", "--vars", json.dumps({"run": 1}))
    assert len(outcomes) == 12
    outcomes |= dbt.run("build", "--select", "readings", "--vars", json.dumps({"run": 2}))
    assert set(outcomes.values()) == {"success", "pass"}


@pytest.fixture
def schema() -> str:
    return f"dbt_{secrets.token_hex(4)}"


def test_dbt_trino(gateway: GatewayServer, tmp_path: Path, schema: str) -> None:
    target = {
        "type": "trino",
        "method": "none",
        "user": "anna",
        "host": "127.0.0.1",
        "port": gateway.trino_port,
        "database": "memory",
        "schema": schema,
        "http_scheme": "http",
    }
    connection = trino.dbapi.connect(host="127.0.0.1", port=gateway.trino_port, user="anna", catalog="memory")
    cursor = connection.cursor()
    try:
        dbt = project(tmp_path, target)
        build_twice(dbt)
        cursor.execute(ROWS.format(schema))
        assert [row[:2] for row in cursor.fetchall()] == [[1, 4], [2, 4]]
        dbt.run("docs", "generate", "--vars", json.dumps({"run": 3}))
        catalog = json.loads((dbt.folder / "target" / "catalog.json").read_text())
        assert set(catalog["nodes"]["model.market.prices_by_iso"]["columns"]) == {"iso", "hubs", "price"}
    finally:
        cursor.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        cursor.fetchall()


def test_dbt_clickhouse(gateway: GatewayServer, tmp_path: Path, schema: str) -> None:
    target = {
        "type": "clickhouse",
        "driver": "http",
        "host": "127.0.0.1",
        "port": gateway.clickhouse_port,
        "user": "anna",
        "password": "",
        "schema": schema,
        "secure": False,
    }
    client = clickhouse_connect.get_client(host="127.0.0.1", port=gateway.clickhouse_port, username="anna")
    try:
        dbt = project(tmp_path, target)
        build_twice(dbt)
        assert [row[:2] for row in client.query(ROWS.format(schema)).result_rows] == [(1, 4), (2, 4)]
        dbt.run("docs", "generate", "--vars", json.dumps({"run": 3}))
        catalog = json.loads((dbt.folder / "target" / "catalog.json").read_text())
        assert set(catalog["nodes"]["model.market.prices_by_iso"]["columns"]) == {"iso", "hubs", "price"}
    finally:
        client.command(f"DROP DATABASE IF EXISTS {schema}")
        client.close()
