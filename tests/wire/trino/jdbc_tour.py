"""Drives the Trino JDBC driver against a URL and prints what it saw as JSON. A process of its own: one JVM each.

Arguments: the port, the driver's jar, the folder of a Java runtime.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jpype


def rows(result: Any) -> list[list[str]]:
    width = result.getMetaData().getColumnCount()
    found = []
    while result.next():
        found.append([str(result.getObject(index + 1)) for index in range(width)])
    return found


def failure(work: Any) -> dict[str, Any]:
    try:
        work()
    except jpype.JException as error:
        cause = error.getCause()
        return {"code": error.getErrorCode(), "message": str(error.getMessage()), "cause": cause is not None}
    return {}


def tour(connection: Any) -> dict[str, Any]:
    def query(sql: str) -> list[list[str]]:
        return rows(connection.createStatement().executeQuery(sql))

    seen: dict[str, Any] = {"valid": bool(connection.isValid(5))}
    seen["version"] = str(connection.getMetaData().getDatabaseProductVersion())
    seen["types"] = query(
        "SELECT 1.50, TIMESTAMP '2026-01-02 03:04:05.123456', ARRAY[1, 2], UUID '12151fd2-7586-11e9-8f9e-2a86e4085a59'"
    )
    seen["rows"] = len(query("SELECT * FROM orders"))
    prepared = connection.prepareStatement("SELECT name FROM nation WHERE nationkey = ? AND name <> ?")
    prepared.setLong(1, 3)
    prepared.setString(2, "x" * 3000)
    seen["prepared"] = rows(prepared.executeQuery())
    seen["columns"] = len(rows(connection.getMetaData().getColumns("tpch", "tiny", "nation", None)))
    seen["missing"] = failure(lambda: query("SELECT *\nFROM nosuch"))
    connection.setAutoCommit(False)
    seen["transaction"] = query("SELECT count(*) FROM region")
    connection.commit()
    connection.setAutoCommit(True)
    statement = connection.createStatement()
    result = statement.executeQuery("SELECT * FROM tpch.sf100.lineitem")
    result.next()
    statement.cancel()
    statement = connection.createStatement()
    statement.execute("SET SESSION query_max_run_time = '7m'")
    statement.execute("USE tpch.sf1")
    seen["schema"] = str(connection.getSchema())
    seen["session"] = [row[1] for row in query("SHOW SESSION LIKE 'query_max_run_time'")]
    return seen


def main() -> None:
    port, jar, java = sys.argv[1:]
    library = next(Path(java).rglob("libjvm.so"))
    jpype.startJVM(str(library), "--enable-native-access=ALL-UNNAMED", classpath=[jar])
    properties = jpype.JClass("java.util.Properties")()
    properties.setProperty("user", "alice")
    url = f"jdbc:trino://127.0.0.1:{port}/tpch/tiny"
    connection = jpype.JClass("java.sql.DriverManager").getConnection(url, properties)
    print(json.dumps(tour(connection)))


if __name__ == "__main__":
    main()
