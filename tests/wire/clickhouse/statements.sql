-- Statements whose results are compared byte by byte, direct and through the wire; one blank line between two.
SELECT 1

SELECT number, number * 2 AS twice, toString(number) AS text FROM numbers(100)

SELECT toInt8(-1) AS i8, toUInt256(7) AS u256, toInt128(-5) AS i128, 1.5::Float32 AS f, 0.1 AS d, 1/0 AS inf, nan AS n

SELECT toDecimal32(1.25, 2) AS d32, toDecimal128('12345678901234567890.123456', 6) AS d128

SELECT toDate('2026-02-28') AS d, toDateTime('2026-02-28 23:59:59', 'UTC') AS t, toDateTime64('2026-02-28 23:59:59.123456', 6, 'Europe/Berlin') AS t64

SELECT 'it''s', 'tab\there', 'new\nline', 'quote"s', 'back\\slash', 'ünïcode ☃', '' AS empty

SELECT NULL AS n, CAST(NULL AS Nullable(Int32)) AS ni, toNullable(5) AS five

SELECT [1, 2, 3] AS a, [['x'], []] AS aa, map('k', 1, 'l', 2) AS m, tuple(1, 'a') AS t

SELECT CAST('a', 'Enum8(\'a\' = 1, \'b\' = 2)') AS e, toLowCardinality('lc') AS lc, toFixedString('abc', 5) AS fs, toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0') AS u

SELECT toIPv4('127.0.0.1') AS v4, toIPv6('::1') AS v6, true AS b

SELECT number % 3 AS k, count() AS c, sum(number) AS s FROM numbers(1000) GROUP BY k WITH TOTALS ORDER BY k

SELECT * FROM numbers(0)

SELECT arrayJoin([1, 2, 3]) AS x, x * x ORDER BY x DESC LIMIT 2

WITH 5 AS five SELECT five + number AS v FROM numbers(4) WHERE number % 2 = 0

SELECT repeat('x', 1000) AS long FROM numbers(500)

SELECT a.number, b.number FROM numbers(5) AS a LEFT JOIN (SELECT number FROM numbers(3)) AS b ON a.number = b.number ORDER BY a.number

SELECT 1 UNION ALL SELECT 2

EXPLAIN SYNTAX SELECT 1 + number FROM numbers(10)

SHOW DATABASES LIKE 'syst%'

DESCRIBE TABLE numbers(3)

EXISTS TABLE system.one

SELECT name, type FROM system.columns WHERE database = 'system' AND table = 'one'

SELECT sumState(number) FROM numbers(10)
